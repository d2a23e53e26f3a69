"""Errors in the shape that OpenAI's clients expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nextword.errors import ContextOverflowError, NextwordError


class ApiError(Exception):
    """Becomes a response `{"error": {"message", "type", "param", "code"}}`, with a `hint` where there is one.

    Attributes:
        status: Of the response.
        hint: What the client can do about it.
        details: More members of the error.
        headers: Of the response.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        hint: str = "",
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code, self.hint = status, kind, param, code, hint
        self.details, self.headers = dict(details or {}), dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The response's body."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        return {"error": {**error, **({"hint": self.hint} if self.hint else {}), **self.details}}


def overloaded(seconds: int) -> ApiError:
    """The queue is full."""
    return ApiError(
        "the server has as many requests as it can hold",
        hint="try again later",
        status=429,
        kind="rate_limit_error",
        code="queue_full",
        headers={"Retry-After": str(seconds)},
    )


def timed_out(seconds: float) -> ApiError:
    """A request took longer than it may."""
    return ApiError(f"not done within {seconds:g} seconds", status=504, kind="timeout_error", code="timeout")


def failed() -> ApiError:
    """The model could not be run; the log says why."""
    return ApiError("the model failed", status=500, kind="server_error")


def stopped() -> ApiError:
    """The server ends."""
    return ApiError("the server is shutting down", status=503, kind="server_error", code="shutting_down")


def from_user_error(error: NextwordError, param: str | None = None) -> ApiError:
    """What nextword refused because of the request, or of one of its fields."""
    if isinstance(error, ContextOverflowError):
        details = {"n_prompt_tokens": error.n_prompt_tokens, "n_ctx": error.context_length}
        return ApiError(error.message, param=param, code="context_length_exceeded", details=details)
    return ApiError(error.message, param=param, hint=error.hint)


@contextmanager
def field_errors(param: str) -> Iterator[None]:
    """Names the field whose content is worked with, where nextword refuses it.

    Raises:
        ApiError: It does.
    """
    try:
        yield
    except NextwordError as error:
        raise from_user_error(error, param) from None


DECLARED: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in {
        400: "The request is wrong",
        404: "There is no such model, trace or run",
        415: "The body is compressed",
        429: "Too many requests",
        503: "The server ends",
        504: "Not done in time",
    }.items()
}
"""What a route may answer instead, for the schema."""
