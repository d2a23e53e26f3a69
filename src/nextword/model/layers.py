"""Normalisation and the feed-forward layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.config import GPTConfig
from nextword.model.rms_norm import rms_norm
from nextword.model.tap import Tap, tap_point


class Norm(nn.Module):
    """LayerNorm or RMSNorm over the last dimension.

    LayerNorm: `(x - mean) / sqrt(var + eps) * weight + bias`; RMSNorm: `x / sqrt(mean(x^2) + eps) * weight`.
    """

    def __init__(self, config: GPTConfig, width: int | None = None) -> None:
        super().__init__()
        width = width or config.d_model
        self.eps = config.norm_eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if config.norm == "layernorm" else None

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        """Same shape as `x`.

        `hook_scale` is the divisor, `hook_normalized` the quotient, `hook_out` what comes out: weight and bias applied.
        """
        edited = None if tap is None else self._forward_with_tap(x, tap)
        return tap_point(tap, "hook_out", self._normalize(x) if edited is None else edited)

    def _forward_with_tap(self, x: Tensor, tap: Tap) -> Tensor | None:
        """Shows divisor and quotient to the tap; gives the norm's output only if the tap changed one of them."""
        if not (tap.wants("hook_scale") or tap.wants("hook_normalized")):
            return None
        centred = x if self.bias is None else x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()
        divisor = tap_point(tap, "hook_scale", scale)
        if divisor is scale and not tap.wants("hook_normalized"):
            return None
        unscaled = centred / divisor
        normalized = tap_point(tap, "hook_normalized", unscaled)
        if divisor is scale and normalized is unscaled:
            return None
        weighted = normalized * self.weight
        return weighted if self.bias is None else weighted + self.bias

    def _normalize(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return rms_norm(x, self.weight, self.eps)
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class FeedForward(nn.Module):
    """Widens each token's vector to F numbers, bends them, narrows them back: [B, T, D] -> [B, T, D]."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.gate = nn.Linear(config.d_model, config.d_ff, config.mlp_bias) if config.activation == "swiglu" else None
        self.up = nn.Linear(config.d_model, config.d_ff, config.mlp_bias)
        self.down = nn.Linear(config.d_ff, config.d_model, config.mlp_bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, tap: Tap | None = None) -> Tensor:
        """`hook_pre` is what the non-linearity bends, `hook_post` what `down` reads."""
        if self.gate is not None:
            pre_BTF = tap_point(tap, "hook_pre", self.gate(x_BTD))
            post_BTF = F.silu(pre_BTF) * tap_point(tap, "hook_pre_linear", self.up(x_BTD))
        else:
            pre_BTF = tap_point(tap, "hook_pre", self.up(x_BTD))
            post_BTF = self._activate(pre_BTF)
        out_BTD: Tensor = self.dropout(self.down(tap_point(tap, "hook_post", post_BTF)))
        return out_BTD

    def _activate(self, x: Tensor) -> Tensor:
        if self.activation == "relu_squared":
            return F.relu(x).square()
        return F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")


def linear_weight(layer: nn.Module) -> Tensor:
    """[out, in]: what a linear layer multiplies with, adapters beside its weight included."""
    if type(layer) is nn.Linear:
        return layer.weight
    assert isinstance(layer, nn.Linear)  # noqa: S101  adapters are linear layers too
    unit = torch.eye(layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device)
    moved: Tensor = layer(unit)
    return (moved if layer.bias is None else moved - layer.bias).T
