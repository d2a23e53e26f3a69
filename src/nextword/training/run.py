"""`nextword.train`: from files of text to a model on disk."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nextword.errors import ConfigError, ModelFileError, NextwordError
from nextword.files.bundle import require_writable
from nextword.language_model import LanguageModel
from nextword.model import GPTModel
from nextword.model.backend import choose_device
from nextword.tokens import END_OF_TEXT, Tokenizer
from nextword.training.checkpoint import checkpoint_path, load_checkpoint, remove_checkpoint
from nextword.training.data import TokenizedText, require_enough, split_documents
from nextword.training.events import Sampled, Watcher
from nextword.training.loop import Trainer
from nextword.training.optimizer import prepare
from nextword.training.plan import BATCHES, CONTEXTS, LEARNING_RATES, Plan, choose_preset, choose_vocab_size
from nextword.training.report import model_card, provenance_of
from nextword.training.text import Document, read_documents

_SAVING_SECONDS = 1.0
"""Kept back from the time budget for writing the model."""


@dataclass(frozen=True)
class TrainingRun:
    """What a run of training left."""

    model: LanguageModel
    """The best weights seen, by the held-out text."""
    out: Path
    """Where the model was saved."""
    plan: Plan
    steps: int
    seconds: float
    """Spent in the training loop."""
    validations: tuple[dict[str, Any], ...]
    """Each look at the held-out text: step, seconds, nats_per_token, nats_per_character, bits_per_byte, best."""
    stopped: bool
    """Whether Ctrl-C ended it early."""


def train(
    paths: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    preset: str | None = None,
    validation: float | str | Path | None = 0.1,
    encoding: str | None = None,
    vocab_size: int | None = None,
    context_length: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    dropout: float = 0.0,
    precision: str = "float32",
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    watch: Watcher | None = None,
    started: float | None = None,
) -> TrainingRun:
    """Trains a tokenizer and a model on text and saves them as a bundle.

    What is left at None is derived from the text and the time.

    Args:
        paths: Files and directories (.txt, .md); each file is a document.
        out: Where the model goes. While training, the state is kept beside it in `OUT.checkpoint`.
        minutes: From the call to the model on disk; None is 2, or no bound if `steps` is given.
        steps: Optimizer steps; with it, and without `minutes`, the run does not depend on the machine's speed.
        preset: `tiny`, `small`, `medium` or `large`.
        validation: The share of every document, at its end, that is held out; or a file or directory; or None.
        encoding: Of the files; None is UTF-8.
        vocab_size: Tokens wanted.
        context_length: Tokens the model can look at.
        batch_size: Windows of text a step.
        learning_rate: Its peak.
        dropout: Share of activations dropped while training.
        precision: `float32`, or `bfloat16` for the matrix products.
        seed: Decides first weights and the order of the text.
        device: `auto`, `cpu`, `cuda` or `mps`.
        resume: Go on from the checkpoint of an earlier run with the same `out` and text.
        watch: Is told what happens.
        started: When the time budget began, on `time.monotonic`; None is now.

    Raises:
        TextError: Text is missing, empty, too short or wrongly encoded.
        ConfigError: A setting is out of range.
        ModelFileError: `out` holds something that is no model, or cannot be written.
        NextwordError: The loss is not finite any more, or the run was stopped before its first step.
    """
    began = time.monotonic() if started is None else started
    minutes = 2.0 if minutes is None and steps is None else minutes
    _check_counts(steps=steps, vocab_size=vocab_size, context_length=context_length, batch_size=batch_size)
    _check(minutes, learning_rate, precision, seed)
    out = Path(out)
    _check_place(out)
    place = choose_device(device)
    sources = [paths] if isinstance(paths, str | Path) else list(paths)
    train_documents, held_out = _split(read_documents(sources, encoding), validation, encoding)

    kept = checkpoint_path(out)
    if resume:
        state, _, tokenizer_json = load_checkpoint(kept)
        tokenizer = Tokenizer.from_json(tokenizer_json, bos=END_OF_TEXT, eos=END_OF_TEXT)
        plan = _resumed_plan(
            kept,
            state.settings,
            {
                "preset": preset,
                "steps": steps,
                "context_length": context_length,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "dropout": dropout or None,
            },
        )
        seed = int(state.settings["seed"])
    else:
        text_bytes = sum(len(document.text.encode()) for document in train_documents)
        tokenizer = Tokenizer.train_bpe(
            (document.text for document in train_documents), vocab_size or choose_vocab_size(text_bytes)
        )
    train_text = TokenizedText.from_documents(train_documents, tokenizer)
    if not resume:
        seconds = None if minutes is None else minutes * 60
        chosen = preset or choose_preset(train_text.bytes, math.inf if seconds is None else seconds)
        plan = Plan(
            preset=chosen,
            vocab_size=tokenizer.vocab_size,
            context_length=context_length or _context(chosen, len(train_text.tokens)),
            batch_size=batch_size or BATCHES.get(chosen, 8),
            learning_rate=learning_rate or LEARNING_RATES.get(chosen, 1e-3),
            dropout=dropout,
            precision=precision,
            steps=steps,
            seconds=None,
        )
    if len(train_text.tokens) <= plan.context_length:
        raise ConfigError(
            f"context_length is {plan.context_length}, the text to learn from has only {len(train_text.tokens)} tokens",
            hint="give more text, hold out less of it, or choose a shorter context",
        )
    validation_text = TokenizedText.from_documents(held_out, tokenizer) if held_out else None

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPTModel.from_config(plan.config(tokenizer.vocab_size)).to(place)
        prepare(model)
        if not resume and minutes is not None:
            plan = replace(plan, seconds=max(1.0, minutes * 60 - _SAVING_SECONDS - (time.monotonic() - began)))
        trainer = Trainer(
            model,
            tokenizer,
            train_text,
            validation_text,
            plan,
            seed=seed,
            checkpoint=kept,
            watch=watch,
            sample=_sampler(model, tokenizer, [*held_out, *train_documents], watch),
        )
        if resume:
            trainer.resume(kept)
        trainer.run()
    if trainer.state.step == 0:
        raise NextwordError("stopped before the first step: there is nothing to save")

    provenance = provenance_of(plan, seed, trainer, train_documents, train_text, validation_text)
    lm = LanguageModel.from_model(
        model, tokenizer, provenance=provenance, card=model_card(out.name, provenance, model.config)
    )
    lm.save(out)
    remove_checkpoint(kept)
    state = trainer.state
    return TrainingRun(lm, out, plan, state.step, state.seconds, tuple(state.validations), trainer.stopped)


def _sampler(
    model: GPTModel, tokenizer: Tokenizer, documents: Sequence[Document], watch: Watcher | None
) -> Callable[[int], None] | None:
    """Lets the model go on from the opening of the first document that has one, for whoever watches."""
    if watch is None:
        return None
    opening = next(text for document in documents if (text := document.text.strip()[:24]))

    def sample(step: int) -> None:
        writer = LanguageModel.from_model(model, tokenizer)
        watch(Sampled(step, str(writer.generate(opening, 40, seed=0))))
        model.train()

    return sample


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}, it must be at least 1")


def _check(minutes: float | None, learning_rate: float | None, precision: str, seed: int) -> None:
    for name, value in {"minutes": minutes, "learning_rate": learning_rate}.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value}, it must be above 0 and finite")
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision is {precision!r}, it must be float32 or bfloat16")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed is {seed}, it must be 0 or more and below 2**63")


def _check_place(out: Path) -> None:
    """Refuses, before any work is done, a place where no model can be written."""
    require_writable(out)
    if out.resolve() == Path.cwd():
        raise ConfigError(f"out is {out}, the current directory", hint="give the model a directory of its own")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent):
            pass
    except OSError as error:
        raise ModelFileError(f"cannot write {out}: {error.strerror}") from None


def _resumed_plan(kept: Path, settings: dict[str, Any], given: dict[str, Any]) -> Plan:
    """The plan of the run that goes on; a setting that is given again must be the same."""
    try:
        plan = Plan(**settings["plan"])
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"the checkpoint {kept} is damaged: {error}", hint="start without --resume") from None
    for name, value in given.items():
        if value is not None and value != getattr(plan, name):
            raise ConfigError(
                f"{name} is {value}, the run that goes on has {getattr(plan, name)}",
                hint="leave it out, or start without --resume",
            )
    return plan


def _split(
    documents: list[Document], validation: float | str | Path | None, encoding: str | None
) -> tuple[list[Document], list[Document]]:
    require_enough(documents)
    if validation is None:
        return documents, []
    if isinstance(validation, str | Path):
        return documents, read_documents([validation], encoding)
    return split_documents(documents, validation)


def _context(preset: str, tokens: int) -> int:
    """The preset's context, or less where the text is short: it should hold at least eight windows."""
    return max(4, min(CONTEXTS.get(preset, 256), tokens // 8))
