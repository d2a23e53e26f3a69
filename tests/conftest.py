"""What all tests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from nextword.training import Event, TrainingRun, train
from tests.training.corpus import write_text

# No example is timed: machines differ, and nothing here asserts speed.
settings.register_profile("nextword", deadline=None)
settings.load_profile("nextword")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small shapes are fastest on one thread, and leave the other cores alone."""
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Trained:
    """A small model that knows four sentences, how it came about, and where it lies."""

    run: TrainingRun
    events: list[Event]
    text: Path

    @property
    def path(self) -> str:
        return str(self.run.out)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, _one_thread: None) -> Trained:
    """Trained once for all tests, in some seconds."""
    directory = tmp_path_factory.mktemp("trained")
    text, events = write_text(directory), list[Event]()
    settings = {"preset": "tiny", "steps": 80, "context_length": 32, "batch_size": 4, "vocab_size": 400}
    run = train(text, directory / "four sentences", watch=events.append, **settings)  # type: ignore[arg-type]
    return Trained(run, events, text)
