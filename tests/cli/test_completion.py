"""`nextword --install-completion`: the Tab key completes commands, options and files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these shells are not Windows' own")

_PLACES = {
    "bash": ".local/share/bash-completion/completions/nextword",
    "zsh": ".zsh/completions/_cyclopts_nextword",
    "fish": ".config/fish/completions/nextword.fish",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ZSH", "ZSH_CUSTOM"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ge", ["generate"]),
        ("do", ["doctor"]),
        ("generate --see", ["--seed"]),
        ("doctor --no", ["--no-speed"]),
        ("predict --model m", []),
    ],
)
def test_bash_completes_what_is_typed(call: Call, home: Path, typed: str, completed: list[str]) -> None:
    assert call("--install-completion", "bash").code == 0
    words = ["nextword", *typed.split()]
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f". '{home}/.bashrc'; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        '_nextword; printf "%s\\n" "${COMPREPLY[@]}"; complete -p nextword >&2'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=home)
    assert done.stdout.split() == completed
    assert done.stderr == "complete -o bashdefault -o default -F _nextword nextword\n"  # the rest are files


@pytest.mark.parametrize("shell", _PLACES)
def test_the_script_lies_where_the_shell_looks(call: Call, home: Path, shell: str) -> None:
    for _ in range(2):  # a second time nothing is added twice
        result = call("--install-completion", shell)
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"~/{_PLACES[shell]} completes nextword in {shell}")
    script = (home / _PLACES[shell]).read_text(encoding="utf-8")
    assert "generate" in script
    assert "--max-new-tokens" in script
    started = home / f".{shell}rc"
    assert started.exists() == (shell != "fish")
    if started.exists():
        assert started.read_text(encoding="utf-8").count(_PLACES[shell].rpartition("/")[0]) in (1, 2)
    if shutil.which(shell):
        subprocess.run([shell, "-n", home / _PLACES[shell]], check=True)


def test_the_shell_is_found_or_asked_for(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FISH_VERSION", "4")
    for name in ("ZSH_VERSION", "BASH_VERSION"):
        monkeypatch.delenv(name, raising=False)
    assert "in fish" in call("--install-completion").out
    for name in ("FISH_VERSION", "SHELL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")  # no ps
    result = call("--install-completion")
    assert result.code == 2
    assert result.errors == ["error: cannot tell which shell this is", "hint: nextword --install-completion bash"]
    assert call("--install-completion", "tcsh").code == 2


def test_without_being_asked_nothing_is_written(call: Call, home: Path) -> None:
    call("--help")
    assert list(home.iterdir()) == []
