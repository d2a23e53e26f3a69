"""A directory: what people wrote is read, what programs keep for themselves is not, and both are told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import TextError
from nextword.training import Event, Started, train
from nextword.training.corpus.text import ByteLimit, Piece, SourceReport, read_documents, read_pieces
from tests.training.sample_text import FEW_STEPS, TEXT, write_text

NOT_UTF_8 = os.fsdecode("글".encode("cp949"))


def read(*places: str | Path, exclude: tuple[str, ...] = ()) -> tuple[list[str], dict[str, str]]:
    """The names of what is read, and of what is not, with the reasons."""
    reading = SourceReport()
    for _ in read_pieces(places, exclude=exclude, reading=reading):
        pass
    return reading.read, dict(reading.skipped)


def fill(root: Path, *names: str, text: str | bytes = "글이다. Some words.") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def test_what_is_hidden_and_what_programs_keep_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt", "b/c.md", "b/d.jsonl.txt")
    fill(tmp_path, ".trash/x.txt", ".git/x.txt", "b/.ipynb_checkpoints/x.md", "b/._a.txt", ".hidden.txt")
    fill(tmp_path, "__MACOSX/x.txt", "node_modules/y/x.md", "env/pyvenv.cfg", "env/lib/x.txt", "picture.png", "LICENSE")
    names, skipped = read(tmp_path)
    assert names == [f"{tmp_path}/{name}" for name in ("a.txt", "b/c.md", "b/d.jsonl.txt")]
    assert {name.removeprefix(f"{tmp_path}/"): why for name, why in skipped.items()} == {
        **dict.fromkeys((".git", ".trash", ".hidden.txt", "b/.ipynb_checkpoints", "b/._a.txt"), "hidden"),
        "__MACOSX": "made by macOS",
        "node_modules": "packages",
        "env": "a Python environment",
        "picture.png": ".png ending",
        "LICENSE": "no ending",
    }
    assert read(tmp_path / ".trash")[0] == [f"{tmp_path}/.trash/x.txt"]  # it was named


def test_one_odd_file_is_not_the_end_of_a_directory(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt", "z.txt")
    fill(tmp_path, "empty.txt", text="")
    fill(tmp_path, "blank.md", text="\n \n")
    fill(tmp_path, "numbers.csv", text="a,b\n1,2\n")
    fill(tmp_path, "settings.json", text='{"name": "x", "version": "1"}')
    fill(tmp_path, "binary.txt", text=bytes(range(256)) * 20)
    fill(tmp_path, "picture.txt", text=b"\x89PNG\r\n\x1a\n1234")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    names, skipped = read(tmp_path)
    assert names == [f"{tmp_path}/a.txt", f"{tmp_path}/z.txt"]
    assert {name.removeprefix(f"{tmp_path}/"): why for name, why in skipped.items()} == {
        "empty.txt": "is empty",
        "blank.md": "is empty",
        "numbers.csv": "holds no text",
        "settings.json": "is a single object, no rows",
        "binary.txt": "is not UTF-8: byte 0x80 at offset 128",
        "picture.txt": "is a picture: its bytes are no text",
        "gone.txt": "no file",
    }
    assert read(f"{tmp_path}/*.txt")[0] == names
    with pytest.raises(TextError, match=r"empty\.txt is empty"):
        read(tmp_path / "a.txt", tmp_path / "empty.txt")  # it was named


def test_what_was_read_is_told_where_only_the_beginning_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("글이다. Some words.\n" * 60_000, encoding="utf-8")
    fill(tmp_path, "b.txt", "empty.txt")
    (tmp_path / "empty.txt").write_bytes(b"")
    reading = SourceReport()
    pieces = ByteLimit(read_pieces([tmp_path], reading=reading), 1000)
    assert len(list(pieces)) == 1
    assert pieces.cut
    assert reading.read == [f"{tmp_path}/a.txt"]


def test_text_in_another_encoding_is_no_odd_file(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt")
    fill(tmp_path, "b.txt", text="나는 오늘 학교에 가서 친구를 만났다. ".encode("cp949") * 20)
    with pytest.raises(TextError, match=r"b\.txt is not UTF-8") as caught:
        read(tmp_path)
    assert "cp949" in caught.value.hint
    assert read(tmp_path, exclude=("b.txt",))[0] == [f"{tmp_path}/a.txt"]


def test_where_nothing_holds_text_the_reasons_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "empty.txt", text="")
    with pytest.raises(TextError, match=r"^nothing that was found holds text") as caught:
        read(tmp_path)
    assert caught.value.hint == f"{tmp_path}/empty.txt is empty"


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("drafts", ["a.txt", "b/c.txt", "b/c.csv.txt"]),
        ("drafts/", ["a.txt", "b/c.txt", "b/c.csv.txt"]),
        ("b/c.txt", ["a.txt", "b/c.csv.txt", "drafts/d.txt"]),
        ("c.*", ["a.txt", "drafts/d.txt"]),
        ("*/d.txt", ["a.txt", "b/c.txt", "b/c.csv.txt"]),
        ("*.txt", []),
    ],
)
def test_what_is_excluded_is_not_read_and_said(tmp_path: Path, pattern: str, left: list[str]) -> None:
    fill(tmp_path, "a.txt", "b/c.txt", "b/c.csv.txt", "drafts/d.txt")
    if not left:
        with pytest.raises(TextError, match="holds no text files"):
            read(tmp_path, exclude=(pattern,))
        return
    names, skipped = read(tmp_path, exclude=(pattern,))
    assert sorted(name.removeprefix(f"{tmp_path}/") for name in names) == sorted(left)
    assert set(skipped.values()) == {"excluded"}
    assert len(read(f"{tmp_path}/**/*.txt", exclude=(pattern,))[0]) == len(left)


def test_where_all_is_excluded_that_is_told(tmp_path: Path) -> None:
    place = write_text(tmp_path)
    with pytest.raises(TextError, match="nothing that was found holds text") as caught:
        train(place, tmp_path / "out", exclude="*.txt", **FEW_STEPS)
    assert caught.value.hint == f"{place} excluded"


def test_a_pattern_that_excludes_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, "a.txt", "b.txt")
    assert len(read(tmp_path, exclude=("b.txt", "draft"))[0]) == 1
    assert [one.message for one in caplog.records] == ["nothing is called draft: nothing was left out for it"]


@pytest.mark.usefixtures("undrawn")
def test_a_directory_that_models_are_written_into_is_learned_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)
    events = list[Event]()
    first = train(".", "m", snapshots=True, log="tensorboard", **FEW_STEPS)
    second = train(".", "m", watch=events.append, **FEW_STEPS)
    assert second.state == first.state
    started = next(event for event in events if isinstance(event, Started))
    assert (started.files, started.file_count) == (("text.txt",), 1)
    assert dict(started.skipped) == {"m": "a model", "m.steps": "a run of training", "m.logs": "a run's log"}
    assert second.model.provenance["text"]["skipped"] == [[Path(name).name, why] for name, why in started.skipped]
    with pytest.raises(TextError, match=r"^m is a model: no text to learn"):
        train("m", "n", **FEW_STEPS)
    with pytest.raises(TextError, match=r"^no file is called \*/\*\.md"):
        train("*/*.md", "n", **FEW_STEPS)  # the model's card


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_broken_off_goes_on_in_the_directory_that_it_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)
    whole = train(".", "m", **FEW_STEPS)

    def end(event: Event) -> None:
        if getattr(event, "loss", None) and getattr(event, "step", 0) == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(".", "m", watch=end, checkpoint_seconds=0, **FEW_STEPS)
    resumed = train(".", "m", resume=True)
    assert (resumed.steps, resumed.state) == (4, whole.state)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there file names are text")
def test_names_that_are_not_utf_8_are_read_and_written_as_they_can_be(tmp_path: Path) -> None:
    fill(tmp_path / NOT_UTF_8, f"{NOT_UTF_8}.txt", text=TEXT)
    fill(tmp_path / NOT_UTF_8, f"{NOT_UTF_8}2.txt", text="")
    shown = f"{tmp_path}/\\xb1\\xdb"
    names, skipped = read(tmp_path / NOT_UTF_8)
    assert names == [f"{shown}/\\xb1\\xdb.txt"]
    assert skipped == {f"{shown}/\\xb1\\xdb2.txt": "is empty"}
    with pytest.raises(TextError) as caught:
        read_documents([tmp_path / NOT_UTF_8 / f"{NOT_UTF_8}2.txt"])
    assert caught.value.message == f"{shown}/\\xb1\\xdb2.txt is empty"
    str(caught.value).encode()


def test_what_is_no_name_is_told(tmp_path: Path) -> None:
    from nextword.errors import ConfigError

    wrong: list[Any] = [b"a.txt", [b"a.txt"], 5, {"a.txt": 1}, write_text(tmp_path).open(encoding="utf-8")]
    for paths in wrong:
        with pytest.raises(ConfigError, match=r"^paths should be a name or a list of names, found "):
            train(paths, tmp_path / "out", **FEW_STEPS)
    wrong[-1].close()


def test_one_file_of_another_encoding_can_be_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt")
    fill(tmp_path, "b [1].txt", text=("나는 오늘 학교에 갔다. " * 20).encode("cp949"))
    with pytest.raises(TextError, match=r"b \[1\]\.txt is not UTF-8") as caught:
        read(tmp_path)
    assert caught.value.hint == (
        'it looks like cp949: encoding="cp949" (for all files); or leave this one out: exclude="b [[]1].txt"'
    )
    assert [document.name for document in read_documents_but(tmp_path, "b [[]1].txt")] == [f"{tmp_path}/a.txt"]
    with pytest.raises(TextError) as caught:
        read(tmp_path / "b [1].txt")  # it was named
    assert caught.value.hint == 'it looks like cp949: encoding="cp949"'


def read_documents_but(directory: Path, pattern: str) -> list[Piece]:
    return list(read_pieces([directory], exclude=[pattern]))


@pytest.mark.parametrize("pattern", [".git", ".git/", ".git/config", "node_modules", ".hidden.txt", "picture.png"])
def test_what_is_left_out_anyway_may_be_excluded(
    tmp_path: Path, pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "a.txt", ".git/config", ".git/x.txt", "node_modules/x.txt", ".hidden.txt", "picture.png")
    assert [piece.name for piece in read_documents_but(tmp_path, pattern)] == [f"{tmp_path}/a.txt"]
    assert caplog.messages == []


def test_what_is_named_more_than_once_is_read_once_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "a.txt", "b.txt")
    (tmp_path / "link.txt").symlink_to("a.txt")
    monkeypatch.chdir(tmp_path)
    documents = read_documents(["a.txt", tmp_path / "a.txt", "./a.txt", tmp_path, "b.*"])
    assert [document.name for document in documents] == ["a.txt", f"{tmp_path}/b.txt"]
    assert caplog.messages == [
        f"named more than once, read once: {tmp_path}/a.txt, a.txt, {tmp_path}/link.txt and 1 more"
    ]


def test_nul_characters_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, "a.txt", text="나는 오늘\0 학교에 갔다. " * 3)
    fill(tmp_path, "b.jsonl", text='{"text": "one\\u0000two"}\n{"text": "\\u0000"}\n')
    read(tmp_path)
    assert caplog.messages == [
        f"{tmp_path}/{name} holds NUL characters: they are learned with the rest" for name in ("a.txt", "b.jsonl:1")
    ]
