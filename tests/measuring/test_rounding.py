"""What rounding the weights costs on the native engine, and that what is verified is not rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from nextword.files.precision import PRECISIONS, cast_matrices
from nextword.files.quantization import quantize
from nextword.files.tensors import RawTensor
from nextword.generation import Sampling, TextStream
from nextword.measuring import rounding
from nextword.measuring.rounding import exact_backend, loaded_backend, rounding_losses
from nextword.model import TorchBackend
from nextword.settings import Precision
from tests.files.making import CONFIGS, random_bundle


def test_finer_rounding_moves_the_predictions_less() -> None:
    config = CONFIGS["qwen3"].replace(d_model=64, d_ff=96, head_dim=32)
    losses = {loss.precision: loss for loss in rounding_losses(random_bundle(config))}
    assert list(losses) == [precision for precision in PRECISIONS if precision != "float32"]
    assert 0 < losses["float16"].divergence < losses["bfloat16"].divergence < losses["q4_1"].divergence
    assert 0 < losses["q8_0"].divergence < losses["q4_1"].divergence < 1
    assert losses["bfloat16"].size > losses["q8_0"].size > losses["q4_1"].size > 0.1
    assert all(loss.tokens >= 1500 and 0.3 < loss.top1 <= 1 for loss in losses.values())


def test_a_precision_that_cannot_hold_a_weight_is_left_out() -> None:
    bundle = random_bundle(CONFIGS["qwen3"].replace(d_model=64, d_ff=96, head_dim=32))
    name = "token_embedding.weight"
    values = bundle.tensors[name].values().copy()
    values[0, 0] = 1e5
    wide = replace(bundle, tensors={**bundle.tensors, name: RawTensor.from_bits(name, "F32", values)})
    assert [loss.precision for loss in rounding_losses(wide)] == list(PRECISIONS)[2:]


def test_texts_written_together_are_those_that_each_seed_writes() -> None:
    bundle = random_bundle(CONFIGS["qwen3"].replace(d_model=64, d_ff=96, head_dim=32))
    texts = rounding._sample_texts(backend := exact_backend(bundle), bundle)
    start = bundle.tokenizer.bos_id or bundle.tokenizer.eos_id or 0
    assert sum(map(len, texts)) >= rounding.TOKENS > sum(map(len, texts[:-1]))
    for seed in (0, 1, len(texts) - 1):
        asked = {"max_new_tokens": 63, "sampling": Sampling(), "seed": seed, "overflow": "stop"}
        stream = TextStream(backend, bundle.tokenizer, [start], **asked)  # type: ignore[arg-type]
        assert "".join(stream) or not stream.token_ids
        assert texts[seed] == [start, *stream.token_ids]


def test_blocks_are_verified_with_exact_activations_and_what_rounding_these_costs_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cast: list[str] = []

    def watched(tensors: Mapping[str, RawTensor], precision: Precision) -> dict[str, RawTensor]:
        cast.append(precision)
        return cast_matrices(tensors, precision)

    monkeypatch.setattr(rounding, "cast_matrices", watched)
    config = CONFIGS["qwen3"].replace(d_model=64, d_ff=96, head_dim=32)
    bundle = random_bundle(config)
    tensors = {
        name: tensor
        if len(tensor.shape) == 1
        else RawTensor(name, "Q5_0", tensor.shape, quantize("Q5_0", tensor.values()).reshape(-1).data)
        for name, tensor in bundle.tensors.items()
    }
    blocks = replace(bundle, tensors=tensors)
    ids = list(range(40))
    exact, reference = exact_backend(blocks), TorchBackend.from_stored(config, blocks.dequantized(), device="cpu")
    (found,), (expected,) = (run.forward([ids], [run.new_cache(40)], "all") for run in (exact, reference))
    assert np.abs(found - expected).max() < 1e-4
    losses = {loss.precision: loss for loss in rounding_losses(blocks)}
    assert list(losses) == cast == ["auto", "q4_1", "q4_0"]  # the others take as much room, or more: not even made
    assert 0 < losses["auto"].divergence < 1e-4 * losses["q4_1"].divergence  # of activations of 16 bits, and the cache
    assert losses["auto"].size == 1
    assert loaded_backend(config, tensors).cache_format == "float16"
    assert loaded_backend(config, bundle.tensors).cache_format == exact.cache_format == "float32"
