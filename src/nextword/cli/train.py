"""`nextword train`: a model from one's own text."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextword.cli import STARTED
from nextword.cli.options import Flag, Json, print_json
from nextword.cli.serve import SERVING
from nextword.errors import ConfigError, require_packages
from nextword.formatting import escape_surrogates
from nextword.machine.memory import address_limit
from nextword.machine.signals import termination_signal
from nextword.settings import ServerSettings, TrainingSettings

if TYPE_CHECKING:
    from rich.console import Console

    from nextword.server.process.training_page import TrainingPage
    from nextword.training import TrainingRun

_MIN_ADDRESS_SPACE = 750_000_000
"""Bytes: torch alone takes 600 million, most of them for its code."""


@Parameter(name="*", negative="")
@dataclass(frozen=True, kw_only=True)
class TrainingFlags(TrainingSettings):
    """`TrainingSettings` as they are typed."""

    from_model: Annotated[str | None, Parameter(name="--from")] = None
    lora_rank: Annotated[int | None, Parameter(name="--lora")] = None
    validation: str = "0.1"
    exclude: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    """A file, directory or pattern (drafts, "*.csv") that is not read; can be given more than once."""
    activation_checkpointing: bool = False
    compile: bool = False

    def settings(self, *, snapshots: bool) -> TrainingSettings:
        """As Python's `train` takes them."""
        return TrainingSettings(
            **{
                **self,
                "validation": _share_or_path(self.validation),
                "activation_checkpointing": self.activation_checkpointing or None,
                "compile": self.compile or None,
                "snapshots": self.snapshots or snapshots,
            }
        )


def _share_or_path(value: str) -> float | str | None:
    """`none`, a share, or a path."""
    if value == "none":
        return None
    try:
        return float(value)
    except ValueError:
        return value


_DEFAULTS = TrainingFlags()


def train(
    *paths: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    requested: TrainingFlags = _DEFAULTS,
    resume: Flag = False,
    restart: Flag = False,
    serve: Flag = False,
    port: int | None = None,
    as_json: Json = False,
) -> None:
    """Train a tokenizer and a model on your own text. Ctrl-C stops and keeps what was learned.

    Several processes share the work: torchrun --nproc-per-node 2 -m nextword train my.txt --out my-model

    Args:
        paths: Files, directories, patterns, - (standard input), URLs, hf:owner/name; .txt, .md, .json, .jsonl,
            .csv, .tsv, .parquet, .ipynb, each also .gz, .zst, .bz2 or .xz. Rows with messages are conversations, of
            which the answers are learned.
        out: The directory to write the model to.
        requested: What the run is to be.
        resume: Go on from the last checkpoint of an earlier run with the same --out.
        restart: Throw an unfinished run's checkpoints away and begin anew.
        serve: Show the run in the browser while it goes on, and afterwards until Ctrl-C; implies --snapshots.
        port: Of --serve, 8000 if left out; 0 takes any that is free.
        as_json: Print the result as JSON.
    """
    if not paths and not resume:
        raise ConfigError("no text was given", hint="nextword train my.txt --out my-model")
    if port is not None and not serve:
        raise ConfigError("--port is where --serve shows the run", hint="add --serve")
    if serve:
        require_packages("training with a page", "train,serve", "torch", *SERVING)
    else:
        require_packages("training", "train", "torch")
    limit = address_limit()
    if limit is not None and limit < _MIN_ADDRESS_SPACE:  # torch ends a process that has too few, without a word
        raise ConfigError(
            f"this process may take {limit / 1e6:,.0f} MB of addresses, training needs {_MIN_ADDRESS_SPACE / 1e6:,.0f}",
            hint="ulimit -v unlimited",
        )
    speaks = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, one
    from nextword.terminal.console import make_console

    console = make_console(stderr=True)
    with _page(out, 8000 if port is None else port, console) if serve and speaks else nullcontext() as page:
        from nextword.terminal.training_view import TrainingView
        from nextword.training import train as run_training

        with TrainingView(console) as view:
            run = run_training(
                paths,
                out,
                resume=resume,
                restart=restart,
                watch=[view.watch] if page is None else [view.watch, page.watch],
                started=STARTED,
                **requested.settings(snapshots=serve),
            )
        if speaks:
            _tell(run, console, as_json=as_json)
        if page is not None and termination_signal() is None:
            sys.stdout.flush()
            page.wait_for_interrupt()


def _page(out: Path, port: int, console: Console) -> TrainingPage:
    """The page of the run, once it has begun; the port is taken now."""
    from nextword.server.process.logs import log_to_stderr
    from nextword.server.process.training_page import TrainingPage

    log_to_stderr(logging.WARNING)
    key = os.environ.get("NEXTWORD_API_KEY") or None
    return TrainingPage(out, ServerSettings(port=port), lambda text: console.print(text, highlight=False), key)


def _tell(run: TrainingRun, console: Console, *, as_json: bool) -> None:
    """What came of the run."""
    if as_json:
        print_json({"out": escape_surrogates(run.out), **run.model.provenance})
        return
    from nextword.terminal.console import styled

    if run.stopped:
        console.print(styled("[yellow]stopped early; what was learned is kept, and --resume goes on[/yellow]"))
    best = [look for look in run.validations if look["best"]]
    if best:
        console.print(
            styled(
                f"held-out: [bold]{best[-1]['nats_per_character']:.4f}[/bold] nats/character, "
                f"{best[-1]['bits_per_byte']:.4f} bits/byte (step {best[-1]['step']:,} of {run.steps:,})"
            )
        )
    console.print(styled(f"[dim]state {run.state} after step {run.steps:,}[/dim]"))
    sys.stdout.write(
        f'{escape_surrogates(run.out)}\ntry: nextword "..." --model {shlex.quote(escape_surrogates(run.out))}\n'
    )
