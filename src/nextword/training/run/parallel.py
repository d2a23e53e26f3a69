"""One model on many processes: each computes other rows; gradients are averaged, weights whole (DDP) or in shards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from nextword.errors import ConfigError
from nextword.model import GPTModel
from nextword.model.gpt import TransformerBlock
from nextword.settings import Strategy
from nextword.training.run.loss import linear_cross_entropy
from nextword.training.run.ranks import Ranks


class LossModel(nn.Module):
    """A model and its loss as one module: its `forward` is what DDP and FSDP watch, whatever happens inside."""

    def __init__(self, model: GPTModel, precision: str = "float32", *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self._fast = torch.compile(model.hidden) if compiled else model.hidden
        self._bfloat16 = precision == "bfloat16"

    def forward(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """The summed loss in nats of predicting every token but the first of each row.

        Args:
            ids: Token ids, [B, T + 1].
            weights: How much each token counts, [B, T + 1]; the first column is not used. None: all count.
        """
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self._bfloat16 and torch.is_grad_enabled()):
            # Windows of held-out text have other shapes, each of which would be compiled anew.
            hidden_BTD = (self._fast if torch.is_grad_enabled() else self.model.hidden)(ids[:, :-1])
            head = self.model.output_layer
            return linear_cross_entropy(
                hidden_BTD,
                head.weight,
                ids[:, 1:],
                bias_V=head.bias,
                weights_BT=None if weights is None else weights[:, 1:],
            )


class CheckpointedBlock(TransformerBlock):
    """A block that keeps only its input for the backward pass and computes the rest a second time."""

    def forward(self, x: Tensor, mask: Tensor | None = None, **others: Any) -> Tensor:
        """As TransformerBlock's."""
        if not torch.is_grad_enabled():
            return super().forward(x, mask, **others)
        again: Tensor = checkpoint(super().forward, x, mask, use_reentrant=False, **others)
        return again


class Parallel:
    """A model as every process of a run trains it.

    `ddp`: each process holds everything (Li et al. 2020, "PyTorch Distributed"). `fsdp`: weights, gradients and the
    optimizer's moments are cut into one shard a process (ZeRO stage 3, Rajbhandari et al. 2020); a block's weights are
    gathered when it computes. Build the optimizer after this: under `fsdp` the model's parameters become DTensors.

    Args:
        model: On the process's device, with the same weights on every process.
        ranks: The processes; with one there is nothing to share out, whatever the strategy.
        strategy: `ddp` or `fsdp`.
        checkpointing: Recompute activations in the backward pass: less memory, about a third more arithmetic.
        precision: `float32`, or `bfloat16` for the matrix products (and what `fsdp` gathers).
        compiled: Let torch.compile make kernels for the training steps: it takes half a minute, and a C++ compiler.

    Raises:
        ConfigError: There is no such strategy, or nothing to compile with.
    """

    def __init__(
        self,
        model: GPTModel,
        ranks: Ranks,
        *,
        strategy: Strategy = "ddp",
        checkpointing: bool = False,
        precision: str = "float32",
        compiled: bool = False,
    ) -> None:
        if compiled:
            _require_compiler(strategy, ranks)
        if strategy not in get_args(Strategy):
            raise ConfigError(f"strategy is {strategy!r}, it must be {' or '.join(get_args(Strategy))}")
        self.model = model
        self.ranks = ranks
        self.sharded = strategy == "fsdp" and ranks.world_size > 1
        if checkpointing:
            for block in model.blocks:
                block.__class__ = CheckpointedBlock  # keeps every name; a copy of the model stays a copy
        self._alone: nn.Module = LossModel(model, precision, compiled=compiled)
        self._wrapped: nn.Module = self._alone
        if self.sharded:
            _shard(self._alone, model, ranks, precision)
        elif ranks.world_size > 1:
            # Not gradient_as_bucket_view: gradients must stay where an optimizer may have laid them out.
            self._wrapped = DistributedDataParallel(self._alone)

    def backward(self, ids: Tensor, weights: Tensor | None, total: float, *, last: bool = True) -> Tensor:
        """Adds a micro-batch to the gradients, and gives its summed loss in nats, [].

        Once the last micro-batch of every process is through, the gradients are those of the mean over all tokens of
        the step's batch, as if one process had computed it.

        Args:
            ids: This process's rows, [B, T + 1].
            weights: How much each token counts, [B, T + 1], or None.
            total: Tokens that count in the whole step's batch: all processes, all micro-batches.
            last: Whether it is this process's last micro-batch of the step.
        """
        with self._no_sync(last):
            nats: Tensor = self._wrapped(ids, weights)
            # Both strategies give the mean over processes, so that a sum has to be multiplied by their number.
            (nats * (self.ranks.world_size / total)).backward()  # type: ignore[no-untyped-call]
        return nats.detach()

    @torch.no_grad()
    def nats(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """The summed loss of these rows, without gradients, []. Under `fsdp` all processes must call it together."""
        nats: Tensor = self._alone(ids, weights)
        self._reshard()
        return nats

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Shortens the gradient to `max_norm`, and gives the length it had, []."""
        return _full_tensor(torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm))

    def full_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors from shards, in rank 0's ordinary memory; the other processes take part and get nothing."""
        self._reshard()
        gathered = {}
        for name in sorted(tensors):  # what was read from a file comes in another order on every process
            full = _full_tensor(tensors[name])
            if self.ranks.is_main:
                gathered[name] = full.cpu() if self.sharded else full
        return gathered

    def close(self) -> None:
        """Ends `backward`; to be called before the processes part."""
        # DDP's reducer must not be the last to hold their connections: it would wait, with Python's lock held, for a
        # thread that may need the lock to let go of the last tensor it sent.
        if isinstance(self._wrapped, DistributedDataParallel):
            del self._wrapped.logger, self._wrapped.reducer
        self._wrapped = self._alone

    def _reshard(self) -> None:
        """Weights that a forward pass has gathered, and no backward pass has let go of, become shards again."""
        if self.sharded:
            cast(Any, self._alone).reshard()

    @contextmanager
    def _no_sync(self, last: bool) -> Iterator[None]:
        """DDP talks in the last micro-batch only; FSDP in each, so that no process ever holds all gradients."""
        if last or not isinstance(self._wrapped, DistributedDataParallel):
            yield
        else:
            with self._wrapped.no_sync():
                yield


def _full_tensor(tensor: Tensor) -> Tensor:
    """The whole of a DTensor; others are whole."""
    # Not isinstance: a single process would import DTensor, half a second and 40 MB, for nothing.
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def _require_compiler(strategy: str, ranks: Ranks) -> None:
    if strategy == "fsdp":
        raise ConfigError("torch.compile and fsdp are not combined here", hint="leave out compile=True or strategy=...")
    if ranks.device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise ConfigError(
            "torch.compile needs a C++ compiler, and there is none", hint="install g++, or leave out compile=True"
        )


def _shard(loss_model: nn.Module, model: GPTModel, ranks: Ranks, precision: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(torch.device(ranks.device).type, (ranks.world_size,))
    half = precision == "bfloat16"
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(loss_model, mesh=mesh, mp_policy=policy)
