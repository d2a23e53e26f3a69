"""RMSNorm, with a backward pass of its own where PyTorch has none that is fused."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last dimension; the weight takes `x`'s precision."""
    if x.device.type == "cpu" and torch.is_grad_enabled() and x.dtype == weight.dtype:
        normalized: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
        return normalized
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), eps)  # autocast hands half types in


class _RMSNorm(torch.autograd.Function):
    """On the CPU PyTorch differentiates RMSNorm through its single steps; this takes about half the time.

    LayerNorm's backward kernel, told that the mean is 0, gives the right gradient less `mean(g * weight) / rms`, its
    derivative of the mean: that is added back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse_rms = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse_rms)
        normalized: Tensor = (x * inverse_rms).mul_(weight)
        return normalized

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse_rms = ctx.saved_tensors
        grad, zero = grad.contiguous(), torch.zeros_like(inverse_rms)
        grad_x, grad_weight, _ = torch.ops.aten.native_layer_norm_backward(
            grad, x, weight.shape, zero, inverse_rms, weight, None, [True, True, False]
        )
        return grad_x.addcmul_(grad @ weight[:, None], inverse_rms, value=1 / len(weight)), grad_weight, None
