"""Pauses between guesses, counted."""

from __future__ import annotations

import pytest

from nextword.generation.back_off import BackOff


def left_out(back_off: BackOff) -> int:
    """Guesses that are left out before the next one."""
    count = 0
    while back_off.pauses():
        count += 1
    return count


@pytest.mark.parametrize(
    ("first", "longest", "pauses"), [(4, 20, [0, 4, 8, 16, 20, 20]), (2, 64, [0, 2, 4, 8, 16, 32])]
)
def test_pauses_double_with_every_miss_after_the_first_and_end_with_a_hit(
    first: int, longest: int, pauses: list[int]
) -> None:
    back_off = BackOff(first, longest)
    for _ in range(2):
        found = []
        for _ in pauses:
            back_off.update(hit=False)
            found.append(left_out(back_off))
        assert found == pauses
        back_off.update(hit=True)
        assert left_out(back_off) == 0
