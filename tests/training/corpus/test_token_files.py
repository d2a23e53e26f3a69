"""Token ids on disk, and batches of them that need no copy of all."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nextword.errors import ModelFileError
from nextword.training.corpus.token_files import TokenWriter, open_tokens, open_weights
from nextword.training.run.batches import Batches, evaluation_weights, evaluation_windows


def written(directory: Path, tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    with TokenWriter(directory, "train", vocab_size) as writer:
        for part in np.array_split(tokens, 7):
            writer.add(part.tolist())
    assert writer.count == len(tokens)
    return open_tokens(directory, "train", vocab_size, len(tokens))


@pytest.mark.parametrize(("vocab_size", "bytes_each"), [(300, 2), (65_536, 2), (65_537, 4), (200_000, 4)])
def test_ids_take_two_bytes_where_these_are_enough(tmp_path: Path, vocab_size: int, bytes_each: int) -> None:
    tokens = np.array([0, 1, vocab_size - 1] * 50)
    assert written(tmp_path, tokens, vocab_size).tolist() == tokens.tolist()
    data = (tmp_path / "train.tokens").read_bytes()
    assert len(data) == 150 * bytes_each
    assert data[2 * bytes_each : 3 * bytes_each] == (vocab_size - 1).to_bytes(bytes_each, "little")


def test_an_id_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with TokenWriter(tmp_path, "train", 300) as writer, pytest.raises(OverflowError):
        writer.add([1, 70_000])


def test_no_tokens_at_all_can_be_opened(tmp_path: Path) -> None:
    assert written(tmp_path, np.empty(0, np.int64), 300).tolist() == []


def test_batches_of_a_mapped_file_are_those_of_the_array(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 60_000, 5000)
    mapped = written(tmp_path, tokens, 60_000)
    in_memory, from_file = Batches(tokens, 32, 4, seed=1), Batches(mapped, 32, 4, seed=1)
    for step in range(100):
        batch = from_file.batch(step)
        assert batch.dtype == np.int64
        assert np.array_equal(batch, in_memory.batch(step))
    pairs = zip(evaluation_windows(tokens, 33, 4), evaluation_windows(mapped, 33, 4), strict=True)
    assert all(b.dtype == np.int64 and np.array_equal(a, b) for a, b in pairs)


def test_weights_travel_with_their_tokens(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 300, 1003)
    with TokenWriter(tmp_path, "chat", 300, weighted=True) as writer:
        writer.add(tokens, tokens % 2)
        with pytest.raises(ValueError, match="need as many weights"):
            writer.add([1, 2])
        with pytest.raises(ValueError, match="need as many weights"):
            writer.add([1, 2], [1])
    ids, weights = open_tokens(tmp_path, "chat", 300, 1003), open_weights(tmp_path, "chat", 1003)
    batches = Batches(ids, 16, 4, seed=2, weights=weights)
    for step in range(40):
        found = batches.batch_weights(step)
        assert found is not None
        assert np.array_equal(found, batches.batch(step) % 2)
    assert Batches(ids, 16, 4, seed=2).batch_weights(0) is None
    for windows, found in zip(evaluation_windows(ids, 16, 4), evaluation_weights(weights, 16, 4), strict=True):
        assert found.dtype == np.uint8
        assert np.array_equal(found, windows % 2)


def test_a_file_of_another_length_is_damaged(tmp_path: Path) -> None:
    written(tmp_path, np.arange(100), 300)
    with pytest.raises(ModelFileError, match=r"train\.tokens is damaged: it has 200 bytes, not 202$"):
        open_tokens(tmp_path, "train", 300, 101)
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        open_weights(tmp_path, "train", 100)


def test_ten_million_tokens_are_not_copied_for_a_batch(tmp_path: Path) -> None:
    with TokenWriter(tmp_path, "train", 300) as writer:
        for _ in range(10):
            writer.add(np.arange(1_000_000) % 300)
    tokens = open_tokens(tmp_path, "train", 300, 10_000_000)
    tracemalloc.start()
    Batches(tokens, 128, 8, seed=0).batch(0)
    next(evaluation_windows(tokens, 128, 8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # the order of the windows; the tokens are 20 MB
