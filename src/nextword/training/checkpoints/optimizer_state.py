"""What a run's state has beside the weights, as named tensors: its optimizers; and the hash of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_NUMBERS: dict[type, torch.dtype] = {int: torch.int64, float: torch.float64}


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The state of every optimizer: `1.12.exp_avg` is `exp_avg` of the second one's parameter 12.

    A plain number becomes a tensor without dimensions whose name ends in its type: `1.12.step:int`. Settings such as
    learning rates are not state; they come from the run's plan.

    Raises:
        TypeError: An optimizer keeps something other than tensors and numbers.
    """
    tensors = {}
    for place, optimizer in enumerate(optimizers):
        for number, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                key = f"{place}.{number}.{name}"
                if isinstance(value, Tensor):
                    tensors[key] = value
                elif type(value) in _NUMBERS:
                    tensors[f"{key}:{type(value).__name__}"] = torch.tensor(value, dtype=_NUMBERS[type(value)])
                else:
                    raise TypeError(f"{type(optimizer).__name__} keeps {name}, a {type(value).__name__}")
    return tensors


def restore_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` gave.

    Raises:
        ValueError: The tensors belong to other optimizers.
    """
    states: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
    counts = [sum(len(group["params"]) for group in optimizer.param_groups) for optimizer in optimizers]
    for key, tensor in tensors.items():
        place, number, name = key.split(".", 2)
        if not (int(place) < len(states) and int(number) < counts[int(place)]):
            raise ValueError(f"{key} belongs to an optimizer or a parameter that this run does not have")
        name, _, kind = name.partition(":")
        states[int(place)].setdefault(int(number), {})[name] = tensor.item() if kind else tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, element types, shapes and bytes in the order of the names; the first 16 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # As bytes before it becomes an array: NumPy has no bfloat16.
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def state_hash(step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> str:
    """One hash of all that decides how a run goes on: the step, weights and optimizers.

    Two runs on the CPU that are equal bit for bit have the same one, however often they were broken off.

    Args:
        step: Steps taken.
        model: The weights.
        optimizer: What `optimizer_tensors` gave.
    """
    parts = {f"model.{name}": tensor for name, tensor in model.items()}
    parts |= {f"optimizer.{name}": tensor for name, tensor in optimizer.items()}
    return weights_hash({**parts, "step": torch.tensor(step)})
