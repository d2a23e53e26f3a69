"""Shows what a model writes, unpicked: 20 continuations a language at fixed seeds, their variety, what they copy.

python recipes/default_model/continuations.py [MODEL] --corpus build/default_model/corpus
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from archives import ends
from everyday_text import words
from mixture import sources_of

from nextword import load

OPENERS = {
    "english": [
        "One day, a little girl",
        "The old man",
        "My mother always",
        "When I got home,",
        "It was raining, so",
        "The dog",
        "We went to the",
        "She opened the box and",
        "I would like to",
        "Every summer",
        "Because the bus was late,",
        "The teacher told us",
        "If you are hungry,",
        "After dinner, they",
        "He could not find",
        "In the kitchen",
        "Why did you",
        "Last night I",
        "The soup was too",
        "Our neighbor",
    ],
    "korean": [
        "어느 날 아침,",
        "할머니께서",
        "우리 엄마는 항상",
        "집에 오자마자",
        "비가 와서",
        "강아지가",
        "우리는 주말에",
        "상자를 열어 보니",
        "저는 내일",
        "여름이 되면",
        "버스가 늦게 와서",
        "선생님이",
        "배가 고프면",
        "저녁을 먹고 나서",
        "아무리 찾아도",
        "부엌에서",
        "왜 이렇게",
        "어젯밤에",
        "국이 너무",
        "옆집 아저씨는",
    ],
}
TOKENS = 40
TEMPERATURE = 0.7
COPIED = 8
"""Words in a row that are called a copy."""


def grams(text: str, length: int) -> list[tuple[str, ...]]:
    """Runs of so many words."""
    said = words(text)
    return [tuple(said[i : i + length]) for i in range(len(said) - length + 1)]


def distinct(texts: Iterable[str], length: int) -> float:
    """Different runs of words, as a share of all (distinct-n)."""
    found = [gram for text in texts for gram in grams(text, length)]
    return len(set(found)) / max(1, len(found))


def copied(texts: Iterable[str], corpus: Path) -> float:
    """Share of the runs of `COPIED` words that stand in the text that was trained on."""
    found = [gram for text in texts for gram in grams(text, COPIED)]
    wanted, there = set(found), set[tuple[str, ...]]()
    for file in sorted((corpus / "train").rglob("*.txt")):
        there |= wanted.intersection(grams(file.read_text(encoding="utf-8"), COPIED))
    return sum(gram in there for gram in found) / max(1, len(found))


def main() -> None:
    """Reads the command line.

    Raises:
        RecipeError: There is no corpus.
        NextwordError: There is no such model.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("model", nargs="?", help="the one that ships, if left out")
    parser.add_argument("--corpus", type=Path, default=Path("build/default_model/corpus"))
    options = parser.parse_args()
    sources_of(options.corpus)  # without one nothing would be a copy
    lm = load(options.model)
    for language, openers in OPENERS.items():
        texts = []
        for seed, opener in enumerate(openers):
            written = lm.generate(opener, TOKENS, temperature=TEMPERATURE, seed=seed).text
            texts.append(opener + written)
            print(f"{seed:>2}  {texts[-1]!r}")
        variety = ", ".join(f"{length} {distinct(texts, length):.0%}" for length in (1, 2, 3, 4))
        copies = copied(texts, options.corpus)
        print(f"{language}: distinct runs of words: {variety}; runs of {COPIED} copied: {copies:.1%}")


if __name__ == "__main__":
    sys.exit(ends(main))
