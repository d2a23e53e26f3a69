"""Slots and passes, without HTTP."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import nextword
from nextword.generation import Memory, Sampling, TextStream
from nextword.server.errors import ApiError
from nextword.server.jobs import Job, Piece
from nextword.server.scheduler import Scheduler

PROMPTS = ["The children are", "목이 말라서", "To be, or not to"]


@pytest.fixture(scope="module")
def lm() -> nextword.LanguageModel:
    return nextword.load()


@pytest.fixture
def start() -> Iterator[Any]:
    started: list[Scheduler] = []

    def make(**settings: Any) -> Scheduler:
        started.append(Scheduler(**{"slots": 4, "queue": 16, "cache_bytes": 1 << 30, **settings}))
        return started[-1]

    yield make
    for scheduler in started:
        scheduler.close(30)


class Asked:
    """A job, and what came of it."""

    def __init__(
        self, lm: nextword.LanguageModel, prompt: str, tokens: int = 24, seconds: float = 60, **settings: Any
    ) -> None:
        ids = lm.tokenizer.encode_start(prompt)
        self.events: queue.Queue[Piece | ApiError] = queue.Queue()

        def begin(memory: Memory) -> TextStream:
            given = {"max_new_tokens": tokens, "sampling": Sampling(), "seed": 5, "memory": memory, **settings}
            draft = None if lm.draft is None else lm.draft.backend
            return TextStream(lm.backend, lm.tokenizer, ids, overflow="stop", draft=draft, **given)

        self.job = Job(lm, begin, ids, self.events.put, seconds)

    def text(self) -> str:
        text = ""
        while True:
            event = self.events.get(timeout=60)
            if isinstance(event, ApiError):
                raise event
            text += event.text
            if event.finish:
                return text


def wanted(lm: nextword.LanguageModel, prompt: str, tokens: int = 24) -> str:
    return lm.generate(prompt, tokens, temperature=1.0, top_p=1.0, seed=5).text


def test_texts_written_together_are_those_written_alone(lm: nextword.LanguageModel, start: Any) -> None:
    scheduler = start()
    asked = [Asked(lm, prompt) for prompt in PROMPTS]
    scheduler.submit(one.job for one in asked)
    assert [one.text() for one in asked] == [wanted(lm, prompt) for prompt in PROMPTS]
    assert scheduler.counts.passes < 3 * 24  # several tokens a pass


def test_there_are_as_many_slots_as_fit_into_memory(lm: nextword.LanguageModel, start: Any) -> None:
    size = lm.backend.new_cache(lm.config.context_length).nbytes
    scheduler = start(cache_bytes=2 * size + 1)
    asked = [Asked(lm, prompt) for prompt in PROMPTS]
    scheduler.submit(one.job for one in asked)
    assert [one.text() for one in asked] == [wanted(lm, prompt) for prompt in PROMPTS]
    assert len(scheduler._slots[id(lm)]) == 2
    assert scheduler.cache_bytes <= 2 * size


def test_a_prompt_goes_to_the_slot_that_knows_its_beginning(lm: nextword.LanguageModel, start: Any) -> None:
    scheduler = start(slots=2)
    for prompt in (PROMPTS[0], PROMPTS[1], f"{PROMPTS[0]} be", f"{PROMPTS[1]} 누구나"):
        asked = Asked(lm, prompt)
        scheduler.submit([asked.job])
        assert asked.text() == wanted(lm, prompt)
    assert asked.job.reused >= len(lm.tokenizer.encode(PROMPTS[1])) - 1
    assert scheduler.counts.reused_tokens >= 4


def test_a_pass_that_fails_takes_its_texts_with_it_and_no_others(start: Any) -> None:
    lm = nextword.load()
    scheduler, run = start(), lm.backend.forward

    def broken(chunks: Sequence[Sequence[int]], caches: Sequence[Any], logits: Any = "last") -> Any:
        raise MemoryError

    lm.backend.forward = broken  # type: ignore[method-assign]
    asked = Asked(lm, PROMPTS[0])
    scheduler.submit([asked.job])
    with pytest.raises(ApiError) as caught:
        asked.text()
    assert (caught.value.status, caught.value.kind) == (500, "server_error")
    assert "memory" not in str(caught.value).lower()
    lm.backend.forward = run  # type: ignore[method-assign]
    again = Asked(lm, PROMPTS[0])
    scheduler.submit([again.job])
    assert again.text() == wanted(lm, PROMPTS[0])
    assert (scheduler.counts.failed, scheduler.active) == (1, 0)


def test_a_text_of_which_no_token_can_be_drawn_ends_alone(lm: nextword.LanguageModel, start: Any) -> None:
    scheduler = start()
    impossible = Asked(lm, PROMPTS[0], sampling=Sampling(logit_bias={5: 1e39}))  # infinite as float32
    well = Asked(lm, PROMPTS[1])
    scheduler.submit([impossible.job, well.job])
    with pytest.raises(ApiError, match="no token can be drawn"):
        impossible.text()
    assert well.text() == wanted(lm, PROMPTS[1])
    assert (scheduler.counts.failed, scheduler.active) == (1, 0)


def test_a_draft_model_changes_no_text_and_its_failure_takes_no_other(
    lm: nextword.LanguageModel, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    helped = nextword.LanguageModel(lm.backend, lm.tokenizer, draft=nextword.load(threads=1))
    assert helped.draft is not None
    scheduler = start()
    for _ in range(2):  # the second time its cache is there already
        asked = Asked(helped, PROMPTS[0])
        scheduler.submit([asked.job])
        assert asked.text() == wanted(lm, PROMPTS[0])
    assert scheduler.counts.passes < 2 * 24

    def broken(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(helped.draft.backend, "forward", broken)
        failing = Asked(helped, PROMPTS[0])
        scheduler.submit([failing.job])
        with pytest.raises(ApiError):
            failing.text()
    again = Asked(helped, PROMPTS[0])
    scheduler.submit([again.job])
    assert again.text() == wanted(lm, PROMPTS[0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread ends with it
def test_an_error_that_nobody_expects_ends_it_and_tells_everybody(start: Any) -> None:
    lm = nextword.load()
    scheduler = start(slots=1)

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    lm.backend.forward = broken  # type: ignore[method-assign]
    asked = [Asked(lm, prompt) for prompt in PROMPTS]
    scheduler.submit(one.job for one in asked)
    for one in asked:
        with pytest.raises(ApiError, match="the model failed"):
            one.text()
    with pytest.raises(ApiError, match="shutting down"):
        scheduler.submit([Asked(lm, PROMPTS[0]).job])


def test_what_is_given_up_or_late_is_not_written(lm: nextword.LanguageModel, start: Any) -> None:
    scheduler = start(slots=1)
    late, gone, third = Asked(lm, PROMPTS[0], 200, seconds=0), Asked(lm, PROMPTS[1], 200), Asked(lm, PROMPTS[2])
    gone.job.cancelled = True
    scheduler.submit([late.job, gone.job, third.job])
    assert third.text() == wanted(lm, PROMPTS[2])
    with pytest.raises(ApiError, match="not done within 0 seconds"):
        late.text()
    assert gone.events.empty()
    assert scheduler.counts.cancelled == 1


def test_nothing_is_taken_once_it_ends(lm: nextword.LanguageModel, start: Any) -> None:
    scheduler = start()
    scheduler.close(1)
    with pytest.raises(ApiError, match="shutting down"):
        scheduler.submit([Asked(lm, PROMPTS[0]).job])
