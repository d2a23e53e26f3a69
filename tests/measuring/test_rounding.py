"""What rounding the weights costs on the native engine, and that what is verified is not rounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nextword.files.quantization import quantize
from nextword.files.tensors import RawTensor
from nextword.measuring.rounding import exact_backend, rounding_losses
from nextword.model import TorchBackend
from tests.files.making import CONFIGS, random_bundle


def test_finer_rounding_moves_the_predictions_less() -> None:
    config = CONFIGS["qwen3"].replace(d_model=64, d_ff=96, head_dim=32)
    losses = {loss.precision: loss for loss in rounding_losses(random_bundle(config))}
    assert list(losses) == ["bf16", "q8", "q4"]
    assert 0 < losses["bf16"].divergence < losses["q4"].divergence
    assert 0 < losses["q8"].divergence < losses["q4"].divergence < 1
    assert losses["bf16"].size > losses["q8"].size > losses["q4"].size > 0.1
    assert all(loss.tokens >= 1500 and 0.3 < loss.top1 <= 1 for loss in losses.values())


def test_blocks_that_loading_rounds_are_verified_as_they_are_and_their_rounding_is_told() -> None:
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
    exact, reference = exact_backend(blocks), TorchBackend.from_stored(config, blocks.floats(), device="cpu")
    (found,), (expected,) = (run.forward([ids], [run.new_cache(40)], "all") for run in (exact, reference))
    assert np.abs(found - expected).max() < 1e-4
    losses = {loss.precision: loss for loss in rounding_losses(blocks)}
    assert list(losses) == ["auto", "q4"]
    assert 0 < losses["auto"].divergence < 0.1 * losses["q4"].divergence
    assert losses["auto"].size > 1  # 34 bytes a block where there were 22
