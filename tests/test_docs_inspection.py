"""The code blocks and commands of docs/inspection.md run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.config import GPTConfig
from nextword.inspection.hook_names import hook_shapes

PAGE = (Path(__file__).parent.parent / "docs" / "inspection.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^nextword .*$", PAGE, flags=re.MULTILINE)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize(
    "program",
    PROGRAMS,
    ids=["trace", "save", "read", "change", "sweep", "ablate", "figures", "page", "record", "hooks"],
)
def test_every_program_runs(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(program, {})  # noqa: S102  our own page
    assert capsys.readouterr().out


def test_every_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 4
    for command in COMMANDS:
        assert run(shlex.split(command, comments=True)[1:]) == 0, (command, capsys.readouterr().err)
        assert capsys.readouterr().out


@pytest.mark.parametrize("make", [GPTConfig.gpt2, GPTConfig.qwen3], ids=["gpt2", "qwen3"])
def test_every_value_of_a_pass_has_its_place_in_the_table_of_names(make: object) -> None:
    for name in hook_shapes(make(50, 8, d_model=8, num_heads=2, num_layers=1), 4):  # type: ignore[operator]
        kind = name.rsplit(".", 1)[-1]
        assert re.search(rf"^\| .*`[^`]*{kind}`", PAGE, flags=re.MULTILINE), name
