"""RMSNorm's own backward pass gives the gradients of the formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nextword.model.rms_norm import rms_norm


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 2, 8), (5, 8), (8,)])
def test_value_and_gradients_are_those_of_the_formula(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(8, dtype=torch.float64, generator=generator).requires_grad_()
    out = torch.randn(shape, dtype=torch.float64, generator=generator)
    formula = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight
    y = rms_norm(x, weight, 1e-3)
    torch.testing.assert_close(y, formula, rtol=1e-12, atol=1e-12)
    for mine, right in zip(
        torch.autograd.grad(y, (x, weight), out), torch.autograd.grad(formula, (x, weight), out), strict=True
    ):
        torch.testing.assert_close(mine, right, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda a, b: rms_norm(a, b, 1e-3), (x, weight))


def test_a_transposed_gradient_is_read_in_its_own_order() -> None:
    x, weight = torch.randn(2, 3, 4, 8, requires_grad=True), torch.rand(8, requires_grad=True)
    out = torch.randn(2, 4, 3, 8).transpose(1, 2)
    mine = torch.autograd.grad(rms_norm(x, weight, 1e-6), (x, weight), out)
    right = torch.autograd.grad(F.rms_norm(x, (8,), weight, 1e-6), (x, weight), out)
    torch.testing.assert_close(mine, right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_stay_half_types(dtype: torch.dtype) -> None:
    x, weight = torch.randn(4, 8).to(dtype).requires_grad_(), torch.rand(8, requires_grad=True)
    y = rms_norm(x, weight, 1e-6)
    assert y.dtype == dtype
    assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()
