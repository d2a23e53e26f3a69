"""The process: sockets, signals, logs."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from nextword.errors import ConfigError
from nextword.server.look.page import Page
from nextword.server.models import Models
from nextword.server.process.addresses import here, url_of
from nextword.server.process.guards import Guards, Limits
from nextword.server.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from nextword.server.look.routes import Run

HEADER_BYTES = 32 * 1024
HEADER_SECONDS = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Address:
    """Where the server listens, and who may come."""

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = None
    origins: Sequence[str] = ()
    hosts: Sequence[str] = ()
    """Names besides its own that it answers to, such as a proxy's."""

    def __post_init__(self) -> None:
        """Refuses to be open to a network without a key, a blank one, and names that no request can ask for."""
        if self.key is not None and not self.key.strip():
            raise ConfigError("the API key is blank", hint="set NEXTWORD_API_KEY to a word, or unset it")
        if self.key is not None and any(character < " " or character == "\x7f" for character in self.key.strip()):
            raise ConfigError(
                "the API key holds a control character, which no request can send",
                hint="set NEXTWORD_API_KEY to a word, or unset it",
            )
        for name in self.hosts:
            if not name or not set(name).isdisjoint("/:@ "):
                raise ConfigError(
                    f"{name!r} is no name of a host", hint="give the name alone, without https:// and port"
                )
        if self.host not in LOOPBACK and not self.key:
            raise ConfigError(
                f"others can reach {self.host}, so an API key is needed",
                hint="set NEXTWORD_API_KEY, or leave out host=... to serve this machine only",
            )

    @property
    def answered(self) -> Sequence[str] | None:
        """Names that requests may ask for; None is any: others, behind a key, know it by names that it does not."""
        return (*LOOPBACK, *map(str.lower, self.hosts)) if self.host in LOOPBACK else None


class PatientProtocol(HttpToolsProtocol):
    """HTTP with an end to heads: a client that sends one byte by byte, or without end, holds no connection."""

    _waiting: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock starts."""
        super().connection_made(transport)
        self._begin_head()

    def on_message_begin(self) -> None:
        """It starts again with the next request."""
        super().on_message_begin()
        self._begin_head()

    def data_received(self, data: bytes) -> None:
        """Counts what comes of a head."""
        super().data_received(data)
        self._head_bytes += len(data)
        if self._waiting is not None and self._head_bytes > HEADER_BYTES:
            self.send_400_response("the request's head is too large")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES:
            raise ValueError("the request's head is too large")  # the parser makes a 400 of it
        self._end_head()
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.send = _to_the_close(self.cycle)  # type: ignore[assignment,method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        super().connection_lost(exc)
        self._end_head()

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._waiting = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _end_head(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        self._waiting = None
        self.transport.close()


def _to_the_close(cycle: RequestResponseCycle) -> Send:
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


class Server(uvicorn.Server):
    """A server that lets texts be finished when it is told to end."""

    def __init__(self, config: uvicorn.Config, close: Callable[[], None], ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._close, self._ready = close, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells when requests can come."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuses new texts, gives the others their time, then ends."""
        closing = asyncio.create_task(asyncio.to_thread(self._close))
        await super().shutdown(sockets)
        await closing


def serve(
    models: Models,
    address: Address,
    settings: Settings | None = None,
    limits: Limits | None = None,
    ready: Callable[[str], None] = lambda _: None,
    run: Run | None = None,
) -> None:
    """Serves until a signal comes.

    Args:
        models: What is served.
        address: Where.
        settings: How.
        limits: What a request may take.
        ready: Is told the address once requests can come.
        run: Tells of a training run, for the page.

    Raises:
        ConfigError: The address is taken, or not of this machine.
    """
    try:
        server = Serving(models, address, settings, limits, run)
        # uvicorn puts back what was here, and sends it again when it is done
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.run(ready)
    finally:
        models.close()


class _Api:
    """The application behind the page, which is imported and made while the page's files are answered already."""

    def __init__(self, models: Models, settings: Settings, run: Run | None) -> None:
        def make() -> FastAPI:
            from nextword.server.app import create_app  # noqa: PLC0415  FastAPI takes a quarter of a second

            return create_app(models, settings, run)

        maker = ThreadPoolExecutor(1, thread_name_prefix="make-app")
        self._made = maker.submit(make)
        maker.shutdown(wait=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as soon as it is there."""
        app = self._made.result() if self._made.done() else await asyncio.wrap_future(self._made)
        await app(scope, receive, send)

    def close(self, seconds: float) -> None:
        """Refuses new work, and gives texts that are being written so long."""
        self._made.result().state.nextword.close(seconds)


class Serving:
    """A server at an address, which is taken at once.

    Args:
        models: What is served.
        address: Where.
        settings: How.
        limits: What a request may take.
        run: Tells of a training run, for the page.
        listening: What `listen` gave for the address, if it was taken before.

    Raises:
        ConfigError: The address is taken, or not of this machine.
    """

    def __init__(
        self,
        models: Models,
        address: Address,
        settings: Settings | None = None,
        limits: Limits | None = None,
        run: Run | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._models, self._address, self._run = models, address, run
        self._settings, self._limits = settings or Settings(), limits or Limits()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._listening = listening or listen(address)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return url_of(here(self._address.host), self._listening.getsockname()[1])

    def run(self, ready: Callable[[str], None]) -> None:
        """Serves until it is told to end; in the main thread, by a signal.

        Args:
            ready: Is told the address once requests can come.
        """
        address, drain, url = self._address, self._settings.drain_seconds, self.url
        api = _Api(self._models, self._settings, self._run)
        try:
            config = uvicorn.Config(
                Guards(
                    Page(api), hosts=address.answered, origins=address.origins, key=address.key, limits=self._limits
                ),
                http=PatientProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=int(drain) + 1,
            )
            self._server = Server(config, lambda: api.close(drain), lambda: ready(url))
            self._server.run(sockets=[self._listening])
        finally:
            api.close(0)
            self._models.close()

    def start(self) -> None:
        """Serves in a thread of its own, beside other work of this process; returns when requests can come."""
        there = threading.Event()

        def work() -> None:
            try:
                self.run(lambda _: there.set())
            finally:
                there.set()

        self._thread = threading.Thread(target=work, name="nextword-server", daemon=True)
        self._thread.start()
        there.wait()

    def close(self) -> None:
        """Ends what `start` began."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._listening.close()


def listen(address: Address) -> socket.socket:
    """A socket bound to the address.

    Raises:
        ConfigError: It is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # asyncio sends small packets at once only on sockets whose protocol is given; else the first token waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {address.host}:{address.port}: {error.strerror or error}",
            hint="choose another port; port=0 takes any that is free",
        ) from None
    listening.set_inheritable(True)
    return listening
