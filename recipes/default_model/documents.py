"""Writes the documents of the corpus, and parts them the same way every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def stable_number(text: str) -> int:
    """Returns a number below 2^32 that depends on the text alone."""
    return int(hashlib.sha256(text.encode("utf-8")).hexdigest()[:8], 16)


def write(folder: Path, documents: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Writes documents and counts them."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"documents": 0, "characters": 0, "bytes": 0}
    for name, text in documents:
        data = text.encode("utf-8")
        (folder / f"{name}.txt").write_bytes(data)
        counts["documents"] += 1
        counts["characters"] += len(text)
        counts["bytes"] += len(data)
    return counts
