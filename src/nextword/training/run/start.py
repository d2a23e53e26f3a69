"""Opening a run: its place is made ready, and it begins, or goes on where it was broken off."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nextword.errors import ConfigError, ModelFileError
from nextword.files.atomic import sweep, write_errors
from nextword.files.bundle import require_writable
from nextword.language_model import LanguageModel
from nextword.loading import load
from nextword.readable import pluralize
from nextword.settings import TrainingSettings
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.corpus.dataset import Prepared, open_data
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.events import Watcher
from nextword.training.events.recorded_runs import read_run
from nextword.training.run.begin import Beginning, begin, check_resumed, read_beginning
from nextword.training.run.lock import claim
from nextword.training.run.ranks import Ranks
from nextword.training.run_directory import RECORD, checkpoint_path

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run that has begun: on every process the same."""

    begun: Beginning
    prepared: Prepared
    base: LanguageModel | None
    checkpoints: Checkpoints
    learned: TokenizedText
    """What the steps read: the text, or variants of it (`bpe_dropout`)."""
    goes_on: bool
    """Whether steps have been taken before."""


def open_run(
    out: Path,
    sources: Sequence[str | Path],
    asked: TrainingSettings,
    ranks: Ranks,
    tell: Watcher,
    stack: ExitStack,
    *,
    resume: bool,
    restart: bool,
) -> Run:
    """Rank 0 begins the run, unless it goes on; then all read what was begun."""
    kept = checkpoint_path(out)
    checkpoints = Checkpoints(kept)
    resume = resume or (ranks.restarted and (kept / RECORD).exists())
    base = None
    if asked.batch_size is not None:
        ranks.rows(asked.batch_size, asked.accumulation or 1)  # can they be shared out? Before any text is read
    if ranks.is_main:
        _check_place(out)
        stack.enter_context(claim(out))
        sweep(out.parent, out.name)
        checkpoints.sweep()
        stack.callback(_remove_what_holds_no_step, checkpoints)
        if resume:
            _require_begun(out, checkpoints)
        else:
            _require_free(checkpoints, restart)
            if asked.from_model is not None:
                base = load(asked.from_model, backend="torch", device=ranks.device)
            begin(kept, sources, asked, base, tell)
    ranks.barrier()
    begun = read_beginning(kept)
    if resume:
        check_resumed(asked, sources, begun)
    if base is None and begun.plan.base is not None:
        base = load(begun.plan.base, backend="torch", device=ranks.device)
    prepared = open_data(kept / "data")
    learned = open_data(kept / "varied").train if begun.plan.bpe_dropout else prepared.train
    return Run(begun, prepared, base, checkpoints, learned, bool(checkpoints.steps()))


def _require_free(checkpoints: Checkpoints, restart: bool) -> None:
    """Clears away what an earlier run to the same place left, unless it could go on.

    Raises:
        ConfigError: It could, and nobody said that it should not.
    """
    steps = checkpoints.steps()
    if steps and not restart:
        raise ConfigError(
            f"{checkpoints.directory} holds a run that was stopped after {pluralize(steps[-1], 'steps')}",
            hint="resume=True goes on with it, restart=True throws it away",
        )
    checkpoints.remove()


def _require_begun(out: Path, checkpoints: Checkpoints) -> None:
    """Refuses to go on with a run that is not there; of one that was ended before its first checkpoint, a note tells.

    Raises:
        ModelFileError: Nothing has been begun, or what has been begun is done.
    """
    kept = checkpoints.directory
    if not (kept / RECORD).exists():
        if read_run(out) is not None:
            raise ModelFileError(
                f"there is no checkpoint at {kept}: the model in {out} is finished",
                hint=f'to train it further: from_model="{out}" and another out=...; to begin anew, no resume=True',
            )
        raise ModelFileError(f"there is no checkpoint at {kept}", hint="leave out resume=True to begin a run")
    if not checkpoints.steps():
        _LOG.warning("the run was ended before its first checkpoint: it begins again at step 0, with its text")


def _remove_what_holds_no_step(checkpoints: Checkpoints) -> None:
    if not checkpoints.steps():
        checkpoints.remove()


def _check_place(out: Path) -> None:
    """Refuses, before any work is done, a place where no model can be written."""
    require_writable(out)
    with write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent):
            pass
