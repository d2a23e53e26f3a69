"""What all tests share."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from nextword.engine import is_built
from nextword.language_model import LanguageModel
from nextword.loading import load
from nextword.training import Event, TrainingRun, train
from nextword.training.events import report
from tests.training.sample_text import write_text

# No example is timed: machines differ, and nothing here asserts speed.
settings.register_profile("nextword", deadline=None)
settings.load_profile("nextword")

# An installation without a C++ compiler has no native backend, and nothing of it to test: tests/test_installation.py
# holds that there is one wherever there is a compiler.
_NATIVE_ONLY = [
    "engine",
    "test_loading.py",
    "generation/test_speculation.py",
    "measuring/test_activations.py",
    "measuring/test_rounding.py",
    "cli/test_bench.py",
]
collect_ignore = [] if is_built() else _NATIVE_ONLY

# A shell that starts this in the background has it, and all it starts, ignore Ctrl-C; the tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small shapes are fastest on one thread, and leave the other cores alone."""
    torch.set_num_threads(1)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curve, as where matplotlib is not installed: that takes longer than all their few steps."""
    monkeypatch.setattr(report, "find_spec", lambda _name: None)


@dataclass(frozen=True)
class Trained:
    """A small model that knows four sentences, how it came about, and where it lies."""

    run: TrainingRun
    events: list[Event]
    text: Path

    @property
    def path(self) -> str:
        return str(self.run.out)

    @cached_property
    def lm(self) -> LanguageModel:
        """It as the commands load it."""
        return load(self.path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, _one_thread: None) -> Trained:
    """Trained once for all tests, in some seconds."""
    directory = tmp_path_factory.mktemp("trained")
    text, events = write_text(directory), list[Event]()
    settings: dict[str, Any] = {"preset": "tiny", "steps": 80, "context_length": 32, "batch_size": 4, "vocab_size": 400}
    by_heart = {"bpe_dropout": 0.0, "weight_decay": 0.1}  # the text is to be learned word for word
    run = train(text, directory / "four sentences", watch=events.append, **settings, **by_heart)
    return Trained(run, events, text)


@pytest.fixture(autouse=True, scope="session")
def _children_hear_sighup() -> None:
    """Under `nohup` SIGHUP is ignored, here and in all that is started from here; a handler is not handed on."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)
