"""The hash of what a model computes: the same from any threads and batch, another where one number is another."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from nextword.engine.backend import NativeBackend
from nextword.engine.kernels import available_kernels
from nextword.files import read_model
from nextword.files.precision import cast_matrices
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


HASHES = {
    ("auto", "int16"): "da6d33ae44f06771",  # float16 weights meet float32 activations
    ("q8_0", "int16"): "a1c36e63f32d3111",
    ("q8_0", "int8"): "12f58e707f70d447",
    ("q8_0", "float32"): "8371e87d19a1fa64",
}
"""Of the default model's logits, of 15 tokens: on every machine, whatever its instruction set."""


@pytest.mark.parametrize("kernels", available_kernels())
@pytest.mark.parametrize(("precision", "activations"), HASHES)
def test_every_instruction_set_gives_the_bits_written_here(precision: str, activations: str, kernels: str) -> None:
    bundle = read_model(DEFAULT_MODEL)
    tensors = cast_matrices(bundle.tensors, precision)
    run = NativeBackend(bundle.config, tensors, kernels=kernels, activations=activations)  # type: ignore[arg-type]
    assert hash_bits(run, BEGINNINGS, 15).logits[:16] == HASHES[precision, activations]


def test_mixed_blocks_give_the_same_bits_on_every_instruction_set() -> None:
    bundle = read_model(DEFAULT_MODEL)
    tensors = cast_matrices(bundle.tensors, "q4_k_m")
    runs = [NativeBackend(bundle.config, tensors, kernels=kernels) for kernels in available_kernels()]
    assert len({hash_bits(run, BEGINNINGS, 15) for run in runs}) == 1
