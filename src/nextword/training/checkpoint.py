"""Where a run stands, on disk: weights, best weights, optimizer, step and random state, in safetensors and JSON."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from nextword.errors import ModelFileError
from nextword.files.atomic import replace_directory

_KINDS = ("model", "best", "optimizer")


@dataclass
class RunState:
    """Everything but tensors that a run needs to go on."""

    step: int = 0
    seconds: float = 0.0
    """Training time so far."""
    best_nats: float | None = None
    best_step: int = 0
    next_evaluation: float = 0.0
    """Share of the run at which the held-out text is looked at next."""
    validations: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """Plan and seed; a run only goes on with the ones it began with."""


def checkpoint_path(out: Path) -> Path:
    """Where the checkpoint of a run that writes its model to `out` lies."""
    return out.with_name(f"{out.name}.checkpoint")


def save_checkpoint(
    path: Path,
    state: RunState,
    tokenizer_json: str,
    model: dict[str, torch.Tensor],
    best: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Writes a checkpoint, whole or not at all.

    Raises:
        ModelFileError: It cannot be written.
    """
    moments = {
        f"{number}.{name}": value.contiguous()
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    with replace_directory(path) as fresh:
        tensors = (model, best, {**moments, "rng": torch.get_rng_state()})
        for kind, values in zip(_KINDS, tensors, strict=True):
            try:
                save_file(values, fresh / f"{kind}.safetensors")
            except SafetensorError as error:
                raise ModelFileError(f"cannot write {path}: {error}") from None
        (fresh / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
        (fresh / "state.json").write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")


def load_checkpoint(path: Path) -> tuple[RunState, dict[str, dict[str, torch.Tensor]], str]:
    """State, tensors by kind (`model`, `best`, `optimizer`), and the tokenizer's JSON.

    Raises:
        ModelFileError: There is none, or it is damaged.
    """
    if not path.is_dir():
        raise ModelFileError(f"there is no checkpoint at {path}", hint="start without --resume")
    try:
        state = RunState(**json.loads((path / "state.json").read_text(encoding="utf-8")))
        # Read, not mapped: Windows replaces no directory that has mapped files.
        tensors = {kind: load((path / f"{kind}.safetensors").read_bytes()) for kind in _KINDS}
        return state, tensors, (path / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ModelFileError(f"the checkpoint {path} is damaged: {error}", hint="start without --resume") from None


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Puts the moments back and sets torch's random state."""
    torch.set_rng_state(tensors["rng"])
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key != "rng":
            number, name = key.split(".", 1)
            states.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint that is no longer needed."""
    shutil.rmtree(path, ignore_errors=True)
