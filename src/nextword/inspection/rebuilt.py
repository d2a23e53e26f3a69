"""What a pass need not keep since other values tell it: scores and patterns of attention, and what each head added."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def as_cached(k_TKC: Array, cache_format: str) -> Array:
    """Keys as attention reads them: rounded, where the cache holds float16, or 8 bits with a scale for each row."""
    if cache_format == "float16":
        return k_TKC.astype(np.float16).astype(k_TKC.dtype)
    if cache_format == "int8":
        scale_TK1 = np.abs(k_TKC).max(-1, keepdims=True) / 127
        codes_TKC = np.rint(np.divide(k_TKC, scale_TK1, out=np.zeros_like(k_TKC), where=scale_TK1 > 0))
        rounded_TKC: Array = codes_TKC * scale_TK1
        return rounded_TKC
    return k_TKC


def attention_scores(q_THC: Array, k_TKC: Array, window: int | None) -> Array:
    """`q k^T / sqrt(C)`, -inf where a token may not look, [H, T, T].

    Args:
        q_THC: The queries as they are compared: turned, where the model turns them.
        k_TKC: The keys; each serves `H / K` heads.
        window: Newest tokens that may be looked at, or None for all.
    """
    T, H, C = q_THC.shape
    K = k_TKC.shape[1]
    q_KGTC = q_THC.transpose(1, 0, 2).reshape(K, H // K, T, C)
    k_K1CT = k_TKC.transpose(1, 2, 0)[:, None]
    scores_HTT: Array = (q_KGTC @ k_K1CT).reshape(H, T, T)
    scores_HTT /= math.sqrt(C)
    distance_TT = np.arange(T)[:, None] - np.arange(T)
    scores_HTT[:, (distance_TT < 0) | (distance_TT >= (T if window is None else window))] = -np.inf
    return scores_HTT


def attention_pattern(scores_HTS: Array) -> Array:
    """The softmax over the keys; a token that may look at nothing gathers nothing."""
    largest_HT1 = scores_HTS.max(-1, keepdims=True)
    largest_HT1[largest_HT1 == -np.inf] = 0.0
    pattern_HTS: Array = np.exp(scores_HTS - largest_HT1)
    total_HT1 = pattern_HTS.sum(-1, keepdims=True)
    total_HT1[total_HT1 == 0.0] = 1.0
    pattern_HTS /= total_HT1
    return pattern_HTS


def head_rows(z_PHC: Array) -> Array:
    """Each head's z alone, with zeros for the other heads: what the output projection reads, [P * H, H * C]."""
    P, H, C = z_PHC.shape
    alone_PHHC = np.zeros((P, H, H, C), z_PHC.dtype)
    heads = np.arange(H)
    alone_PHHC[:, heads, heads] = z_PHC
    return alone_PHHC.reshape(P * H, H * C)
