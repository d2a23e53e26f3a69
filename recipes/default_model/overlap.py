"""Keeps what the model is measured by out of what it learns from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from everyday_text import words

from nextword.measuring.cloze import Opening
from nextword.measuring.cloze.openings import CONTINUES, STARTS

LAST = 4
"""With so many last words of an opening, an accepted word after them gives the answer away."""
Words = tuple[str, ...]


@dataclass(frozen=True)
class Openings:
    """The openings of a development set.

    Attributes:
        whole: The words of every opening, and the opening.
        answers: The last words of every opening with an accepted word, the word itself apart, and the opening. A word
            whose mark is True stands for all that begin so.
    """

    whole: Mapping[Words, str]
    answers: Mapping[Words, tuple[tuple[Words, bool, str], ...]]

    @classmethod
    def of(cls, openings: Iterable[Opening]) -> Openings:
        """Takes the words of openings apart."""
        whole: dict[Words, str] = {}
        answers: dict[Words, list[tuple[Words, bool, str]]] = {}
        for opening in openings:
            said = tuple(words(opening.text))
            whole[said] = opening.text
            for accepted in opening.accepted:
                end, answer = said[-LAST:], tuple(words(accepted))
                if accepted.startswith(CONTINUES):  # the opening's last word and the answer are one word
                    end, answer = end[:-1], (end[-1] + answer[0],)
                answers.setdefault(end, []).append((answer, accepted.endswith(STARTS), opening.text))
        return cls(whole, {end: tuple(entries) for end, entries in answers.items()})

    def within(self, text: str) -> str | None:
        """Returns an opening that a text gives away: its words, or its last four with an accepted word after them."""
        said = tuple(words(text))
        for length in {len(opening) for opening in self.whole}:
            for start in range(len(said) - length + 1):
                if found := self.whole.get(said[start : start + length]):
                    return found
        for length in {len(end) for end in self.answers}:
            for start in range(len(said) - length):
                for answer, begins, opening in self.answers.get(said[start : start + length], ()):
                    after = said[start + length : start + length + len(answer)]
                    if after == answer or (begins and after[:-1] == answer[:-1] and after[-1].startswith(answer[-1])):
                        return opening
        return None
