"""A text to be written, and what whoever asked for it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nextword.generation import Memory, TextStream
from nextword.generation.stream import FinishReason, TokenLogprob
from nextword.language_model import LanguageModel
from nextword.server.errors import ApiError


@dataclass(frozen=True)
class Piece:
    """What came of one or more tokens."""

    text: str
    logprobs: tuple[TokenLogprob, ...]
    finish: FinishReason | None
    stream: TextStream

    def and_then(self, later: Piece) -> Piece:
        """Both in one."""
        return Piece(self.text + later.text, self.logprobs + later.logprobs, later.finish, self.stream)


@dataclass(eq=False)
class Job:
    """A text to be written.

    Attributes:
        start: Begins it, reading into a memory; raises NextwordError if the request is wrong.
        ids: The prompt's tokens.
        emit: Is told of every piece, the last of which has `finish`, or of what went wrong.
        seconds: How long it may take, from `submit` on.
        post: Runs a function in the thread where `emit` is to be called; by default at once, in the scheduler's.
    """

    lm: LanguageModel
    start: Callable[[Memory], TextStream]
    ids: list[int]
    emit: Callable[[Piece | ApiError], None]
    seconds: float
    post: Callable[[Callable[[], None]], object] = lambda function: function()
    cancelled: bool = False
    submitted: float = 0.0
    first_token_time: float | None = None
    """When its first token came."""
    reused: int = 0
    """Tokens of the prompt that a slot had read before."""
    logprobs_sent: int = 0
    """Log-probabilities that were emitted."""


class EventQueue:
    """What jobs are to be told, kept until all texts have their token: other threads wake up once a pass."""

    def __init__(self) -> None:
        self._events: list[tuple[Job, Piece | ApiError]] = []

    def put(self, job: Job, event: Piece | ApiError) -> None:
        """Keeps it."""
        self._events.append((job, event))

    def flush(self) -> None:
        """Tells all."""
        events, self._events = self._events, []
        for post in {job.post for job, _ in events}:
            post(partial(_emit, [(job, event) for job, event in events if job.post == post]))


def _emit(events: list[tuple[Job, Piece | ApiError]]) -> None:
    for job, event in events:
        job.emit(event)
