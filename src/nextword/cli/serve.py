"""`nextword serve`: an API that OpenAI's clients use unchanged, and the page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter

from nextword.cli.options import DEFAULT_LOADING, LoadingFlags, model_path
from nextword.errors import ConfigError, require_packages
from nextword.settings import ServerSettings

_DEFAULTS = ServerSettings()
SERVING = ("fastapi", "httptools", "prometheus_client", "uvicorn")
"""What serving imports of its extra."""


def _shown(default: object) -> str | None:
    """A default as help names it: none where there is nothing."""
    return None if default in (None, ()) else str(default)


def serve(
    *models: Annotated[
        str,
        Parameter(
            help="Model directories, .gguf files, pulled names, hub ids, or NAME=MODEL; the default model if left out."
        ),
    ],
    settings: Annotated[ServerSettings, Parameter(name="*", negative="", show_default=_shown)] = _DEFAULTS,
    loading: LoadingFlags = DEFAULT_LOADING,
    threads: int | None = None,
    draft: str | None = None,
    log: Literal["lines", "json"] | None = None,
    of_run: Annotated[Path | None, Parameter(name="--run")] = None,
    open_page: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> None:
    """Serve models over HTTP, as OpenAI's clients expect: /v1/completions, /v1/chat/completions, /v1/models.

    At / is the page, which shows every stage from the words to the next word, and chats.

    With NEXTWORD_API_KEY set, requests need it as a bearer token; with --host other than this machine it must be set.

    Args:
        models: What is served; the first one answers requests that name none.
        settings: Where, and how.
        loading: Where to run, and what weights are rounded to.
        threads: Of the native engine; the performance cores if left out.
        draft: A smaller model with the same tokenizer, which guesses ahead; the texts stay the same.
        log: How requests are told on standard error; lines in a terminal, JSON elsewhere.
        of_run: A directory that `nextword train` writes or has written: the page shows how the run goes.
        open_page: Open the page in the browser.
    """
    require_packages("serving", "serve", *SERVING)
    from functools import partial

    from nextword.files import read_model
    from nextword.loading import load
    from nextword.server.model_settings import check_model
    from nextword.server.models import Models
    from nextword.server.process.addresses import check_key, lan_urls
    from nextword.server.process.logs import log_to_stderr
    from nextword.server.process.serve import serve as run

    key = os.environ.get("NEXTWORD_API_KEY") or None
    check_key(settings.host, key)  # `Serving` asks too, but by then the models are read
    requested = [named(model) for model in models or ([None] if of_run is None else [])]
    paths = {model.name: model.path for model in requested}
    if len(paths) < len(models):
        raise ConfigError("two models have the same name", hint="name one of them: NAME=MODEL")
    open_model = partial(load, threads=threads, draft=draft, **loading)
    sources = {model.name: model.source for model in requested}
    served, progress = Models(paths, open_model, sources), None
    if of_run is not None:
        from nextword.server.training_models import TrainingModels
        from nextword.training.events.followed_run import FollowedRun

        followed = FollowedRun(of_run)
        served, progress = TrainingModels(followed, paths, open_model, sources), followed.to_json
    for place, name in enumerate(served.names):  # what cannot be read is told before anybody asks
        if place == 0:
            check_model(settings, served.get(name))
        elif name in paths:  # of a run, those that are saved can be read
            check_model(settings, read_model(paths[name]))
    log_to_stderr(lines=None if log is None else log == "lines")

    def ready(url: str) -> None:
        names = ", ".join(served.names) or "the first model of the run, when it is saved,"
        sys.stderr.write(f"{names} at {url}/v1, the page at {url}/ (Ctrl-C ends)\n")
        for other in lan_urls(settings.host, int(url.rpartition(":")[2])):
            sys.stderr.write(f"for others: {other}/v1, the page at {other}/, with the key in NEXTWORD_API_KEY\n")
        sys.stderr.flush()
        if open_page:
            show_page(f"{url}/")

    run(served, settings, key, ready, progress)


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
    from nextword.files.sources.resolving import SHIPPED, SHIPPED_MODEL

    if model is None or (model == SHIPPED and model_path(model) == SHIPPED_MODEL):
        return Named(SHIPPED, SHIPPED_MODEL.name, SHIPPED_MODEL)
    name, given, source = model.partition("=")
    if given and not Path(model).exists():
        return Named(name, source, model_path(source))
    path = model_path(model)
    return Named(model if path != Path(model) else path.resolve().name, model, path)
