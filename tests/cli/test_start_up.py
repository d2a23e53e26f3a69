"""What a command loads: each package that is not needed is time that a person waits. Speed: benchmarks/start_up.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nextword.cli import COMMANDS

_LOADED = """
import sys
from nextword.cli import run
code = run(sys.argv[1:])
sys.stderr.write(" ".join([str(code), *sys.modules]))
"""
COMPUTING = {"numpy", "safetensors", "tokenizers"}
WATCHED = COMPUTING | {
    *("torch", "transformers", "matplotlib", "gguf", "jinja2", "huggingface_hub", "filelock", "platformdirs", "yaml"),
    *("regex", "tempfile", "asyncio", "concurrent.futures", "importlib.metadata", "email", "http", "ssl", "pydantic"),
    *("numpy.random", "numpy.testing", "numpy.ma", "numpy.fft", "rich.markdown", "rich.progress"),
}
"""What takes milliseconds to load, and not everybody needs."""
CLI = {"completion", "options", "streams", "usage"}
"""The modules of the command line that every command needs."""


def loaded(*arguments: str) -> set[str]:
    """The modules that a command has loaded when it is done."""
    command = [sys.executable, "-X", "utf8", "-c", _LOADED, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=120)
    code, *modules = result.stderr.split()
    assert code == "0"
    return set(modules)


def rooms(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("nextword.")}


def command_modules(modules: set[str]) -> set[str]:
    return {name.split(".")[2] for name in modules if name.startswith("nextword.cli.")}


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("predict", "To be"), COMPUTING),
        (("predict", "나는"), COMPUTING | {"regex"}),  # whole graphemes; of ASCII each character is one
        (("predict", "--json", "To be"), COMPUTING),
        (("tokenize", "To be"), COMPUTING),
        (("info",), COMPUTING),
    ],
)
def test_a_command_loads_what_it_computes_with_and_no_other_command(
    arguments: tuple[str, ...], needed: set[str]
) -> None:
    modules = loaded(*arguments)
    assert modules & WATCHED == needed
    assert command_modules(modules) == CLI | {arguments[0]}
    assert not rooms(modules) & {"model", "inspection", "figures", "training", "server", "doctor"}
    assert ("rich" in modules) == ("--json" not in arguments)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"pull"}))
def test_help_of_a_command_loads_the_names_of_its_flags_alone(command: str) -> None:
    modules = loaded(command, "--help")
    assert modules & WATCHED == {"rich.markdown"}
    assert not rooms(modules) & {"files", "generation", "language_model", "loading", "tokens", "engine"}


def test_the_overview_loads_no_command() -> None:
    modules = loaded("--help")
    assert modules & WATCHED == {"rich.markdown"}
    assert command_modules(modules) == {"completion", "streams"}
    assert rooms(modules) == {"cli", "errors", "formatting", "machine", "terminal", "tokenizers_errors"}


def test_the_package_alone_loads_nothing_that_computes_draws_or_parses() -> None:
    code = "import sys, nextword; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert set(modules.split()) & {*WATCHED, "cyclopts", "rich", "json", "logging"} == set()
    assert rooms(set(modules.split())) == {"errors", "formatting", "machine"}
