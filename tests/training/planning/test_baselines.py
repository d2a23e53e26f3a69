"""Counting and compressing, against tables worked out by hand and by enumeration."""

from __future__ import annotations

import gzip
import math
import zlib

import numpy as np
import pytest

from nextword.tokens import Tokenizer
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.planning import baselines
from nextword.training.planning.baselines import PRIOR, gzip_bits_per_byte, measure_baselines, token_nats


def test_unigrams_and_bigrams_worked_out_by_hand() -> None:
    # Training text: 0 1 0 1 0 2; three kinds: P(0) = 4/9, P(1) = 3/9, P(2) = 2/9.
    # After 0, which is followed three times: 1, 1, 2. After 1, twice: 0, 0. After 2 comes nothing.
    train, held_out = np.array([0, 1, 0, 1, 0, 2]), np.array([0, 1, 2, 0])
    unigram, bigram = token_nats(train, held_out, 3)
    assert unigram == pytest.approx(-math.log(3 / 9 * 2 / 9 * 4 / 9))
    after_0 = (2 + PRIOR * 3 / 9) / (3 + PRIOR)
    after_1 = (0 + PRIOR * 2 / 9) / (2 + PRIOR)
    after_2 = 4 / 9  # nothing is known: the unigram
    assert bigram == pytest.approx(-math.log(after_0 * after_1 * after_2))


@pytest.mark.parametrize("before", range(5))
def test_every_table_sums_to_one(before: int) -> None:
    train = np.random.default_rng(0).integers(0, 4, 300).astype(np.uint16)  # token 4 does not occur
    scores = [token_nats(train, np.array([before, after], np.uint16), 5) for after in range(5)]
    assert sum(math.exp(-unigram) for unigram, _ in scores) == pytest.approx(1, abs=1e-12)
    assert sum(math.exp(-bigram) for _, bigram in scores) == pytest.approx(1, abs=1e-12)


def test_the_training_text_may_be_counted_in_pieces_and_mapped(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    train, held_out = rng.zipf(1.5, 1000) % 50, rng.zipf(1.5, 200) % 50
    whole = token_nats(train, held_out, 50)
    train.astype(np.uint16).tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint16, "r")
    for size in (1, 7, 999, 1000, 1001):
        monkeypatch.setattr(baselines, "_CHUNK", size)
        assert token_nats(mapped, held_out.astype(np.uint16), 50) == whole


def test_pairs_of_a_large_vocabulary_are_not_mistaken_for_each_other() -> None:
    # 60,000 x 60,000 pairs do not fit 32 bits, and their ids do not fit 16.
    train = np.array([59_999, 59_998, 59_999, 59_998], np.uint16)
    _, seen = token_nats(train, np.array([59_999, 59_998], np.uint16), 60_000)
    _, reverse = token_nats(train, np.array([59_998, 59_997], np.uint16), 60_000)
    assert math.exp(-seen) == pytest.approx((2 + PRIOR * 3 / 60_004) / (2 + PRIOR))
    assert math.exp(-reverse) == pytest.approx((0 + PRIOR * 1 / 60_004) / (1 + PRIOR))


def test_gzip_alone_and_after_what_it_has_seen() -> None:
    text, before = "나는 오늘 학교에 갔다. ".encode() * 20, "나는 오늘 학교에 갔다. ".encode() * 3
    assert gzip_bits_per_byte(text) == len(gzip.compress(text)) * 8 / len(text)
    added = len(zlib.compress(before + text, 9)) - len(zlib.compress(before, 9))
    assert gzip_bits_per_byte(text, before) == pytest.approx(added * 8 / len(text))
    assert gzip_bits_per_byte(text, before) < gzip_bits_per_byte(text) / 2


def test_all_of_it_on_a_text_in_two_scripts() -> None:
    tokenizer = Tokenizer.train_bpe(["한국의 수도는 서울이다. The cat sat. 🙂 " * 20], 300)
    train = TokenizedText.from_documents([Document("a", "한국의 수도는 서울이다. The cat sat. 🙂 " * 20)], tokenizer)
    held_out = TokenizedText.from_documents([Document("b", "서울이다. The 한국 🙂 cat 부산 ")], tokenizer)
    found = measure_baselines(train, held_out, tokenizer)
    unigram, bigram = token_nats(train.tokens, held_out.tokens, tokenizer.vocab_size)
    assert found.nats_per_character(found.unigram) * held_out.characters == pytest.approx(unigram)
    assert found.nats_per_character(found.bigram) * held_out.characters == pytest.approx(bigram)
    assert found.gzip_alone == len(gzip.compress("서울이다. The 한국 🙂 cat 부산 ".encode())) * 8 / held_out.bytes
    assert found.gzip < found.gzip_alone
    assert found.bytes_per_character == held_out.bytes / held_out.characters
