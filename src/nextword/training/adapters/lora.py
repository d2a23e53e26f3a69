"""LoRA: a small matrix product beside each large matrix, which learns while the large ones stand still.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"; the other scale is Kalajdzievski's, 2023,
"A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.errors import ConfigError
from nextword.model import GPTModel

TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "gate", "up", "down")
"""The matrices of a block that can be adapted; `gate` is there with the activation `swiglu` only."""


@dataclass(frozen=True)
class LoRA:
    """The settings of one adapted matrix.

    Raises:
        ConfigError: A value is out of range.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    """Share of the inputs that the adapter does not see while it is trained."""
    rslora: bool = False
    """Whether the scale is `alpha / sqrt(rank)`, which keeps the size of the updates at every rank."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"the rank of the adapter is {self.rank}, it must be at least 1")
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"alpha is {self.alpha}, it must be above 0 and finite")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"the dropout of the adapter is {self.dropout}, it must be at least 0 and below 1")

    @property
    def scale(self) -> float:
        """What the adapter's product is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def of_rank(self, rank: int) -> LoRA:
        """The same scale at another rank."""
        ratio = rank / self.rank
        return replace(self, rank=rank, alpha=self.alpha * (math.sqrt(ratio) if self.rslora else ratio))


class LoRALinear(nn.Linear):
    """`x W^T + bias + scale * x A^T B^T`. `weight` and `bias` are those of `base`, under their own names.

    Attributes:
        lora_A: [rank, in], drawn as nn.Linear draws.
        lora_B: [out, rank], zero: at first nothing is changed.
        lora: The settings.
    """

    def __init__(self, base: nn.Linear, lora: LoRA) -> None:
        # Without memory or random numbers: the parameters are replaced at once.
        super().__init__(base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.lora = lora
        self.lora_A = nn.Parameter(base.weight.new_empty(lora.rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, lora.rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.train(base.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  nn.Linear's name
        """[..., in] -> [..., out]."""
        seen = F.dropout(input, self.lora.dropout, self.training)
        change = F.linear(F.linear(seen, self.lora_A), self.lora_B)
        return F.linear(input, self.weight, self.bias) + self.lora.scale * change

    def merged(self) -> nn.Linear:
        """An ordinary layer that gives the same; its weight is this layer's own, changed in place."""
        with torch.no_grad():
            # In float32 at least: half precision would round the product before it is added.
            dtype = torch.promote_types(self.weight.dtype, torch.float32)
            change = self.lora.scale * (self.lora_B.to(dtype) @ self.lora_A.to(dtype))
            self.weight.copy_(self.weight.to(dtype) + change)
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight, layer.bias = self.weight, self.bias
        return layer


def add_lora(
    model: GPTModel,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Sequence[str] | None = None,
    dropout: float = 0.0,
    rslora: bool = False,
) -> None:
    """Puts an adapter beside matrices of every block and freezes all else, in place.

    The output stays the same until something is learned. `model.weights()` gives the frozen weights alone: `merge_lora`
    first, then save. A is drawn from torch's global generator.

    Args:
        model: The model.
        rank: Width of the adapters.
        alpha: The change is multiplied by `alpha / rank`.
        targets: Names among `TARGETS`; None is every one that the architecture has.
        dropout: Share of the inputs that the adapters do not see while they are trained.
        rslora: Multiply by `alpha / sqrt(rank)` instead.

    Raises:
        ConfigError: A setting is out of range, no such matrix is there, or the model has adapters already.
    """
    names = matrices(model)
    there = {name.rsplit(".", 1)[1] for name in names}
    if targets is not None and (not targets or (unknown := sorted(set(targets) - there))):
        found = f"{unknown[0]!r} is none of" if targets else "none was named of"
        raise ConfigError(f"{found} the matrices that can be adapted", hint=", ".join(t for t in TARGETS if t in there))
    wanted = there if targets is None else set(targets)
    lora = LoRA(rank, alpha, dropout, rslora)
    attach(model, {name: lora for name in names if name.rsplit(".", 1)[1] in wanted})


def attach(model: GPTModel, settings: Mapping[str, LoRA]) -> None:
    """`add_lora` with settings for each matrix, by the names of `matrices`.

    Raises:
        ConfigError: The model has adapters already.
    """
    if next(lora_layers(model), None):
        raise ConfigError("the model has adapters already", hint="merge_lora folds them into its weights")
    model.requires_grad_(False)
    layers = matrices(model)
    for name, lora in settings.items():
        model.set_submodule(name, LoRALinear(layers[name], lora))


def merge_lora(model: GPTModel) -> None:
    """Adds what the adapters learned to the weights, in place, and removes them; every weight can be trained again."""
    for name, layer in list(lora_layers(model)):
        model.set_submodule(name, layer.merged())
    model.requires_grad_(True)


def lora_layers(model: GPTModel) -> Iterator[tuple[str, LoRALinear]]:
    """Every adapted matrix, with its name (`blocks.0.attn.q_proj`)."""
    return ((name, layer) for name, layer in matrices(model).items() if isinstance(layer, LoRALinear))


def matrices(model: GPTModel) -> dict[str, nn.Linear]:
    """Every matrix that can be adapted, by name, in the order of the forward pass."""
    return {
        name: part for name, part in model.named_modules() if name.startswith("blocks.") and isinstance(part, nn.Linear)
    }
