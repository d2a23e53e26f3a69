"""Odd terminals, closed streams, other locales, users without a home: an answer, or one line that says why not."""

from __future__ import annotations

import json
import os
import pty
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from nextword.errors import ConfigError
from nextword.files.sources.pulled import cache_directory, list_pulled
from nextword.loading import DEFAULT_MODEL
from nextword.machine.user import abbreviate_home, home_directory
from nextword.terminal.console import make_console
from tests.cli.conftest import Call

COMMAND = [sys.executable, "-m", "nextword"]
PREDICT = ["predict", "To be", "--top", "2"]
KOREAN = "안녕"


def bare(**more: str) -> dict[str, str]:
    """The environment without what it says of encodings and widths."""
    told = ("LC_", "LANG", "PYTHON", "COLUMNS", "LINES")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(told)}, **more}


def shell(line: str, typed: str = "utf-8", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of the shell, typed in an encoding, in which `nextword` is this one's."""
    function = 'nextword() { "$PYTHON_HERE" -m nextword "$@"; }\n'
    there = bare(PYTHON_HERE=sys.executable, **environment)
    command = ["sh", "-c", (function + line).encode(typed)]
    return subprocess.run(command, env=there, capture_output=True, check=False, timeout=300)


# -- widths --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["0", "00", "3", "19", "-5", "²", "wide", ""])
def test_a_width_that_nobody_can_read_in_is_as_good_as_none(
    columns: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (PREDICT, ["look", "To be", "--layer", "0"], ["--help"], ["predict", "--help"]):
        monkeypatch.setenv("COLUMNS", "80")
        wanted = call(*arguments)
        monkeypatch.setenv("COLUMNS", columns)
        assert (call(*arguments).out, wanted.code) == (wanted.out, 0)
        assert len(wanted.out) > 100


def test_a_width_that_can_be_read_in_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, width in (("20", 20), ("500", 500), ("0", 80), ("19", 80)):
        monkeypatch.setenv("COLUMNS", columns)
        assert (make_console().width, make_console().options.max_width) == (width, width)


def test_a_terminal_without_a_size_has_80_columns() -> None:
    ours, theirs = pty.openpty()  # it is 0 x 0 until somebody says more
    assert os.get_terminal_size(theirs) == (0, 0)
    subprocess.run([*COMMAND, *PREDICT], stdin=theirs, stdout=theirs, stderr=theirs, env=bare(TERM="xterm"), check=True)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours), os.close(theirs)
    assert "all other tokens together" in shown


# -- closed streams ------------------------------------------------------------------------------------------------


def test_what_is_closed_is_read_as_empty_and_takes_everything(tmp_path: Path) -> None:
    whole = shell("nextword predict 'To be' --top 2")
    assert (whole.returncode, whole.stderr) == (0, b"")
    for closed in ("2>&-", "<&-", "<&- 2>&-"):
        ran = shell(f"nextword predict 'To be' --top 2 {closed}")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, whole.stdout, b""), closed
    for closed in (">&-", "<&- >&- 2>&-"):
        assert shell(f"nextword generate 'To be' -n 2 {closed}").returncode == 0, closed
        assert shell(f"nextword predict --json 'To be' {closed}").returncode == 0, closed
    # The number of a closed stream goes to the next file that is opened: it must not take what is printed.
    out = tmp_path / "out"
    assert shell(f"nextword convert {DEFAULT_MODEL} {out} >&- 2>&- <&-").returncode == 0
    assert (out / "model.safetensors").stat().st_size == (DEFAULT_MODEL / "model.safetensors").stat().st_size


@pytest.mark.parametrize("line", ["nextword predict - <&-", "nextword chat <&-", "nextword generate - -n 1 <&- >&-"])
def test_nothing_to_read_is_one_clear_line(line: str) -> None:
    ran = shell(line)
    assert (ran.returncode, ran.stdout) == (2, b"")
    error, *hint = ran.stderr.decode().splitlines()
    assert error.startswith("error: ")
    assert "empty" in error or "chat template" in error
    assert all(line.startswith("hint: ") for line in hint)


# -- encodings -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Environments that are not UTF-8; Korea's old one where the system can make it."""
    found = {
        "ASCII": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        "a locale that is not there": {"LC_ALL": "ko_KR.EUC-KR", "PYTHONUTF8": "0", "LOCPATH": "/nowhere"},
        "cp949": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "cp949"},
    }
    place = tmp_path_factory.mktemp("locales")
    try:
        made = subprocess.run(
            ["localedef", "-i", "ko_KR", "-f", "EUC-KR", place / "ko_KR.EUC-KR"], check=False, capture_output=True
        )
    except FileNotFoundError:
        return found
    if made.returncode <= 1:  # 1: with warnings
        found["EUC-KR"] = {"LC_ALL": "ko_KR.EUC-KR", "LOCPATH": str(place)}
    return found


NAMES = ("ASCII", "a locale that is not there", "cp949", "EUC-KR")


@pytest.mark.parametrize("name", NAMES)
def test_text_paths_json_and_bars_in_other_encodings(
    name: str, locales: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    environment = locales.get(name, locales["cp949"])
    typed = "euc_kr" if environment["LC_ALL"] == "ko_KR.EUC-KR" and "LOCPATH" in environment else "utf-8"
    typed = "utf-8" if name.startswith("a locale") else typed
    text = KOREAN if typed == "euc_kr" else f"{KOREAN} 😀"  # the old encoding has no emoji
    place = os.fsdecode(os.fsencode(tmp_path) + b"/" + "모델".encode(typed))
    Path(place).symlink_to(DEFAULT_MODEL)
    model = "--model \"$(ls -d '" + str(tmp_path) + "'/*)\""
    whole = json.loads(shell(f"nextword predict --json '{text}'", LC_ALL="C.UTF-8").stdout)
    ran = shell(f"nextword predict --json '{text}' {model}", typed, **environment)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.isascii()  # JSON is UTF-8, and ASCII is that in every encoding
    assert json.loads(ran.stdout) == whole

    ran = shell(f"nextword predict '{text}' --top 2", typed, **environment)
    assert (ran.returncode, ran.stderr) == (0, b"")
    shown = ran.stdout.decode("cp949")
    first, tokens, *_ = shown.splitlines()
    korean, emoji = ("\\uc548\\ub155" if shown.isascii() else KOREAN), "" if text == KOREAN else " \\U0001f600"
    assert first == korean + emoji
    assert "_" in tokens or text == KOREAN
    assert "##" in shown  # the bars
    assert "\\u258" not in shown

    ran = shell(f"nextword predict a --model '{tmp_path}/없다'", typed, **environment)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 2
    assert ran.stderr.startswith(b"error: there is no model at ")


def test_korean_of_the_locale_is_read_as_such_and_of_standard_input_refused_with_the_way_out(
    locales: dict[str, dict[str, str]],
) -> None:
    if "EUC-KR" in locales:
        ran = shell("nextword tokenize --json \"$(printf '\\276\\310\\263\\347')\"", **locales["EUC-KR"])  # 안녕
        assert json.loads(ran.stdout) == json.loads(shell(f"nextword tokenize --json {KOREAN}").stdout)
    ran = shell("printf '\\276\\310\\263\\347' | nextword predict -", **locales["ASCII"])
    assert ran.returncode == 2
    assert ran.stderr.decode().splitlines() == [
        "error: standard input is not UTF-8: invalid start byte at byte 0",
        "hint: iconv -f CP949 -t UTF-8 (or from what else it is in) makes UTF-8 of it",
    ]


# -- a user without a home -----------------------------------------------------------------------------------------


@pytest.fixture(params=["unset", "empty"])
def homeless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, as `docker run --user 4242` makes one."""

    def unknown(_user: int) -> None:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "NEXTWORD_CACHE", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "empty":
        monkeypatch.setenv("HOME", "")


@pytest.mark.usefixtures("homeless")
def test_without_a_home_what_needs_none_works_and_the_rest_says_what_to_set(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_directory() is None
    assert abbreviate_home(tmp_path) == str(tmp_path)
    assert call(*PREDICT).code == 0
    assert call("doctor", "--no-speed").code == 0
    assert "· there is no home directory to keep pulled models in\n    set NEXTWORD_CACHE" in call("doctor").out
    assert call("predict", "a", "--model", "smollm2").errors[1] == "hint: nextword pull smollm2"
    assert call("predict", "a", "--model", "없는 모델").errors[0] == "error: there is no model at 없는 모델"
    for command in (
        ["pull"],
        ["pull", "smollm2"],
        ["predict", "a", "-m", "org/name"],
        ["--install-completion", "bash"],
    ):
        result = call(*command)
        assert result.code == 2
        assert result.errors[0].startswith("error: there is no home directory to ")
        assert result.errors[1].startswith("hint: set ")
    monkeypatch.setenv("NEXTWORD_CACHE", "~/models")
    with pytest.raises(ConfigError, match="no home directory"):
        cache_directory()
    monkeypatch.setenv("NEXTWORD_CACHE", str(tmp_path / "models"))
    assert (cache_directory(), list_pulled()) == (tmp_path / "models", [])
    monkeypatch.delenv("NEXTWORD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_directory() == tmp_path / "caches/nextword"
    assert call("pull").code == 0
    assert not (tmp_path / "~").exists()


def test_with_a_home_it_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_directory() == tmp_path
    assert abbreviate_home(tmp_path / "a/b") == "~/a/b"
    monkeypatch.setenv("HOME", "")
    assert home_directory() == Path(pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.setenv("HOME", "/")
    assert abbreviate_home(Path("/somewhere")) == "/somewhere"


@pytest.fixture(params=["a file", "nowhere"])
def no_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home in which nothing can be written, root's rights or not: a file, or what lies below one."""
    (tmp_path / "file").touch()
    home = tmp_path / "file" if request.param == "a file" else tmp_path / "file/home"
    for name in ("NEXTWORD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    return home


def test_a_home_that_nobody_can_write_says_what_to_set(call: Call, no_place: Path) -> None:
    assert call("pull", "smollm2").errors == [
        f"error: cannot write {no_place}/.cache/nextword/models/smollm2: Not a directory",
        "hint: set NEXTWORD_CACHE to a directory that you may write",
    ]
    assert call("predict", "a", "-m", "없는 모델").errors[0] == "error: there is no model at 없는 모델"
    assert call("--install-completion", "bash").errors == [
        f"error: there is no home directory to install completions in: HOME is {no_place}, which is no directory",
        "hint: set HOME to a directory that you may write",
    ]


def test_completions_go_where_home_says_and_nowhere_else(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    assert call("--install-completion", "bash").code == 2
    assert not (tmp_path / "new").exists()
    monkeypatch.delenv("HOME")
    assert call("--install-completion", "fish").errors[0].endswith("HOME is not set")
    (tmp_path / ".local").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert call("--install-completion", "bash").errors[0].startswith("error: cannot install completions: ")


LOOKING = """
import os
from nextword.errors import ModelFileError
from nextword.files.sources.pulled import find_pulled
if os.getuid() == 0:  # who may look anywhere
    os.setuid(65534)
try:
    find_pulled("smollm2")
except ModelFileError as error:
    print(error.message, error.hint, sep="\\n")
"""


def test_a_cache_that_one_may_not_look_into_is_named(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "models").mkdir(parents=True)
    cache.chmod(0)
    there = {**os.environ, "NEXTWORD_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", LOOKING], env=there, capture_output=True, text=True, check=True)
    cache.chmod(0o700)
    assert done.stdout.splitlines() == [
        f"cannot read {cache}/models/smollm2: Permission denied",
        "set NEXTWORD_CACHE to a directory that you may write",
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("smolm2", "smollm2"),
        ("SmolLM2", "smollm2"),
        ("nextwrod", "nextword"),
        ("gpt2", "openai-community/gpt2"),
        ("distilgpt-2", "distilbert/distilgpt2"),
        ("나의-모댈", "나의-모델"),
        ("./나의-모댈", "나의-모델"),
    ],
)
def test_a_misspelled_model_is_answered_with_the_nearest(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: str, meant: str
) -> None:
    (tmp_path / "나의-모델").mkdir()
    (tmp_path / "나의-모델/config.json").touch()
    (tmp_path / "나의-모댐").mkdir()  # no model, though nearer
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTWORD_CACHE", str(tmp_path))
    for command in (["predict", "a", "-m", typed], ["info", typed], ["serve", typed]):
        result = call(*command)
        assert (result.code, result.errors[1]) == (2, f"hint: did you mean {meant}?")
    if "모" not in typed:
        assert call("pull", typed).errors[1] == f"hint: did you mean {meant}?"
