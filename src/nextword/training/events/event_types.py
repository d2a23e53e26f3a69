"""What a training run tells whoever watches it. The loop emits these; drawing them is somebody else's work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nextword.config import GPTConfig
from nextword.training.planning.baselines import Baselines
from nextword.training.planning.forecast import Forecast
from nextword.training.planning.plan import Plan
from nextword.training.planning.verdict import Verdict


@dataclass(frozen=True)
class Preparing:
    """Text is being read and turned into tokens."""

    stage: str
    """`read` or `tokenize`."""
    bytes_done: int
    bytes_in_all: int
    """0: not known yet."""


@dataclass(frozen=True)
class Started:
    """The run is about to take its first step, or to go on."""

    plan: Plan
    config: GPTConfig
    train_tokens: int
    train_characters: int
    validation_characters: int
    """0 without validation."""
    step: int = 0
    """Steps taken before."""
    documents: int = 1
    long_words: bool = False
    """Whether the vocabulary was learned from parts of words that are too long to be counted whole."""
    only_beginning: bool = False
    """Whether the text goes on, and was not read further: the time is too short for all of it."""
    repeated: float = 0.0
    """Share of the held-out characters in lines that the training part has too."""
    decomposed: int = 0
    """Syllables of Hangul spelled as letters, as macOS writes them, that were left so."""
    processes: int = 1
    files: tuple[str, ...] = ()
    """The first twenty sources that were read."""
    file_count: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    """What was found and not read, each with the reason: the first fifty."""
    skipped_count: int = 0


@dataclass(frozen=True)
class Resumed:
    """The run goes on from a checkpoint."""

    step: int
    state: str
    """The hash of weights, optimizers and step; `Interrupted` and `TrainingRun` have it too."""
    skipped: tuple[str, ...]
    """A line for each newer checkpoint that was damaged."""


@dataclass(frozen=True)
class Stepped:
    """A step was taken."""

    step: int
    progress: float
    """Share of the run that is done, 0 to 1."""
    loss: float
    """Nats per token, smoothed over recent steps."""
    tokens_per_second: float
    seconds_left: float
    """0 once Ctrl-C was seen."""
    seconds: float = 0.0
    """In the loop so far."""
    nats_per_character: float = float("nan")
    """The loss, where texts cut into other tokens can be compared."""


@dataclass(frozen=True)
class Validated:
    """The whole held-out text was scored."""

    step: int
    seconds: float
    """In the loop so far."""
    nats_per_token: float
    nats_per_character: float
    bits_per_byte: float
    best: bool
    """Better than every time before."""
    train_bits_per_byte: float = float("nan")
    """Of the training text, smoothed over recent steps."""
    training_seconds: float = 0.0
    """In the loop so far, looks at the held-out text not counted."""


@dataclass(frozen=True)
class Sampled:
    """The model wrote something."""

    step: int
    text: str


@dataclass(frozen=True)
class Interrupted:
    """Ctrl-C ended the run early, and its state was saved."""

    step: int
    state: str


Event = Preparing | Baselines | Started | Resumed | Forecast | Stepped | Validated | Sampled | Interrupted | Verdict
"""In about this order. Baselines, forecast and verdict are told where text is held out."""
Watcher = Callable[[Event], None]


def fan_out(watchers: Watcher | Iterable[Watcher] | None) -> Watcher:
    """One watcher that tells several, in their order; or nobody. What one of them raises ends the run."""
    if callable(watchers):
        return watchers
    several = () if watchers is None else tuple(watchers)

    def emit(event: Event) -> None:
        for watcher in several:
            watcher(event)

    return emit


def clock(seconds: float) -> str:
    """Seconds as `1:05` or `2:03:04`."""
    whole = int(max(0.0, min(seconds, 1e7)))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
