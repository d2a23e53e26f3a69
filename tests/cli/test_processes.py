"""Real processes: Ctrl-C, closed pipes, a full disk, raw bytes as arguments."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import nextword
from tests.conftest import Trained
from tests.training.sample_text import FEW_STEPS, TEXT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and pipes")


def start(*arguments: str | bytes, stdout: int = subprocess.PIPE, stdin: int | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-m", "nextword", *arguments]
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_ctrl_c_and_its_like_while_writing_end_the_line(trained: Trained, number: int, code: int) -> None:
    process = start("generate", "나는", "-m", trained.path, "-n", "1000000", "--seed", "1")
    assert process.stdout is not None
    assert process.stdout.read(40).decode(errors="ignore").startswith("나는 오늘 학교에")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert out.endswith(b"\n")
    assert err == b"\nstopped\n"


def test_text_comes_through_a_pipe(tmp_path: Path) -> None:
    flags = [word for name, value in FEW_STEPS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    process = start("train", "-", "--out", str(tmp_path / "model"), *flags, stdin=subprocess.PIPE)
    out, err = process.communicate(TEXT.encode(), timeout=300)
    assert process.returncode == 0, err.decode()
    assert out.decode().startswith(f"{tmp_path / 'model'}\n")
    text = nextword.load(tmp_path / "model").provenance["text"]
    assert (text["documents"], text["characters"]) == (["standard input"], int(0.9 * len(TEXT)))
    assert text["sha256"] == hashlib.sha256(TEXT[: int(0.9 * len(TEXT))].encode()).hexdigest()


@pytest.mark.parametrize("flags", [["generate", "나는", "-n", "3000", "--seed", "1"], ["나는", "--json", "-n", "350"]])
def test_a_closed_pipe_is_no_error(trained: Trained, flags: list[str]) -> None:
    with start(*flags, "-m", trained.path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()  # as `head -1` does
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_pipe_that_nobody_reads_is_no_error_for_tables(trained: Trained) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("나는", "-m", trained.path, stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=120)[1] == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["info"], ["tokenize", "a short output", "--json", "-m"]])
def test_a_full_disk_under_the_output_is_one_line(trained: Trained, command: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start(*command, trained.path, stdout=full.fileno())
    assert process.communicate(timeout=120)[1] == b"error: No space left on device\n"
    assert process.returncode == 2


def test_arguments_that_are_no_utf8_are_refused_by_name(trained: Trained) -> None:
    process = start("tokenize", b"hi \xff", "-m", trained.path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"error: the text holds a lone surrogate, U+DCFF, at character 3\nhint: ")
