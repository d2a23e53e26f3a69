"""`nextword train`: a model from one's own text."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextword.cli import STARTED
from nextword.cli.options import Device, Flag, Json, print_json
from nextword.cli.serve import SERVING
from nextword.errors import ConfigError, require_packages
from nextword.machine.memory import address_limit
from nextword.machine.signals import termination_signal
from nextword.readable import readable

if TYPE_CHECKING:
    from rich.console import Console

    from nextword.server.process.training_page import RunPage
    from nextword.training import TrainingRun

_LEAST_ADDRESSES = 750_000_000
"""Bytes: torch alone takes 600 million, most of them for its code."""


def train(
    *paths: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    minutes: float | None = None,
    steps: int | None = None,
    preset: str | None = None,
    from_model: Annotated[str | None, Parameter(name="--from")] = None,
    lora_rank: Annotated[int | None, Parameter(name="--lora")] = None,
    validation: str = "0.1",
    encoding: str | None = None,
    text_field: str | None = None,
    exclude: Annotated[tuple[str, ...] | None, Parameter(negative="")] = None,
    compose: Flag = False,
    vocab_size: int | None = None,
    context_length: int | None = None,
    batch_size: int | None = None,
    accumulation: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    dropout: float | None = None,
    bpe_dropout: float | None = None,
    precision: str | None = None,
    strategy: str | None = None,
    activation_checkpointing: Flag = False,
    compile: Flag = False,  # noqa: A002
    evaluate_every: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    resume: Flag = False,
    restart: Flag = False,
    checkpoint_seconds: float = 60.0,
    snapshots: Flag = False,
    serve: Flag = False,
    port: int | None = None,
    log: str | None = None,
    as_json: Json = False,
) -> None:
    """Train a tokenizer and a model on your own text. Ctrl-C stops and keeps what was learned.

    Several processes share the work: torchrun --nproc-per-node 2 -m nextword train my.txt --out my-model

    Args:
        paths: Files, directories, patterns, - (standard input), URLs, hf:owner/name; .txt, .md, .json, .jsonl,
            .csv, .tsv, .parquet, .ipynb, each also .gz, .zst, .bz2 or .xz. Rows with messages are conversations, of
            which the answers are learned.
        out: The directory to write the model to.
        minutes: Time for everything, from the start of the command to the model on disk (2 if --steps is not given).
        steps: Optimizer steps, where the clock should not decide.
        preset: tiny, small, medium or large; chosen by text, time and machine if left out.
        from_model: Start from this model, with its tokenizer, instead of from random weights.
        lora_rank: Learn adapters of this rank beside the weights of --from; they also go to OUT.adapter, for peft.
        validation: What to judge by: a share of the text (0.1; 500 kB at most), a file or directory, or none.
        encoding: Of the files, if it is not UTF-8; for example cp949.
        text_field: The field of .jsonl, .csv and .parquet rows that holds the text.
        exclude: A file, directory or pattern (drafts, "*.csv") that is not read; can be given more than once.
        compose: Compose Hangul that is spelled as letters, as macOS writes it.
        vocab_size: Tokens in the vocabulary.
        context_length: Tokens the model can look at.
        batch_size: Windows of text a step, over all processes.
        accumulation: Parts in which a process computes its share of a batch, to save memory.
        learning_rate: Its peak.
        weight_decay: How strongly matrices shrink.
        dropout: Share of activations dropped while training.
        bpe_dropout: Share of the tokenizer's merges left out while training, others for each pass over the text.
        precision: float32, or bfloat16 for the matrix products (faster where the processor has it).
        strategy: With several processes, ddp (each holds all weights) or fsdp (each holds a shard).
        activation_checkpointing: Compute activations twice instead of keeping them: less memory, more time.
        compile: Let torch.compile make faster kernels: half a minute at the start; needs a C++ compiler.
        evaluate_every: Steps between two looks at the held-out text.
        seed: Decides first weights and order of the text.
        device: Where to run.
        resume: Go on from the last checkpoint of an earlier run with the same --out.
        restart: Throw an unfinished run's checkpoints away and begin anew.
        checkpoint_seconds: How often the state of the run is saved, beside --out.
        snapshots: Keep the model of steps 0, 1, 2, 4, 8 and so on, and the newest, in OUT.steps.
        serve: Show the run in the browser while it goes on, and afterwards until Ctrl-C; implies --snapshots.
        port: Of --serve, 8000 if left out; 0 takes any that is free.
        log: tensorboard writes event files to OUT.logs.
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
    if limit is not None and limit < _LEAST_ADDRESSES:  # torch ends a process that has too few, without a word
        raise ConfigError(
            f"this process may take {limit / 1e6:,.0f} MB of addresses, training needs {_LEAST_ADDRESSES / 1e6:,.0f}",
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
                minutes=minutes,
                steps=steps,
                preset=preset,
                from_model=from_model,
                lora_rank=lora_rank,
                validation=_validation(validation),
                encoding=encoding,
                text_field=text_field,
                exclude=exclude or (),
                compose=compose,
                vocab_size=vocab_size,
                context_length=context_length,
                batch_size=batch_size,
                accumulation=accumulation,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                dropout=dropout,
                bpe_dropout=bpe_dropout,
                precision=precision,
                strategy=strategy,
                activation_checkpointing=activation_checkpointing or None,
                compile=compile or None,
                evaluate_every=evaluate_every,
                seed=seed,
                device=device,
                resume=resume,
                restart=restart,
                checkpoint_seconds=checkpoint_seconds,
                snapshots=snapshots or serve,
                log=log,
                watch=[view.watch] if page is None else [view.watch, page.watch],
                started=STARTED,
            )
        if speaks:
            _tell(run, console, as_json=as_json)
        if page is not None and termination_signal() is None:
            sys.stdout.flush()
            page.stay()


def _page(out: Path, port: int, console: Console) -> RunPage:
    """The page of the run, once it has begun; the port is taken now."""
    from nextword.server.process.logs import log_to_stderr
    from nextword.server.process.serve import Address
    from nextword.server.process.training_page import RunPage

    log_to_stderr(logging.WARNING)
    address = Address(port=port, key=os.environ.get("NEXTWORD_API_KEY") or None)
    return RunPage(out, address, lambda text: console.print(text, highlight=False))


def _tell(run: TrainingRun, console: Console, *, as_json: bool) -> None:
    """What came of the run."""
    if as_json:
        print_json({"out": readable(run.out), **run.model.provenance})
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
    sys.stdout.write(f'{readable(run.out)}\ntry: nextword "..." --model {shlex.quote(readable(run.out))}\n')


def _validation(value: str) -> float | str | None:
    """`none`, a share, or a path."""
    if value == "none":
        return None
    try:
        return float(value)
    except ValueError:
        return value
