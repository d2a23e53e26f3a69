"""POST /v1/chat/completions: answers to a conversation."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from nextword.generation.stream import TokenLogprob
from nextword.language_model import LanguageModel
from nextword.server.api.conversations import conversation_ids
from nextword.server.api.openai.sampling import sampling_of, seed_of
from nextword.server.api.openai.schemas import ChatRequest
from nextword.server.api.openai.usage import usage_of
from nextword.server.batch import Batch
from nextword.server.model_settings import context_length
from nextword.server.workers import CancelToken


class ChatCompletion:
    """A request on its way to its answer."""

    def __init__(self, request: ChatRequest, name: str, lm: LanguageModel, batch: Batch, _: CancelToken) -> None:
        """Adds the jobs.

        Raises:
            ApiError: The request is wrong, or the model has no chat template.
        """
        self._request, self._name, self._lm, self._batch = request, name, lm, batch
        self._id, self._created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self._top = request.top_logprobs or 0
        self._count = request.n or 1
        batch.check(self._count, "n")
        self._ids = conversation_ids(request, lm, request.offered_tools, context_length(batch.settings, lm.config))
        limits = [limit for limit in (request.max_completion_tokens, request.max_tokens) if limit is not None]
        sampling = sampling_of(request, lm, batch.settings)
        for index in range(self._count):
            batch.add(
                lm,
                self._ids,
                limits[0] if limits else None,
                sampling=sampling,
                seed=seed_of(request, index),
                stop=request.stop or (),
                logprobs=max(1, self._top) if request.logprobs else 0,
            )

    async def whole(self) -> dict[str, Any]:
        """The answer in one."""
        texts, finish = [""] * self._count, [""] * self._count
        logprobs: list[list[dict[str, Any]]] = [[] for _ in texts]
        written = 0
        async for index, piece in self._batch.pieces():
            texts[index] += piece.text
            logprobs[index] += map(self._logprob, piece.logprobs)
            if piece.finish:
                finish[index] = piece.finish
                written += len(piece.stream.token_ids)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": {"content": logprobs[index], "refusal": None} if self._request.logprobs else None,
                "finish_reason": finish[index],
            }
            for index, text in enumerate(texts)
        ]
        head = self._head("chat.completion")
        return {**head, "choices": choices, "usage": usage_of(self._batch, [self._ids], written)}

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """The answer in parts: the role first, the reason to stop last."""
        options = self._request.stream_options
        usage: dict[str, Any] = {"usage": None} if options and options.include_usage else {}
        head = self._head("chat.completion.chunk")
        begun: set[int] = set()
        written = 0
        async for index, piece in self._batch.pieces():
            if index not in begun:
                begun.add(index)
                yield {**head, "choices": [self._delta(index, {"role": "assistant", "content": ""}, (), None)], **usage}
            if piece.text or piece.logprobs:
                yield {**head, "choices": [self._delta(index, {"content": piece.text}, piece.logprobs, None)], **usage}
            if piece.finish:
                written += len(piece.stream.token_ids)
                yield {**head, "choices": [self._delta(index, {}, (), piece.finish)], **usage}
        if usage:
            yield {**head, "choices": [], "usage": usage_of(self._batch, [self._ids], written)}

    def _delta(
        self, index: int, delta: dict[str, Any], tokens: tuple[TokenLogprob, ...], finish: str | None
    ) -> dict[str, Any]:
        content = [self._logprob(token) for token in tokens]
        logprobs = {"content": content, "refusal": None} if content else None
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    def _logprob(self, token: TokenLogprob) -> dict[str, Any]:
        top = [self._named(*entry) for entry in token.top[: self._top]]
        return {**self._named(token.token_id, token.text, token.logprob), "top_logprobs": top}

    def _named(self, token: int, text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(self._lm.tokenizer.continuation_bytes(token))}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._name}
