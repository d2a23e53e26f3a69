"""Cross-entropy of the next token, taken together with the head so that the logits of a whole batch never exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_MINIMUM_ROWS = 256
"""Fewer rows at once make the matrix products slow: each reads and writes a matrix as large as the head."""
_NUMBERS_AT_ONCE = 1 << 18
"""Logits that still lie in a core's cache when they are used again."""


def linear_cross_entropy(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    targets_BT: Tensor,
    *,
    bias_V: Tensor | None = None,
    weights_BT: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Sum of `-log softmax(hidden @ weight^T + bias)[target]` over all positions, in nats.

    Logits, their softmax and the gradients are made for `chunk` positions at a time, forward and backward in one go,
    so memory grows with `chunk * V`, not with `B * T * V`. Under autocast, or with weights of a half type, the matrix
    products run in the half type and the softmax in float32.

    Args:
        hidden_BTD: What the head reads, [..., D].
        weight_VD: The head's matrix, [V, D].
        targets_BT: The token that comes next at each position, of `hidden`'s shape without D.
        bias_V: The head's bias, if it has one.
        weights_BT: What each position counts; None is 1 each. No gradient flows to them.
        chunk: Positions at once; None chooses by V.

    Returns:
        A scalar, float32 (float64 for float64 inputs). Its gradient cannot itself be differentiated.
    """
    hidden_ND, targets_N = hidden_BTD.flatten(0, -2), targets_BT.flatten()
    weights_N = None if weights_BT is None else weights_BT.flatten()
    if not torch.is_grad_enabled():  # then no gradients are made
        hidden_ND, weight_VD = hidden_ND.detach(), weight_VD.detach()
        bias_V = None if bias_V is None else bias_V.detach()
    rows = chunk or max(_MINIMUM_ROWS, _NUMBERS_AT_ONCE // len(weight_VD))
    nats: Tensor = _LinearCrossEntropy.apply(hidden_ND, weight_VD, bias_V, targets_N, weights_N, rows)  # type: ignore[no-untyped-call]
    return nats


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradient of a sum is known once the softmax is: `(softmax - one at the target) * weight`, for each row."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        weights_N: Tensor | None,
        rows: int,
    ) -> Tensor:
        kind = hidden_ND.device.type
        half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_ND.dtype
        exact = torch.float64 if half == torch.float64 else torch.float32
        head_VD = weight_VD.to(half)
        with_hidden, with_weight, with_bias = ctx.needs_input_grad[:3]
        grad_ND = torch.empty_like(hidden_ND) if with_hidden else None
        grad_VD = torch.zeros_like(weight_VD, dtype=exact) if with_weight else None
        grad_V = torch.zeros_like(bias_V, dtype=exact) if with_bias and bias_V is not None else None
        nats = hidden_ND.new_zeros((), dtype=exact)

        with torch.autocast(kind, enabled=False):
            for start in range(0, len(hidden_ND), rows):
                part = slice(start, start + rows)
                h_ND, targets_N1 = hidden_ND[part].to(half), targets_N[part, None]
                logits_NV = (h_ND @ head_VD.t()).to(exact)
                if bias_V is not None:
                    logits_NV += bias_V
                # log(sum(exp)) = max - log(largest probability): the softmax is needed anyway.
                nats_N1 = logits_NV.amax(-1, keepdim=True) - logits_NV.gather(-1, targets_N1)
                p_NV = torch.softmax(logits_NV, -1, out=logits_NV)
                nats_N1 -= p_NV.amax(-1, keepdim=True).log_()
                weights_N1 = None if weights_N is None else weights_N[part, None].to(exact)
                nats += (nats_N1 if weights_N1 is None else nats_N1 * weights_N1).sum()

                if not (with_hidden or with_weight or with_bias):
                    continue
                p_NV.scatter_add_(-1, targets_N1, torch.full_like(nats_N1, -1.0))
                if weights_N1 is not None:
                    p_NV *= weights_N1
                if grad_V is not None:
                    grad_V += p_NV.sum(0)
                error_NV = p_NV.to(half)
                if grad_ND is not None:
                    grad_ND[part] = error_NV @ head_VD
                if grad_VD is not None and half == exact:
                    grad_VD.addmm_(error_NV.t(), h_ND)
                elif grad_VD is not None:
                    grad_VD += error_NV.t() @ h_ND
        ctx.save_for_backward(grad_ND, grad_VD, grad_V)
        ctx.dtypes = (weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        return nats

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        grad_ND, grad_VD, grad_V = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            None if grad_ND is None else grad_ND * scale.to(grad_ND.dtype),
            None if grad_VD is None else (grad_VD * scale).to(weight_dtype),
            None if grad_V is None else (grad_V * scale).to(bias_dtype),
            None,
            None,
            None,
        )
