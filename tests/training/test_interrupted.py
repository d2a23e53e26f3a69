"""Real processes that are stopped, killed or run out of disk: nothing half written, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import nextword
from nextword.training import train
from tests.training.corpus import FEW_STEPS, write_text

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
FLAGS = [word for name, value in FEW_STEPS.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def test_ctrl_c_ends_the_run_and_keeps_what_was_learned(tmp_path: Path) -> None:
    write_text(tmp_path)
    flags = ["400" if word == "4" else word for word in FLAGS]  # steps; the first look is after 40
    process = subprocess.Popen(
        [sys.executable, "-m", "nextword", "train", "text.txt", "--out", "out", *flags],
        cwd=tmp_path,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stderr is not None
    seen = next(line for line in process.stderr if "bits/byte" in line)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "stopped early; what was learned is kept" in err
    assert "Traceback" not in seen + err
    assert out.startswith("out\ntry: nextword")
    lm = nextword.load(tmp_path / "out")
    assert lm.provenance["stopped_early"] is True
    assert 40 <= lm.provenance["steps"] < 400
    assert lm.score("The cat sat on the mat.").nats_per_character < 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text.txt"]


KILLED = """
import os, signal, sys, torch
from nextword.training import Stepped, loop, train
torch.set_num_threads(1)
loop.CHECKPOINT_SECONDS = 0.0
def kill(event):
    if isinstance(event, Stepped) and event.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
settings = {"preset": "tiny", "steps": 6, "context_length": 16, "batch_size": 2, "vocab_size": 300}
train(sys.argv[1], sys.argv[2], watch=kill, dropout=0.1, **settings)
"""


def test_a_killed_run_leaves_no_half_written_model_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    assert python(KILLED, str(text), str(tmp_path / "out")).returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.checkpoint", "text.txt"]
    resumed = train(text, tmp_path / "out", resume=True)
    whole = train(text, tmp_path / "whole", dropout=0.1, **{**FEW_STEPS, "steps": 6})
    assert (resumed.steps, whole.steps) == (6, 6)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


FULL_DISK = """
import resource, sys
from nextword.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # the weights take 3 MB
if sys.argv[1] == "checkpoint":
    from nextword.training import loop
    loop.CHECKPOINT_SECONDS = 0.0
main(sys.argv[2:])
"""


@pytest.mark.parametrize("failing", ["model", "checkpoint"])
def test_a_write_that_fails_is_one_error_and_nothing_is_half_written(tmp_path: Path, failing: str) -> None:
    text = write_text(tmp_path)
    result = python(FULL_DISK, failing, "train", str(text), "--out", str(tmp_path / "out"), *FLAGS)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: cannot write {tmp_path}")
    assert "File too large" in errors[0]
    assert ("out.checkpoint" in errors[0]) == (failing == "checkpoint")
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]
