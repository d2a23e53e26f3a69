"""Models in several GGUF files, as llama.cpp's gguf-split names them: NAME-00001-of-00003.gguf and so on."""

from __future__ import annotations

import re

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_MAX_PARTS = 1000
"""Parts of a model; the largest published ones have some fifty."""


def part_names(name: str) -> list[str]:
    """The names of all parts of the model that a file named `name` is a part of; itself if it is not named like one."""
    match = _PART.fullmatch(name)
    count = int(match["count"]) if match else 0
    if match is None or not 1 <= int(match["number"]) <= count <= _MAX_PARTS:
        return [name]
    return [f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
