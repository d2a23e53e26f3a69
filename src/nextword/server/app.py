"""The routes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from nextword import __version__
from nextword.errors import NextwordError
from nextword.language_model import LanguageModel
from nextword.server.api.openai.chat import ChatCompletion, conversation_ids
from nextword.server.api.openai.completions import Completion
from nextword.server.api.openai.schemas import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from nextword.server.errors import DECLARED, ApiError, of_user, reading
from nextword.server.jobs import Batch, unless_gone
from nextword.server.look.routes import Run, look_routes
from nextword.server.look.traces import Looks
from nextword.server.metrics import Metrics
from nextword.server.models import Models
from nextword.server.scheduler import Scheduler
from nextword.server.settings import Settings
from nextword.server.validation import invalid
from nextword.server.workers import Asker, Worker

ENCODING_THREADS = 2
"""A long text holds up the prompts of one of them."""


@dataclass
class State:
    """What the routes work with."""

    models: Models
    settings: Settings
    metrics: Metrics = field(default_factory=Metrics)
    scheduler: Scheduler = field(init=False)
    encoding: Worker = field(init=False)
    """What turns texts into tokens and back."""
    looks: Looks = field(init=False)

    def __post_init__(self) -> None:
        """Starts the scheduler."""
        settings = self.settings
        self.scheduler = Scheduler(
            settings.slots, settings.queue, settings.cache_bytes, self.metrics.ended, settings.context_of
        )
        self.encoding = Worker("encode", ENCODING_THREADS, settings.queue)
        self.metrics.watch(self.scheduler)
        self.looks = Looks(settings.looks, settings.look_bytes)

    def close(self, seconds: float) -> None:
        """Refuses new work, and gives texts that are being written so long."""
        self.looks.close()
        self.encoding.close()
        self.scheduler.close(seconds)


def create_app(models: Models, settings: Settings | None = None, run: Run | None = None) -> FastAPI:
    """The application, with threads that run until `app.state.nextword.close()`.

    Args:
        models: What is served.
        settings: How.
        run: Tells of a training run, for the page; None where none is served.
    """
    state = State(models, settings or Settings())
    app = FastAPI(title="nextword", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.nextword = state
    for kind, answer in (
        (ApiError, _refused),
        (RequestValidationError, _invalid),
        (HTTPException, _http_error),
        (NextwordError, _failed),
    ):
        app.add_exception_handler(kind, answer)

    both = _both_paths(app)

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

        def all_about() -> list[dict[str, object]]:
            return [models.about(name, state.settings) for name in models.names]

        return {"object": "list", "data": await asyncio.to_thread(all_about)}

    @both("GET", "/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        """One of them."""
        return await asyncio.to_thread(models.about, models.name_of(name), state.settings)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts, as Prometheus reads them."""
        return Response(state.metrics.text(), media_type=state.metrics.media_type)

    _add_tokenizer(app, state)
    app.include_router(look_routes(models, state.looks, run))

    def openapi() -> dict[str, Any]:
        """The schema; what is not valid is a 400 here."""
        if not app.openapi_schema:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for methods in schema["paths"].values():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _add_tokenizer(app: FastAPI, state: State) -> None:
    """Text to tokens and back."""

    @app.post("/tokenize", responses=DECLARED)
    async def tokenize(body: TokenizeRequest, request: Request) -> Response:
        """A text's tokens."""
        _, lm = await _model(state, body.model)
        return await unless_gone(request, state.encoding.run(lambda _: _tokenized(body, lm, state.settings)))

    @app.post("/detokenize", responses=DECLARED)
    async def detokenize(body: DetokenizeRequest, request: Request) -> Response:
        """The text of tokens."""
        _, lm = await _model(state, body.model)

        def work(_: Asker) -> Response:
            with reading("tokens"):
                text = lm.tokenizer.decode(body.tokens)
            return JSONResponse({"prompt": text, "content": text})

        return await unless_gone(request, state.encoding.run(work))

    @app.get("/tokenizer_info")
    async def tokenizer_info() -> dict[str, Any]:
        """The first model's tokenizer."""
        _, lm = await _model(state, None)
        names, tokenizer = lm.tokenizer.vocabulary, lm.tokenizer

        def mark(token: int | None) -> str | None:
            return None if token is None else names[token]

        end = next(iter(sorted(tokenizer.end_ids)), None)
        return {
            "tokenizer_class": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": state.settings.context_of(lm.config),
            "bos_token": mark(tokenizer.bos_id),
            "eos_token": mark(end),
            "pad_token": mark(end),
            "chat_template": lm.chat_template or None,
        }


def _tokenized(body: TokenizeRequest, lm: LanguageModel, settings: Settings) -> Response:
    tokenizer = lm.tokenizer
    if body.messages is not None:
        ids = conversation_ids(body, lm, body.tools)
    else:
        text = body.prompt if body.prompt is not None else body.content or ""
        asked = body.add_special_tokens if body.add_special is None else body.add_special
        starts = body.prompt is not None if asked is None else asked
        with reading("content" if body.prompt is None else "prompt"):
            ids = tokenizer.encode_start(text) if starts else tokenizer.encode(text)
    found: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": settings.context_of(lm.config)}
    if body.return_token_strs:
        found["token_strs"] = [tokenizer.vocabulary[token] for token in ids]
    return JSONResponse(found)  # written here: of a million tokens that takes its time


def _both_paths(app: FastAPI) -> Callable[[str, str], Callable[[Any], Any]]:
    """Every route of the API with `/v1` before it and without."""

    def both(method: str, path: str) -> Callable[[Any], Any]:
        def add(function: Any) -> Any:
            for prefix in ("/v1", ""):
                name = f"{function.__name__}{'_v1' if prefix else ''}"
                app.add_api_route(prefix + path, function, methods=[method], responses=DECLARED, operation_id=name)
            return function

        return add

    return both


async def _model(state: State, name: str | None) -> tuple[str, LanguageModel]:
    """The model that a request means; loading it holds up nobody else."""
    name = state.models.name_of(name)
    return name, await asyncio.to_thread(state.models.get, name)


async def _answer(state: State, request: Request, body: Any, kind: type[Completion] | type[ChatCompletion]) -> Response:
    name, lm = await _model(state, body.model)
    batch = Batch(state.scheduler, state.settings)
    work = state.encoding.run(lambda asker: kind(body, name, lm, batch, asker))
    answer = await unless_gone(request, work)
    if body.stream:
        events = _events(batch, answer)
        first = await anext(events)  # what is refused is refused with a status
        return StreamingResponse(_with_first(first, events), media_type="text/event-stream", headers=_STREAM_HEADERS)
    async with batch:
        return JSONResponse(await unless_gone(request, answer.whole()))


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


# -- errors ------------------------------------------------------------------------------------------------------------


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101  what it is registered for
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    """A model that cannot be loaded."""
    assert isinstance(error, NextwordError)  # noqa: S101
    refused = of_user(error)
    refused.status, refused.kind = 500, "server_error"
    return await _refused(_, refused)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if isinstance(error.__cause__, ApiError):  # raised where the body was read
        return await _refused(request, error.__cause__)
    status, headers = error.status_code, dict(error.headers or {})
    asked = f"{request.method} {request.url.path[:200]}"
    match status:
        case 404:
            refused = ApiError(f"there is no {asked}", hint="GET /openapi.json lists what there is", code="unknown_url")
        case 405:
            headers["Allow"] = headers.get("Allow", "").replace("GET", "GET, HEAD")
            hint = f"this path answers {headers['Allow']}"
            refused = ApiError(f"there is no {asked}", hint=hint, code="method_not_allowed")
        case 400:
            refused = ApiError("the body cannot be read as JSON")
        case _:
            refused = ApiError(str(error.detail))
    refused.status, refused.headers = status, headers
    return await _refused(request, refused)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return await _refused(request, invalid(error.errors(), error.body, request.headers.get("content-type", "")))
