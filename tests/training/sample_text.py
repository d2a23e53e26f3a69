"""A small text in English and Korean that says the same four sentences over and over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SENTENCES = (
    "The cat sat on the mat. ",
    "To be, or not to be, that is the question.\n",
    "나는 오늘 학교에 가서 친구를 만났다. ",
    "한국의 수도는 서울이다.\n",
)
TEXT = "".join(SENTENCES) * 60

FEW_STEPS: dict[str, Any] = {"preset": "tiny", "steps": 4, "context_length": 16, "batch_size": 2, "vocab_size": 300}
"""Settings of a run that takes a fraction of a second."""


def write_text(directory: Path, text: str = TEXT, name: str = "text.txt") -> Path:
    path = directory / name
    path.write_bytes(text.encode())
    return path
