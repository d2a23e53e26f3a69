"""What stands before every request: who may ask, from where, how much, how long.

Starlette's middleware for hosts, origins and bodies refuses in plain text, and does not know the rest.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextword.server.errors import ApiError
from nextword.server.look.page import PAGE_FOLDER

log = logging.getLogger("nextword.server")

OPEN_PATHS = {"/", "/health"}
"""Answered without a key, with the page's files: the page, which holds nothing secret, and what watchers ask."""
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_BODY_SECONDS = 30.0
"""From the first byte of the body to the last."""


class Guards:
    """An ASGI application around another one.

    Args:
        app: What is guarded.
        hosts: Names that a request's Host header may have; a page elsewhere that has its own name point here (DNS
            rebinding) is refused. None allows any.
        origins: Pages that may ask from a browser (CORS); none by default.
        key: What `Authorization: Bearer` must hold; None asks for none.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] | None, origins: Sequence[str], key: str | None) -> None:
        self._app, self._hosts, self._origins, self._key = app, hosts, origins, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or lets the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # HEAD is GET without a body, which the protocol leaves out; no route has another address behind a slash.
        log_values: dict[str, Any] = {"method": scope["method"], "path": scope["path"], "status": None}
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        scope = {**scope, "method": method, "path": scope["path"].rstrip("/") or "/"}
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get("origin")
        allowed = origin is not None and origin in self._origins
        send = _with_headers(send, _cors(origin if allowed else None) if self._origins else [], log_values)
        begun = time.monotonic()
        try:
            self._check(scope, headers)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await send({"type": "http.response.start", "status": 204 if allowed else 403, "headers": []})
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._app(scope, self._limited(receive), send)
        except ApiError as error:
            await send_error(error, send)
        finally:
            seconds = round(time.monotonic() - begun, 4)
            log.info("request", extra={"values": {**log_values, "seconds": seconds}})

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        names = [name.lower() for name, _ in scope["headers"]]
        for name in (b"host", b"authorization"):
            if names.count(name) > 1:
                raise ApiError(f"the request has {names.count(name)} headers {name.decode().title()}, one is allowed")
        if b"host" not in names and scope.get("http_version") != "1.0":
            raise ApiError("the request has no header Host")
        if self._hosts is not None and b"host" in names:  # every browser sends it, and only those can be misled
            try:
                host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
            except ValueError:
                host = ""
            if host not in self._hosts:
                raise ApiError(
                    f"this server does not answer to the host {host[:100]!r}",
                    status=403,
                    kind="permission_error",
                    hint="nextword serve --allow-host NAME lets a proxy's name through",
                )
        path = scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(PAGE_FOLDER) or scope["method"] == "OPTIONS"
        if self._key is not None and not is_open:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("latin-1"), _bytes_of(self._key.strip()))
            if scheme.lower() != "bearer" or not right:
                raise ApiError(
                    "the API key is missing or wrong",
                    status=401,
                    kind="authentication_error",
                    code="invalid_api_key",
                    hint="send it as Authorization: Bearer KEY",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):
            raise ApiError(
                f"the body is compressed ({coding[:40]})",
                status=415,
                param="content-encoding",
                hint="send it as it is",
                headers={"Accept-Encoding": "identity"},
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        return ApiError(f"the body is larger than {MAX_BODY_BYTES:,} bytes", status=413, code="request_too_large")

    def _limited(self, receive: Receive) -> Receive:
        """Reads the body no further than it may go, nor for longer."""
        size = 0
        whole = False
        end = asyncio.get_running_loop().time() + MAX_BODY_SECONDS

        async def bounded() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise ApiError("the body did not come in time", status=408, kind="timeout_error") from None
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if size > MAX_BODY_BYTES:
                    raise self._too_large()
            return message

        return bounded


def _bytes_of(key: str) -> bytes:
    """A key as a client sends it: UTF-8, or the very bytes of an environment that holds something else."""
    return key.encode("utf-8", "surrogateescape")


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]], log_values: dict[str, Any]) -> Send:
    """Adds headers to the response, and notes its status."""

    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start":
            log_values["status"] = message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-content-type-options", b"nosniff"), *headers]
        await send(message)

    return watched


def _cors(origin: str | None) -> list[tuple[bytes, bytes]]:
    """What a page that may ask is told; None is one that may not. Caches keep the two apart."""
    vary = (b"vary", b"origin")
    if origin is None:
        return [vary]
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-headers", b"authorization, content-type"),
        (b"access-control-allow-methods", b"GET, POST"),
        vary,
    ]


async def send_error(error: ApiError, send: Send) -> None:
    """Sends an error as a whole response."""
    body = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
