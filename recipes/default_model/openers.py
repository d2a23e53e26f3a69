"""Beginnings of ordinary English sentences: what the writer writes on from.

They are cut from this project's own written sentences: what was begun with sense goes together, where words that are
put together at random make a small model write nonsense (docs/lab-notes.md).
"""

import random
from collections.abc import Iterator, Sequence

FEWEST, MOST = 2, 6
"""Words of an opener."""
REST = 3
"""Words at least that are left to be written differently."""


def openers(sentences: Sequence[str], seed: int) -> Iterator[str]:
    """Openers without end, the same for the same sentences and seed."""
    rng = random.Random(seed)  # noqa: S311  sentences, nothing secret
    while True:
        words = rng.choice(sentences).split()
        longest = min(MOST, len(words) - REST)
        if longest >= FEWEST:
            yield " ".join(words[: rng.randint(FEWEST, longest)])
