"""The loop that writes text: one token, the next, and never half a character."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nextword.errors import ConfigError
from nextword.generation import html
from nextword.generation.backend import Backend, Logits
from nextword.generation.context import Prompt, fit_to_context, prompt_text, window_start
from nextword.generation.draft import Drafter, DraftModel
from nextword.generation.lookup import PromptLookup
from nextword.generation.memory import Memory
from nextword.generation.sampler import new_sampler
from nextword.generation.sampling import Sampling, log_softmax, topk_ids
from nextword.generation.stopping import StopStrings
from nextword.settings import GenerationSettings, Overflow
from nextword.tokens import StreamDecoder, Tokenizer
from nextword.tokens.visible import shortened, visible

FinishReason = Literal["stop", "length"]
MAX_ROWS = 100
"""Tokens that a notebook lists one by one."""
_PRE_WRAP = "white-space: pre-wrap"


@dataclass(frozen=True)
class TokenLogprob:
    """How probable the model itself found a token, before penalties and truncation, in nats."""

    token_id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...]
    """The most probable tokens at this place: id, text, log-probability."""


@dataclass(frozen=True, repr=False)
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
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    """One a token of the prompt, if asked for; None for the first, which nothing comes before."""

    def __str__(self) -> str:
        return self.prompt + self.text

    def __repr__(self) -> str:
        return f"<Generation {shortened(self.prompt)!r} -> {shortened(self.text)!r}, {self._facts()}>"

    def _repr_html_(self) -> str:
        written = html.element("div", [html.element("span", self.prompt, "opacity: 0.7"), self.text], _PRE_WRAP)
        parts = [written, html.note(self._facts())]
        if self.logprobs is not None:
            probabilities = [math.exp(item.logprob) for item in self.logprobs[:MAX_ROWS]]
            rows = [
                [visible(item.text), f"{chance:.2%}", html.bar(chance), *(visible(text) for _, text, _ in item.top[:3])]
                for item, chance in zip(self.logprobs, probabilities, strict=False)
            ]
            best = max((len(item.top[:3]) for item in self.logprobs), default=0)
            parts.append(html.table(["token", "probability", "", *["best", "2nd", "3rd"][:best]], rows))
            if (hidden := len(self.logprobs) - len(rows)) > 0:
                parts.append(html.note(f"{hidden:,} more"))
        return html.box(parts)

    def _facts(self) -> str:
        count = len(self.token_ids)
        dropped = f", {self.dropped_tokens:,} of the prompt not seen" if self.dropped_tokens else ""
        ended = "broken off" if self.finish_reason is None else f"ended by {self.finish_reason}"
        return f"{count:,} token{'s' * (count != 1)}{dropped}, {ended}"

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
        speculative: Whether several tokens are checked in one pass where the text repeats itself, or the draft model
            is sure. The text is the same either way; only backends whose logits never depend on the batch do it.
        draft: A smaller model with the same tokenizer.
        score_prompt: Record the prompt's tokens as `logprobs` does those that are written; the prompt is read whole.

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
        speculative: bool = True,
        score_prompt: bool = False,
        draft: Backend | None = None,
    ) -> None:
        if max_new_tokens < 0:
            raise ConfigError(f"max_new_tokens is {max_new_tokens}, it must be 0 or more")
        GenerationSettings(seed=seed, logprobs=logprobs)  # refuses what is out of range
        self._backend, self._tokenizer = backend, tokenizer
        context = backend.config.context_length
        self._prompt_ids, self._dropped = fit_to_context(tokenizer, prompt, context, overflow)
        self._prompt = prompt_text(tokenizer, prompt)
        self._remaining = max_new_tokens
        self._sampler, self._rng = new_sampler(sampling, self._prompt_ids), np.random.default_rng(seed)
        self._stops = StopStrings((stop,) if isinstance(stop, str) else stop)
        self._logprobs: list[TokenLogprob] | None = [] if logprobs else None
        self._prompt_logprobs: list[TokenLogprob | None] | None = [None] if score_prompt else None
        self._top = logprobs
        self._overflow = overflow
        self._decoder = StreamDecoder()
        self._ids: list[int] = []
        self._memory = Memory() if memory is None else memory
        capacity = min(context, len(self._prompt_ids) + max(0, max_new_tokens - 1))  # the last one is not read
        self._pending = self._memory.reuse_prefix(backend, self._prompt_ids, capacity, reset=score_prompt)
        self._batch: list[int] = []
        self._drafters: list[Drafter] = []  # the first one that proposes something is followed
        if speculative and backend.bitwise_invariant:
            self._drafters.append(PromptLookup(self._prompt_ids))
            if draft is not None:
                length, read = len(self._prompt_ids) + max_new_tokens, self._memory.of_draft(draft)
                self._drafters.append(DraftModel(draft, self._prompt_ids, backend.config.vocab_size, length, read))
        self._drafter: Drafter | None = None  # whose draft is being checked
        self._draft_length = 0
        self._draft: list[int] = []  # tokens that were read ahead, still to be drawn
        self._logits_queue: deque[Logits] = deque()  # what the model said behind the last token and behind each of them
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
            None if self._prompt_logprobs is None else tuple(self._prompt_logprobs),
        )

    def _advance(self) -> str:
        """Writes one token; the text that became whole with it."""
        while not self._logits_queue and (tokens := self.next_batch()):
            logits: Literal["last", "all"] = "all" if self.needs_all_logits else "last"
            self.feed_logits(self._backend.forward([tokens], [self.cache], logits)[0])
        return self.sample_next()

    # -- the loop in parts, for whoever runs several texts together --------------------------------------------------

    @property
    def backend(self) -> Backend:
        """What runs the batches."""
        return self._backend

    @property
    def cache(self) -> Any:
        """The KV cache that the batches go into."""
        return self._memory.cache

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the text has ended; None while it has not."""
        return self._finish

    @property
    def prompt_logprobs(self) -> Sequence[TokenLogprob | None] | None:
        """One for each token of the prompt that was read, if they are recorded."""
        return self._prompt_logprobs

    @property
    def token_ids(self) -> Sequence[int]:
        """The tokens written so far."""
        return self._ids

    @property
    def logprobs(self) -> Sequence[TokenLogprob]:
        """One for each token written so far, if they are recorded."""
        return self._logprobs or ()

    @property
    def num_pending(self) -> int:
        """Tokens that the model has to read before the next one can be drawn, those of a draft aside."""
        return len(self._pending)

    @property
    def ready(self) -> bool:
        """Whether the next token can be drawn, or the text ends here."""
        done = self._remaining == 0 and not self._scoring
        return bool(self._logits_queue) or done or not self._slide_window()

    @property
    def needs_all_logits(self) -> bool:
        """Whether the logits behind all tokens of the batch are needed, not only behind the last."""
        return bool(self._draft) or self._scoring

    @property
    def _scoring(self) -> bool:
        """Whether tokens of the prompt are still to be found more or less probable."""
        return self._prompt_logprobs is not None and len(self._prompt_logprobs) < len(self._prompt_ids)

    def next_batch(self, limit: int | None = None, *, draft: bool = True) -> list[int]:
        """Tokens that the model has to read before the next one can be drawn.

        Args:
            limit: How many at most; the rest comes in the next batches.
            draft: Whether proposed tokens may follow them, to be checked in the same pass.

        Returns:
            An empty list if the next token can be drawn, or the text has ended.
        """
        if self._finish is not None or self.ready:
            return []
        self._draft, self._draft_length = [], 0
        if draft and self._drafters and len(self._pending) == 1:
            room = min(self._remaining, self._memory.capacity - len(self._memory.ids)) - 1
            for drafter in self._drafters if room > 0 else ():
                if proposed := drafter.propose(room):
                    self._drafter, self._draft, self._draft_length = drafter, proposed, len(proposed)
                    break
        self._batch = [*self._pending[:limit], *self._draft]
        return self._batch

    def feed_logits(self, logits: Logits) -> None:
        """What the model said behind the tokens of the batch: float32 logits, [V] of the last or [T, V] of all."""
        if self._prompt_logprobs is not None and self._scoring:
            followers = self._prompt_ids[len(self._memory.ids) + 1 :]
            self._prompt_logprobs += map(self._token_logprob, logits, followers)
        self._memory.ids += self._batch
        del self._pending[: len(self._batch) - len(self._draft)]
        if not self._pending:
            rows = [logits] if logits.ndim == 1 else logits[len(logits) - 1 - len(self._draft) :]
            self._logits_queue.extend(rows)

    def sample_next(self) -> str:
        """Draws one token, once `ready`; the text that became whole with it."""
        if self._remaining == 0 or not self._logits_queue:
            self._finish = "length"
            return self._stops.flush()
        logits = self._logits_queue.popleft()
        token = self._sampler.draw(logits, self._rng)
        if token in self._tokenizer.end_ids:
            self._finish = "stop"
            return self._stops.flush()
        if self._logprobs is not None:
            self._logprobs.append(self._token_logprob(logits, token))
        self._ids.append(token)
        self._sampler.accept(token)
        self._remaining -= 1
        self._accept(token)
        piece = self._stops.feed(self._decoder.feed(self._tokenizer.continuation_bytes(token)))
        if self._stops.found:
            self._finish = "stop"
        elif self._remaining == 0:
            self._finish = "length"
            piece += self._stops.flush()
        return piece

    def _accept(self, token: int) -> None:
        """Goes on behind a token that was drawn: it was read already where it had been proposed."""
        for drafter in self._drafters:
            drafter.add(token)
        if not self._draft or self._drafter is None:
            self._pending = [token]
            return
        right = self._draft[0] == token
        if right:
            del self._draft[0]
        if not (right and self._draft):  # all of the draft was right, or the rest of it is wrong
            self._drafter.update(self._draft_length, self._draft_length - len(self._draft))
        if not right:
            self._memory.truncate(len(self._memory.ids) - len(self._draft))
            self._draft = []
            self._logits_queue.clear()
            self._pending = [token]

    def _slide_window(self) -> bool:
        """Slides the window where the context is full; False where the policy is to stop."""
        context = self._backend.config.context_length
        if len(self._memory.ids) + len(self._pending) <= context:
            return True
        if self._overflow == "stop":
            return False
        seen = [*self._prompt_ids, *self._ids]
        start = window_start(len(seen), context)
        self._pending = seen[start:]
        self._memory.restart(self._backend, start)
        return True

    def _token_logprob(self, logits: Logits, token: int) -> TokenLogprob:
        values = log_softmax(logits)
        top = tuple((int(i), self._tokenizer.text_of(i), float(values[i])) for i in topk_ids(values, self._top))
        return TokenLogprob(token, self._tokenizer.text_of(token), float(values[token]), top)
