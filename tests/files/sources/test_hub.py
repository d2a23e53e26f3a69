"""Hub ids, with the real huggingface_hub against a hub on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextword.files import write_bundle
from nextword.files.gguf import write_gguf
from nextword.files.sources.hub import HubId
from tests.files.making import CONFIGS, content_of, random_bundle
from tests.files.sources.hub_server import (
    Hub,
    Repository,
    environment,
    make_commit,
    resolve,
    resolve_all,
    running_hub,
)

OLD, NEW = make_commit("old"), make_commit("new")
MODEL = {"config.json": b'{"a": 1}', "model.safetensors": b"weights " * 100, "tokenizer.json": b"{}"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "집 안의 caché"


def publish(hub: Hub, name: str, files: dict[str, bytes]) -> None:
    hub.repositories[name] = Repository({NEW: files}, {"main": NEW})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubId("org/name")),
        ("org/name@v1.0", HubId("org/name", None, "v1.0")),
        ("org/name@refs/pr/1", HubId("org/name", None, "refs/pr/1")),
        ("Qwen/Qwen2.5-0.5B_x", HubId("Qwen/Qwen2.5-0.5B_x")),
        ("org/name/a.gguf", HubId("org/name", "a.gguf")),
        ("org/name/q4/a b.gguf@main", HubId("org/name", "q4/a b.gguf", "main")),
        *((text, None) for text in ["", "name", "/org/name", "./name", "../name", "org/", "org/name/", "org//name"]),
        *((text, None) for text in ["org/name/file.bin", "models/my.gguf", "a/model.safetensors", "org/name@", "C:/x"]),
        *((text, None) for text in ["org\\name", "~/models/x", "모델/이름", "org/na me", "a/b/c\\d.gguf"]),
    ],
)
def test_a_hub_id_is_told_from_paths_and_names(text: str, expected: HubId | None) -> None:
    assert HubId.parse(text) == expected


def test_only_the_files_that_a_model_needs_are_fetched_and_only_once(hub: Hub, home: Path) -> None:
    beside = ["README.md", "chat_template.jinja", "generation_config.json", "merges.txt", "nextword.json", "vocab.json"]
    needed = {**MODEL, **{name: name.encode() for name in beside}}
    other = [
        "pytorch_model.bin",
        "consolidated.safetensors",
        "onnx/model.safetensors",
        "x.gguf",
        "train.py",
        "a/README.md",
    ]
    publish(hub, "org/name", {**needed, **dict.fromkeys(other, b"large")})
    answer = resolve(hub, home, "org/name")
    path = Path(answer["path"])
    assert (path.name, answer["notes"]) == (NEW, [])
    assert {file.name: file.read_bytes() for file in path.iterdir()} == needed
    assert path.is_relative_to(home)
    assert hub.downloads() == sorted(needed)
    assert resolve(hub, home, "org/name") == answer
    assert hub.downloads() == []


def test_weights_in_several_files_come_with_their_index(hub: Hub, home: Path) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    files = {"config.json": b"{}", "model.safetensors.index.json": index, **{name: name.encode() for name in shards}}
    publish(hub, "org/name", {**files, "consolidated.safetensors": b"the same again"})
    path = Path(resolve(hub, home, "org/name")["path"])
    assert hub.downloads() == sorted(files)
    assert resolve(hub, home, "org/name", HF_HUB_OFFLINE="1")["path"] == str(path)
    (path / shards[1]).unlink()
    assert "is not, or not whole, in the hub's cache" in resolve(hub, home, "org/name", HF_HUB_OFFLINE="1")["error"]


def test_one_gguf_of_a_repository_is_fetched_alone(hub: Hub, home: Path) -> None:
    publish(hub, "org/name", {**MODEL, "q4/한글 q4.gguf": b"GGUF four", "q8.gguf": b"GGUF eight"})
    path = Path(resolve(hub, home, "org/name/q4/한글 q4.gguf")["path"])
    assert (path.name, path.read_bytes()) == ("한글 q4.gguf", b"GGUF four")
    assert hub.downloads() == ["q4/한글 q4.gguf"]
    assert resolve(hub, home, "org/name/q4/한글 q4.gguf", HF_HUB_OFFLINE="1")["path"] == str(path)
    assert "is not, or not whole, in the" in resolve(hub, home, "org/name/q8.gguf", HF_HUB_OFFLINE="1")["error"]


def test_all_parts_of_a_gguf_model_are_fetched(hub: Hub, home: Path) -> None:
    parts = [f"q8/m-0000{number}-of-00002.gguf" for number in (1, 2)]
    publish(hub, "org/name", {**MODEL, **{part: part.encode() for part in parts}})
    path = Path(resolve(hub, home, f"org/name/{parts[0]}")["path"])
    assert sorted(file.name for file in path.parent.iterdir()) == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    assert sorted(hub.downloads()) == parts
    assert resolve(hub, home, f"org/name/{parts[0]}", HF_HUB_OFFLINE="1")["path"] == str(path)
    publish(hub, "org/half", {**MODEL, parts[0]: b"GGUF part"})
    error = resolve(hub, home, f"org/half/{parts[0]}")["error"]
    assert f"org/half has no file {parts[1]}, a part of the model" in error


def test_a_broken_connection_goes_on_where_it_broke(hub: Hub, home: Path) -> None:
    weights = bytes(range(250)) * 44_000
    publish(hub, "org/name", {**MODEL, "model.safetensors": weights})
    hub.break_after["model.safetensors"] = 10_600_000
    answer = resolve(hub, home, "org/name", says="Trying to resume download")
    assert (Path(answer["path"]) / "model.safetensors").read_bytes() == weights
    parts = [
        line.split("model.safetensors")[1] for line in hub.requests if line.startswith(f"GET /org/name/resolve/{NEW}/m")
    ]
    assert parts == ["", f" {10 * 2**20}-"]  # the library writes ten megabytes at a time


def test_a_download_that_failed_keeps_the_files_that_came(hub: Hub, home: Path) -> None:
    publish(hub, "org/name", MODEL)
    hub.failing["model.safetensors"] = 503
    answer = resolve(hub, home, "org/name")
    assert answer["error"] == "the hub refuses org/name with code 503"
    assert set(hub.downloads()) <= set(MODEL)
    assert "is not, or not whole, in the hub's cache" in resolve(hub, home, "org/name", HF_HUB_OFFLINE="1")["error"]
    hub.failing.clear()
    assert "path" in resolve(hub, home, "org/name")
    assert "model.safetensors" in hub.downloads()
    assert "path" in resolve(hub, home, "org/name", HF_HUB_OFFLINE="1")


def test_branches_tags_and_commits_are_kept_apart(hub: Hub, home: Path) -> None:
    old, new = {**MODEL, "config.json": b"old"}, {**MODEL, "config.json": b"new"}
    hub.repositories["org/name"] = Repository({OLD: old, NEW: new}, {"main": OLD, "v1": OLD, "refs/pr/1": NEW})
    ids = ["org/name", "org/name@v1", f"org/name@{OLD}", "org/name@refs/pr/1", f"org/name@{NEW}"]
    assert [Path(answer["path"]).name for answer in resolve_all(hub, home, *ids)] == [OLD, OLD, OLD, NEW, NEW]
    hub.repositories["org/name"].revisions["main"] = NEW
    offline = resolve(hub, home, "org/name", HF_HUB_OFFLINE="1")
    assert Path(offline["path"]).name == OLD  # the newest that was seen
    paths = [Path(answer["path"]) for answer in resolve_all(hub, home, "org/name", "org/name@v1")]
    assert [(path.name, (path / "config.json").read_bytes()) for path in paths] == [(NEW, b"new"), (OLD, b"old")]


def test_a_branch_that_moves_while_it_is_fetched_is_told(hub: Hub, home: Path) -> None:
    commits = iter([OLD, NEW])

    class Moving(dict[str, str]):
        def get(self, revision: str, default: str = "") -> str:  # type: ignore[override]
            return next(commits) if revision == "main" else default

    hub.repositories["org/name"] = Repository({OLD: MODEL, NEW: MODEL}, Moving())
    answer = resolve(hub, home, "org/name")
    assert (answer["error"], answer["hint"]) == ("org/name changed while it was fetched", "run it again")


@pytest.mark.parametrize("way", ["HF_HUB_OFFLINE", "nobody answers", "500"])
def test_without_a_hub_the_cached_commit_of_that_revision_serves_and_that_is_said(
    hub: Hub, home: Path, way: str
) -> None:
    hub.repositories["org/name"] = Repository({OLD: MODEL, NEW: MODEL}, {"main": NEW, "v1": OLD})
    assert Path(resolve(hub, home, "org/name@v1")["path"]).name == OLD
    hub.requests.clear()
    variables, expected = {}, "HF_HUB_OFFLINE is set"
    if way == "HF_HUB_OFFLINE":
        variables["HF_HUB_OFFLINE"] = "1"
    elif way == "500":
        hub.failing["*"], expected = 500, "it answers 500"
    else:
        variables["HF_ENDPOINT"], expected = "http://127.0.0.1:1", "refused"
    names = ["org/name@v1", "org/name", f"org/name@{NEW}", "org/other"]
    cached, *unknown = resolve_all(hub, home, *names, **variables)
    reason = cached["notes"][0].removeprefix("the hub cannot be reached (").split(")")[0]
    assert expected in reason
    assert Path(cached["path"]).name == OLD
    assert cached["notes"] == [f"the hub cannot be reached ({reason}); taking org/name@v1 from its cache, commit {OLD}"]
    for name, answer in zip(names[1:], unknown, strict=True):
        missing = f"{name} is not, or not whole, in the hub's cache, and the hub cannot be reached: {reason}"
        assert (answer["error"], answer["notes"]) == (missing, [])
        assert answer["hint"] == "go online once; or, if a path was meant, check its spelling"
    assert (hub.requests == []) == (way != "500")


def test_each_thing_that_can_be_wrong_has_its_own_line(hub: Hub, home: Path) -> None:
    publish(hub, "org/gated", MODEL)
    hub.repositories["org/gated"].refused = "GatedRepo"
    publish(hub, "org/private", MODEL)
    hub.repositories["org/private"].refused = "RepoNotFound"
    publish(hub, "org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"cos\nsystem", "tf_model.h5": b""})
    publish(hub, "org/ggufs", {"config.json": b"{}", "a.gguf": b"", "b/c.gguf": b""})
    publish(hub, "org/bare", {"README.md": b"nothing"})
    publish(hub, "org/adapter", {"model.safetensors": b"", "adapter_config.json": b"{}"})
    access = "if you have access: set HF_TOKEN, or run `hf auth login`"
    missing = f"check the spelling, also if a path was meant; {access}"
    wrong = {
        "org/nothing": ("the hub has no model org/nothing, or a private one", missing),
        "org/private": ("the hub has no model org/private, or a private one", missing),
        "org/gated": ("org/gated is open only to those its owners let in", access),
        "org/ggufs@v9": ("org/ggufs has no revision v9", "a revision is a branch, a tag or a whole commit"),
        "org/ggufs": (
            "org/ggufs holds .gguf files only, so one must be named",
            "one of: org/ggufs/a.gguf, org/ggufs/b/c.gguf",
        ),
        "org/ggufs/d.gguf": ("org/ggufs has no file d.gguf", "it has: org/ggufs/a.gguf, org/ggufs/b/c.gguf"),
        "org/pickled": (
            "org/pickled holds pickled weights only (pytorch_model.bin), which can run code when loaded",
            "take a repository with safetensors, or convert it where you trust it: transformers' save_pretrained",
        ),
        "org/bare": ("org/bare holds no model.safetensors", "it holds: README.md"),
        "org/adapter": ("org/adapter holds no config.json", "it holds: model.safetensors, adapter_config.json"),
    }
    answers = resolve_all(hub, home, *wrong)
    found = {source: (answer["error"], answer["hint"]) for source, answer in zip(wrong, answers, strict=True)}
    assert found == wrong
    assert {*hub.downloads()} <= {*MODEL}  # asked for, and refused, in org/gated; nothing of all the others


def test_a_token_opens_what_is_gated_or_private(hub: Hub, home: Path) -> None:
    for name, refused in [("org/gated", "GatedRepo"), ("org/private", "RepoNotFound")]:
        hub.repositories[name] = Repository({NEW: MODEL}, {"main": NEW}, refused=refused)
    answers = resolve_all(hub, home, "org/gated", "org/private", HF_TOKEN="hf_of_the_test")
    assert [Path(answer["path"]).name for answer in answers] == [NEW, NEW]


def test_a_hub_that_is_none_and_a_cache_that_cannot_be_written_are_told(hub: Hub, home: Path) -> None:
    publish(hub, "org/name", MODEL)
    home.mkdir()
    (home / "file").write_bytes(b"")
    answer = resolve(hub, home, "org/name", HF_HOME=str(home / "file"))
    assert answer["error"].startswith(f"cannot fetch org/name into {home / 'file'}")
    assert len(answer["error"].splitlines()) == 1
    hub.failing["*"] = 200  # with an empty page
    assert "cannot be reached: its answer is not a hub's" in resolve(hub, home, "org/name")["error"]
    hub.failing["*"] = 429
    assert resolve(hub, home, "org/name")["error"] == "the hub refuses org/name with code 429"


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_bars_are_drawn_on_a_terminal(hub: Hub, home: Path) -> None:
    import termios

    publish(hub, "org/name", MODEL)
    code = "from nextword.files.sources.resolving import resolve_model; resolve_model('org/name')"
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    subprocess.run([sys.executable, "-c", code], stderr=terminal, env=environment(hub, home), check=True, timeout=60)
    os.close(terminal)
    drawn = os.read(controller, 100_000).decode()
    os.close(controller)
    assert "100%" in drawn


def test_a_hub_id_runs_as_any_model_does_and_offline_too(hub: Hub, home: Path, tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["llama, scaled"])
    write_bundle(tmp_path / "model", bundle)
    write_gguf(tmp_path / "q8.gguf", bundle, "q8_0")
    publish(hub, "org/name", {**content_of(tmp_path / "model"), "q8.gguf": (tmp_path / "q8.gguf").read_bytes()})

    def candidates(model: str | Path, **variables: str) -> list[int]:
        command = [sys.executable, "-m", "nextword", "predict", "the quick", "--model", str(model), "--json"]
        variables = environment(hub, home, **variables)
        done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
        return [candidate["token_id"] for candidate in json.loads(done.stdout)["candidates"]]

    expected = candidates(tmp_path / "model")
    assert len(expected) == 10
    assert candidates("org/name") == candidates(f"org/name@{NEW}") == expected
    assert candidates("org/name", HF_HUB_OFFLINE="1") == expected
    assert candidates("org/name/q8.gguf") == candidates(tmp_path / "q8.gguf")
