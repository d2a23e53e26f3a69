"""Prompt lookup: where a text repeats itself, its own past says what comes next, to be checked in one pass.

Source: Saxena 2023, "Prompt Lookup Decoding". A draft that is wrong costs time and changes nothing: see `draft.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from nextword.generation.back_off import BackOff

_NGRAM_SIZE = 3  # tokens that must have occurred before in a row
_MIN_DRAFT, _MAX_DRAFT = 3, 12  # of a draft; so few more tokens hardly make a pass longer


class PromptLookup:
    """Proposes the next tokens of a text that grows."""

    def __init__(self, token_ids: Iterable[int]) -> None:
        self._ids: list[int] = []
        self._ngram_positions: dict[tuple[int, ...], int] = {}  # three tokens -> where the token behind them last stood
        self._draft_length = _MIN_DRAFT
        self._back_off = BackOff(first=4, longest=256)
        for token in token_ids:
            self.add(token)

    def add(self, token: int) -> None:
        """The text grew by a token."""
        if len(self._ids) >= _NGRAM_SIZE:
            self._ngram_positions[tuple(self._ids[-_NGRAM_SIZE:])] = len(self._ids)
        self._ids.append(token)

    def propose(self, limit: int) -> list[int]:
        """Up to `limit` tokens that stood behind the same three before; none where that has not helped lately."""
        place = self._ngram_positions.get(tuple(self._ids[-_NGRAM_SIZE:]))
        if place is None or self._back_off.pauses():
            return []
        period = len(self._ids) - place  # a text that goes round in a circle goes on so
        return [self._ids[place + i % period] for i in range(min(limit, self._draft_length))]

    def update(self, proposed: int, accepted: int) -> None:
        """How many tokens of a draft were accepted: drafts become longer, or pause for longer and longer."""
        self._draft_length = (
            min(2 * self._draft_length, _MAX_DRAFT)
            if accepted == proposed
            else max(_MIN_DRAFT, self._draft_length // 2)
        )
        self._back_off.update(hit=accepted > 0)
