"""The README's commands and code blocks run as they stand there (training and measuring shorter)."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import nextword
from nextword.cli import run
from nextword.engine import is_built
from nextword.files.sources.pulled import cache_directory
from tests.docs.programs import assert_same_program
from tests.environments import make_environment
from tests.server.conftest import serving
from tests.training.sample_text import write_text

README_FILE = Path(__file__).parent.parent / "README.md"
README = README_FILE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^nextword .*$", README, flags=re.MULTILINE)
KOREAN = README_FILE.with_name("README.ko.md").read_text(encoding="utf-8")
PROGRAMS, KOREAN_PROGRAMS = (re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) for text in (README, KOREAN))


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


def test_every_command_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_built():
        monkeypatch.setattr("nextword.measuring.rounding.TOKENS", 100)  # that verify has the model write
    for command in COMMANDS:
        if command.startswith("nextword serve"):  # until it is told to end
            with serving(tmp_path / "log", *shlex.split(command, comments=True)[2:]) as server:
                assert server.client.get("/v1/models").json()["data"][0]["id"] == "nextword"
            continue
        if command.startswith("nextword bench") and not is_built():  # without a compiler there is nothing to measure
            continue
        shorter = re.sub(
            "^nextword bench", "nextword bench --rounds 1", command.replace("--minutes 2", "--minutes 0.1")
        )
        arguments = shlex.split(shorter, comments=True)[1:]
        assert run(arguments) == 0, (command, capsys.readouterr().err)
    assert Path("my-model.gguf").read_bytes().startswith(b"GGUF")
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_korean_readme_has_the_same_commands_installs_and_programs() -> None:
    for found in (r"^(?:nextword|make|\.) .*$", r"^\| .*`((?:pip|pipx) install .*?)`"):
        ours, theirs = (
            [shlex.split(line, comments=True) for line in re.findall(found, text, re.M)] for text in (README, KOREAN)
        )
        assert ours == theirs
        assert len(ours) > 8
    for ours, theirs in zip(PROGRAMS, KOREAN_PROGRAMS, strict=True):
        assert_same_program(ours, theirs, "README")
    assert all("nextword" not in line for line in re.findall(r"^\| .*`(?:pip|pipx) install .*", README, re.M))


@pytest.mark.skipif(not is_built(), reason="the base installation runs models in native code")
def test_what_stands_before_make_setup_needs_only_make_run(tmp_path: Path) -> None:
    """Word for word in a fresh shell, which has activated an environment with the base installation."""
    first = README.partition("`make setup`")[0]
    tour = re.findall(r"^nextword .*$", first, flags=re.MULTILINE)
    assert len(tour) == 11
    assert ". .venv/bin/activate\n```\n\n## A 60-second tour" in first
    python = make_environment(tmp_path / ".venv")
    command = python.with_name("nextword")
    command.write_text(f"#!{python}\nfrom nextword.cli import main\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    script = "\n".join(["set -e", ". .venv/bin/activate", *tour])
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", "COLUMNS": "80"},
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [done.stderr.count(word) for word in ("error", "Traceback", "not found")] == [0, 0, 0]
    [prompt, *_] = shlex.split(tour[0], comments=True)[1:]
    assert f"{nextword.load().predict(prompt, 1)[0].probability:.2%}".replace("%", " %") in done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=["tour", "inside", "lesson"])
def test_every_program_runs(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(program.replace("minutes=2", "minutes=0.1"), {})  # noqa: S102  our own README
    assert capsys.readouterr().out


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_head_that_is_switched_off_lowers_the_word_that_it_should(readme: str) -> None:
    text = (Path(__file__).parent.parent / readme).read_text(encoding="utf-8")
    shown = re.findall(r'nextword look "([^"]+)" --ablate (\d+)\.(\d+)', text)
    in_python = re.findall(r"ablate_head\((\d+), (\d+)\)", text)
    [(prompt, layer, head)] = shown
    assert in_python == [(layer, head)]
    lm = nextword.load()
    [compared] = re.findall(r'compare\(lm, edited, "([^"]+)"\)', text)
    for asked in (prompt, compared):
        first = lm.predict(asked, 1)[0]
        after = lm.edit(nextword.ablate_head(int(layer), int(head))).predict(asked, 1).probabilities[first.token_id]
        assert after < 0.8 * first.probability


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_question_that_is_asked_is_answered(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / readme).read_text(encoding="utf-8")
    [command] = re.findall(r"^nextword (chat smollm2 --message .*)$", text, flags=re.MULTILINE)
    capsys.readouterr()
    assert run(shlex.split(command, comments=True)) == 0
    assert capsys.readouterr().out == "The capital of France is Paris.\n"
    assert text.count("What is the capital of France?") == 2
