"""POST /v1/completions: texts that go on behind a prompt."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from nextword.generation.context import Prompt, cut_to_context, encode_prompt
from nextword.generation.stream import FinishReason, TokenLogprob
from nextword.language_model import LanguageModel
from nextword.server.api.openai.sampling import sampling_of, seed_of
from nextword.server.api.openai.schemas import CompletionRequest
from nextword.server.api.openai.usage import usage_of
from nextword.server.batch import Batch
from nextword.server.errors import ApiError, field_errors
from nextword.server.model_settings import context_length
from nextword.server.workers import CancelToken
from nextword.tokens import StreamDecoder


@dataclass
class Logprobs:
    """The legacy shape of log-probabilities: lists side by side, and where in the text each token begins."""

    lm: LanguageModel
    top: int
    offset: int = 0
    """Characters before the next token."""
    decoder: StreamDecoder = field(default_factory=StreamDecoder)

    def of(self, tokens: list[tuple[int, TokenLogprob | None]]) -> dict[str, Any]:
        """The next tokens, ids with what is known of them."""
        tokenizer = self.lm.tokenizer
        offsets, tops = [], list[dict[str, float] | None]()
        for token, known in tokens:
            offsets.append(self.offset)
            self.offset += len(self.decoder.feed(tokenizer.continuation_bytes(token)))
            best: dict[str, float] = {}
            for _, text, value in known.top[: self.top] if known else ():
                best.setdefault(text, value)
            if known:
                best.setdefault(known.text, known.logprob)
            tops.append(best if known else None)
        return {
            "tokens": [tokenizer.text_of(token) for token, _ in tokens],
            "token_logprobs": [known.logprob if known else None for _, known in tokens],
            "top_logprobs": tops,
            "text_offset": offsets,
        }


@dataclass
class Choice:
    """One of the texts."""

    prompt: str
    ids: list[int]
    start: int
    """Tokens before the prompt's own: the document's start, which a model may need."""
    logprobs: Logprobs | None
    echo: bool
    echoed: bool = False
    """Whether the prompt was echoed."""


class Completion:
    """A request on its way to its answer."""

    def __init__(
        self, request: CompletionRequest, name: str, lm: LanguageModel, batch: Batch, cancel_token: CancelToken
    ) -> None:
        """Adds the jobs.

        Raises:
            ApiError: The request is wrong.
            ClientDisconnectedError: Whoever asked is gone.
        """
        self._request, self._name, self._lm, self._batch = request, name, lm, batch
        self._id, self._created = f"cmpl-{uuid.uuid4().hex}", int(time.time())
        self._choices: list[Choice] = []
        self._prompts: list[list[int]] = []
        sampling, count = sampling_of(request, lm, batch.settings), request.n or 1
        prompts = _prompts(request, lm)
        batch.check(len(prompts) * count, "prompt" if count == 1 else "n")  # before they are encoded
        for prompt in prompts:
            cancel_token.check()
            text, ids, start = self._encode(prompt)
            self._prompts.append(ids)
            for _ in range(count):
                logprobs = None if request.logprobs is None else Logprobs(lm, request.logprobs)
                seed = seed_of(request, len(self._choices))
                self._choices.append(Choice(text, ids, start, logprobs, bool(request.echo)))
                batch.add(
                    lm,
                    ids,
                    request.max_tokens,
                    sampling=sampling,
                    seed=seed,
                    stop=request.stop or (),
                    logprobs=0 if logprobs is None else max(1, logprobs.top),
                    score_prompt=logprobs is not None and bool(request.echo),
                )

    def _encode(self, prompt: Prompt) -> tuple[str, list[int], int]:
        """A prompt's text, tokens, and how many of those are not the text's own."""
        tokenizer = self._lm.tokenizer
        with field_errors("prompt"):
            context = context_length(self._batch.settings, self._lm.config)
            if not isinstance(prompt, str):
                cut_to_context(prompt, context, "stop")  # before it looks up every id of a million
            ids = encode_prompt(tokenizer, prompt, context, "stop")
            cut_to_context(ids, context, "stop")
            if isinstance(prompt, str):
                return prompt, ids, len(ids) - len(tokenizer.encode(prompt))
            return tokenizer.decode(ids), ids, 0

    async def whole(self) -> dict[str, Any]:
        """The answer in one."""
        texts = [""] * len(self._choices)
        finish: list[FinishReason | None] = [None] * len(self._choices)
        parts: list[list[dict[str, Any]]] = [[] for _ in self._choices]
        written = 0
        async for index, choice in self._pieces():
            texts[index] += choice["text"]
            finish[index] = choice["finish_reason"]
            if choice["logprobs"] is not None:
                parts[index].append(choice["logprobs"])
            written += choice.pop("written")
        choices = [
            {"text": text, "index": index, "logprobs": _concatenate(parts[index]), "finish_reason": finish[index]}
            for index, text in enumerate(texts)
        ]
        return {**self._head(), "choices": choices, "usage": usage_of(self._batch, self._prompts, written)}

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """The answer in parts."""
        options = self._request.stream_options
        usage = bool(options and options.include_usage)
        written = 0
        async for _, choice in self._pieces():
            written += choice.pop("written")
            yield {**self._head(), "choices": [choice], **({"usage": None} if usage else {})}
        if usage:
            yield {**self._head(), "choices": [], "usage": usage_of(self._batch, self._prompts, written)}

    async def _pieces(self) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        counted = [0] * len(self._choices)
        async for index, piece in self._batch.pieces():
            choice = self._choices[index]
            text, logprobs = piece.text, None
            tokens: list[tuple[int, TokenLogprob | None]] = [(item.token_id, item) for item in piece.logprobs]
            if choice.echo and not choice.echoed:
                text = choice.prompt + text
                scored = piece.stream.prompt_logprobs or (None,) * len(choice.ids)
                tokens = [*list(zip(choice.ids, scored, strict=True))[choice.start :], *tokens]
            choice.echoed = True
            if choice.logprobs is not None:
                logprobs = choice.logprobs.of(tokens)
            written = len(piece.stream.token_ids) if piece.finish else counted[index]
            yield (
                index,
                {
                    "text": text,
                    "index": index,
                    "logprobs": logprobs,
                    "finish_reason": piece.finish,
                    "written": written - counted[index],
                },
            )
            counted[index] = written

    def _head(self) -> dict[str, Any]:
        return {"id": self._id, "object": "text_completion", "created": self._created, "model": self._name}


def _prompts(request: CompletionRequest, lm: LanguageModel) -> list[Prompt]:
    prompt: Any = request.prompt
    if prompt is None:
        if not lm.tokenizer.encode_start(""):
            raise ApiError("prompt is missing", param="prompt", hint="this model has no token that begins a text")
        return [""]
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return [prompt]
    return list(prompt)


def _concatenate(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Lists side by side, one behind the other."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]} if parts else None
