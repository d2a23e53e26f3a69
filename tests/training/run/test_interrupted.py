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
from nextword.training.checkpoints.checkpoint import Checkpoints
from tests.training.sample_text import FEW_STEPS, write_text
from tests.training.storm import Storm

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


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)], ids=lambda value: getattr(value, "name", "")
)
def test_ctrl_c_and_sigterm_end_the_run_and_keep_what_was_learned(tmp_path: Path, number: int, code: int) -> None:
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
    seen = next(line for line in process.stderr if "step 40 " in line)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code
    assert "stopped early; what was learned is kept" in err
    assert "Traceback" not in seen + err
    assert out.startswith("out\ntry: nextword")
    lm = nextword.load(tmp_path / "out")
    assert lm.provenance["stopped_early"] is True
    assert 40 <= lm.provenance["steps"] < 400
    assert lm.score("The cat sat on the mat.").nats_per_character < 3
    assert names(tmp_path) == ["out", "out.checkpoint", "text.txt"]
    steps = Checkpoints(tmp_path / "out.checkpoint").steps()
    assert steps[-1] == lm.provenance["steps"]


def test_a_closed_terminal_ends_the_run_and_keeps_what_was_learned(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    text = write_text(tmp_path)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        flags = ["4000" if word == "4" else word for word in FLAGS]
        command = [sys.executable, "-m", "nextword", "train", str(text), "--out", "out", *flags]
        os.execve(sys.executable, command, ONE_THREAD)  # noqa: S606
    seen = b""
    while b"held-out " not in seen or b"nats/character" not in seen:  # the first look
        seen += os.read(terminal, 1 << 16)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    lm = nextword.load(tmp_path / "out")
    assert lm.provenance["stopped_early"] is True
    assert Checkpoints(tmp_path / "out.checkpoint").steps()[-1] == lm.provenance["steps"]


ENDED = """
import os, signal, sys, torch
from nextword.training import Stepped, train
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what goes on in the background
def end(event):
    if isinstance(event, Stepped) and event.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
settings = {"preset": "tiny", "steps": 6, "context_length": 16, "batch_size": 2, "vocab_size": 300}
train(sys.argv[1], sys.argv[2], watch=end, **settings)
print("went on")
"""


def test_a_script_that_is_ended_while_it_trains_saves_the_model_and_ends(tmp_path: Path) -> None:
    ended = python(ENDED, str(write_text(tmp_path)), str(tmp_path / "out"))
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGTERM, "", "")
    assert nextword.load(tmp_path / "out").provenance["steps"] == 3
    assert Checkpoints(tmp_path / "out.checkpoint").steps() == [3]


STOPPED = """
import os, signal, sys, torch
from nextword.training import Stepped, train
torch.set_num_threads(1)
def press(event):
    if isinstance(event, Stepped) and event.step == 3:
        os.kill(os.getpid(), signal.SIGINT)
settings = {"preset": "tiny", "steps": 6, "context_length": 16, "batch_size": 2, "vocab_size": 300}
run = train(sys.argv[1], sys.argv[2], watch=press, dropout=0.1, **settings)
print(run.stopped, run.steps, sorted(os.listdir(os.path.dirname(sys.argv[2]))))
"""


def test_after_ctrl_c_the_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    stopped = python(STOPPED, str(text), str(tmp_path / "out"))
    assert stopped.stdout == "True 3 ['out', 'out.checkpoint', 'text.txt']\n", stopped.stderr
    early = weights(tmp_path / "out")
    resumed = train(text, tmp_path / "out", resume=True)
    whole = train(text, tmp_path / "whole", dropout=0.1, **{**FEW_STEPS, "steps": 6})
    assert (resumed.steps, whole.steps) == (6, 6)
    # The look at the held-out text when Ctrl-C was pressed is no part of the run.
    looks = [[{**look, "seconds": 0, "training_seconds": 0} for look in run.validations] for run in (resumed, whole)]
    assert looks[0] == looks[1]
    assert weights(tmp_path / "out") == weights(tmp_path / "whole") != early
    assert names(tmp_path) == ["out", "text.txt", "whole"]


KILLED = """
import os, signal, sys, torch
from nextword.training import Stepped, train
torch.set_num_threads(1)
def kill(event):
    if isinstance(event, Stepped) and event.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
settings = {"preset": "tiny", "steps": 6, "context_length": 16, "batch_size": 2, "vocab_size": 300}
train(sys.argv[1], sys.argv[2], watch=kill, checkpoint_seconds=0, dropout=0.1, **settings)
"""


def test_a_killed_run_leaves_no_half_written_model_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    assert python(KILLED, str(text), str(tmp_path / "out")).returncode == -signal.SIGKILL
    assert names(tmp_path) == [".out.lock", "out.checkpoint", "text.txt"]  # the lock is nobody's now
    assert Checkpoints(tmp_path / "out.checkpoint").steps() == [2, 3]
    resumed = train(text, tmp_path / "out", resume=True)
    whole = train(text, tmp_path / "whole", dropout=0.1, **{**FEW_STEPS, "steps": 6})
    assert (resumed.steps, whole.steps) == (6, 6)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert names(tmp_path) == ["out", "text.txt", "whole"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from nextword.cli import main
writing, out = sys.argv[1], Path(sys.argv[2])

def fill(event, arguments):
    # The disk is full from the moment a step begins to be written, or from the moment the model does.
    if event == "tempfile.mkdtemp" and Path(arguments[0]).name.startswith(writing):
        if writing == ".step-" or list(out.with_name("out.checkpoint").glob("step-*")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))  # the weights take 3 MB

sys.addaudithook(fill)
main(["train", sys.argv[3], "--out", str(out), *sys.argv[4:]])
"""


@pytest.mark.parametrize(("writing", "steps"), [(".step-", []), (".out.", [3, 4])], ids=["step", "model"])
def test_a_write_that_fails_is_one_error_and_the_run_can_go_on(tmp_path: Path, writing: str, steps: list[int]) -> None:
    text = write_text(tmp_path)
    result = python(FULL_DISK, writing, str(tmp_path / "out"), str(text), *FLAGS, "--checkpoint-seconds", "0")
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: cannot write {tmp_path}")
    assert ("out.checkpoint/step-00000001" in errors[0]) == (steps == [])
    assert "File too large" in errors[0]
    assert "Traceback" not in result.stderr
    assert names(tmp_path) == (["out.checkpoint", "text.txt"] if steps else ["text.txt"])
    assert Checkpoints(tmp_path / "out.checkpoint").steps() == steps
    if steps:
        assert [name for name in names(tmp_path / "out.checkpoint") if name.startswith(".")] == []
        train(text, tmp_path / "out", resume=True)
        train(text, tmp_path / "whole", **FEW_STEPS)
        assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_a_storm_of_kills_and_interrupts_loses_nothing(tmp_path: Path) -> None:
    storm = Storm(tmp_path, steps=20, seed=1)
    storm.hit(kills=3, interrupts=3)
    assert storm.hits.total() == 6
    assert storm.finished >= 2  # the undisturbed run and one through the storm, with the same weights
