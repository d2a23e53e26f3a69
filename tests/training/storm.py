"""A storm over real training runs: killed and interrupted at random instants, gone on with, and nothing is lost.

python -m tests.training.storm --kills 50 --interrupts 50

The instants are spread evenly over the life of a process, from its first import to its last write. After each hit
the newest step on disk must be whole and no older than before; a model that lies there must be whole; and every run
that ends must have the weights, bit for bit, of one that was left in peace.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from nextword.files import read_bundle
from nextword.training.checkpoints.checkpoint import Checkpoints
from tests.training.sample_text import write_text

TRAIN = (sys.executable, "-m", "nextword", "train")
SETTINGS = {"preset": "tiny", "context-length": 16, "batch-size": 2, "vocab-size": 300, "dropout": 0.1}
FLAGS = [word for name, value in {**SETTINGS, "checkpoint-seconds": 0}.items() for word in (f"--{name}", str(value))]
SECOND_PRESS = 0.3
"""Seconds within which an impatient user presses Ctrl-C again; every second one does."""


class Storm:
    """Runs of training in one directory, and what hit them.

    Args:
        directory: An empty one.
        steps: Length of each run.
        seed: Decides the instants.
        train: The command, up to the text.
    """

    def __init__(self, directory: Path, *, steps: int = 40, seed: int = 0, train: Sequence[str] = TRAIN) -> None:
        self.hits: Counter[tuple[str, str]] = Counter()
        """How often each signal found which state: `("SIGKILL", "half a step")`."""
        self.finished = 0
        """Runs that came to their end, the undisturbed one among them."""
        self.resumed = 0
        """Processes that went on from a step."""
        self.undisturbed = ""
        """SHA-256 of the weights of a run that was left in peace."""
        self.last = ""
        """SHA-256 of the weights of the last run that came to its end."""
        self._text = write_text(directory)
        self._out = directory / "out"
        self._checkpoints = Checkpoints(directory / "out.checkpoint")
        self._command = [*train, str(self._text), "--out", str(self._out), "--steps", str(steps), *FLAGS]
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        self._newest = 0
        began = time.monotonic()
        self._run([])
        self._life = time.monotonic() - began

    def hit(self, kills: int, interrupts: int) -> None:
        """Hits processes until the counts are reached, then lets the last run end.

        Raises:
            AssertionError: Something was lost.
        """
        signals = [signal.SIGKILL] * kills + [signal.SIGINT] * interrupts
        moments = {kind: _spread(self._random, signals.count(kind)) for kind in set(signals)}
        self._random.shuffle(signals)
        while signals:
            if self._run(self._flags(), signals[0], self._life * next(moments[signals[0]])):
                signals.pop(0)
        if self._newest or self._checkpoints.directory.exists():
            self._run(self._flags())

    def _flags(self) -> list[str]:
        self._newest = self._checkpoints.load().state.step if self._checkpoints.steps() else 0
        self.resumed += bool(self._newest)
        return ["--resume"] if self._newest else []

    def _run(self, flags: list[str], number: signal.Signals | None = None, after: float = 0.0) -> bool:
        """Runs one process; whether the signal came in time."""
        with subprocess.Popen(
            [*self._command, *flags],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as process:
            in_time = number is not None and _outlives(process, after)
            if number is not None and in_time:
                process.send_signal(number)
                if number == signal.SIGINT and self._random.random() < 0.5:
                    _outlives(process, self._random.uniform(0, SECOND_PRESS))
                    process.send_signal(number)
            _, errors = process.communicate(timeout=300)
        self._check(process.returncode, errors, number if in_time else None)
        return in_time

    def _check(self, code: int, errors: str, number: signal.Signals | None) -> None:
        """Nothing was lost, whatever hit the process."""
        if number is not None:
            self.hits[number.name, self._state()] += 1
        if number is None:
            assert code == 0, errors
        elif number == signal.SIGINT and code != -signal.SIGINT:  # which is Python's own end, before our first line
            early = code == 2 and "stopped before the first step" in errors
            assert code in (0, 130) or early, errors
            # Python itself notes a Ctrl-C that falls into a callback while it starts or ends.
            assert "Traceback" not in errors or "Exception ignored in" in errors, errors
            assert code != 0 or self._out.exists(), "Ctrl-C ended well, but there is no model"
        if self._out.exists():
            read_bundle(self._out)
        if self._done():
            assert code != 0 or self._alone()
            self._take_result()
            return
        newest = self._checkpoints.load().state.step if self._checkpoints.steps() else 0
        assert newest >= self._newest, f"step {self._newest} was on disk, now it is {newest}"
        self._newest = newest

    def _done(self) -> bool:
        return self._out.exists() and not self._checkpoints.directory.exists()

    def _alone(self) -> bool:
        return {path.name for path in self._out.parent.iterdir()} == {self._out.name, self._text.name}

    def _take_result(self) -> None:
        """Holds the finished weights against those of the first run; the place is then free for another."""
        self.last = hashlib.sha256((self._out / "model.safetensors").read_bytes()).hexdigest()
        self.undisturbed = self.undisturbed or self.last
        assert self.last == self.undisturbed, f"weights {self.last}, without a storm {self.undisturbed}"
        shutil.rmtree(self._out)
        self._newest = 0
        self.finished += 1

    def _state(self) -> str:
        """What a signal left on disk."""
        beside = [path.name for path in self._out.parent.glob(f".{self._out.name}.*")]
        inside = [path.name for path in self._checkpoints.directory.glob(".step-*")]
        if any(name.startswith(f".{self._checkpoints.directory.name}.") for name in beside):
            return "half removed"
        if self._done():
            return "the model alone"
        if beside:
            return "half a model"
        if inside:
            return "half a step"
        if not self._checkpoints.steps():
            return "no step yet"
        return "steps and a model" if self._out.exists() else "whole steps"


def _spread(draw: random.Random, count: int) -> Iterator[float]:
    """Shares of a life without end; every `count` of them are spread evenly, one in each part."""
    while True:
        yield from draw.sample([(part + draw.random()) / count for part in range(count)], count)


def _outlives(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--interrupts", type=int, default=50)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # A shell starts background jobs deaf to Ctrl-C, and the processes under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as directory:
        storm = Storm(Path(directory), steps=given.steps, seed=given.seed)
        storm.hit(given.kills, given.interrupts)
    for (number, state), count in sorted(storm.hits.items()):
        sys.stdout.write(f"{number:8}{count:5}  {state}\n")
    sys.stdout.write(
        f"{storm.resumed} processes were started to go on, each from a whole step no older than the one before\n"
        f"{storm.finished - 1} runs came to their end, each with the weights of a run without a storm, in SHA-256:\n"
        f"  without a storm  {storm.undisturbed}\n"
        f"  the last of them {storm.last}\n"
    )


if __name__ == "__main__":
    main()
