"""Where a run stands, on disk: a directory for each of its last saved steps. One that is not whole does not count.

OUT.checkpoint/step-00000120/*.safetensors tensors by kind: model, best, optimizer
                             state.json    everything else, and a checksum of each file; written last
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from nextword.errors import ModelFileError
from nextword.files.atomic import discard, replace_directory, sweep
from nextword.machine.signals import defer_interrupts
from nextword.training.run_directory import (
    FORMAT_VERSION,
    START_ANEW,
    check_version,
    newer_version_error,
    step_path,
    steps_in,
)

SHAPES = "shards.json"
"""A step that holds this file was written as shards, by several processes (sharded.py)."""


@dataclass
class RunState:
    """Everything but tensors that a run needs to go on. Every field has a default: older checkpoints lack new ones."""

    step: int = 0
    seconds: float = 0.0
    """In the loop so far."""
    looking: float = 0.0
    """Seconds of these that went into looking at the held-out text."""
    best_nats: float | None = None
    best_step: int = 0
    loss: float | None = None
    """Of the training text, nats per token, smoothed over recent steps; None before the first one."""
    next_evaluation: float = 0.0
    """Share of the run at which the held-out text is looked at next."""
    validations: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """Plan and seed; a run only goes on with the ones it began with."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """The newest step that is whole."""

    state: RunState
    tensors: dict[str, dict[str, torch.Tensor]]
    """By kind and name, on the CPU."""
    skipped: tuple[str, ...]
    """A line for each newer step that is damaged: which one, and what is wrong."""
    directory: Path
    """Where it lies."""

    @property
    def sharded(self) -> bool:
        """Whether several processes wrote it in shards; then `tensors` is empty, and `read_shards` reads them."""
        return not self.tensors


class Checkpoints:
    """The steps of one run that can be gone on from.

    Args:
        directory: The run directory, OUT.checkpoint.
        keep: Steps that stay; the oldest goes when a newer one is on disk.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.directory = directory
        self._keep = keep

    def steps(self) -> list[int]:
        """The steps on disk in ascending order, damaged ones among them.

        Raises:
            ModelFileError: The directory cannot be read.
        """
        return steps_in(self.directory)

    def save(
        self, state: RunState, tensors: Mapping[str, Mapping[str, torch.Tensor]], shards: Path | None = None
    ) -> None:
        """Writes a step, whole or not at all. Ctrl-C waits until that is done.

        Args:
            state: Its `step` names the directory.
            tensors: By kind and name; each kind becomes a file.
            shards: A directory that `write_shards` filled, whose files become the step's in place of `tensors`.

        Raises:
            ModelFileError: It cannot be written; earlier steps are as they were.
        """
        path = self._path(state.step)
        with defer_interrupts():
            with replace_directory(path) as fresh:
                checksums = {}
                for kind, values in tensors.items():
                    file = fresh / f"{kind}.safetensors"
                    try:
                        save_file({name: value.contiguous() for name, value in values.items()}, file)
                    except SafetensorError as error:
                        raise ModelFileError(f"cannot write {path}: {error}") from None
                for file in [] if shards is None else shards.iterdir():
                    file.rename(fresh / file.name)
                for file in fresh.iterdir():
                    checksums[file.name] = _checksum_of_file(file)
                _write_state(fresh / "state.json", state, checksums)
            # A step above this one was damaged when the run went on from an earlier step: it would hide the good ones.
            steps = self.steps()
            kept = [step for step in steps if step <= state.step][-self._keep :]
            for step in set(steps) - set(kept):
                discard(self._path(step))

    def load(self) -> LoadedCheckpoint:
        """The newest step that is whole.

        Raises:
            ModelFileError: There is none, or a newer version of nextword wrote it.
        """
        skipped: list[str] = []
        for step in reversed(self.steps()):
            try:
                return LoadedCheckpoint(*_read_step(self._path(step), step), tuple(skipped), self._path(step))
            except (OSError, ValueError, RecursionError, SafetensorError) as error:
                skipped.append(f"the checkpoint {self._path(step)} is damaged: {' '.join(str(error).split())}")
        if skipped:
            raise ModelFileError(skipped[0], hint=START_ANEW)
        raise ModelFileError(f"there is no checkpoint at {self.directory}", hint=START_ANEW)

    def sweep(self) -> None:
        """Clears away what a killed run left half written; to be called before anything else is read or written.

        Raises:
            ModelFileError: The directory cannot be changed.
        """
        sweep(self.directory.parent, self.directory.name)
        sweep(self.directory)

    def delete_step(self, step: int) -> None:
        """Removes a step, if it is there: its weights turned out to be none to go on from."""
        discard(self._path(step))

    def remove(self) -> None:
        """Removes the run directory: the run is done, or begins anew."""
        discard(self.directory)

    def _path(self, step: int) -> Path:
        return step_path(self.directory, step)


def _write_state(path: Path, state: RunState, checksums: Mapping[str, str]) -> None:
    # As it will be read: a tuple comes back as a list, a number that is a key as text.
    content = json.loads(json.dumps({"state": asdict(state), "files": checksums}))
    document = {"format_version": FORMAT_VERSION, **content, "checksum": _checksum_of_json(content)}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _read_step(path: Path, step: int) -> tuple[RunState, dict[str, dict[str, torch.Tensor]]]:
    document = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError("state.json is no JSON object")
    check_version(path / "state.json", document)
    content: dict[str, Any] = {key: document.get(key) for key in ("state", "files")}
    if document.get("checksum") != _checksum_of_json(content):
        raise ValueError("state.json is not what was written")
    unknown = sorted(content["state"].keys() - {entry.name for entry in fields(RunState)})
    if unknown:
        raise newer_version_error(path / "state.json", f"the field {unknown[0]}")
    if content["state"]["step"] != step:
        raise ValueError(f"it holds step {content['state']['step']}")
    tensors = {}
    sharded = SHAPES in content["files"]
    for name, checksum in content["files"].items():
        file = path / name
        if sharded:  # each process will read its own part
            found = _checksum_of_file(file)
        else:
            # Read, not mapped: Windows replaces no directory that has mapped files.
            data = file.read_bytes()
            found = _checksum(data)
        if found != checksum:
            raise ValueError(f"{name} is not what was written")
        if not sharded:
            tensors[file.stem] = load(data)
    return RunState(**content["state"]), tensors


def _checksum(data: bytes) -> str:
    """CRC-32: against damage, not against forgery. It takes a quarter of the time of SHA-256."""
    return f"{zlib.crc32(data):08x}"


def _checksum_of_file(path: Path) -> str:
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            value = zlib.crc32(piece, value)
    return f"{value:08x}"


def _checksum_of_json(content: Mapping[str, Any]) -> str:
    return _checksum(json.dumps(content, sort_keys=True).encode())
