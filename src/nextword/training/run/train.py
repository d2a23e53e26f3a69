"""`nextword.train`: from text to a model on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import nn

from nextword.arguments import OWN_CHECK, checked
from nextword.errors import ConfigError, NextwordError
from nextword.language_model import LanguageModel
from nextword.loading import load
from nextword.machine.signals import terminate_as_interrupt
from nextword.model import GPTModel
from nextword.readable import pluralize, readable
from nextword.settings import TrainingKeywords, TrainingSettings, takes_settings
from nextword.training.adapters.lora import add_lora
from nextword.training.checkpoints.snapshots import Snapshots, forget_steps
from nextword.training.corpus.dataset import Prepared
from nextword.training.events import Sampled, Watcher, clock
from nextword.training.events.journal import METRICS, Journal, all_of
from nextword.training.events.notebook import NotebookView, in_notebook, run_html
from nextword.training.events.tensorboard import TensorBoard
from nextword.training.planning.plan import Plan
from nextword.training.run.estimate import estimate
from nextword.training.run.finish import can_write_model, finish
from nextword.training.run.loop import Trainer
from nextword.training.run.optimizer import draw_first_weights
from nextword.training.run.ranks import join
from nextword.training.run.start import Run, open_run
from nextword.training.run.surroundings import memory_is_enough, torch_as_it_starts
from nextword.training.run_directory import steps_path

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
        best = min((look["bits_per_byte"] for look in self.validations), default=None)
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
    asked = TrainingSettings(**settings)
    if resume and restart:
        raise ConfigError("resume=True goes on with a run, restart=True begins anew: not both")
    out = Path(out)
    if not out.name or out.resolve() == Path.cwd():
        raise ConfigError(f"out is {out}: a model needs a directory of its own")
    if asked.from_model is not None and Path(asked.from_model).resolve() == out.resolve():
        # A run that was stopped leaves its model there, and would then go on from that one.
        raise ConfigError(f"out is {out}, the model that the run starts from", hint="choose another directory")
    sources = _sources(paths)
    with (
        terminate_as_interrupt(again=True),
        torch_as_it_starts(),
        memory_is_enough(),
        join(asked.device) as ranks,
        torch.random.fork_rng(devices=[]),
        ExitStack() as stack,
    ):
        if watch is None and ranks.is_main and in_notebook():
            watch = stack.enter_context(NotebookView()).watch
        tell = (all_of(watch) if ranks.is_main else None) or _nobody
        run = open_run(out, sources, asked, ranks, tell, stack, resume=resume, restart=restart)
        logs = stack.enter_context(ExitStack())
        record: Watcher = _nobody
        if ranks.is_main:
            after = run.checkpoints.steps()[-1] if run.goes_on else 0
            forget_steps(steps_path(out), after if run.goes_on else -1)
            logged: list[Watcher] = [logs.enter_context(Journal(run.checkpoints.directory / METRICS, after))]
            if asked.log == "tensorboard":
                logged.append(logs.enter_context(TensorBoard(out.with_name(f"{out.name}.logs"), after)))
            record = all_of(logged) or _nobody
        tell_all = all_of((record, tell)) or _nobody
        model = _first_model(run).to(ranks.device)
        trainer = Trainer(
            model,
            run.learned,
            run.prepared.validation,
            run.begun.plan,
            seed=run.begun.seed,
            ranks=ranks,
            checkpoints=run.checkpoints,
            checkpoint_seconds=asked.checkpoint_seconds,
            watch=tell_all,
            sample=_sampler(model, run.prepared, tell_all) if watch is not None and ranks.world == 1 else None,
            snapshots=Snapshots(steps_path(out), run.prepared.tokenizer, run.base) if asked.snapshots else None,
        )
        stack.callback(trainer.close)
        if run.goes_on:
            trainer.resume()
        estimates = estimate(trainer, run, began, tell_all, saves=2 if asked.snapshots else 1)
        trainer.run(lambda: ranks.is_main and not can_write_model(out))
        if trainer.state.step == 0:
            raise NextwordError("stopped before the first step: there is nothing to save")
        lm = finish(out, trainer, run, estimates, record, tell)
        with trainer.late.wait():
            logs.close()  # before the directory goes: Windows removes no open file
        if lm is not None and trainer.late:
            _LOG.warning("the model is saved in %s; what went wrong then:", readable(out))
        if ranks.is_main and not trainer.stopped:
            run.checkpoints.remove()
        ranks.barrier()
        trainer.late.release()
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


def _first_model(run: Run) -> GPTModel:
    """The model as it is before the first step; the same on every process."""
    plan, base = run.begun.plan, run.base
    torch.manual_seed(run.begun.seed)
    if base is None:
        model = GPTModel.from_config(plan.config())
        draw_first_weights(model)
        return model
    model = base.model
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = plan.dropout
    if plan.lora_rank is not None:
        add_lora(model, plan.lora_rank, alpha=2 * plan.lora_rank)
    return model


def _sampler(model: GPTModel, prepared: Prepared, tell: Watcher) -> Callable[[int], None]:
    """Lets the model go on from the opening of the text, or answer the first held-out conversation."""
    judged = prepared.validation or prepared.train

    def sample(step: int) -> None:
        writer = LanguageModel.from_model(model, prepared.tokenizer)
        if judged.weights is None:
            text = str(writer.generate(prepared.report.opening, 40, seed=0))
        else:
            prompt = judged.tokens[: max(1, int(judged.weights.argmax()))].tolist()  # all before the first answer
            text = writer.generate(prompt, 40, seed=0).text
        tell(Sampled(step, text))
        model.train()

    return sample


def _nobody(_event: object) -> None:
    pass
