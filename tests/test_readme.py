"""The README's commands and code blocks run as they stand there (training shorter)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.engine import is_built
from nextword.files.sources.pulled import cache_directory
from tests.server.conftest import serving
from tests.training.corpus import write_text

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^nextword .*$", README, flags=re.MULTILINE)
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path).rename(tmp_path / "my.txt")
    monkeypatch.chdir(tmp_path)
    # What a developer has pulled stays as it is, and what the README pulls is fetched once.
    monkeypatch.setenv("NEXTWORD_CACHE", str(cache_directory() / "readme"))
    assert run(["pull", "smollm2"]) == 0


def test_there_are_commands_and_programs() -> None:
    assert len(COMMANDS) == 23
    assert len(PROGRAMS) == 3


def test_every_command_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        if command.startswith("nextword serve"):  # until it is told to end
            with serving(tmp_path / "log", *shlex.split(command, comments=True)[2:]) as server:
                assert server.client.get("/v1/models").json()["data"][0]["id"] == "nextword"
            continue
        if command.startswith("nextword bench") and not is_built():  # without a compiler there is nothing to measure
            continue
        arguments = shlex.split(command.replace("--minutes 2", "--minutes 0.1"), comments=True)[1:]
        assert run(arguments) == 0, (command, capsys.readouterr().err)
    assert Path("my-model.gguf").read_bytes().startswith(b"GGUF")
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("program", PROGRAMS, ids=["tour", "inside", "lesson"])
def test_every_program_runs(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(program.replace("minutes=2", "minutes=0.1"), {})  # noqa: S102  our own README
    assert capsys.readouterr().out
