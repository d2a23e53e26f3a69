"""The application: the routes of every protocol and of the page, and what is answered where they cannot."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from nextword import __version__
from nextword.errors import NextwordError
from nextword.server.api.openai.routes import openai_routes
from nextword.server.api.tokenizer import tokenizer_routes
from nextword.server.errors import ApiError, from_user_error
from nextword.server.look.routes import DescribeRun, look_routes
from nextword.server.look.traces import TraceStore
from nextword.server.models import Models
from nextword.server.state import State
from nextword.server.validation import invalid_request
from nextword.settings import ServerSettings


def create_app(models: Models, settings: ServerSettings, describe_run: DescribeRun | None = None) -> FastAPI:
    """The application, with threads that run until `app.state.close(seconds)`.

    Args:
        models: What is served.
        settings: How.
        describe_run: Tells of a training run, for the page; None where none is served.
    """
    state, traces = State(models, settings), TraceStore()
    app = FastAPI(title="nextword", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)

    def close(seconds: float) -> None:
        """Refuses new work, and gives texts that are being written so long."""
        traces.close()
        state.close(seconds)

    app.state.close = close
    for kind, answer in (
        (ApiError, _on_api_error),
        (RequestValidationError, _on_validation_error),
        (HTTPException, _on_http_error),
        (NextwordError, _on_nextword_error),
    ):
        app.add_exception_handler(kind, answer)
    app.include_router(openai_routes(state))
    app.include_router(tokenizer_routes(state))
    app.include_router(look_routes(state, traces, describe_run))

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts, as Prometheus reads them."""
        return Response(state.metrics.text(), media_type=state.metrics.media_type)

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


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101  what it is registered for
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _on_nextword_error(_: Request, error: Exception) -> Response:
    """A model that cannot be loaded."""
    assert isinstance(error, NextwordError)  # noqa: S101
    refused = from_user_error(error)
    refused.status, refused.kind = 500, "server_error"
    return await _on_api_error(_, refused)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if isinstance(error.__cause__, ApiError):  # raised where the body was read
        return await _on_api_error(request, error.__cause__)
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
    return await _on_api_error(request, refused)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return await _on_api_error(
        request, invalid_request(error.errors(), error.body, request.headers.get("content-type", ""))
    )
