"""Tensors that are spread over processes, on disk: each process writes its shards, any number of processes reads them.

The files are safetensors (`shard-00001-model-00001-of-00001.safetensors`, ...), written and read by
torch.distributed.checkpoint's Hugging Face storage, which, unlike its default, keeps its metadata in the files' headers
and pickles nothing on disk. `shards.json` lists the whole tensors' shapes: the reader itself fills what it finds and
would not miss a file.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor

from nextword.errors import ModelFileError
from nextword.training.checkpoints.checkpoint import SHAPES
from nextword.training.run_directory import START_ANEW

Kinds = Mapping[str, Mapping[str, Tensor]]
"""Tensors by kind (`model`, `best`, `optimizer`) and name: DTensors, or plain ones that all processes have alike."""


class Processes(Protocol):
    """The processes of a run, as far as saving asks for them (`run.ranks.Ranks`)."""

    @property
    def is_main(self) -> bool:
        """Whether this one writes what is written once."""
        ...

    @property
    def world_size(self) -> int:
        """How many there are."""
        ...

    def barrier(self) -> None:
        """Returns once all have called it."""
        ...


def write_shards(directory: Path, kinds: Kinds, ranks: Processes) -> Path:
    """Writes the tensors of all processes, each its own part, into a fresh `directory/.shards`, and gives its path.

    All processes must call it, with a directory that they share. Rank 0 then moves the files into the checkpoint.

    Raises:
        ModelFileError: They cannot be written.
    """
    place = directory / ".shards"
    tensors = _flat(kinds)
    try:
        if ranks.is_main:
            shutil.rmtree(place, ignore_errors=True)  # of a run that was killed while writing
            place.mkdir(parents=True)
        ranks.barrier()
        writer = HuggingFaceStorageWriter(str(place), save_distributed=True)
        save(tensors, storage_writer=writer, no_dist=ranks.world_size == 1)
        if ranks.is_main:
            shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
            (place / SHAPES).write_text(json.dumps(shapes), encoding="utf-8")
    except (CheckpointException, OSError) as error:
        raise ModelFileError(f"cannot write {place}: {_reason(error)}") from None
    return place


def read_shards(directory: Path, targets: Kinds) -> dict[str, dict[str, Tensor]]:
    """Every tensor of a sharded checkpoint, whichever number of processes wrote it; all processes must call it.

    Args:
        directory: Where the files lie.
        targets: A tensor that is a DTensor here, by kind and name, is read as one: each process reads its own shards.
            The moments of parameter 12 of optimizer 0 (`0.12.exp_avg`) are like `0.12`. All others come whole.

    Raises:
        ModelFileError: A file is missing or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # a single process may read too
            kinds = _empty(directory, targets)
            reader = HuggingFaceStorageReader(str(directory))
            load(_flat(kinds), storage_reader=reader, no_dist=not dist.is_initialized())
    except (CheckpointException, SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(directory, _reason(error)) from None
    return kinds


def shard_like(kinds: Kinds, targets: Kinds) -> dict[str, dict[str, Tensor]]:
    """Whole tensors, which every process has, as DTensors where `targets` has DTensors (see `read_shards`)."""
    parts: dict[str, dict[str, Tensor]] = {}
    for kind, tensors in kinds.items():
        parts[kind] = {}
        for name, tensor in tensors.items():
            like = _like(targets, kind, name, tensor.shape)
            if like is not None:
                tensor = distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # noqa: PLW2901
            parts[kind][name] = tensor
    return parts


def numbered_parameters(optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Parameters by the numbers that their moments are saved under: `0.12` is number 12 of the first optimizer."""
    return {
        f"{i}.{number}": parameter.detach()
        for i, optimizer in enumerate(optimizers)
        for number, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"])
    }


def _empty(directory: Path, targets: Kinds) -> dict[str, dict[str, Tensor]]:
    """Tensors to read into, shaped and sharded as they should be."""
    there = HuggingFaceStorageReader(str(directory)).read_metadata().state_dict_metadata
    kinds: dict[str, dict[str, Tensor]] = {}
    for key, dimensions in json.loads((directory / SHAPES).read_text(encoding="utf-8")).items():
        entry, shape = there.get(key), torch.Size(dimensions)
        if (
            not isinstance(entry, TensorStorageMetadata)
            or entry.size != shape
            or sum(math.prod(chunk.sizes) for chunk in entry.chunks) != math.prod(shape)
        ):
            raise ValueError(f"a part of {key} is missing")
        kind, _, name = key.partition("/")
        like, dtype = _like(targets, kind, name, shape), entry.properties.dtype
        empty = torch.zeros(shape, dtype=dtype) if like is None else torch.zeros_like(like, dtype=dtype)
        kinds.setdefault(kind, {})[name] = empty
    return kinds


def _like(targets: Kinds, kind: str, name: str, shape: torch.Size) -> DTensor | None:
    candidates = targets.get(kind, {})
    like = candidates.get(name, candidates.get(name.rpartition(".")[0]))
    return like if isinstance(like, DTensor) and like.shape == shape else None


def _flat(kinds: Kinds) -> dict[str, Tensor]:
    return {f"{kind}/{name}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}


def _reason(error: BaseException) -> str:
    """What went wrong, in one line; of several processes, at the first."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


def _damaged(directory: Path, reason: str) -> ModelFileError:
    return ModelFileError(f"the checkpoint {directory} is damaged: {reason}", hint=START_ANEW)
