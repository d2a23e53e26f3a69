"""A hash of what a model computes and writes: equal where all bits are, whatever machine and batch made them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from nextword.engine.backend import NativeBackend
from nextword.measuring.verification_file import Bits

TOKENS = 1000
"""Written in all."""


def hash_bits(backend: NativeBackend, beginnings: Sequence[Sequence[int]], tokens: int = TOKENS) -> Bits:
    """Writes on from each beginning, always the most probable token, all of them together; `tokens` in all.

    Texts end where the context does.
    """
    room = backend.config.context_length
    texts = [list(beginning)[: max(1, room - 1)] for beginning in beginnings]
    caches = [backend.new_cache(min(room, len(text) + tokens)) for text in texts]
    hashes = [hashlib.sha256() for _ in texts]
    chunks, written = [list(text) for text in texts], 0
    while written < tokens and (growing := [i for i, text in enumerate(texts) if len(text) < room]):
        rows = backend.forward([chunks[i] for i in growing], [caches[i] for i in growing], "all")
        for i, row in zip(growing, rows, strict=True):
            hashes[i].update(np.ascontiguousarray(row).tobytes())
            chunks[i] = [int(row[-1].argmax())]
            texts[i] += chunks[i]
            written += 1
    together = hashlib.sha256(b"".join(one.digest() for one in hashes))
    return Bits(written, hashlib.sha256(b"".join(map(_bytes, texts))).hexdigest(), together.hexdigest())


def _bytes(ids: Sequence[int]) -> bytes:
    return np.asarray(ids, "<i4").tobytes()
