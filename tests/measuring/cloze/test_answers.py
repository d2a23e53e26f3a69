"""A model's answers, counted: by hand on models whose next word is known, and against the words that predict gives."""

from __future__ import annotations

import pytest

from nextword.language_model import LanguageModel
from nextword.measuring.cloze import Opening, measure
from nextword.measuring.cloze.answers import Tally
from nextword.tokens import Tokenizer
from tests.generation.backends import always

WORDS = ["to", "be", "or", "not", "it", "is", "so"]
SHARES = [0.35, 0.2, 0.15, 0.1, 0.08, 0.07, 0.05]


def knowing() -> LanguageModel:
    """Expects `to`, then `be`, `or`, ... whatever it reads."""
    return LanguageModel(always(SHARES), Tokenizer.words(WORDS))  # type: ignore[arg-type]


def opening(*accepted: str, group: str = "g", kind: str = "k") -> Opening:
    return Opening(group, kind, "to be", accepted)


def test_ranks_and_probabilities_by_hand() -> None:
    measured = measure(
        knowing(),
        [opening("to"), opening("or", "is"), opening("so"), opening("b~", "n~", kind="other")],
    )
    assert [answer.rank for answer in measured.answers] == [1, 3, None, 2]
    assert [answer.probability for answer in measured.answers] == pytest.approx([0.35, 0.22, 0.05, 0.3], abs=1e-6)
    assert [word.text.strip() for word in measured.answers[0].words] == WORDS[:5]
    assert measured.misses() == [measured.answers[2]]
    tallies = measured.tallies()["g"]
    assert tallies["k"] == Tally(3, 1 / 3, 2 / 3, pytest.approx(0.62 / 3, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert tallies["other"] == Tally(1, 0.0, 1.0, pytest.approx(0.3, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert tallies[""] == Tally(4, 1 / 4, 3 / 4, pytest.approx(0.92 / 4, abs=1e-6), pytest.approx(0, abs=1e-6))
