"""TorchBackend: chunks behind caches in, float32 logits out; weights from stored bytes and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError, ModelFileError
from nextword.files.tensors import RawTensor
from nextword.model import GPTModel, TorchBackend
from nextword.model.backend import choose_device, stored_tensors
from tests.oracle.cases import CASES, PRESETS, random_tokens, random_weights
from tests.oracle.compare import torch_model
from tests.oracle.numpy_gpt import NumpyGPT

DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
BACKENDS = [*PRESETS, "sliding windows"]


def backend_for(case: str, dtype: torch.dtype = torch.float32) -> TorchBackend:
    config = CASES[case]
    return TorchBackend(torch_model(config, random_weights(config), dtype))


def some_ids(config: GPTConfig, count: int, seed: int = 1) -> list[int]:
    ids: list[int] = random_tokens(config, 1, count, seed)[0][0].tolist()
    return ids


def raw(stored: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> dict[str, RawTensor]:
    return {name: RawTensor(name, kind, shape, memoryview(data)) for name, (kind, shape, data) in stored.items()}


# -- forward -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BACKENDS)
def test_logits_are_the_oracles_as_float32(case: str) -> None:
    backend = backend_for(case)
    ids = some_ids(backend.config, 9)
    (rows,) = backend.forward([ids], [backend.new_cache(9)], logits="all")
    expected = NumpyGPT(backend.config, random_weights(backend.config)).logits(np.array([ids]))[0]
    assert rows.dtype == np.float32
    assert rows.shape == (9, backend.config.vocab_size)
    assert np.abs(rows - expected).max() < 5e-5


@pytest.mark.parametrize("logits", ["last", "all"])
@pytest.mark.parametrize("case", BACKENDS)
def test_chunks_of_different_lengths_at_once_equal_one_at_a_time(case: str, logits: str) -> None:
    backend = backend_for(case)
    chunks = [some_ids(backend.config, count, seed) for seed, count in enumerate((1, 7, 3, 11))]
    more = [some_ids(backend.config, count, 9 + seed) for seed, count in enumerate((4, 1, 8))]
    caches = [backend.new_cache(11) for _ in chunks]
    together = backend.forward(chunks, caches, logits) + backend.forward(more, caches[:3], logits)
    assert [cache.length for cache in caches] == [5, 8, 11, 11]

    alone = [backend.new_cache(11) for _ in chunks]
    pairs = [*zip(chunks, alone, strict=True), *zip(more, alone[:3], strict=True)]
    for (chunk, cache), found in zip(pairs, together, strict=True):
        (expected,) = backend.forward([chunk], [cache], logits)
        assert found.shape == ((len(chunk), backend.config.vocab_size) if logits == "all" else expected.shape)
        assert np.abs(found - expected).max() < 5e-5


@pytest.mark.parametrize("case", BACKENDS)
def test_the_last_row_of_all_is_last(case: str) -> None:
    backend = backend_for(case)
    for count in (1, 2, 11):
        ids = some_ids(backend.config, count)
        (every,) = backend.forward([ids], [backend.new_cache(11)], logits="all")
        (last,) = backend.forward([ids], [backend.new_cache(11)])
        assert every.shape == (count, backend.config.vocab_size)
        assert last.shape == (backend.config.vocab_size,)
        assert last.dtype == np.float32
        assert np.abs(every[-1] - last).max() < 5e-5


def test_a_cache_that_is_too_small_says_so() -> None:
    backend = backend_for("llama")
    with pytest.raises(ContextOverflowError) as raised:
        backend.forward([some_ids(backend.config, 5)], [backend.new_cache(4)])
    assert (raised.value.n_prompt_tokens, raised.value.context_length) == (5, 4)


def test_every_chunk_needs_its_cache() -> None:
    backend = backend_for("llama")
    with pytest.raises(ConfigError, match="a cache of its own"):
        backend.forward([[1], [2]], [backend.new_cache(4)])


def test_a_model_in_training_mode_with_dropout_generates_without_it() -> None:
    model = GPTModel(29, 12, 3, 2, 0.5, 11).train()
    ids = [some_ids(model.config, 7)]
    backend = TorchBackend(model, reason="a test")
    assert not model.training
    assert not any(part.training for part in model.modules())
    first, second = (backend.forward(ids, [backend.new_cache(7)], "all")[0] for _ in range(2))
    assert np.array_equal(first, second)
    without = GPTModel(29, 12, 3, 2, 0.0, 11)
    without.load_weights(model.weights())
    expected = without(torch.tensor(ids)).detach().numpy()[0]
    assert np.abs(first - expected).max() < 5e-5
    assert (backend.name, backend.reason, backend.config) == ("torch", "a test", model.config)


# -- stored weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_stored_weights_come_back_bit_for_bit(case: str, dtype: str) -> None:
    model = torch_model(CASES[case], random_weights(CASES[case]), DTYPES[dtype])
    stored = stored_tensors(model)
    assert {name: shape for name, (_, shape, _) in stored.items()} == model.config.parameter_shapes()
    size = DTYPES[dtype].itemsize
    assert sum(len(data) for _, _, data in stored.values()) == model.config.num_parameters * size
    loaded = TorchBackend.from_stored(model.config, raw(stored), device="cpu", dtype=dtype).model
    for name, weight in model.weights().items():
        assert loaded.weights()[name].dtype == DTYPES[dtype]
        assert torch.equal(loaded.weights()[name], weight), name
    assert stored_tensors(loaded) == stored
    tied = loaded.output_layer.weight is loaded.token_embedding.weight
    assert tied == model.config.tie_embeddings


@pytest.mark.parametrize("case", BACKENDS)
def test_half_precision_gives_float32_logits_close_to_the_exact_ones(case: str) -> None:
    config = CASES[case]
    weights = random_weights(config)
    stored = raw(stored_tensors(torch_model(config, weights, torch.float32)))
    ids = some_ids(config, 9)
    expected = NumpyGPT(config, weights).logits(np.array([ids]))[0]
    for dtype, tolerance in (("float16", 0.05), ("bfloat16", 0.4)):  # 10 and 7 bits behind the point
        backend = TorchBackend.from_stored(config, stored, dtype=dtype)
        cache = backend.new_cache(9)
        rows = np.concatenate([backend.forward([part], [cache], "all")[0] for part in (ids[:5], ids[5:8], ids[8:])])
        assert rows.dtype == np.float32
        assert 0 < np.abs(rows - expected).max() < tolerance, dtype


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_without_a_dtype_stored_weights_run_in_float32(kind: str) -> None:
    config = CASES["qwen3"]
    stored = stored_tensors(torch_model(config, random_weights(config), DTYPES[kind]))
    backend = TorchBackend.from_stored(config, raw(stored))
    assert {weight.dtype for weight in backend.model.weights().values()} == {torch.float32}
    for name, tensor in raw(stored).items():
        values = tensor.bits().astype(np.float32) if kind == "float64" else tensor.values()
        assert np.array_equal(backend.model.weights()[name].numpy(), values), name


def test_loading_copies_so_the_file_may_go() -> None:
    config = CASES["gpt2"]
    stored = stored_tensors(torch_model(config, random_weights(config), torch.float32))
    buffers = {name: bytearray(data) for name, (_, _, data) in stored.items()}
    tensors = {n: RawTensor(n, kind, shape, memoryview(buffers[n])) for n, (kind, shape, _) in stored.items()}
    backend = TorchBackend.from_stored(config, tensors)
    for buffer in buffers.values():
        buffer[:] = bytes(len(buffer))
    assert stored_tensors(backend.model) == stored


def test_an_unknown_element_type_names_the_tensor() -> None:
    config = CASES["gpt2"]
    tensors = raw(stored_tensors(torch_model(config, random_weights(config), torch.float32)))
    tensors["ln_final.bias"] = RawTensor("ln_final.bias", "F8_E4M3", (15,), memoryview(bytes(15)))
    with pytest.raises(ModelFileError, match=r"ln_final\.bias has element type F8_E4M3"):
        TorchBackend.from_stored(config, tensors)


# -- device and dtype ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["tpu", "cpux", "", "cuda:99x", "gpu:0"])
def test_an_unknown_device_is_a_config_error(device: str) -> None:
    config = CASES["gpt2"]
    tensors = raw(stored_tensors(torch_model(config, random_weights(config), torch.float32)))
    with pytest.raises(ConfigError, match="device") as raised:
        TorchBackend.from_stored(config, tensors, device=device)
    assert "cpu" in raised.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_here_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="'cuda:0' is not available here"):
        choose_device("cuda:0")


def test_auto_is_the_last_of_what_is_available() -> None:
    gpu = "mps" if torch.backends.mps.is_available() else "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto") == gpu
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("dtype", ["float8", "half", "", "torch.float32", "F32"])
def test_an_unknown_dtype_is_a_config_error(dtype: str) -> None:
    config = CASES["gpt2"]
    tensors = raw(stored_tensors(torch_model(config, random_weights(config), torch.float32)))
    with pytest.raises(ConfigError, match=f"no dtype {dtype!r}") as raised:
        TorchBackend.from_stored(config, tensors, dtype=dtype)
    assert "bfloat16" in raised.value.hint
