"""The split, the batches and the evaluation windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword import Tokenizer
from nextword.errors import ConfigError
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import Batches, TokenizedText, evaluation_windows, split_documents
from tests.training.sample_text import SENTENCES, TEXT


@pytest.mark.parametrize("length", [10, 99, 200, 1001, 1_115_394])
def test_of_one_file_the_first_nine_tenths_are_learned_as_nanogpt_splits(length: int) -> None:
    text = ("0123456789" * (length // 10 + 1))[:length]
    [learned], [held_out] = split_documents([Document("a", text)], 0.1)
    assert learned.text == text[: int(length * 0.9)]  # nanoGPT's prepare.py
    assert held_out.text == text[int(length * 0.9) :]


def test_every_document_gives_its_tail_and_characters_count_not_bytes() -> None:
    documents = [Document("korean", "가" * 10), Document("english", "a" * 20)]
    learned, held_out = split_documents(documents, 0.2)
    assert [(d.name, d.text) for d in learned] == [("korean", "가" * 8), ("english", "a" * 16)]
    assert [(d.name, d.text) for d in held_out] == [("korean", "가" * 2), ("english", "a" * 4)]


def test_nothing_is_lost_or_doubled_by_a_split() -> None:
    for share in (0.001, 0.1, 1 / 3, 0.5, 0.999):
        learned, held_out = split_documents([Document("a", TEXT)], share)
        assert "".join(d.text for d in (*learned, *held_out)) == TEXT


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=f"validation is {share}, a share lies between 0 and 1"):
        split_documents([Document("a", TEXT)], share)


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


def test_the_document_start_stands_before_each_document() -> None:
    tokenizer = Tokenizer.train_bpe(TEXT, 300)
    documents = [Document(str(i), sentence) for i, sentence in enumerate(SENTENCES)]
    text = TokenizedText.from_documents(documents, tokenizer)
    assert tokenizer.bos_id is not None
    cuts = np.flatnonzero(text.tokens == tokenizer.bos_id)
    assert len(cuts) == 4
    assert cuts[0] == 0
    parts = np.split(text.tokens, cuts[1:])
    assert tuple(tokenizer.decode(part[1:].tolist()) for part in parts) == SENTENCES
    assert text.characters == sum(map(len, SENTENCES)) == 103
    assert text.bytes == sum(len(sentence.encode()) for sentence in SENTENCES) == 153


def test_a_tokenizer_without_a_document_start_adds_nothing() -> None:
    text = TokenizedText.from_documents([Document("a", "ab"), Document("b", "ba")], Tokenizer.characters("ab"))
    assert text.tokens.tolist() == [0, 1, 1, 0]
    assert TokenizedText.from_documents([], Tokenizer.characters("ab")).tokens.tolist() == []
