"""Finds paragraphs that were read before, word for word or nearly."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
from everyday_text import words
from numpy.typing import NDArray

BANDS, ROWS = 10, 4
"""Texts that share 80 % of their shingles meet in one of the bands 995 times in 1,000."""
SHINGLE = 5  # characters
LEAST_CHARACTERS = 30  # a shorter text is no duplicate unless it is the same: one word makes another sentence of it
SIMILAR = 0.8  # shared shingles, of all that either has (Jaccard)


class Duplicates:
    """Every paragraph so far.

    MinHash (Broder 1997) in bands of equal values finds who may be alike; their shingles are then compared.
    """

    def __init__(self) -> None:
        """Starts with none."""
        random = np.random.default_rng(0)
        count = BANDS * ROWS
        # Multiply, add, keep the upper half (Dietzfelbinger 1996): what overflows 64 bits is meant to be lost.
        self._factors = random.integers(0, 1 << 63, count, dtype=np.uint64)[:, None] * np.uint64(2) + np.uint64(1)
        self._terms = random.integers(0, 1 << 63, count, dtype=np.uint64)[:, None]
        self._same: set[bytes] = set()
        self._shingles: list[NDArray[np.uint64]] = []
        self._bands: dict[tuple[int, bytes], int] = {}
        self.exact = 0
        self.near = 0

    def seen(self, text: str) -> bool:
        """Says whether a text came before, and counts it as `exact` or `near`; otherwise remembers it."""
        said = " ".join(words(text))
        key = hashlib.blake2b(said.encode("utf-8"), digest_size=12).digest()
        if key in self._same:
            self.exact += 1
            return True
        self._same.add(key)
        if len(said) < LEAST_CHARACTERS:
            return False
        parts = {zlib.crc32(said[i : i + SHINGLE].encode("utf-8")) for i in range(len(said) - SHINGLE + 1)}
        shingles = np.array(sorted(parts), dtype=np.uint64)
        least = ((self._factors * shingles + self._terms) >> np.uint64(32)).min(axis=1)
        bands = [(band, least[band * ROWS : (band + 1) * ROWS].tobytes()) for band in range(BANDS)]
        for other in {self._bands[band] for band in bands if band in self._bands}:
            shared = np.intersect1d(shingles, self._shingles[other], assume_unique=True).size
            if shared >= SIMILAR * (shingles.size + self._shingles[other].size - shared):
                self.near += 1
                return True
        for band in bands:
            self._bands.setdefault(band, len(self._shingles))
        self._shingles.append(shingles)
        return False
