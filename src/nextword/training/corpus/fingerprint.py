"""Whether a text is the one that a run began with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from nextword.training.corpus.text import Place, find_sources

_FINGERPRINT_BYTES = 64 << 20


def fingerprint(sources: Sequence[Place], exclude: Sequence[str] = ()) -> str | None:
    """SHA-256 of each file's length and first 64 MB; None if a source is no file that can be read again."""
    digest = hashlib.sha256()
    for source in find_sources(sources, exclude):
        path = source.path
        if path is None or not path.is_file():
            return None
        digest.update(f"{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            left = _FINGERPRINT_BYTES
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                digest.update(block)
                left -= len(block)
    return digest.hexdigest()
