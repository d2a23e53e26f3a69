"""Beginnings of ordinary English sentences, put together at random: what the writer writes on from.

`openers.txt` is the grammar: a name in brackets, then what it may stand for, with bars between, where `{past}` stands
for one of `[past]`. No model and no other text has a part in it.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

GRAMMAR = Path(__file__).parent / "openers.txt"


def read_grammar(path: Path = GRAMMAR) -> dict[str, list[str]]:
    """What each name may stand for."""
    parts = re.split(r"^\[(\w+)\]\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: [phrase.strip() for phrase in " ".join(text.split()).split("|")] for name, text in pairs}


def openers(seed: int) -> Iterator[str]:
    """Openers without end, the same for the same seed."""
    rng, grammar = random.Random(seed), read_grammar()  # noqa: S311  sentences, nothing secret

    def written(name: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: written(found[1]), rng.choice(grammar[name]))

    while True:
        text = written("opener")
        yield text[0].upper() + text[1:]
