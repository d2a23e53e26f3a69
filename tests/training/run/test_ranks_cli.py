"""`torchrun -m nextword train` as a user calls it: the numbers of one process, one voice, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import nextword
from nextword.training import Stepped, train
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.events.journal import METRICS, read_metrics
from tests.training.sample_text import write_text

pytestmark = pytest.mark.skipif(os.name == "nt", reason="torchrun's gloo needs a POSIX system here")

ROOT = Path(__file__).parents[3]
STEPS, LOOK = 24, 4
SETTINGS: dict[str, Any] = {"context_length": 16, "batch_size": 8, "dropout": 0.0, "evaluate_every": LOOK}
NEW: dict[str, Any] = {**SETTINGS, "steps": STEPS, "preset": "tiny", "vocab_size": 300}
ADAPTED: dict[str, Any] = {**SETTINGS, "steps": 8, "learning_rate": 0.01}
LOSSES = ("nats_per_token", "bits_per_byte", "train_bits_per_byte")


def command(text: Path, out: Path, **settings: Any) -> list[str]:
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["train", str(text), "--out", str(out), *flags]


def torchrun(processes: int, *arguments: str, module: str = "nextword") -> subprocess.Popen[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    at = arguments.index("train") if module == "nextword" else len(arguments) - 1
    return subprocess.Popen(
        [*start, *arguments[:at], "-m", module, *arguments[at:]],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def said(processes: int, logs: Path, commands: list[list[str]]) -> list[dict[str, str]]:
    """Runs the commands one after the other; what each process wrote to `stdout` and `stderr`."""
    options = ["--redirects", "3", "--log-dir", str(logs)]
    with torchrun(processes, *options, json.dumps(commands), module="tests.training.commands") as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (attempt,) = logs.glob("*/attempt_0")
    return [
        {name: (attempt / str(rank) / f"{name}.log").read_text(encoding="utf-8") for name in ("stdout", "stderr")}
        for rank in range(processes)
    ]


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stderr is not None
    next(line for line in process.stderr if f"step {step} " in line)


def losses(out: Path) -> np.ndarray:
    """Of each look at the held-out text: the step and every loss, [looks, 4]."""
    rows = [row for row in read_metrics(out / METRICS) if row["event"] == "validated"]
    return np.array([[row["step"], *(row[name] for name in LOSSES)] for row in rows], dtype=float)


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def assert_same(out: Path, expected: Path) -> None:
    """Every loss to a millionth; Adam makes more of a weight's rounding, up to 2 % of a step of 0.004."""
    np.testing.assert_allclose(losses(out), losses(expected), rtol=1e-6)
    found, wanted = (load_file(place / "model.safetensors") for place in (out, expected))
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        np.testing.assert_allclose(found[name], weight, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def text(place: Path) -> Path:
    return write_text(place)


@pytest.fixture(scope="module")
def alone(text: Path, place: Path) -> Path:
    """One process, left in peace."""
    train(text, place / "alone", **NEW)
    looks = losses(place / "alone")
    assert list(looks[:, 0]) == list(range(LOOK, STEPS + 1, LOOK))
    assert looks[-1, 1] < looks[0, 1] - 0.5
    return place / "alone"


@pytest.fixture(scope="module")
def two(text: Path, place: Path, alone: Path) -> list[dict[str, str]]:
    """Two processes, left in peace; what they said."""
    adapted = {**ADAPTED, "from": alone, "lora": 4}
    commands = [
        command(text, place / "ddp", **NEW, strategy="ddp"),
        command(text, place / "fsdp", **NEW, strategy="fsdp"),
        command(place / "missing.txt", place / "none", **NEW),
        command(text, place / "none", **{**NEW, "batch_size": 3}),
        command(text, place / "ddp-lora", **adapted, strategy="ddp"),
        command(text, place / "fsdp-lora", **adapted, strategy="fsdp"),
    ]
    return said(2, place / "two", commands)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_and_the_model_of_one(
    two: list[dict[str, str]], place: Path, alone: Path, strategy: str
) -> None:
    assert two
    assert_same(place / strategy, alone)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_the_adapters_of_one(
    two: list[dict[str, str]], text: Path, place: Path, alone: Path, strategy: str, tmp_path: Path
) -> None:
    assert two
    train(text, tmp_path / "lora", from_model=alone, lora_rank=4, **ADAPTED)
    assert_same(place / f"{strategy}-lora", tmp_path / "lora")
    assert losses(tmp_path / "lora")[-1, 1] < losses(tmp_path / "lora")[0, 1] - 0.01
    adapters = [
        load_file(out / "adapter_model.safetensors")
        for out in (place / f"{strategy}-lora.adapter", tmp_path / "lora.adapter")
    ]
    for name, weight in adapters[1].items():
        np.testing.assert_allclose(adapters[0][name], weight, atol=1e-4, err_msg=name)


def test_one_process_speaks_and_an_error_is_told_once(two: list[dict[str, str]], place: Path) -> None:
    done = [str(place / name) for name in ("ddp", "fsdp", "ddp-lora", "fsdp-lora")]
    codes = "[0, 0, 2, 2, 0, 0]\n"
    assert two[0]["stdout"] == "".join(f'{out}\ntry: nextword "..." --model {out}\n' for out in done) + codes
    assert two[1]["stdout"] == codes
    assert two[0]["stderr"].count("batch 8 on 2 processes") == 4
    # Which process first meets an error that all meet is chance.
    errors = [line for output in two for line in output["stderr"].splitlines() if line.startswith(("error:", "hint:"))]
    assert sorted(errors) == [
        "error: --batch-size is 3, not divisible by 2 processes x 1 micro-batches",
        f"error: {place / 'missing.txt'} does not exist",
        "hint: for example 4",
    ]
    assert [line for line in two[1]["stderr"].splitlines() if line not in errors] == []
    assert "Traceback" not in two[0]["stderr"]
    assert sorted(path.name for path in place.glob("none*")) == []


@pytest.fixture(scope="module")
def interrupted(text: Path, place: Path) -> Path:
    """Ctrl-C on torchrun in the middle of a run of two processes."""
    out = place / "interrupted"
    with torchrun(2, *command(text, out, **NEW, strategy="fsdp", checkpoint_seconds=0)) as process:
        wait_for_step(process, LOOK)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert errors.count("stopped early; what was learned is kept, and --resume goes on") == 1
    return out


def test_ctrl_c_on_torchrun_leaves_a_model_and_a_checkpoint_of_shards(interrupted: Path) -> None:
    lm = nextword.load(interrupted)
    assert lm.provenance["stopped_early"] is True
    checkpoint = interrupted.with_name("interrupted.checkpoint")
    newest = Checkpoints(checkpoint).steps()[-1]
    assert LOOK <= newest == lm.provenance["steps"] < STEPS
    files = {path.name for path in (checkpoint / f"step-{newest:08}").iterdir()}
    shards = {f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)}
    assert files == {*shards, "shards.json", "state.json"}


def copy_run(out: Path, name: str) -> Path:
    """A second run that stands where `out` was stopped."""
    copy = out.with_name(name)
    shutil.copytree(out.with_name(f"{out.name}.checkpoint"), copy.with_name(f"{name}.checkpoint"))
    return copy


def assert_went_on(out: Path, alone: Path) -> None:
    """As `assert_same`; the look when the run was stopped is no part of it."""
    found = losses(out)
    np.testing.assert_allclose(found[found[:, 0] % LOOK == 0], losses(alone), rtol=1e-6)
    for name, weight in load_file(alone / "model.safetensors").items():
        np.testing.assert_allclose(load_file(out / "model.safetensors")[name], weight, atol=1e-4, err_msg=name)
    assert not out.with_name(f"{out.name}.checkpoint").exists()


def test_what_two_saved_goes_on_with_one(interrupted: Path, alone: Path) -> None:
    out = copy_run(interrupted, "two to one")
    assert train([], out, resume=True).steps == STEPS
    assert_went_on(out, alone)


def test_what_two_or_one_saved_goes_on_with_four(
    interrupted: Path, text: Path, place: Path, alone: Path, press: Callable[[object], None]
) -> None:
    stopped = train(text, place / "one to four", **NEW, strategy="fsdp", watch=press)
    assert (stopped.stopped, stopped.steps) == (True, LOOK + 1)
    runs = [copy_run(interrupted, "two to four"), place / "one to four"]
    said(4, place / "four", [["train", "--out", str(out), "--resume"] for out in runs])
    for out in runs:
        assert_went_on(out, alone)


@pytest.fixture
def press() -> Callable[[object], None]:
    """Presses Ctrl-C after a step."""

    def watch(event: object) -> None:
        if isinstance(event, Stepped) and event.step == LOOK + 1:
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def test_a_killed_process_is_started_again_and_the_run_ends_as_if_nothing_had_been(
    two: list[dict[str, str]], text: Path, place: Path
) -> None:
    assert two
    out = place / "killed"
    settings = {**NEW, "strategy": "fsdp", "checkpoint_seconds": 0}
    with torchrun(2, "--max-restarts", "1", *command(text, out, **settings)) as process:
        wait_for_step(process, LOOK)
        os.kill(children(process.pid)[-1], signal.SIGKILL)
        stdout, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert stdout == f'{out}\ntry: nextword "..." --model {out}\n'
    assert weights(out) == weights(place / "fsdp")
    np.testing.assert_array_equal(losses(out)[:, 1:], losses(place / "fsdp")[:, 1:])
    assert not out.with_name("killed.checkpoint").exists()


def children(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listing.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]
