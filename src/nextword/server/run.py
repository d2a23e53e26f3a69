"""The process: sockets, signals, logs."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from nextword.errors import ConfigError
from nextword.server.app import create_app
from nextword.server.guards import Guards, Limits
from nextword.server.models import Models
from nextword.server.settings import Settings

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

    def __post_init__(self) -> None:
        """Refuses to be open to a network without a key."""
        if self.host not in LOOPBACK and not self.key:
            raise ConfigError(
                f"others can reach {self.host}, so an API key is needed",
                hint="set NEXTWORD_API_KEY, or leave out --host to serve this machine only",
            )


class PatientProtocol(H11Protocol):
    """HTTP that waits for a request's head only so long: a client that sends it byte by byte holds no connection."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock starts."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """It stops when the head is whole, and starts again when the next one begins."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It stops."""
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()

    def _watch(self) -> None:
        head_is_whole = self.conn.their_state is not h11.IDLE
        if self._waiting is not None and head_is_whole:
            self._waiting.cancel()
            self._waiting = None
        elif self._waiting is None and not head_is_whole:
            self._waiting = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self._waiting = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


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


class JsonLines(logging.Formatter):
    """A record as one line of JSON: what a client sends cannot look like a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and what came with it."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)  # ASCII: some readers take U+0085 or U+2028 for the end of a line


def log_to_stderr(level: int = logging.INFO) -> None:
    """Logs of this package and of uvicorn, as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("nextword", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name == "nextword" else max(level, logging.WARNING))


def serve(
    models: Models,
    address: Address,
    settings: Settings | None = None,
    limits: Limits | None = None,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves until a signal comes.

    Args:
        models: What is served.
        address: Where.
        settings: How.
        limits: What a request may take.
        ready: Is told the address once requests can come.

    Raises:
        ConfigError: The address is taken, or not of this machine.
    """
    settings = settings or Settings()
    app = create_app(models, settings)
    state = app.state.nextword
    try:
        listening = listen(address)
        port = listening.getsockname()[1]
        shown = f"[{address.host}]" if ":" in address.host else address.host
        hosts = LOOPBACK if address.host in LOOPBACK else None  # behind --host there is a key, and names we do not know
        config = uvicorn.Config(
            Guards(app, hosts=hosts, origins=address.origins, key=address.key, limits=limits or Limits()),
            http=PatientProtocol,
            h11_max_incomplete_event_size=HEADER_BYTES,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
        )
        server = Server(
            config, lambda: state.scheduler.close(settings.drain_seconds), lambda: ready(f"http://{shown}:{port}")
        )
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # uvicorn puts back what was here, and sends it again when it is done
        server.run(sockets=[listening])
    finally:
        state.scheduler.close(0)


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
            hint="choose another --port; 0 takes any that is free",
        ) from None
    listening.set_inheritable(True)
    return listening
