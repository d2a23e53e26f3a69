"""`nextword.train`: from text to a model on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch

from nextword.arguments import OWN_CHECK, checked
from nextword.errors import ConfigError, NextwordError
from nextword.formatting import escape_surrogates, pluralize
from nextword.language_model import LanguageModel
from nextword.loading import load
from nextword.machine.signals import terminate_as_interrupt
from nextword.model import GPTModel
from nextword.settings import TrainingKeywords, TrainingSettings, takes_settings
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.checkpoints.snapshots import Snapshots, delete_later_steps
from nextword.training.corpus.bpe_dropout import bpe_dropout_copies
from nextword.training.corpus.dataset import write_dataset
from nextword.training.corpus.fingerprint import fingerprint
from nextword.training.corpus.prepare import prepare_dataset
from nextword.training.corpus.text import SourceReport, find_sources
from nextword.training.events import Preparing, Watcher, clock, fan_out
from nextword.training.events.journal import METRICS, MetricsLog
from nextword.training.events.notebook import NotebookView, in_notebook, run_html
from nextword.training.events.report import draw_curve
from nextword.training.events.tensorboard import TensorBoard
from nextword.training.planning.derive import derive_plan, dropout_copies, max_held_out_bytes, max_read_bytes
from nextword.training.planning.flops import measure_flops
from nextword.training.planning.plan import Plan
from nextword.training.planning.verdict import Verdict, verdict
from nextword.training.run.estimate import Estimates, bigrams, estimate
from nextword.training.run.finish import can_write_model, finish
from nextword.training.run.initialization import initial_model
from nextword.training.run.loop import Trainer
from nextword.training.run.ranks import init_process_group
from nextword.training.run.record import (
    DATA,
    VARIED,
    RunRecord,
    StartedRun,
    check_resume_settings,
    open_run,
    read_run_record,
    write_run_record,
)
from nextword.training.run.sample import sampler
from nextword.training.run.start import start_or_resume
from nextword.training.run.surroundings import default_torch_state, translate_oom
from nextword.training.run_directory import checkpoint_path, steps_path

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
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
    """Each look at the held-out text: step, seconds, nats_per_token, nats_per_character, bits_per_byte, best, ..."""
    stopped: bool
    """Whether Ctrl-C ended it early; `train(..., resume=True)` then goes on."""
    state: str
    """A hash of weights, optimizer and step at the end; equal for equal runs on the CPU, resumed or not."""

    def facts(self) -> str:
        """Where the model is and how good it became, in a line."""
        best = min((row["bits_per_byte"] for row in self.validations), default=None)
        held_out = "" if best is None else f", held-out {best:.3f} bits/byte"
        steps = pluralize(self.steps, "steps")
        return f"{self.out}: {steps} in {clock(self.seconds)}{held_out}{', stopped' * self.stopped}"

    def __repr__(self) -> str:
        return f"<TrainingRun {self.facts()}>"

    def _repr_html_(self) -> str:
        return run_html(self.facts(), self.validations, self.model.provenance)


@checked
@takes_settings(TrainingSettings)
def train(
    paths: Annotated[str | Path | Sequence[str | Path], OWN_CHECK],
    out: str | Path,
    *,
    resume: bool = False,
    restart: bool = False,
    watch: Watcher | Iterable[Watcher] | None = None,
    started: float | None = None,
    **settings: Unpack[TrainingKeywords],
) -> TrainingRun:
    """Trains a model on text and saves it as a bundle.

    What is left at None is derived from the text, the time and the speed of the machine. While it runs, its state is
    kept in `OUT.checkpoint`: a run that is killed goes on with `resume=True`, and comes to the same weights. Ctrl-C
    and, where nobody else handles them, SIGTERM and SIGHUP end it early: model and state are saved first. After SIGTERM
    or SIGHUP the process ends as it would have at once.

    Args:
        paths: Files, directories, patterns, `-` (standard input), URLs, `hf:owner/name`; .txt, .md, .json, .jsonl,
            .csv, .tsv, .parquet and .ipynb, each also .gz, .zst, .bz2 or .xz. Rows with `messages` are conversations,
            of which the answers are learned. Of a directory, what is hidden, what holds no text, and what nextword
            wrote itself is passed over. May be empty with `resume`.
        out: Where the model goes.
        resume: Go on from the checkpoint of an earlier run with the same `out` and text.
        restart: Throw an unfinished run's checkpoint away and begin anew.
        watch: Is told what happens; one callable or several. None draws in a notebook's cell, and nothing elsewhere.
            What one of them raises ends the run; after the last step, it is raised when the model is saved.
        started: When the time budget began, on `time.monotonic`; None is now.
        **settings: What the run is to be; `TrainingSettings` says what each means.

    Raises:
        TextError: Text is missing, empty, too short or wrongly encoded.
        ConfigError: A setting is of another type or out of range, a run to the same place is unfinished or going on, or
            there is not enough memory.
        ModelFileError: `out` holds something that is no model, or cannot be written.
        NextwordError: The loss is not finite any more, or the run was stopped before its first step.
    """
    began = time.monotonic() if started is None else started
    requested = TrainingSettings(**settings)
    out = Path(out)
    _check_arguments(out, requested, resume=resume, restart=restart)
    sources = _sources(paths)
    with (
        terminate_as_interrupt(reraise=True),
        default_torch_state(),
        translate_oom(),
        init_process_group(requested.device) as ranks,
        torch.random.fork_rng(devices=[]),
        ExitStack() as stack,
    ):
        if watch is None and ranks.is_main and in_notebook():
            watch = stack.enter_context(NotebookView()).watch
        emit = fan_out(watch if ranks.is_main else None)

        checkpoints, base = Checkpoints(checkpoint_path(out)), None
        resume = start_or_resume(out, requested, ranks, checkpoints, stack, resume=resume, restart=restart)
        if ranks.is_main and not resume:
            base = prepare_run(checkpoints.directory, sources, requested, ranks.device, emit)
        ranks.barrier()
        record = read_run_record(checkpoints.directory)
        if resume:
            check_resume_settings(requested, sources, record)
        run = open_run(record, checkpoints, base, ranks.device)

        logs = stack.enter_context(ExitStack())
        log = fan_out(_open_logs(out, run, logs, tensorboard=requested.log == "tensorboard") if ranks.is_main else None)
        emit_all = fan_out((log, emit))
        model = initial_model(record.plan, run.base, record.seed).to(ranks.device)
        trainer = Trainer(
            model,
            run.train_text,
            run.dataset.validation,
            record.plan,
            seed=record.seed,
            ranks=ranks,
            checkpoints=checkpoints,
            checkpoint_seconds=requested.checkpoint_seconds,
            watch=emit_all,
            sample=sampler(model, run.dataset, emit_all) if watch is not None and ranks.world_size == 1 else None,
            snapshots=Snapshots(steps_path(out), run.dataset.tokenizer, run.base) if requested.snapshots else None,
        )
        stack.callback(trainer.close)
        if run.is_resumed:
            trainer.resume()
        estimates = estimate(trainer, run, began, emit_all, saves=2 if requested.snapshots else 1)
        trainer.run(lambda: ranks.is_main and not can_write_model(out))
        if trainer.state.step == 0:
            raise NextwordError("stopped before the first step: there is nothing to save")

        lm, deferred, trained = None, trainer.deferred, trainer.whole_model()
        if trained is not None:  # rank 0 has it
            judgement = _judge(trained, trainer, run, estimates)
            with deferred.wait():
                log(judgement)
            lm = finish(out, trained, trainer, run, estimates, judgement)
            draw_curve(out)
            with deferred.wait():
                emit(judgement)
        with deferred.wait():
            logs.close()  # before the directory goes: Windows removes no open file
        if lm is not None and deferred:
            _LOG.warning("the model is saved in %s; what went wrong then:", escape_surrogates(out))
        if ranks.is_main and not trainer.stopped:
            checkpoints.remove()
        ranks.barrier()
        deferred.release()
        state = trainer.state
        return TrainingRun(
            lm or load(out, device=ranks.device),
            out,
            trainer.plan,
            state.step,
            state.seconds,
            tuple(state.validations),
            trainer.stopped,
            trainer.hash,
        )


def _check_arguments(out: Path, settings: TrainingSettings, *, resume: bool, restart: bool) -> None:
    """Refuses what makes no sense together.

    Raises:
        ConfigError: `out` is no place for a model, or the run is to go on and to begin anew.
    """
    if resume and restart:
        raise ConfigError("resume=True goes on with a run, restart=True begins anew: not both")
    if not out.name or out.resolve() == Path.cwd():
        raise ConfigError(f"out is {out}: a model needs a directory of its own")
    if settings.from_model is not None and Path(settings.from_model).resolve() == out.resolve():
        # A run that was stopped leaves its model there, and would then go on from that one.
        raise ConfigError(f"out is {out}, the model that the run starts from", hint="choose another directory")


def _sources(paths: object) -> list[str | Path]:
    """What was named, as a list.

    Raises:
        ConfigError: It is no name, such as an open file.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths) if isinstance(paths, list | tuple) else None
    sources = [] if listed is None else [path for path in listed if isinstance(path, str | Path)]
    if listed is None or len(sources) < len(listed):
        raise ConfigError(
            f"paths should be a name or a list of names, found {type(paths).__name__}",
            hint='for example train("my.txt", "my-model")',
        )
    return sources


def prepare_run(
    run: Path, sources: Sequence[str | Path], settings: TrainingSettings, device: str, emit: Watcher
) -> LanguageModel | None:
    """Prepares the text, derives the plan, and writes both into the run directory: the run can start, or go on.

    Args:
        run: The directory of the run's checkpoints.
        sources: What is read.
        settings: What the run is to be.
        device: Where the model to start from is loaded.
        emit: Is told how far the text is prepared.

    Returns:
        The model to start from, if any.

    Raises:
        TextError: Text is missing, empty, too short, damaged or wrongly encoded.
        ConfigError: A setting is out of range.
        ModelFileError: The model to start from cannot be read, or the directory cannot be written.
    """
    base = None if settings.from_model is None else load(settings.from_model, backend="torch", device=device)
    flops, reading = measure_flops(), SourceReport()
    limit, validation_limit = max_read_bytes(settings), max_held_out_bytes(settings, base, flops)
    found = list(find_sources(sources, settings.exclude, reading.skipped))
    if not found:
        raise reading.nothing()
    dataset = prepare_dataset(
        run / DATA,
        found,
        settings,
        base,
        limit=limit,
        validation_limit=validation_limit,
        progress=lambda *progress: emit(Preparing(*progress)),
        reading=reading,
    )
    plan = derive_plan(settings, dataset, base, flops)
    record = RunRecord(plan, settings.seed, settings.time_limit, fingerprint(found), settings.vocab_size)
    if plan.bpe_dropout:
        copies = dropout_copies(settings, plan, dataset, flops)
        varied = bpe_dropout_copies(
            dataset.train.tokens, dataset.tokenizer, copies=copies, dropout=plan.bpe_dropout, seed=settings.seed
        )
        write_dataset(run / VARIED, varied, None, dataset.tokenizer, dataset.report)
    parameters = (plan.config() if base is None else base.config).num_parameters
    write_run_record(run, record, parameters, dataset.report)
    return base


def _open_logs(out: Path, run: StartedRun, stack: ExitStack, *, tensorboard: bool) -> list[Watcher]:
    """The files that keep the run's events, without those of steps that are taken again."""
    last_step = run.checkpoints.steps()[-1] if run.is_resumed else 0
    delete_later_steps(steps_path(out), last_step if run.is_resumed else -1)
    logs: list[Watcher] = [stack.enter_context(MetricsLog(run.checkpoints.directory / METRICS, last_step))]
    if tensorboard:
        logs.append(stack.enter_context(TensorBoard(out.with_name(f"{out.name}.logs"), last_step)))
    return logs


def _judge(model: GPTModel, trainer: Trainer, run: StartedRun, estimates: Estimates) -> Verdict:
    validation = run.dataset.validation
    return verdict(
        trainer.state.validations,
        parameters=model.config.num_parameters,
        text_bytes=run.dataset.report.bytes,
        held_out_characters=None if validation is None else validation.characters,
        bigram=bigrams(estimates.baselines),
        expected=None if trainer.stopped else estimates.expected.expected,
    )
