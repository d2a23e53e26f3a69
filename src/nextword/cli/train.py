"""`nextword train`: a model from one's own text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextword.cli import STARTED
from nextword.cli.options import Device, Json, print_json
from nextword.errors import ConfigError


def train(
    *paths: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    minutes: float | None = None,
    steps: int | None = None,
    preset: str | None = None,
    validation: str = "0.1",
    encoding: str | None = None,
    vocab_size: int | None = None,
    context_length: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    dropout: float = 0.0,
    precision: str = "float32",
    seed: int = 0,
    device: Device = "auto",
    resume: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Train a tokenizer and a model on your own text. Ctrl-C stops and keeps what was learned.

    Args:
        paths: Files and directories with text (.txt, .md).
        out: The directory to write the model to.
        minutes: Time for everything, from the start of the command to the model on disk (2 if --steps is not given).
        steps: Optimizer steps, where the clock should not decide.
        preset: tiny, small, medium or large; chosen by text and time if left out.
        validation: What to judge by: a share of the text (0.1), a file, or none.
        encoding: Of the files, if it is not UTF-8; for example cp949.
        vocab_size: Tokens in the vocabulary.
        context_length: Tokens the model can look at.
        batch_size: Windows of text a step.
        learning_rate: Its peak.
        dropout: Share of activations dropped while training.
        precision: float32, or bfloat16 for the matrix products (faster where the processor has it).
        seed: Decides first weights and order of the text.
        device: Where to run.
        resume: Go on from the checkpoint that an earlier run left beside --out.
        as_json: Print the result as JSON.
    """
    if not paths:
        raise ConfigError("no text was given", hint="nextword train my.txt --out my-model")
    from nextword.terminal.console import make_console
    from nextword.terminal.training_view import TrainingView
    from nextword.training import train as run_training

    console = make_console(stderr=True)
    with TrainingView(console) as view:
        run = run_training(
            paths,
            out,
            minutes=minutes,
            steps=steps,
            preset=preset,
            validation=_validation(validation),
            encoding=encoding,
            vocab_size=vocab_size,
            context_length=context_length,
            batch_size=batch_size,
            learning_rate=learning_rate,
            dropout=dropout,
            precision=precision,
            seed=seed,
            device=device,
            resume=resume,
            watch=view.watch,
            started=STARTED,
        )
    if as_json:
        print_json({"out": str(run.out), **run.model.provenance})
        return
    if run.stopped:
        console.print("[yellow]stopped early; what was learned is kept[/yellow]")
    best = [look for look in run.validations if look["best"]]
    if best:
        console.print(
            f"held-out: [bold]{best[-1]['nats_per_character']:.4f}[/bold] nats/character, "
            f"{best[-1]['bits_per_byte']:.4f} bits/byte (step {best[-1]['step']:,} of {run.steps:,})"
        )
    sys.stdout.write(f'{run.out}\ntry: nextword "..." --model {run.out}\n')


def _validation(value: str) -> float | str | None:
    """`none`, a share, or a path."""
    if value == "none":
        return None
    try:
        return float(value)
    except ValueError:
        return value
