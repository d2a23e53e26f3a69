"""A run's place is made ready: for a new run, or for one that goes on where it was broken off."""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path

from nextword.errors import ConfigError, ModelFileError
from nextword.files.atomic import sweep, write_errors
from nextword.files.bundle import require_writable
from nextword.formatting import pluralize
from nextword.settings import TrainingSettings
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.events.recorded_runs import read_run
from nextword.training.run.lock import run_lock
from nextword.training.run.ranks import Ranks
from nextword.training.run_directory import RECORD

_LOG = logging.getLogger(__name__)


def start_or_resume(
    out: Path,
    settings: TrainingSettings,
    ranks: Ranks,
    checkpoints: Checkpoints,
    stack: ExitStack,
    *,
    resume: bool,
    restart: bool,
) -> bool:
    """Makes the place of a run ready, on rank 0, and keeps other runs away from it until the stack is closed.

    Returns:
        Whether a run goes on there: because that is asked for, or because torchrun started its processes anew.

    Raises:
        ConfigError: A run to this place is unfinished or going on, or its batches cannot be shared out.
        ModelFileError: The place cannot be written, or there is nothing to go on with.
    """
    resume = resume or (ranks.restarted and (checkpoints.directory / RECORD).exists())
    if settings.batch_size is not None:
        ranks.rows(settings.batch_size, settings.accumulation or 1)  # before any text is read
    if ranks.is_main:
        _check_out(out)
        stack.enter_context(run_lock(out))
        sweep(out.parent, out.name)
        checkpoints.sweep()
        stack.callback(_remove_empty_run, checkpoints)
        if resume:
            _require_resumable(out, checkpoints)
        else:
            _clear_previous_run(checkpoints, restart)
    return resume


def _clear_previous_run(checkpoints: Checkpoints, restart: bool) -> None:
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


def _require_resumable(out: Path, checkpoints: Checkpoints) -> None:
    """Refuses to go on with a run that is not there; of one that was ended before its first checkpoint, a note tells.

    Raises:
        ModelFileError: Nothing has been begun, or what has been begun is done.
    """
    run = checkpoints.directory
    if not (run / RECORD).exists():
        if read_run(out) is not None:
            raise ModelFileError(
                f"there is no checkpoint at {run}: the model in {out} is finished",
                hint=f'to train it further: from_model="{out}" and another out=...; to begin anew, no resume=True',
            )
        raise ModelFileError(f"there is no checkpoint at {run}", hint="leave out resume=True to begin a run")
    if not checkpoints.steps():
        _LOG.warning("the run was ended before its first checkpoint: it begins again at step 0, with its text")


def _remove_empty_run(checkpoints: Checkpoints) -> None:
    if not checkpoints.steps():
        checkpoints.remove()


def _check_out(out: Path) -> None:
    """Refuses, before any work is done, a place where no model can be written."""
    require_writable(out)
    with write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent):
            pass
