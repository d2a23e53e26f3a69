"""`nextword serve`: an API that OpenAI's clients use unchanged."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextword.cli.options import model_path
from nextword.errors import ConfigError
from nextword.server.settings import Settings

_DEFAULTS = Settings()


def serve(
    *models: Annotated[
        str,
        Parameter(
            help="Model directories, .gguf files, pulled names, hub ids, or NAME=MODEL; the default model if left out."
        ),
    ],
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_origin: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    slots: int = _DEFAULTS.slots,
    queue: int = _DEFAULTS.queue,
    request_seconds: float = _DEFAULTS.request_seconds,
    drain_seconds: float = _DEFAULTS.drain_seconds,
    threads: int | None = None,
) -> None:
    """Serve models over HTTP, as OpenAI's clients expect: /v1/completions, /v1/chat/completions, /v1/models.

    With NEXTWORD_API_KEY set, requests need it as a bearer token; with --host other than this machine it must be set.

    Args:
        models: What is served; the first one answers requests that name none.
        host: Where to listen: this machine only, unless told otherwise.
        port: 0 takes any that is free.
        allow_origin: A web page's origin (https://example.org) that may ask from a browser; may be given several times.
        slots: Texts of a model that are written at once.
        queue: Texts that may wait; more are told to come back (429).
        request_seconds: How long a request may take.
        drain_seconds: Time for texts that are being written when the server is told to end.
        threads: Of the native engine; the physical cores if left out.
    """
    from importlib.util import find_spec

    from nextword.errors import missing_extra

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if find_spec(package) is None:
            raise missing_extra(package, "serve", "serving")
    if min(slots, queue) < 1 or min(request_seconds, drain_seconds) < 0 or not 0 <= port <= 65535:
        raise ConfigError("slots and queue must be 1 or more, seconds 0 or more, port between 0 and 65,535")
    from functools import partial

    from nextword.loading import load
    from nextword.server.models import Models
    from nextword.server.run import Address, log_to_stderr
    from nextword.server.run import serve as run

    paths = dict(_named(model) for model in models) or {"nextword": model_path(None)}
    if len(paths) < len(models):
        raise ConfigError("two models have the same name", hint="name one of them: NAME=MODEL")
    served = Models(paths, partial(load, threads=threads))
    address = Address(host, port, os.environ.get("NEXTWORD_API_KEY") or None, allow_origin)
    served.get(served.names[0])  # what cannot be read is told before anybody asks
    log_to_stderr()

    def ready(url: str) -> None:
        sys.stderr.write(f"{', '.join(served.names)} at {url}/v1 (Ctrl-C ends)\n")
        sys.stderr.flush()

    settings = Settings(slots=slots, queue=queue, request_seconds=request_seconds, drain_seconds=drain_seconds)
    run(served, address, settings, ready=ready)


def _named(model: str) -> tuple[str, Path]:
    """NAME=MODEL, or a model by its own name."""
    name, given, source = model.partition("=")
    if given and not Path(model).exists():
        return name, model_path(source)
    path = model_path(model)
    return model if path != Path(model) else path.resolve().name, path
