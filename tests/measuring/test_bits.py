"""The hash of what a model computes: the same from any threads and batch, another where one number is another."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from nextword.engine.backend import NativeBackend
from nextword.files import read_model
from nextword.files.tensors import RawTensor
from nextword.loading import DEFAULT_MODEL
from nextword.measuring.bits import hash_bits

BEGINNINGS = [[3, 1, 4], [1, 5], [9, 2, 6, 5]]


@pytest.fixture(scope="module")
def backend() -> NativeBackend:
    bundle = read_model(DEFAULT_MODEL)
    return NativeBackend(bundle.config, bundle.tensors, threads=1)


def test_the_hash_is_that_of_the_greedy_texts_written_one_by_one(backend: NativeBackend) -> None:
    texts, digests = [], []
    for beginning in BEGINNINGS:
        ids, cache = list(beginning), backend.new_cache(50)
        rows = [backend.forward([ids], [cache], "all")[0]]
        for _ in range(4):
            ids.append(int(rows[-1][-1].argmax()))
            rows.append(backend.forward([ids[-1:]], [cache], "all")[0])
        texts += [*ids, int(rows[-1][-1].argmax())]
        digests.append(hashlib.sha256(np.concatenate(rows).tobytes()).digest())
    found = hash_bits(backend, BEGINNINGS, 15)
    assert found.tokens == 15
    assert found.text == hashlib.sha256(np.array(texts, "<i4").tobytes()).hexdigest()
    assert found.logits == hashlib.sha256(b"".join(digests)).hexdigest()


def test_threads_do_not_change_it_and_one_weight_does(backend: NativeBackend) -> None:
    bundle = read_model(DEFAULT_MODEL)
    expected = hash_bits(backend, BEGINNINGS, 60)
    for threads in (2, 3):
        assert hash_bits(NativeBackend(bundle.config, bundle.tensors, threads=threads), BEGINNINGS, 60) == expected
    name = "blocks.3.ffn.up.weight"
    values = bundle.tensors[name].values().copy()
    values[5, 7] += 1e-3
    other = {**bundle.tensors, name: RawTensor.from_bits(name, "F32", values)}
    assert hash_bits(NativeBackend(bundle.config, other), BEGINNINGS, 60).logits != expected.logits


def test_texts_end_where_the_context_does(backend: NativeBackend) -> None:
    bundle = read_model(DEFAULT_MODEL)
    short = NativeBackend(replace(bundle.config, context_length=8), bundle.tensors)
    assert hash_bits(short, BEGINNINGS, 1000).tokens == 5 + 6 + 4
