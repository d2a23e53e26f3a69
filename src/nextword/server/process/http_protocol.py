"""HTTP/1 on a connection, with an end to what a client may take for a request's head."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEADER_BYTES = 32 * 1024
HEADER_SECONDS = 10.0


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """HTTP with an end to heads: a client that sends one byte by byte, or without end, holds no connection."""

    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock starts."""
        super().connection_made(transport)
        self._start_header()

    def on_message_begin(self) -> None:
        """It starts again with the next request."""
        super().on_message_begin()
        self._start_header()

    def data_received(self, data: bytes) -> None:
        """Counts what comes of a head."""
        super().data_received(data)
        self._header_bytes += len(data)
        if self._header_timer is not None and self._header_bytes > HEADER_BYTES:
            self.send_400_response("the request's head is too large")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES:
            raise ValueError("the request's head is too large")  # the parser makes a 400 of it
        self._end_header()
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.send = _until_close(self.cycle)  # type: ignore[assignment,method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        super().connection_lost(exc)
        self._end_header()

    def _start_header(self) -> None:
        self._end_header()
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._on_header_timeout)

    def _end_header(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _on_header_timeout(self) -> None:
        self._header_timer = None
        self.transport.close()


def _until_close(cycle: RequestResponseCycle) -> Send:
    """Sends a body whose length is not told until the connection is closed: HTTP/1.0 knows no chunks."""
    send, measured = cycle.send, False

    async def closing(message: Message) -> None:
        nonlocal measured
        if message["type"] == "http.response.start":
            measured = any(name.lower() == b"content-length" for name, _ in message.get("headers", []))
            if not measured:
                cycle.chunked_encoding = False
        elif not measured:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)  # type: ignore[arg-type]

    return closing
