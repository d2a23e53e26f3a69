"""Floats -> ggml's K-quants: super-blocks of 256 weights, whose groups have scales that are whole numbers themselves.

Q4_K and Q5_K stand for x = d s q - e m in groups of 32 weights: q of 4 or 5 bits, s and m of 6, and the half-precision
units d and e of the super-block. Q6_K stands for x = d s q in groups of 16, q and s with signs. Rounding each weight to
the nearest q would do, but leaves more error than it has to. So several scales are tried for a group, each with the q
that it gives and then, by weighted least squares, with the scale (and minimum) that is best for these q; the best of
all is kept. The unit that the groups share is looked for in the same way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nextword.machine.processors import default_threads

# Shapes: E weights of a group, S groups, G groups of a super-block, N super-blocks.
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SUPER_BLOCK = 256
_CHUNK = 256  # super-blocks at a time, so that the arrays of a search stay in a core's cache
# Scales are tried that spread the weights over this much of the whole numbers there are. Above 1, the largest weights
# are cut off for the sake of the others.
_GROUP_SPREADS = np.linspace(0.84, 1.05, 13, dtype=np.float32)
_UNIT_SPREADS = np.linspace(0.94, 1.06, 9, dtype=np.float32)


def quantize_k(dtype: str, rows: Floats) -> Bytes:
    """Blocks of rows that are whole super-blocks, [..., weights] -> [..., bytes].

    Args:
        dtype: One of `K_QUANTS`.
        rows: The weights. Where they are too large for half precision, the units become infinite.
    """
    from concurrent.futures import ThreadPoolExecutor  # takes milliseconds to load, and most files are only read

    blocks = rows.reshape(-1, SUPER_BLOCK)
    with ThreadPoolExecutor(default_threads()) as threads:
        chunks = (blocks[at : at + _CHUNK] for at in range(0, len(blocks), _CHUNK))
        return np.concatenate(list(threads.map(K_QUANTS[dtype], chunks))).reshape(*rows.shape[:-1], -1)


def _q4_k(blocks: Floats) -> Bytes:
    head, q = _affine(blocks, 15)
    return np.concatenate((head, _nibbles(q)), axis=1)


def _q5_k(blocks: Floats) -> Bytes:
    head, q = _affine(blocks, 31)
    fifth_bits = np.packbits(q >> 4, axis=1, bitorder="little").reshape(len(blocks), -1)
    return np.concatenate((head, fifth_bits, _nibbles(q & np.uint8(15))), axis=1)


def _nibbles(q: Bytes) -> Bytes:
    """Two groups of 32 side by side, [N, 8, 32] -> [N, 128]."""
    return (q[:, 0::2] | q[:, 1::2] << np.uint8(4)).reshape(len(q), -1)


def _affine(blocks: Floats, levels: int) -> tuple[Bytes, Bytes]:
    """Both units and the scales and minima in 6 bits each, [N, 16], and every q from 0 to `levels`, [N, 8, 32]."""
    with np.errstate(all="ignore"):  # groups of equal weights divide zero by zero
        x_ES, peak_N = _groups(blocks, 32)
        weight_ES = _importance(x_ES)
        scale_S, minimum_S = _fit_affine(x_ES, weight_ES, levels)
        weight_GN = _by_block(weight_ES.sum(0), 8)
        d_N, scale_GN = _fit_unit(_by_block(scale_S, 8), weight_GN, peak_N, 0, 63)
        e_N, minimum_GN = _fit_unit(_by_block(minimum_S, 8), weight_GN, peak_N, 0, 63)
        step_S, shift_S = _by_group(d_N / peak_N * scale_GN), _by_group(e_N / peak_N * minimum_GN)
        q_ES = np.clip(np.rint((x_ES + shift_S) * _inverse(step_S)), 0, levels).astype(np.uint8)
        scales, minima = scale_GN.T.astype(np.uint8), minimum_GN.T.astype(np.uint8)
        units = (_half_bytes(d_N), _half_bytes(e_N))
    packed = (
        scales[:, :4] | scales[:, 4:] >> 4 << 6,
        minima[:, :4] | minima[:, 4:] >> 4 << 6,
        scales[:, 4:] & 15 | (minima[:, 4:] & 15) << 4,
    )
    return np.concatenate((*units, *packed), axis=1), q_ES.T.reshape(len(blocks), 8, 32)


def _q6_k(blocks: Floats) -> Bytes:
    with np.errstate(all="ignore"):  # groups of zeros divide by zero
        x_ES, peak_N = _groups(blocks, 16)
        weight_ES = _importance(x_ES)
        scale_S = _fit_symmetric(x_ES, weight_ES)
        d_N, scale_GN = _fit_unit(_by_block(scale_S, 16), _by_block(weight_ES.sum(0), 16), peak_N, -128, 127)
        step_S = _by_group(d_N / peak_N * scale_GN)
        q_ES = (np.clip(np.rint(x_ES * _inverse(step_S)), -32, 31) + 32).astype(np.uint8)
        scales, units = scale_GN.T.astype(np.int8).view(np.uint8), _half_bytes(d_N)
    q = q_ES.T.reshape(len(blocks), 2, 4, 32)  # halves of 128, whose quarters share bytes
    low = q[:, :, :2] & 15 | (q[:, :, 2:] & 15) << 4
    high = np.bitwise_or.reduce(q >> 4 << np.array([[0], [2], [4], [6]], np.uint8), axis=2)
    return np.concatenate((low.reshape(len(q), -1), high.reshape(len(q), -1), scales, units), axis=1)


def _groups(blocks: Floats, size: int) -> tuple[Floats, Floats]:
    """Groups as columns, divided by the largest weight of their super-block; and these, [N]."""
    peak_N = np.abs(blocks).max(1)
    peak_N[peak_N == 0] = 1
    return np.ascontiguousarray((blocks / peak_N[:, None]).reshape(-1, size).T), peak_N


def _importance(x_ES: Floats) -> Floats:
    """How much an error of each weight counts: a large weight moves the sums that it is part of more than a small."""
    return np.asarray(np.abs(x_ES) + np.sqrt(np.einsum("es,es->s", x_ES, x_ES) / np.float32(len(x_ES))))


def _fit_affine(x_ES: Floats, weight_ES: Floats, levels: int) -> tuple[Floats, Floats]:
    """Scale d and minimum m >= 0 of each group, so that x is about d q - m with q from 0 to `levels`."""
    lowest_S = np.minimum(x_ES.min(0), 0)
    y_ES = x_ES - lowest_S  # about d q + b, where b <= -lowest
    span_S = y_ES.max(0)
    inverse_span_S = _inverse(span_S)
    w_S, wy_S = weight_ES.sum(0), np.einsum("es,es->s", weight_ES, y_ES)
    scale_S, shift_S, gain_S = (np.zeros_like(w_S) for _ in range(3))
    q_ES, wq_ES = np.empty_like(x_ES), np.empty_like(x_ES)
    for spread in (*_GROUP_SPREADS, None):
        if spread is None:  # at last, the q of the best
            np.multiply(np.subtract(y_ES, shift_S, out=q_ES), _inverse(scale_S), out=q_ES)
        else:
            np.multiply(y_ES, levels * spread * inverse_span_S, out=q_ES)
        np.clip(np.rint(q_ES, out=q_ES), 0, levels, out=q_ES)
        np.multiply(weight_ES, q_ES, out=wq_ES)
        wq_S = wq_ES.sum(0)
        wqq_S, wqy_S = np.einsum("es,es->s", wq_ES, q_ES), np.einsum("es,es->s", wq_ES, y_ES)
        b_S = (wqq_S * wy_S - wq_S * wqy_S) / (w_S * wqq_S - wq_S * wq_S)
        b_S = np.fmax(np.fmin(b_S, -lowest_S), -span_S)  # nan, where every q is the same, becomes -lowest
        d_S = (wqy_S - b_S * wq_S) / wqq_S
        # How much smaller the squared error is than with d = b = 0.
        new_gain_S = d_S * (2 * wqy_S - d_S * wqq_S - 2 * b_S * wq_S) + b_S * (2 * wy_S - b_S * w_S)
        better_S = (new_gain_S > gain_S) & (d_S > 0)
        for best_S, new_S in ((gain_S, new_gain_S), (scale_S, d_S), (shift_S, b_S)):
            np.copyto(best_S, new_S, where=better_S)
    return scale_S, -lowest_S - shift_S


def _fit_symmetric(x_ES: Floats, weight_ES: Floats) -> Floats:
    """Scale d of each group, of either sign, so that x is about d q with q from -32 to 31."""
    extreme_S = np.take_along_axis(x_ES, np.abs(x_ES).argmax(0)[None], 0)[0]  # which becomes -32
    inverse_extreme_S = _inverse(extreme_S)
    scale_S, gain_S = (np.zeros(x_ES.shape[1], np.float32) for _ in range(2))
    q_ES, wq_ES = np.empty_like(x_ES), np.empty_like(x_ES)
    for spread in (*_GROUP_SPREADS, None):
        inverse_S = _inverse(scale_S) if spread is None else -32 * spread * inverse_extreme_S
        np.multiply(x_ES, inverse_S, out=q_ES)
        np.clip(np.rint(q_ES, out=q_ES), -32, 31, out=q_ES)
        np.multiply(weight_ES, q_ES, out=wq_ES)
        wqq_S, wqx_S = np.einsum("es,es->s", wq_ES, q_ES), np.einsum("es,es->s", wq_ES, x_ES)
        d_S = wqx_S / wqq_S
        better_S = d_S * wqx_S > gain_S
        for best_S, new_S in ((gain_S, d_S * wqx_S), (scale_S, d_S)):
            np.copyto(best_S, new_S, where=better_S)
    return scale_S


def _fit_unit(scale_GN: Floats, weight_GN: Floats, peak_N: Floats, low: int, high: int) -> tuple[Floats, Floats]:
    """The unit of each super-block as half precision holds it, times its peak, and every scale in such units."""
    extreme_N = np.take_along_axis(scale_GN, np.abs(scale_GN).argmax(0)[None], 0)[0]
    units_GN = scale_GN * _inverse(extreme_N)
    unit_N, whole_GN = np.zeros_like(peak_N), np.zeros_like(scale_GN)
    error_N = np.full_like(peak_N, np.inf)
    for spread in _UNIT_SPREADS:
        new_GN = np.clip(np.rint(units_GN * (low or high) * spread), low, high)
        w_GN = weight_GN * new_GN
        new_N = (w_GN * scale_GN).sum(0) / (w_GN * new_GN).sum(0) * peak_N
        new_N = np.where(extreme_N == 0, 0, new_N).astype(np.float16).astype(np.float32)
        new_error_N = (weight_GN * np.square(scale_GN - new_N / peak_N * new_GN)).sum(0)
        new_error_N[~np.isfinite(new_error_N)] = np.inf  # a unit beyond half precision: taken where every one is
        better_N = new_error_N <= error_N
        for best, new in ((error_N, new_error_N), (unit_N, new_N), (whole_GN, new_GN)):
            np.copyto(best, new, where=better_N)
    return unit_N, whole_GN


def _inverse(x: Floats) -> Floats:
    return np.where(x == 0, np.float32(0), np.float32(1) / x)


def _by_block(x_S: Floats, groups: int) -> Floats:
    return np.ascontiguousarray(x_S.reshape(-1, groups).T)


def _by_group(x_GN: Floats) -> Floats:
    return x_GN.T.reshape(-1)


def _half_bytes(x_N: Floats) -> Bytes:
    return x_N.astype("<f2").view(np.uint8).reshape(-1, 2)


K_QUANTS = {"Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k}
"""What makes the blocks of each kind, from super-blocks [N, 256]."""
