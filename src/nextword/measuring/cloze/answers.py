"""How often a model's next word is one of those that may come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.generation import WordCandidate, predict_word
from nextword.language_model import LanguageModel
from nextword.measuring.cloze.openings import Opening

FIRST = 5
MANY = 10_000
EXPANSIONS = 64
"""Paths expanded behind an opening at most."""


@dataclass(frozen=True)
class Answer:
    """What a model expects after one opening."""

    opening: Opening
    words: tuple[WordCandidate, ...]
    """The most probable ones, best first."""
    probability: float
    """Of all accepted words together: a lower bound, short of the truth by at most `unexplored`."""
    unexplored: float
    dropped_tokens: int = 0
    """Of the opening, that the model's context had no room for."""

    @property
    def rank(self) -> int | None:
        """The place of the first accepted word, from 1 on; None where the first five hold none."""
        return next((i for i, word in enumerate(self.words, 1) if self.opening.accepts(word.text)), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "group": self.opening.group,
            "kind": self.opening.kind,
            "opening": self.opening.text,
            "accepted": list(self.opening.accepted),
            "rank": self.rank,
            "probability": self.probability,
            "unexplored": self.unexplored,
            "dropped_tokens": self.dropped_tokens,
            "words": [{"text": word.text, "probability": word.probability} for word in self.words],
        }


@dataclass(frozen=True)
class Tally:
    """Shares over several openings."""

    openings: int
    first: float
    """Share whose most probable word is accepted."""
    first_five: float
    """Share with an accepted word among the five most probable ones."""
    probability: float
    """Mean probability of the accepted words: at least."""
    unexplored: float
    """Mean probability of the paths that the search did not follow to a word's end."""

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Tally:
        """Of these answers, of which there is at least one."""
        count = len(answers)
        ranks = [answer.rank for answer in answers]
        return cls(
            count,
            ranks.count(1) / count,
            sum(rank is not None for rank in ranks) / count,
            sum(answer.probability for answer in answers) / count,
            sum(answer.unexplored for answer in answers) / count,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "openings": self.openings,
            "top_1": self.first,
            "top_5": self.first_five,
            "probability": self.probability,
            "unexplored": self.unexplored,
        }


@dataclass(frozen=True)
class Cloze:
    """A model's answers to openings."""

    answers: tuple[Answer, ...]

    def tallies(self) -> dict[str, dict[str, Tally]]:
        """By group, then by kind; the empty kind is all of a group, and comes first."""
        groups: dict[str, dict[str, list[Answer]]] = {}
        for answer in self.answers:
            kinds = groups.setdefault(answer.opening.group, {})
            kinds.setdefault(answer.opening.kind, []).append(answer)
        return {
            group: {
                "": Tally.of([answer for answers in kinds.values() for answer in answers]),
                **{kind: Tally.of(answers) for kind, answers in kinds.items()},
            }
            for group, kinds in groups.items()
        }

    def misses(self) -> list[Answer]:
        """Where the first five words hold no accepted one."""
        return [answer for answer in self.answers if answer.rank is None]

    def to_json(self, *, misses: bool = False) -> dict[str, Any]:
        """Plain values, as `nextword cloze --json` prints them.

        Args:
            misses: Whether the answers are those alone that missed.
        """
        groups = {
            group: {**kinds.pop("").to_json(), "kinds": {kind: tally.to_json() for kind, tally in kinds.items()}}
            for group, kinds in self.tallies().items()
        }
        return {
            "groups": groups,
            "answers": [answer.to_json() for answer in (self.misses() if misses else self.answers)],
        }


def answer_of(lm: LanguageModel, opening: Opening) -> Answer:
    """Asks a model for the next whole word after an opening.

    Raises:
        TextError: The opening has words that the model's tokenizer does not know.
    """
    found = predict_word(lm.backend, lm.tokenizer, opening.text, MANY, max_expansions=EXPANSIONS)
    probability = sum(word.probability for word in found if opening.accepts(word.text))
    return Answer(opening, tuple(found[:FIRST]), float(probability), found.unexplored, found.dropped_tokens)


def measure(lm: LanguageModel, openings: Iterable[Opening]) -> Cloze:
    """Asks a model for the next whole word after each opening.

    Args:
        lm: The model.
        openings: What it reads.

    Raises:
        TextError: An opening has words that the model's tokenizer does not know.
    """
    return Cloze(tuple(answer_of(lm, opening) for opening in openings))
