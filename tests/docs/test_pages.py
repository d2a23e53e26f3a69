"""The pages for those who begin, teach and compare are true: their programs print what stands below them."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import nextword
from nextword.cli import run
from tests.docs.programs import assert_same_program
from tests.docs.sources import DOCS, links
from tests.training.sample_text import write_text

PAGES = ("course", "start", "how-it-works", "teaching", "comparison")
PROGRAM = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^ *```bash\n(.*?)^ *```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
NOT_RUN = ("python3 -m venv", ". my-env", "pip ", "curl ", "-d '", "nextword serve")
"""What installs, or stays in the foreground (tests/test_readme.py serves)."""


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def without_trailing_blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


PROGRAMS = [
    pytest.param(program, shown, id=f"{page}{suffix}-{number}")
    for page in PAGES
    for suffix in ("", ".ko")
    for number, (program, shown) in enumerate(PROGRAM.findall(read(f"{page}{suffix}.md")))
]


def test_there_are_programs_to_run() -> None:
    assert len(PROGRAMS) == 2 * (4 + 1 + 5 + 5)


@pytest.mark.parametrize(("program", "shown"), PROGRAMS)
def test_every_program_prints_what_the_page_says(
    program: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(program, {})  # noqa: S102  our own page
    assert shown
    assert without_trailing_blanks(capsys.readouterr().out) == without_trailing_blanks(shown)


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same_programs_commands_and_links(page: str) -> None:
    english, korean = read(f"{page}.md"), read(f"{page}.ko.md")
    for (ours, _), (theirs, _) in zip(PROGRAM.findall(english), PROGRAM.findall(korean), strict=True):
        assert_same_program(ours, theirs, page)
    assert [shlex.split(lines, comments=True) for lines, _ in COMMANDS.findall(english)] == [
        shlex.split(lines, comments=True) for lines, _ in COMMANDS.findall(korean)
    ]
    ours, theirs = ([link.partition("#")[0] for link in links(text)] for text in (english, korean))
    assert ours == [re.sub(r"\.ko(?=\.(md|ipynb)$)|-korean(?=\.svg$)", "", link) for link in theirs]


@pytest.mark.parametrize("name", ["start.md", "teaching.md"])
def test_every_command_runs_and_prints_what_the_page_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path).rename(tmp_path / "my.txt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    count = 0
    for lines, shown in COMMANDS.findall(read(name)):
        for line in lines.splitlines():
            if line.strip().startswith(NOT_RUN):
                continue
            command = line.replace("--minutes 1", "--minutes 0.1")
            assert run(shlex.split(command, comments=True)[1:]) == 0, (command, capsys.readouterr().err)
            count += 1
            printed = capsys.readouterr().out
            assert printed
            if shown:
                assert without_trailing_blanks(printed) == without_trailing_blanks(shown)
    assert count == {"start.md": 8, "teaching.md": 4}[name]
    if name == "start.md":
        assert Path("my-model.gguf").read_bytes().startswith(b"GGUF")
        assert 0.5e6 < Path("look.html").stat().st_size < 1e6


def test_the_drawing_names_every_room() -> None:
    package = Path(nextword.__file__).parent
    rooms = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and not path.name.startswith("_")}
    for name in ("architecture.svg", "architecture-korean.svg"):
        drawing = ET.fromstring(read(name))  # noqa: S314  our own file
        texts = " ".join("".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text"))
        assert {room for room in rooms if room not in texts} <= {"default_model/"}, name
        drawn = drawing.iter("{http://www.w3.org/2000/svg}rect")
        assert next(drawn).get("fill") == "#fbfcfe"  # a ground of its own: it can be read on dark pages too


def test_the_measured_speeds_are_those_that_were_recorded() -> None:
    recorded = (DOCS.parent / "benchmarks" / "README.md").read_text(encoding="utf-8")
    numbers = {}
    for name in ("comparison.md", "comparison.ko.md"):
        section = re.split(r"^## ", read(name), flags=re.MULTILINE)[5]
        numbers[name] = re.findall(r"(?<![\w.])\d[\d,]*\.\d+|\d{1,3},\d{3}", section)
        assert len(numbers[name]) >= 20
        for number in set(numbers[name]) - {"0.3", "5.23"}:  # versions
            assert re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d])", recorded), number
    assert numbers["comparison.md"] == numbers["comparison.ko.md"]
