"""`nextword serve`: an API that OpenAI's clients use unchanged, and the page."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter

from nextword.cli.options import AS_IT_IS, LoadingFlags, model_path
from nextword.errors import ConfigError, require_packages
from nextword.files.sources.resolving import SHIPPED, SHIPPED_MODEL
from nextword.server.settings import Settings

_DEFAULTS = Settings()
SERVING = ("fastapi", "httptools", "prometheus_client", "uvicorn")
"""What serving imports of its extra."""


@Parameter(name="*")
@dataclass(frozen=True)
class ServedSampling:
    """How tokens are chosen where a request does not say; what is left out is OpenAI's default."""

    temperature: float | None = None
    """Where a request gives none; OpenAI's default is 1."""
    top_k: int | None = None
    """Where a request gives none: only the k most probable tokens."""
    top_p: float | None = None
    """Where a request gives none: only the most probable tokens that together reach this probability."""
    min_p: float | None = None
    """Where a request gives none: only tokens at least this share as probable as the best one."""
    repetition_penalty: float | None = None
    """Where a request gives none: above 1 makes tokens that are already in the text less probable."""
    presence_penalty: float | None = None
    """Where a request gives none: taken from the logits of tokens that were written before."""
    frequency_penalty: float | None = None
    """Where a request gives none: taken from them once for each time that they were written."""


_LEFT_OUT = ServedSampling()


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
    allow_host: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    sampling: Literal["openai", "recommended"] = "openai",
    sampled: ServedSampling = _LEFT_OUT,
    context: int | None = None,
    slots: int = _DEFAULTS.slots,
    queue: int = _DEFAULTS.queue,
    request_seconds: float = _DEFAULTS.request_seconds,
    drain_seconds: float = _DEFAULTS.drain_seconds,
    loading: LoadingFlags = AS_IT_IS,
    threads: int | None = None,
    log: Literal["lines", "json"] | None = None,
    of_run: Annotated[Path | None, Parameter(name="--run")] = None,
    open_page: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> None:
    """Serve models over HTTP, as OpenAI's clients expect: /v1/completions, /v1/chat/completions, /v1/models.

    At / is the page, which shows every stage from the words to the next word, and chats.

    With NEXTWORD_API_KEY set, requests need it as a bearer token; with --host other than this machine it must be set.

    Args:
        models: What is served; the first one answers requests that name none.
        host: Where to listen: this machine only, unless told otherwise.
        port: 0 takes any that is free.
        allow_origin: A web page's origin (https://example.org) that may ask from a browser; may be given several times.
        allow_host: A name besides its own that it answers to, such as a proxy's; may be given several times. For
            others, behind a key, it answers to every name.
        sampling: How tokens are chosen where a request does not say: OpenAI's way, or as the model's makers recommend.
        sampled: What comes before that.
        context: Tokens of a text at most, with what is written; what the model can look at, if left out.
        slots: Texts of a model that are written at once.
        queue: Texts that may wait; more are told to come back (429).
        request_seconds: How long a request may take.
        drain_seconds: Time for texts that are being written when the server is told to end.
        loading: Where to run, and what weights are rounded to.
        threads: Of the native engine; the physical cores if left out.
        log: How requests are told on standard error; lines in a terminal, JSON elsewhere.
        of_run: A directory that `nextword train` writes or has written: the page shows how the run goes.
        open_page: Open the page in the browser.
    """
    require_packages("serving", "serve", *SERVING)
    if min(slots, queue) < 1 or min(request_seconds, drain_seconds) < 0 or not 0 <= port <= 65535:
        raise ConfigError("slots and queue must be 1 or more, seconds 0 or more, port between 0 and 65,535")
    settings = Settings(
        slots=slots,
        queue=queue,
        request_seconds=request_seconds,
        drain_seconds=drain_seconds,
        sampling={name: value for name, value in asdict(sampled).items() if value is not None},
        recommended=sampling == "recommended",
        context=context,
    )
    settings.check(None)
    from functools import partial

    from nextword.files import read_model
    from nextword.loading import load
    from nextword.server.models import Models
    from nextword.server.process.addresses import Address, lan_urls
    from nextword.server.process.logs import log_to_stderr
    from nextword.server.process.serve import serve as run

    asked = [named(model) for model in models or ([None] if of_run is None else [])]
    paths = {model.name: model.path for model in asked}
    if len(paths) < len(models):
        raise ConfigError("two models have the same name", hint="name one of them: NAME=MODEL")
    open_model, sources = partial(load, threads=threads, **loading), {model.name: model.source for model in asked}
    served, progress = Models(paths, open_model, sources), None
    if of_run is not None:
        from nextword.server.training_models import TrainingModels
        from nextword.training.events.followed_run import FollowedRun

        followed = FollowedRun(of_run)
        served, progress = TrainingModels(followed, paths, open_model, sources), followed.to_json
    address = Address(host, port, os.environ.get("NEXTWORD_API_KEY") or None, allow_origin, allow_host)
    for place, name in enumerate(served.names):  # what cannot be read is told before anybody asks
        if place == 0:
            settings.check(served.get(name))
        elif name in paths:  # of a run, those that are saved can be read
            settings.check(read_model(paths[name]))
    log_to_stderr(lines=None if log is None else log == "lines")

    def ready(url: str) -> None:
        names = ", ".join(served.names) or "the first model of the run, when it is saved,"
        sys.stderr.write(f"{names} at {url}/v1, the page at {url}/ (Ctrl-C ends)\n")
        for other in lan_urls(host, int(url.rpartition(":")[2])):
            sys.stderr.write(f"for others: {other}/v1, the page at {other}/, with the key in NEXTWORD_API_KEY\n")
        sys.stderr.flush()
        if open_page:
            show_page(f"{url}/")

    run(served, address, settings, ready=ready, describe_run=progress)


def show_page(url: str) -> None:
    """Opens a page in the browser, which may take its time."""
    import threading
    import webbrowser

    def show() -> None:
        if not webbrowser.open(url):
            sys.stderr.write(f"there is no browser to open {url}\n")

    threading.Thread(target=show, name="browser", daemon=True).start()


class Named(NamedTuple):
    """A model that a command was given."""

    name: str
    source: str
    """What `nextword.load` takes for it."""
    path: Path


def named(model: str | None) -> Named:
    """NAME=MODEL, or a model by its own name; None is the model that ships."""
    if model is None or (model == SHIPPED and model_path(model) == SHIPPED_MODEL):
        return Named(SHIPPED, SHIPPED_MODEL.name, SHIPPED_MODEL)
    name, given, source = model.partition("=")
    if given and not Path(model).exists():
        return Named(name, source, model_path(source))
    path = model_path(model)
    return Named(model if path != Path(model) else path.resolve().name, model, path)
