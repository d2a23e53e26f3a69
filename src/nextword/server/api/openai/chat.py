"""POST /v1/chat/completions: answers to a conversation."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from nextword.generation.context import cut_to_context
from nextword.generation.stream import TokenLogprob
from nextword.language_model import LanguageModel
from nextword.server.api.openai.sampling import sampling_of, seed_of
from nextword.server.api.openai.schemas import ChatRequest, Conversation
from nextword.server.api.openai.usage import usage_of
from nextword.server.batch import Batch
from nextword.server.errors import ApiError, field_errors
from nextword.server.model_settings import context_length
from nextword.server.workers import CancelToken


def conversation_ids(
    conversation: Conversation, lm: LanguageModel, tools: list[dict[str, Any]] | None, max_length: int | None = None
) -> list[int]:
    """The tokens of a conversation as the model's template writes it, told of tools if it knows what they are.

    What is more than `max_length` tokens is refused, and before it is encoded where it cannot be less.

    Raises:
        ApiError: The model has no template, the template refuses the conversation, it is too long, or
            `reasoning_effort` means nothing to this model.
        ModelFileError: The template is not valid.
    """
    if not lm.chat_template:
        raise ApiError(
            "the model has no chat template: it was not trained on conversations",
            param="messages",
            hint="POST /v1/completions goes on from a prompt",
        )
    template, variables = lm.template, dict(conversation.chat_template_kwargs or {})
    if tools and "tools" in template.variables:
        variables["tools"] = tools
    effort = conversation.reasoning_effort
    if effort is not None:
        if "reasoning_effort" in template.variables:
            variables.setdefault("reasoning_effort", effort)
        elif "enable_thinking" in template.variables:
            variables.setdefault("enable_thinking", effort != "none")
        elif effort != "none":
            raise ApiError(
                f"reasoning_effort {effort[:40]!r} is not supported: this model does not think before it answers",
                param="reasoning_effort",
                code="unsupported_parameter",
            )
    with field_errors("messages"):
        ids = template.encode(
            [message.to_template() for message in conversation.messages or ()],
            max_length,
            conversation.add_generation_prompt,
            conversation.continue_final_message,
            **variables,
        )
        if max_length is not None:
            cut_to_context(ids, max_length, "stop")
    return ids


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
        known = token < self._lm.tokenizer.vocab_size
        data = self._lm.tokenizer.bytes_of([token], continued=True)[0] if known else b""
        return {"token": text, "logprob": logprob, "bytes": list(data)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._name}
