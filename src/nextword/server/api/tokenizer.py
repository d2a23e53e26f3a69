"""Text to tokens and back, as vLLM and llama.cpp have it: /tokenize, /detokenize, /tokenizer_info."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, model_validator

from nextword.language_model import LanguageModel
from nextword.server.api.conversations import Conversation, conversation_ids
from nextword.server.api.unsupported import UNSUPPORTED_IN_TOKENIZE, refuse_unsupported
from nextword.server.errors import DECLARED, ApiError, field_errors
from nextword.server.model_settings import context_length
from nextword.server.schemas import Body, ModelName, TokenIds
from nextword.server.state import State
from nextword.server.workers import CancelToken, cancel_on_disconnect
from nextword.settings import ServerSettings


class TokenizeRequest(Conversation):
    """POST /tokenize."""

    model: ModelName | None = None
    prompt: str | None = None
    content: str | None = None
    """llama.cpp's name for the prompt."""
    add_special_tokens: bool | None = None
    add_special: bool | None = None
    """llama.cpp's name for it; of `content` it is off by default."""
    return_token_strs: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, body: Any) -> Any:
        if isinstance(body, dict):
            refuse_unsupported(body, UNSUPPORTED_IN_TOKENIZE)
        return body

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if sum(value is not None for value in (self.prompt, self.content, self.messages)) != 1:
            raise ApiError("give prompt, content or messages, one of them", param="prompt")
        return self


class DetokenizeRequest(Body):
    """POST /detokenize."""

    model: ModelName | None = None
    tokens: Annotated[TokenIds, Field(max_length=1_000_000)]


def tokenizer_routes(state: State) -> APIRouter:
    """Every route of it."""
    router = APIRouter()

    @router.post("/tokenize", responses=DECLARED)
    async def tokenize(body: TokenizeRequest, request: Request) -> Response:
        """A text's tokens."""
        _, lm = await state.model(body.model)
        return await cancel_on_disconnect(
            request, state.tokenizer_worker.run(lambda _: _tokenized(body, lm, state.settings))
        )

    @router.post("/detokenize", responses=DECLARED)
    async def detokenize(body: DetokenizeRequest, request: Request) -> Response:
        """The text of tokens."""
        _, lm = await state.model(body.model)

        def work(_: CancelToken) -> Response:
            with field_errors("tokens"):
                text = lm.tokenizer.decode(body.tokens)
            return JSONResponse({"prompt": text, "content": text})

        return await cancel_on_disconnect(request, state.tokenizer_worker.run(work))

    @router.get("/tokenizer_info")
    async def tokenizer_info() -> dict[str, Any]:
        """The first model's tokenizer."""
        _, lm = await state.model(None)
        tokenizer = lm.tokenizer

        def mark(token: int | None) -> str | None:
            return None if token is None else tokenizer.text_of(token)

        end = next(iter(sorted(tokenizer.end_ids)), None)
        return {
            "tokenizer_class": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": context_length(state.settings, lm.config),
            "bos_token": mark(tokenizer.bos_id),
            "eos_token": mark(end),
            "pad_token": mark(end),
            "chat_template": lm.chat_template or None,
        }

    return router


def _tokenized(body: TokenizeRequest, lm: LanguageModel, settings: ServerSettings) -> Response:
    tokenizer = lm.tokenizer
    if body.messages is not None:
        ids = conversation_ids(body, lm, body.tools)
    else:
        text = body.prompt if body.prompt is not None else body.content or ""
        asked = body.add_special_tokens if body.add_special is None else body.add_special
        starts = body.prompt is not None if asked is None else asked
        with field_errors("content" if body.prompt is None else "prompt"):
            ids = tokenizer.encode_start(text) if starts else tokenizer.encode(text)
    answer: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": context_length(settings, lm.config)}
    if body.return_token_strs:
        answer["token_strs"] = [tokenizer.vocabulary[token] for token in ids]
    return JSONResponse(answer)  # written here: of a million tokens that takes its time
