"""The batches and the evaluation windows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nextword.training.run.batches import Batches, evaluation_windows


def starts_of(batches: Batches, first: int, count: int) -> list[int]:
    return [int(start) for step in range(first, first + count) for start in batches.batch(step)[:, 0]]


def test_every_window_comes_once_an_epoch() -> None:
    batches = Batches(np.arange(1000), window=10, batch_size=7, seed=3)  # an epoch: 98 windows, 14 steps
    for epoch in range(5):
        starts = starts_of(batches, 14 * epoch, 14)
        assert len(set(starts)) == 98
        assert len({start % 10 for start in starts}) == 1  # they lie side by side
        assert 0 <= min(starts) <= 19
        assert max(starts) + 10 <= 999


def test_every_epoch_has_another_offset_and_another_order() -> None:
    batches = Batches(np.arange(1000), window=10, batch_size=98, seed=3)
    epochs = [starts_of(batches, epoch, 1) for epoch in range(30)]
    assert len({min(starts) for starts in epochs}) > 10
    assert len({tuple(start - min(starts) for start in starts) for starts in epochs}) == 30


def test_every_token_is_learned_sooner_or_later() -> None:
    batches = Batches(np.arange(200), window=16, batch_size=4, seed=0)
    seen = {int(token) for step in range(400) for token in batches.batch(step)[:, 1:].flat}
    assert seen == set(range(1, 200))


def test_targets_are_the_inputs_shifted_by_one() -> None:
    windows = Batches(np.arange(500), window=12, batch_size=3, seed=0).batch(0)
    assert windows.shape == (3, 13)
    assert (windows[:, 1:] == windows[:, :-1] + 1).all()


def test_the_order_depends_on_nothing_but_seed_and_step() -> None:
    tokens = np.arange(300)
    first = Batches(tokens, 8, 5, seed=1)
    forwards = [first.batch(step) for step in range(40)]
    fresh = Batches(tokens, 8, 5, seed=1)
    backwards = [fresh.batch(step) for step in reversed(range(40))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not np.array_equal(Batches(tokens, 8, 5, seed=2).batch(0), forwards[0])


@given(length=st.integers(2, 80), window=st.integers(1, 40), seed=st.integers(0, 5))
def test_any_text_longer_than_a_window_gives_batches(length: int, window: int, seed: int) -> None:
    if length <= window:
        return
    batches = Batches(np.arange(length), window, 3, seed)
    for step in range(6):
        windows = batches.batch(step)
        assert windows.shape == (3, window + 1)
        assert 0 <= windows.min() <= windows.max() < length


@given(length=st.integers(0, 200), window=st.integers(1, 60), batch_size=st.integers(1, 9))
def test_evaluation_predicts_every_token_but_the_first_exactly_once(length: int, window: int, batch_size: int) -> None:
    tokens = np.arange(length)
    windows = list(evaluation_windows(tokens, window, batch_size))
    predicted = [int(token) for rows in windows for token in rows[:, 1:].flat]
    assert predicted == list(range(1, length))
    for rows in windows:
        assert len(rows) <= batch_size
        assert 2 <= rows.shape[1] <= window + 1
        assert (rows[:, 1:] == rows[:, :-1] + 1).all()
