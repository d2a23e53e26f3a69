"""The process: sockets, signals, logs."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import Receive, Scope, Send

from nextword.server.look.page import Page
from nextword.server.models import Models
from nextword.server.process.addresses import allowed_hosts, check_key, listen, loopback_of, url_of
from nextword.server.process.guards import Guards
from nextword.server.process.http_protocol import HeaderTimeoutProtocol
from nextword.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from nextword.server.look.routes import DescribeRun


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
    settings: ServerSettings,
    key: str | None = None,
    ready: Callable[[str], None] = lambda _: None,
    describe_run: DescribeRun | None = None,
) -> None:
    """Serves until a signal comes.

    Args:
        models: What is served.
        settings: Where and how.
        key: What requests must send; None asks for none.
        ready: Is told the address once requests can come.
        describe_run: Tells of a training run, for the page.

    Raises:
        ConfigError: The address is taken, or not of this machine.
    """
    try:
        server = Serving(models, settings, key, describe_run)
        # uvicorn puts back what was here, and sends it again when it is done
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.run(ready)
    finally:
        models.close()


class _Api:
    """The application behind the page, which is imported and made while the page's files are answered already."""

    def __init__(self, models: Models, settings: ServerSettings, describe_run: DescribeRun | None) -> None:
        def make() -> FastAPI:
            from nextword.server.app import create_app  # noqa: PLC0415  FastAPI takes a quarter of a second

            return create_app(models, settings, describe_run)

        maker = ThreadPoolExecutor(1, thread_name_prefix="make-app")
        self._made = maker.submit(make)
        maker.shutdown(wait=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as soon as it is there."""
        app = self._made.result() if self._made.done() else await asyncio.wrap_future(self._made)
        await app(scope, receive, send)

    def close(self, seconds: float) -> None:
        """Refuses new work, and gives texts that are being written so long."""
        self._made.result().state.close(seconds)


class Serving:
    """A server at an address, which is taken at once.

    Args:
        models: What is served.
        settings: Where and how.
        key: What requests must send; None asks for none.
        describe_run: Tells of a training run, for the page.
        listening: What `listen` gave for the address, if it was taken before.

    Raises:
        ConfigError: The address is taken, or not of this machine.
    """

    def __init__(
        self,
        models: Models,
        settings: ServerSettings,
        key: str | None = None,
        describe_run: DescribeRun | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        check_key(settings.host, key)
        self._models, self._settings, self._key, self._describe_run = models, settings, key, describe_run
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._listening = listening or listen(settings.host, settings.port)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return url_of(loopback_of(self._settings.host), self._listening.getsockname()[1])

    def run(self, ready: Callable[[str], None]) -> None:
        """Serves until it is told to end; in the main thread, by a signal.

        Args:
            ready: Is told the address once requests can come.
        """
        settings, drain, url = self._settings, self._settings.drain_seconds, self.url
        api = _Api(self._models, settings, self._describe_run)
        try:
            config = uvicorn.Config(
                Guards(Page(api), hosts=allowed_hosts(settings), origins=settings.allow_origin, key=self._key),
                http=HeaderTimeoutProtocol,
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
