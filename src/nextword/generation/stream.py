"""The loop that writes text: one token, the next, and never half a character."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nextword.errors import ConfigError
from nextword.generation.backend import Backend, Logits
from nextword.generation.context import Overflow, Prompt, fit_to_context, prompt_text, window_start
from nextword.generation.sampling import Sampling, log_softmax
from nextword.generation.stopping import StopStrings
from nextword.tokens import StreamDecoder, Tokenizer

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class TokenLogprob:
    """How probable the model itself found a token, before penalties and truncation, in nats."""

    token_id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...]
    """The most probable tokens at this place: id, text, log-probability."""


@dataclass(frozen=True)
class Generation:
    """What was written."""

    prompt: str
    text: str
    """The continuation only."""
    token_ids: tuple[int, ...]
    """The continuation's tokens, without the end token."""
    prompt_token_ids: tuple[int, ...]
    """The prompt's tokens that the model saw."""
    dropped_tokens: int
    """Older tokens of the prompt that did not fit into the context."""
    finish_reason: FinishReason | None
    """`stop`: an end token or stop string; `length`: as many tokens as asked for; None: it was broken off."""
    logprobs: tuple[TokenLogprob, ...] | None

    def __str__(self) -> str:
        return self.prompt + self.text

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `nextword generate --json` prints them."""
        return {
            "prompt": self.prompt,
            "text": self.text,
            "token_ids": list(self.token_ids),
            "prompt_token_ids": list(self.prompt_token_ids),
            "dropped_tokens": self.dropped_tokens,
            "finish_reason": self.finish_reason,
            "logprobs": None
            if self.logprobs is None
            else [
                {
                    "token_id": item.token_id,
                    "text": item.text,
                    "logprob": item.logprob,
                    "top": [{"token_id": i, "text": text, "logprob": value} for i, text, value in item.top],
                }
                for item in self.logprobs
            ],
        }


@dataclass
class Memory:
    """What a model has read, kept from one text to the next: a prompt that begins likewise is read on from there.

    It belongs to one backend, and to one text at a time.
    """

    ids: list[int] = field(default_factory=list)
    """The tokens in the cache."""
    cache: Any = None
    capacity: int = 0

    def begin(self, backend: Backend, ids: Sequence[int], capacity: int) -> list[int]:
        """Keeps what `ids` share with what was read; those that are still to be read, at least the last one."""
        if self.cache is None or capacity > self.capacity:
            if self.cache is not None:  # it will grow further
                capacity = min(2 * capacity, backend.config.context_length)
            self.ids, self.cache, self.capacity = [], backend.new_cache(capacity), capacity
        shared = sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self.ids, ids[:-1], strict=False))
        )
        self.forget(shared)
        return list(ids[shared:])

    def forget(self, start: int) -> None:
        """Forgets every token from position `start` on."""
        del self.ids[start:]
        self.cache.truncate(start)


class TextStream(Iterator[str]):
    """Writes on from a prompt; iterate for pieces of text, then read `generation`.

    Args:
        backend: The model.
        tokenizer: Its tokenizer.
        prompt: The text to continue, or its token ids.
        max_new_tokens: Tokens to write at most.
        sampling: How each is chosen.
        seed: Makes the choice repeatable; None is different every time.
        stop: Strings that end the text; they are not part of it.
        logprobs: How many alternatives to record a token; 0 records nothing.
        overflow: At the context's end, `slide` keeps its newest half and goes on, `stop` ends.
        memory: What the model has read before; it goes on from there.

    Raises:
        TextError: The prompt is empty, cannot be encoded, or holds ids that are not in the vocabulary.
        ContextOverflowError: It is longer than the context and `overflow` is `stop`.
        ConfigError: A setting is out of range.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        sampling: Sampling,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        logprobs: int = 0,
        overflow: Overflow = "slide",
        memory: Memory | None = None,
    ) -> None:
        if max_new_tokens < 0:
            raise ConfigError(f"max_new_tokens is {max_new_tokens}, it must be 0 or more")
        if logprobs < 0:
            raise ConfigError(f"logprobs is {logprobs}, it must be 0 or more")
        if seed is not None and seed < 0:
            raise ConfigError(f"seed is {seed}, it must be 0 or more")
        self._backend, self._tokenizer = backend, tokenizer
        context = backend.config.context_length
        self._prompt_ids, self._dropped = fit_to_context(tokenizer, prompt, context, overflow)
        self._prompt = prompt_text(tokenizer, prompt)
        self._left = max_new_tokens
        self._sampling, self._rng = sampling, np.random.default_rng(seed)
        self._stops = StopStrings((stop,) if isinstance(stop, str) else stop)
        self._logprobs: list[TokenLogprob] | None = [] if logprobs else None
        self._top = logprobs
        self._names = tokenizer.vocabulary if logprobs else []
        self._overflow = overflow
        self._decoder = StreamDecoder()
        self._ids: list[int] = []
        self._memory = Memory() if memory is None else memory
        capacity = min(context, len(self._prompt_ids) + max_new_tokens)
        self._pending = self._memory.begin(backend, self._prompt_ids, capacity)
        self._text: list[str] = []
        self._finish: FinishReason | None = None

    def __next__(self) -> str:
        while self._finish is None:
            if piece := self._advance():
                self._text.append(piece)
                return piece
        raise StopIteration

    @property
    def generation(self) -> Generation:
        """What was written so far; whole once the stream has ended."""
        return Generation(
            self._prompt,
            "".join(self._text),
            tuple(self._ids),
            tuple(self._prompt_ids),
            self._dropped,
            self._finish,
            None if self._logprobs is None else tuple(self._logprobs),
        )

    def _advance(self) -> str:
        """Writes one token; the text that became whole with it."""
        if self._left == 0 or not self._make_room():
            self._finish = "length"
            return self._stops.flush()
        logits = self._backend.forward([self._pending], [self._memory.cache])[0]
        self._memory.ids += self._pending
        token = self._sampling.draw(logits, itertools.chain(self._prompt_ids, self._ids), self._rng)
        if token in self._tokenizer.end_ids:
            self._finish = "stop"
            return self._stops.flush()
        if self._logprobs is not None:
            self._logprobs.append(self._token_logprob(logits, token))
        self._ids.append(token)
        self._pending = [token]
        self._left -= 1
        piece = self._stops.feed(self._decoder.feed(self._bytes_of(token)))
        if self._stops.found:
            self._finish = "stop"
        elif self._left == 0:
            self._finish = "length"
            piece += self._stops.flush()
        return piece

    def _make_room(self) -> bool:
        """Slides the window where the context is full; False where the policy is to stop."""
        context = self._backend.config.context_length
        if len(self._memory.ids) + len(self._pending) <= context:
            return True
        if self._overflow == "stop":
            return False
        seen = [*self._prompt_ids, *self._ids]
        self._pending = seen[window_start(len(seen), context) :]
        self._memory.forget(0)
        return True

    def _token_logprob(self, logits: Logits, token: int) -> TokenLogprob:
        values = log_softmax(logits)
        order = np.lexsort((np.arange(len(values)), -values))[: self._top]
        top = tuple((int(i), self._name(i), float(values[i])) for i in order)
        return TokenLogprob(token, self._name(token), float(values[token]), top)

    def _bytes_of(self, token: int) -> bytes:
        """What a token adds to the text: nothing, if the model has more ids than the tokenizer has tokens."""
        known = token < self._tokenizer.vocab_size
        return self._tokenizer.bytes_of([token], continued=True)[0] if known else b""

    def _name(self, token: int) -> str:
        return self._names[token] if token < len(self._names) else ""
