"""One thread that runs the model for all requests together: each pass holds a token of every text that is written.

A text that is still to be read goes along in parts, so that it holds nobody up. Slots hold what was read: a request
whose text begins like an earlier one is read on from there. What is written does not depend on who else is there, to
the last bit where the backend says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from nextword.config import GPTConfig
from nextword.errors import NextwordError
from nextword.generation import Memory, TextStream
from nextword.language_model import LanguageModel
from nextword.server.errors import ApiError, failed, from_user_error, overloaded, stopped, timed_out
from nextword.server.jobs import EventQueue, Job, Piece

MAX_MODELS = 8
"""That have slots; of more, one that writes nothing loses them."""
MAX_CACHE_BYTES = 4 * 1024**3
"""Of the slots of one model."""
MAX_STEP_TOKENS = 256
"""Tokens of a pass: how long a prompt's part may hold up the texts that are being written."""

log = logging.getLogger("nextword.server")


@dataclass(eq=False)
class Slot:
    """Room for one text of a model."""

    lm: LanguageModel
    memory: Memory = field(default_factory=Memory)
    job: Job | None = None
    stream: TextStream | None = None


@dataclass
class Counts:
    """What happened since the start."""

    requests: int = 0
    refused: int = 0
    cancelled: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    written_tokens: int = 0
    passes: int = 0


class Scheduler:
    """Runs jobs.

    Args:
        slots: Texts of one model that are written at once.
        queue: Jobs that may wait.
        cache_bytes: What the slots of one model may hold; fewer slots are made where that is less.
        watch: Is told of every job that ended.
        context_of: Tokens of a text of a model at most.
    """

    def __init__(
        self,
        slots: int,
        queue: int,
        cache_bytes: int = MAX_CACHE_BYTES,
        watch: Callable[[Job], None] = lambda _: None,
        context_of: Callable[[GPTConfig], int] = lambda config: config.context_length,
    ) -> None:
        self._slots_a_model, self._queue, self._cache_bytes, self._watch = slots, queue, cache_bytes, watch
        self._context_of = context_of
        self._waiting: deque[Job] = deque()
        self._slots: dict[int, list[Slot]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._events = EventQueue()
        self.counts = Counts()
        self._thread = threading.Thread(target=self._run, name="nextword-scheduler", daemon=True)
        self._thread.start()

    # -- called from anywhere --------------------------------------------------------------------------------------

    def check(self, count: int, param: str | None = None) -> None:
        """Refuses more jobs than may ever wait at once.

        Raises:
            ApiError: They are more; it names the field that asks for them.
        """
        if count > self._queue:
            raise ApiError(
                f"{count:,} texts are more than the {self._queue:,} that may wait",
                param=param,
                hint="ask for fewer at once",
            )

    def submit(self, jobs: Iterable[Job]) -> None:
        """Takes jobs, all or none.

        Raises:
            ApiError: More would wait than may, or the server ends.
        """
        jobs = list(jobs)
        with self._changed:
            if self._closing:
                raise stopped()
            self.check(len(jobs))
            if len(self._waiting) + len(jobs) > self._queue:
                self.counts.refused += 1
                raise overloaded(1)
            for job in jobs:
                job.submitted = time.monotonic()
            self._waiting += jobs
            self.counts.requests += len(jobs)
            self._changed.notify()

    def cancel(self, jobs: Iterable[Job]) -> None:
        """Gives jobs up; their slots are free at the next token."""
        with self._changed:
            for job in jobs:
                job.cancelled = True
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Jobs that wait for a slot."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Jobs that are being written."""
        return sum(slot.job is not None for slots in list(self._slots.values()) for slot in slots)

    @property
    def cache_bytes(self) -> int:
        """What all slots hold."""
        memories = [slot.memory for slots in list(self._slots.values()) for slot in slots]
        caches = [memory.cache for one in memories for memory in (one, one.draft) if memory is not None]
        return sum(cache.nbytes for cache in caches if cache is not None)

    def close(self, seconds: float) -> None:
        """Takes no more jobs, gives those it has some time, and ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            for job in [*self._waiting, *(slot.job for slots in self._slots.values() for slot in slots if slot.job)]:
                job.cancelled = True
                job.post(partial(job.emit, stopped()))
            self._changed.notify()
        self._thread.join()
        self._slots.clear()

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        finally:  # after an error that nobody expects, nobody waits for an answer in vain
            with self._changed:
                self._closing = True
                left = [*self._waiting, *(slot.job for slots in self._slots.values() for slot in slots if slot.job)]
            for job in left:
                self._events.put(job, failed())
            self._events.flush()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self.active and not self._closing:
                    self._changed.wait()
                if self._closing and not self._waiting and not self.active:
                    return
                starting = self._admit()
            for slot in starting:
                self._start_slot(slot)
            for slots in self._slots.values():
                active = [slot for slot in slots if slot.stream is not None and not self._release_if_expired(slot)]
                if active:
                    self._step(active)
            self._events.flush()

    def _admit(self) -> list[Slot]:
        """Gives waiting jobs the slots that are free, in turn; those of a model that has none go on waiting."""
        starting, still_waiting = [], deque[Job]()
        for job in self._waiting:
            if job.cancelled:
                self.counts.cancelled += 1
                self._watch(job)
                continue
            free = [slot for slot in self._slots_of(job.lm) if slot.job is None]
            if not free:
                still_waiting.append(job)
                continue
            slot = max(free, key=lambda slot: (slot.memory.common_prefix_length(job.ids), -len(slot.memory.ids)))
            slot.job = job
            starting.append(slot)
        self._waiting = still_waiting
        return starting

    def _slots_of(self, lm: LanguageModel) -> list[Slot]:
        if id(lm) not in self._slots:
            idle = [key for key, slots in self._slots.items() if all(slot.job is None for slot in slots)]
            for key in idle[: max(0, len(self._slots) + 1 - MAX_MODELS)]:
                del self._slots[key]
            size = lm.backend.new_cache(self._context_of(lm.config)).nbytes
            count = max(1, min(self._slots_a_model, self._cache_bytes // max(1, size)))
            self._slots[id(lm)] = [Slot(lm) for _ in range(count)]
        return self._slots[id(lm)]

    def _start_slot(self, slot: Slot) -> None:
        job = slot.job
        assert job is not None  # noqa: S101  _admit has just set it
        # Where bits depend on how a text was cut, nothing is read on from. A cache has room for the whole context at
        # once: one that grew would forget what it holds.
        try:
            if slot.memory.cache is None or not job.lm.backend.bitwise_invariant:
                context = self._context_of(job.lm.config)
                slot.memory = Memory([], job.lm.backend.new_cache(context), context)
            before = len(slot.memory.ids)
            slot.stream = job.start(slot.memory)
        except NextwordError as error:
            self._release_slot(slot, from_user_error(error))
            return
        except MemoryError:
            log.exception("no memory for a text")
            self._release_slot(slot, failed())
            return
        job.reused = min(before, len(slot.memory.ids))
        self.counts.reused_tokens += job.reused
        self.counts.prompt_tokens += len(job.ids)

    def _release_if_expired(self, slot: Slot) -> bool:
        """Whether a job was given up or took too long; its slot is free then."""
        job = slot.job
        assert job is not None  # noqa: S101  only busy slots come here
        if job.cancelled:
            self.counts.cancelled += 1
            self._release_slot(slot, None)
            return True
        if time.monotonic() - job.submitted > job.seconds:
            self._release_slot(slot, timed_out(job.seconds))
            return True
        return False

    def _step(self, active_slots: list[Slot]) -> None:
        """Runs the model once over what all texts want next, and draws."""
        # Texts that want one token come first; what is left of the pass is for those that are still being read.
        room = MAX_STEP_TOKENS
        batches: dict[bool, list[tuple[TextStream, list[int]]]] = {False: [], True: []}
        try:
            for slot in sorted(active_slots, key=lambda slot: slot.stream.num_pending if slot.stream else 0):
                stream = slot.stream
                if stream is None or room <= 0:
                    continue
                tokens = stream.next_batch(room, draft=len(active_slots) == 1)  # a draft model may run
                room -= len(tokens)
                if tokens:
                    batches[stream.needs_all_logits].append((stream, tokens))
            for all_logits, batch in batches.items():
                if batch:
                    streams = [stream for stream, _ in batch]
                    rows = streams[0].backend.forward(
                        [tokens for _, tokens in batch],
                        [stream.cache for stream in streams],
                        "all" if all_logits else "last",
                    )
                    for stream, logits in zip(streams, rows, strict=True):
                        stream.feed_logits(logits)
            self.counts.passes += 1
        except (MemoryError, RuntimeError):  # what a backend raises where memory is short: the others go on
            log.exception("a pass of the model failed")
            for slot in active_slots:
                slot.memory = Memory()
                self._release_slot(slot, failed())
            return
        for slot in active_slots:
            self._sample(slot)

    def _sample(self, slot: Slot) -> None:
        """Draws what can be drawn, and tells the job."""
        job, stream = slot.job, slot.stream
        if job is None or stream is None:
            return
        text, tokens = "", len(stream.token_ids)
        try:
            while stream.finish_reason is None and stream.ready:
                text += stream.sample_next()
        except NextwordError as error:  # no token can be drawn
            self._release_slot(slot, from_user_error(error))
            return
        written = len(stream.token_ids) - tokens
        self.counts.written_tokens += written
        if written and job.first_token_time is None:
            job.first_token_time = time.monotonic()
        piece = Piece(text, tuple(stream.logprobs[job.logprobs_sent :]), stream.finish_reason, stream)
        job.logprobs_sent = len(stream.logprobs)
        if piece.finish:
            self._release_slot(slot, None)  # before the client knows: its next request finds the slot free
        if piece.text or piece.logprobs or piece.finish:
            self._events.put(job, piece)

    def _release_slot(self, slot: Slot, error: ApiError | None) -> None:
        job = slot.job
        slot.job = slot.stream = None
        if job is not None:
            if error is not None:
                self.counts.failed += 1
                self._events.put(job, error)
            self._watch(job)
