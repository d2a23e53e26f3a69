"""The head and its cross-entropy taken together equal the two taken one after the other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nextword.training.run.loss import linear_cross_entropy

B, T, D, V = 3, 7, 5, 11


def inputs(dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in ((B, T, D), (V, D), (V,))
    )
    return hidden, weight, bias, torch.randint(V, (B, T), generator=generator)


def plain(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    logits = F.linear(hidden, weight, bias).flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), reduction="none").view(targets.shape)


@pytest.mark.parametrize("chunk", [None, 1, 4, B * T])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradients_are_those_of_the_plain_cross_entropy(
    chunk: int | None, biased: bool, weighted: bool
) -> None:
    hidden, weight, bias, targets = inputs(torch.float64)
    labels = (torch.arange(B * T).view(B, T) % 3 > 0).to(torch.uint8) if weighted else None
    given = [hidden, weight, bias] if biased else [hidden, weight]
    expected = (plain(hidden, weight, targets, bias if biased else None) * (1 if labels is None else labels)).sum()
    nats = linear_cross_entropy(
        hidden, weight, targets, bias_V=bias if biased else None, weights_BT=labels, chunk=chunk
    )
    assert nats.dtype == torch.float64
    torch.testing.assert_close(nats, expected, rtol=1e-12, atol=1e-12)
    for gradient, right in zip(
        torch.autograd.grad(nats / 17, given), torch.autograd.grad(expected / 17, given), strict=True
    ):
        torch.testing.assert_close(gradient, right, rtol=1e-12, atol=1e-12)


def test_gradients_are_the_slopes_of_the_loss() -> None:
    hidden, weight, bias, targets = inputs(torch.float64)

    def loss(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return linear_cross_entropy(h, w, targets, bias_V=b, chunk=4)

    assert torch.autograd.gradcheck(loss, (hidden, weight, bias))


def test_a_target_whose_probability_vanishes_in_float32_costs_its_finite_nats() -> None:
    hidden = torch.tensor([[[200.0, 0.0]]])
    nats = linear_cross_entropy(hidden, torch.eye(2), torch.tensor([[1]]))
    assert nats.item() == pytest.approx(200.0)


def test_under_bfloat16_autocast_it_is_within_bfloat16_of_float32() -> None:
    hidden, weight, _, targets = inputs(torch.float32)
    expected = plain(hidden, weight, targets).sum()
    right = torch.autograd.grad(expected, (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        nats = linear_cross_entropy(hidden, weight, targets, chunk=4)
        theirs = plain(hidden, weight, targets).sum()
    assert nats.dtype == torch.float32
    assert nats.item() == pytest.approx(theirs.item(), rel=2e-3)  # the same rounding of the same matrix product
    for gradient, exact in zip(torch.autograd.grad(nats, (hidden, weight)), right, strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, exact, rtol=0.02, atol=0.03)


def test_only_the_gradients_that_are_wanted_are_made() -> None:
    hidden, weight, _, targets = inputs(torch.float32)
    nats = linear_cross_entropy(hidden, weight.detach(), targets)
    torch.testing.assert_close(
        torch.autograd.grad(nats, hidden)[0], torch.autograd.grad(plain(hidden, weight, targets).sum(), hidden)[0]
    )
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, targets).requires_grad


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation gave back, in numbers."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize("gradients", [True, False])
def test_the_logits_of_all_positions_never_exist(gradients: bool) -> None:
    positions, vocabulary, width = 1024, 50257, 4
    hidden = torch.randn(1, positions, width, requires_grad=True)
    weight = torch.randn(vocabulary, width, requires_grad=True)
    targets = torch.randint(vocabulary, (1, positions))
    with LargestTensor() as largest, torch.set_grad_enabled(gradients):
        nats = linear_cross_entropy(hidden, weight, targets)
        if gradients:
            nats.backward()  # type: ignore[no-untyped-call]
    assert largest.numbers == 256 * vocabulary
