"""K-quants that are made here: gguf unpacks them, and no scale would have left much less error."""

from __future__ import annotations

import warnings

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from nextword.errors import ModelFileError
from nextword.files.k_quants import K_QUANTS, quantize_k
from nextword.files.precision import round_tensor
from nextword.files.quantization import BLOCKS
from nextword.files.tensors import RawTensor

Floats = NDArray[np.float32]
LEVELS = {"Q4_K": 15, "Q5_K": 31}
# What llama.cpp's own quantiser leaves of weights that are normally distributed, as a share of them.
THEIRS = {"Q4_K": 0.0712, "Q5_K": 0.0363, "Q6_K": 0.0177}


def there_and_back(kind: str, values: Floats) -> Floats:
    """The values, rounded, as gguf unpacks them."""
    return np.asarray(gguf.quants.dequantize(quantize_k(kind, values), gguf.GGMLQuantizationType[kind]), np.float32)


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", K_QUANTS)
def test_gguf_unpacks_what_is_nearest(kind: str) -> None:
    """Every weight at its place, and less error than llama.cpp leaves."""
    values = normal(12, 1024)
    found = there_and_back(kind, values)
    assert quantize_k(kind, values).shape == (12, 4 * BLOCKS[kind].size)
    assert np.sqrt(np.mean(np.square(found - values))) < THEIRS[kind]
    assert np.abs(found - values).max() < 6 * THEIRS[kind]


def importance(group: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(group) + np.sqrt(np.mean(np.square(group)))


def least_error(group: NDArray[np.float64], levels: int) -> float:
    """Of x = d q - m, in double precision: every scale and minimum of a fine grid."""
    span = max(group.max(), 0.0) - min(group.min(), 0.0)
    d = np.linspace(0.6, 1.3, 141)[:, None, None] * span / levels
    m = np.linspace(0, 1.2, 121)[None, :, None] * max(-group.min(), 0.0)
    q = np.clip(np.rint((group + m) / d), 0, levels)
    return float((importance(group) * np.square(group - d * q + m)).sum(-1).min())


@pytest.mark.parametrize("shift", [0.0, 1.5, -4.0])
@pytest.mark.parametrize("kind", LEVELS)
def test_no_other_scale_and_minimum_leave_much_less_error(kind: str, shift: float) -> None:
    """A super-block of eight times the same group, so that 6 bits hold its scale and minimum."""
    groups = normal(12, 32, seed=1) + np.float32(shift)
    found = there_and_back(kind, np.tile(groups, 8))[:, :32].astype(np.float64)
    pairs = list(zip(groups.astype(np.float64), found, strict=True))
    errors = sum(float((importance(group) * np.square(group - rounded)).sum()) for group, rounded in pairs)
    assert errors <= 1.07 * sum(least_error(group, LEVELS[kind]) for group, _ in pairs)


def test_no_other_scale_leaves_much_less_error_in_groups_of_sixteen() -> None:
    groups = normal(40, 16, seed=2).astype(np.float64)
    found = there_and_back("Q6_K", np.tile(groups, 16).astype(np.float32))[:, :16].astype(np.float64)
    errors = least = 0.0
    for group, rounded in zip(groups, found, strict=True):
        scales = np.linspace(0.6, 1.3, 4001)[:, None] * np.abs(group).max() / 32
        d = np.concatenate((scales, -scales))
        q = np.clip(np.rint(group / d), -32, 31)
        least += float((importance(group) * np.square(group - d * q)).sum(-1).min())
        errors += float((importance(group) * np.square(group - rounded)).sum())
    assert errors <= 1.05 * least


@pytest.mark.parametrize("kind", K_QUANTS)
def test_a_small_group_beside_a_large_one_keeps_its_own_scale(kind: str) -> None:
    values = normal(4, 256, seed=3)
    values[:, 64:96] *= 0.25
    error = (there_and_back(kind, values) - values)[:, 64:96]
    assert np.sqrt(np.mean(np.square(error))) < 0.25 * 1.3 * THEIRS[kind]


@pytest.mark.parametrize("kind", K_QUANTS)
def test_odd_blocks(kind: str) -> None:
    """Zeros, equal weights, one weight alone, small and large ones: no warning, and what can be kept is."""
    values = np.zeros((8, 256), np.float32)
    values[1], values[2], values[3, 7], values[4] = 3.0, -3.0, 5.0, 1e-30
    values[5], values[6], values[7] = 1e4 * normal(256), 1e-2 * normal(256), np.repeat(normal(8), 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = there_and_back(kind, values)
    assert not found[0].any()
    assert not found[4].any()
    assert np.count_nonzero(found[3]) == 1
    np.testing.assert_allclose(found[[1, 2, 3]], values[[1, 2, 3]], rtol=2e-3)
    np.testing.assert_allclose(found[7], values[7], atol=0.02 * np.abs(values[7]).max())
    for row in (5, 6):
        assert np.sqrt(np.mean(np.square(found[row] - values[row]))) < 1.2 * THEIRS[kind] * values[row].std()


@pytest.mark.parametrize("kind", K_QUANTS)
@pytest.mark.parametrize("large", [1e9, 3e38])
def test_weights_that_no_unit_can_hold_are_refused(kind: str, large: float) -> None:
    values = normal(2, 512)
    values[1, 300] = large
    with pytest.raises(ModelFileError, match=f"tensor wide has values too large for {kind.lower()}\n"):
        round_tensor(RawTensor.from_bits("wide", "F32", values), kind)


@pytest.mark.parametrize("kind", K_QUANTS)
def test_a_block_is_the_same_whatever_stands_beside_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = normal(3, 256 * 300, seed=4)
    monkeypatch.setenv("NEXTWORD_THREADS", "3")
    together = quantize_k(kind, values)
    monkeypatch.setenv("NEXTWORD_THREADS", "1")
    for at in (0, 255, 256, 299):
        alone = quantize_k(kind, values[2:, 256 * at : 256 * (at + 1)])
        assert alone.tobytes() == together[2].reshape(300, -1)[at].tobytes()
