"""Prompt lookup: where a text repeats itself, its own past says what comes next, to be checked in one pass.

Source: Saxena 2023, "Prompt Lookup Decoding"; checking several tokens at once: Leviathan et al. 2023, "Fast Inference
from Transformers via Speculative Decoding". Here each place's token is drawn as ever, from the model's own logits: a
guess that is wrong costs time and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

_LENGTH = 3  # tokens that must have occurred before in a row
_SHORTEST, _LONGEST = 3, 12  # of a guess; so few more tokens hardly make a pass longer


class PromptLookup:
    """Guesses the next tokens of a text that grows."""

    def __init__(self, token_ids: Iterable[int]) -> None:
        self._ids: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}  # three tokens -> where the token behind them last stood
        self._reach = _SHORTEST
        self._misses = self._pause = 0
        for token in token_ids:
            self.add(token)

    def add(self, token: int) -> None:
        """The text grew by a token."""
        if len(self._ids) >= _LENGTH:
            self._places[tuple(self._ids[-_LENGTH:])] = len(self._ids)
        self._ids.append(token)

    def guess(self, limit: int) -> list[int]:
        """Up to `limit` tokens that stood behind the same three before; none where that has not helped lately."""
        place = self._places.get(tuple(self._ids[-_LENGTH:]))
        if place is None:
            return []
        if self._pause:
            self._pause -= 1
            return []
        period = len(self._ids) - place  # a text that goes round in a circle goes on so
        return [self._ids[place + i % period] for i in range(min(limit, self._reach))]

    def learn(self, guessed: int, right: int) -> None:
        """How many tokens of a guess were right: guesses become longer, or pause for longer and longer."""
        self._reach = min(2 * self._reach, _LONGEST) if right == guessed else max(_SHORTEST, self._reach // 2)
        self._misses = 0 if right else self._misses + 1
        self._pause = 0 if self._misses < 2 else min(1 << self._misses, 256)
