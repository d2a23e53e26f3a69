"""Tokens that are guessed ahead, to be checked by the model in one pass.

Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding". They correct wrong guesses
so that the distribution stays right; here each place's token is drawn as ever, from the model's own logits with the
next random number, so that the text itself stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from nextword.generation.back_off import BackOff
from nextword.generation.backend import Backend
from nextword.generation.context import window_start
from nextword.generation.memory import Memory

_MAX_DRAFT = 8
_MIN_PROBABILITY = 0.5
"""Of a token that the draft model proposes; more often wrong than right costs more than it brings."""


class Drafter(Protocol):
    """Proposes the next tokens of a text that grows."""

    def add(self, token: int) -> None:
        """The text grew by a token."""
        ...

    def propose(self, limit: int) -> list[int]:
        """Up to `limit` tokens that may come next; none where that is not worth it."""
        ...

    def update(self, proposed: int, accepted: int) -> None:
        """How many tokens of a draft were accepted."""
        ...


class DraftModel:
    """A smaller model with the same tokenizer: what it would write, greedily, as long as it is sure.

    Args:
        backend: What runs it.
        token_ids: The text so far.
        vocab_size: Of the model that checks its tokens; it may have fewer.
        capacity: Tokens that the text may have at most.
        memory: What it has read before.
    """

    def __init__(
        self, backend: Backend, token_ids: Sequence[int], vocab_size: int, capacity: int, memory: Memory
    ) -> None:
        self._backend, self._ids, self._vocab_size, self._memory = backend, list(token_ids), vocab_size, memory
        self._capacity = min(capacity, backend.config.context_length)
        self._start = 0  # of the text's tokens, the first one it sees
        self._started = False
        self._shared = 0  # tokens it has read that are those of the text, as far as was looked
        self._draft_length = _MAX_DRAFT // 2
        self._back_off = BackOff(first=2, longest=64)

    def add(self, token: int) -> None:
        """The text grew by a token."""
        self._ids.append(token)

    def propose(self, limit: int) -> list[int]:
        """Up to `limit` tokens, greedily; none where that has not helped lately."""
        if self._back_off.pauses():
            return []
        pending = self._unread_tokens()
        count = min(limit, self._draft_length, self._memory.capacity - len(self._memory.ids) - len(pending) + 1)
        draft: list[int] = []
        while len(draft) < count:
            (logits,) = self._backend.forward([pending], [self._memory.cache])
            self._memory.ids += pending
            token = int(np.argmax(logits))
            if token >= self._vocab_size or np.exp(logits - logits[token]).sum() > 1 / _MIN_PROBABILITY:
                break
            draft.append(token)
            pending = [token]
        if not draft:
            self._back_off.update(hit=False)
        return draft

    def update(self, proposed: int, accepted: int) -> None:
        """How many tokens of a draft were accepted: drafts become longer or shorter, or pause for longer and longer."""
        grown = self._draft_length + 2 if accepted == proposed else accepted + 1
        self._draft_length = min(grown, _MAX_DRAFT)
        self._back_off.update(hit=accepted > 0)

    def _unread_tokens(self) -> list[int]:
        """Forgets what it read beside the text; the tokens of its window that it has not read."""
        memory, context = self._memory, self._backend.config.context_length
        if not self._started:
            if len(self._ids) > context:
                self._start = window_start(len(self._ids), context)
            self._shared = len(self._ids) - self._start
            self._started = True
            return memory.reuse_prefix(self._backend, self._ids[self._start :], self._capacity, reset=self._start > 0)
        if len(self._ids) - self._start > context:
            self._start = window_start(len(self._ids), context)
            memory.restart(self._backend, self._start)
            self._shared = 0
        end = min(len(memory.ids), len(self._ids) - self._start - 1)  # the last one is read for what comes next
        shared = min(self._shared, end)
        while shared < end and memory.ids[shared] == self._ids[self._start + shared]:
            shared += 1
        memory.truncate(shared)
        self._shared = shared
        return self._ids[self._start + shared :]
