"""The routes that OpenAI's clients ask, with `/v1` before them and without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from nextword.errors import ModelFileError
from nextword.server.api.openai.chat import ChatCompletion
from nextword.server.api.openai.completions import Completion
from nextword.server.api.openai.schemas import ChatRequest, CompletionRequest
from nextword.server.batch import Batch
from nextword.server.errors import DECLARED, ApiError
from nextword.server.model_settings import context_length
from nextword.server.state import State
from nextword.server.workers import cancel_on_disconnect


def openai_routes(state: State) -> APIRouter:
    """Completions, chats and the list of models."""
    router = APIRouter()
    both = _both_paths(router)

    @both("POST", "/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Writes on from a text."""
        return await _answer(state, request, body, Completion)

    @both("POST", "/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answers a conversation."""
        return await _answer(state, request, body, ChatCompletion)

    @both("GET", "/models")
    async def list_models() -> dict[str, Any]:
        """The models there are."""

        def all_models() -> list[dict[str, object]]:
            return [_model_entry(state, name) for name in state.models.names]

        return {"object": "list", "data": await asyncio.to_thread(all_models)}

    @both("GET", "/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        """One of them."""
        return await asyncio.to_thread(_model_entry, state, state.models.name_of(name))

    return router


def _both_paths(router: APIRouter) -> Callable[[str, str], Callable[[Any], Any]]:
    """Every route with `/v1` before it and without."""

    def both(method: str, path: str) -> Callable[[Any], Any]:
        def add(function: Any) -> Any:
            for prefix in ("/v1", ""):
                name = f"{function.__name__}{'_v1' if prefix else ''}"
                router.add_api_route(prefix + path, function, methods=[method], responses=DECLARED, operation_id=name)
            return function

        return add

    return both


def _model_entry(state: State, name: str) -> dict[str, object]:
    """A model as `/v1/models` lists it."""
    models = state.models
    entry: dict[str, object] = {"id": name, "object": "model", "created": models.created, "owned_by": "nextword"}
    lm = models.loaded(name)
    try:
        config = models.config(name) if lm is None else lm.config
    except (ModelFileError, FileNotFoundError):  # damaged or gone since: it is told to whoever asks for the model
        return entry
    backend = {} if lm is None else {"backend": lm.backend.name}
    entry["max_model_len"] = context_length(state.settings, config)
    entry["meta"] = {"n_params": config.num_parameters, **backend}
    return entry


async def _answer(state: State, request: Request, body: Any, kind: type[Completion] | type[ChatCompletion]) -> Response:
    name, lm = await state.model(body.model)
    batch = Batch(state.scheduler, state.settings)
    work = state.tokenizer_worker.run(lambda cancel_token: kind(body, name, lm, batch, cancel_token))
    answer = await cancel_on_disconnect(request, work)
    if body.stream:
        events = _events(batch, answer)
        first = await anext(events)  # what is refused is refused with a status
        return StreamingResponse(_with_first(first, events), media_type="text/event-stream", headers=_STREAM_HEADERS)
    async with batch:
        return JSONResponse(await cancel_on_disconnect(request, answer.whole()))


_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def _events(batch: Batch, answer: Completion | ChatCompletion) -> AsyncIterator[str]:
    async with batch:
        async for chunk in answer.chunks():
            yield _event(chunk)
    yield "data: [DONE]\n\n"


async def _with_first(first: str, events: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        yield first
        async for event in events:
            yield event
    except ApiError as error:  # the status is out already
        yield _event(error.body())
    finally:
        await events.aclose()  # type: ignore[attr-defined]


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _event(value: Any) -> str:
    return f"data: {_to_json(value)}\n\n"
