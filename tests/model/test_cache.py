"""With a cache, in whatever pieces the tokens come, the logits are those of one pass without it."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError
from nextword.model import GPTModel, KVCache
from tests.oracle.cases import CASES, PRESETS, random_tokens, random_weights
from tests.oracle.compare import gap, torch_model

CHUNKS = [1, 2, 3, 5, 10]


def model_and_ids(case: str, dtype: torch.dtype = torch.float64) -> tuple[GPTModel, torch.Tensor]:
    config = CASES[case]
    ids = torch.from_numpy(random_tokens(config, batch_size=2)[0])
    return torch_model(config, random_weights(config), dtype).requires_grad_(False), ids


def in_pieces(model: GPTModel, ids: torch.Tensor, sizes: list[int], cache: KVCache) -> torch.Tensor:
    pieces = ids.split(sizes, dim=1)
    return torch.cat([model(piece, cache=cache) for piece in pieces], dim=1)


def cache_for(model: GPTModel, capacity: int | None = None, batch_size: int = 2) -> KVCache:
    dtype = model.token_embedding.weight.dtype
    return KVCache(model.config, capacity or model.config.context_length, batch_size=batch_size, dtype=dtype)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("case", CASES)
def test_pieces_up_to_exactly_the_context_length_equal_one_pass(case: str, chunk: int) -> None:
    model, ids = model_and_ids(case)
    T = model.config.context_length
    sizes = [min(chunk, T - start) for start in range(0, T, chunk)]
    cache = cache_for(model)
    cached = in_pieces(model, ids, sizes, cache)
    assert cache.length == T
    assert gap(cached, model(ids)) < 1e-12


@pytest.mark.parametrize("case", PRESETS)
def test_token_by_token_equals_one_pass_in_float32(case: str) -> None:
    model, ids = model_and_ids(case, torch.float32)
    cached = in_pieces(model, ids, [1] * ids.shape[1], cache_for(model))
    assert gap(cached, model(ids)) < 5e-5


@pytest.mark.parametrize("sizes", [[1, 10], [10, 1], [4, 1, 1, 5], [3, 7, 1], [11]])
@pytest.mark.parametrize("case", [*PRESETS, "sliding windows", "interleaved rotary, some layers without"])
def test_pieces_of_unequal_size_equal_one_pass(case: str, sizes: list[int]) -> None:
    model, ids = model_and_ids(case)
    cached = in_pieces(model, ids, sizes, cache_for(model))
    assert gap(cached, model(ids)) < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_each_row_of_a_batch_is_the_row_alone(case: str) -> None:
    model, ids = model_and_ids(case)
    T = model.config.context_length
    together = in_pieces(model, ids, [4, T - 4], cache_for(model))
    for row in range(2):
        alone = in_pieces(model, ids[row : row + 1], [4, T - 4], cache_for(model, batch_size=1))
        assert gap(together[row], alone[0]) < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_one_token_more_than_the_context_is_an_error_that_says_how_many(case: str) -> None:
    model, ids = model_and_ids(case)
    T = model.config.context_length
    cache = cache_for(model, capacity=T + 5)  # room in the cache does not make the context longer
    model(ids, cache=cache)
    with pytest.raises(ContextOverflowError, match=f"{T + 1} tokens") as raised:
        model(ids[:, :1], cache=cache)
    assert (raised.value.n_prompt_tokens, raised.value.context_length) == (T + 1, T)
    assert cache.length == T

    with pytest.raises(ContextOverflowError) as raised:
        model(torch.cat([ids, ids[:, :2]], dim=1))
    assert (raised.value.n_prompt_tokens, raised.value.context_length) == (T + 2, T)


@pytest.mark.parametrize("case", PRESETS)
def test_more_tokens_than_the_cache_holds_leave_it_as_it_was(case: str) -> None:
    model, ids = model_and_ids(case)
    cache = cache_for(model, capacity=6)
    model(ids[:, :4], cache=cache)
    with pytest.raises(ContextOverflowError) as raised:
        model(ids[:, 4:7], cache=cache)
    assert (raised.value.n_prompt_tokens, raised.value.context_length) == (7, 6)
    assert cache.length == 4
    after = model(ids[:, 4:6], cache=cache)
    assert gap(after, model(ids)[:, 4:6]) < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_a_truncated_cache_goes_on_as_if_the_rest_had_never_been(case: str) -> None:
    model, ids = model_and_ids(case)
    cache = cache_for(model)
    model(ids.flip(1)[:, :3], cache=cache)
    cache.truncate(0)
    model(ids[:, :5], cache=cache)
    model(ids.flip(1)[:, :5], cache=cache)
    cache.truncate(5)
    assert cache.length == 5
    rest = model(ids[:, 5:], cache=cache)
    assert gap(rest, model(ids)[:, 5:]) < 1e-12


@pytest.mark.parametrize("length", [-1, 4])
def test_truncating_to_what_is_not_there_is_refused(length: int) -> None:
    model, ids = model_and_ids("qwen3")
    cache = cache_for(model)
    model(ids[:, :3], cache=cache)
    with pytest.raises(ValueError, match=f"3 tokens to {length}"):
        cache.truncate(length)
    assert cache.length == 3
    cache.truncate(3)
    assert cache.length == 3


@pytest.mark.parametrize("case", CASES)
def test_a_fork_and_its_origin_grow_apart(case: str) -> None:
    model, ids = model_and_ids(case)
    origin = cache_for(model)
    model(ids[:, :4], cache=origin)
    fork = origin.fork()
    assert (fork.length, fork.capacity, fork.nbytes) == (4, origin.capacity, origin.nbytes)
    other = torch.cat([ids[:, :4], ids.flip(1)[:, :5]], dim=1)
    kept = [model(ids[:, 4:6], cache=origin)]
    forked = [model(other[:, 4:7], cache=fork)]  # the same places as the origin's newest tokens
    kept.append(model(ids[:, 6:], cache=origin))
    forked.append(model(other[:, 7:], cache=fork))
    assert (origin.length, fork.length) == (model.config.context_length, 9)
    assert gap(torch.cat(kept, dim=1), model(ids)[:, 4:]) < 1e-12
    assert gap(torch.cat(forked, dim=1), model(other)[:, 4:]) < 1e-12


@pytest.mark.parametrize("case", PRESETS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_nbytes_counts_keys_and_values_of_every_layer(case: str, dtype: torch.dtype) -> None:
    config = CASES[case]
    size = {torch.float16: 2, torch.float32: 4, torch.float64: 8}[dtype]
    cache = KVCache(config, 7, batch_size=3, dtype=dtype)
    assert cache.nbytes == 2 * config.num_layers * 3 * config.num_kv_heads * 7 * config.head_dim * size
    assert (cache.length, cache.capacity) == (0, 7)


def test_grouped_heads_make_the_cache_smaller() -> None:
    full = GPTConfig.qwen3(31, 8, d_model=24, num_heads=6, num_layers=2)
    assert KVCache(full, 8).nbytes == 3 * KVCache(full.replace(num_kv_heads=2), 8).nbytes


def test_a_window_forgets_tokens_that_are_too_old() -> None:
    config = CASES["llama"].replace(num_layers=1, layer_windows=(3,))
    model = torch_model(config, random_weights(config)).requires_grad_(False)
    ids = torch.from_numpy(random_tokens(config, batch_size=1)[0])
    changed = ids.clone()
    changed[:, 4] = (changed[:, 4] + 1) % config.vocab_size
    first, second = (
        in_pieces(model, tokens, [6, 1, 1, 3], cache_for(model, batch_size=1)) for tokens in (ids, changed)
    )
    sees_it = ((first - second).abs().amax(dim=(0, 2)) > 1e-6).numpy()
    assert np.flatnonzero(sees_it).tolist() == [4, 5, 6]


def test_a_mask_goes_with_a_cache() -> None:
    model, ids = model_and_ids("qwen3")
    mask = torch.rand(11, 11, generator=torch.Generator().manual_seed(9)) < 0.3
    mask |= torch.ones(11, 11, dtype=torch.bool).triu(1)  # a later token cannot be looked at before it is there
    mask.fill_diagonal_(fill_value=False)
    cache = cache_for(model)
    starts = [0, 4, 5, 11]
    parts = [model(ids[:, a:b], mask[a:b, :b], cache) for a, b in pairwise(starts)]
    assert gap(torch.cat(parts, dim=1), model(ids, mask)) < 1e-12


def test_a_cache_belongs_to_the_model_that_first_reads_into_it() -> None:
    model, ids = model_and_ids("qwen3")
    twin, _ = model_and_ids("qwen3")
    cache = cache_for(model)
    assert cache.model is None
    model(ids[:, :4], cache=cache)
    for held in (cache, cache.fork(), copy.deepcopy(cache)):
        assert held.model is model
        with pytest.raises(ConfigError, match="what another model has read"):
            twin(ids[:, 4:], cache=held)
        assert held.length == 4
        assert gap(model(ids[:, 4:], cache=held), model(ids)[:, 4:]) < 1e-12


@pytest.mark.parametrize(
    ("change", "batch_size"),
    [({"num_layers": 1}, 2), ({"num_kv_heads": 1}, 2), ({"head_dim": 12}, 2), ({}, 1), ({}, 3)],
    ids=["layers", "heads", "channels", "fewer sequences", "more sequences"],
)
def test_a_cache_of_another_shape_is_refused(change: dict[str, int], batch_size: int) -> None:
    model, ids = model_and_ids("qwen3")
    cache = KVCache(model.config.replace(**change), 11, batch_size=batch_size, dtype=torch.float64)
    with pytest.raises(ConfigError, match=r"^the cache holds .* layers of \(sequences, heads, channels\)"):
        model(ids, cache=cache)
    with pytest.raises(ConfigError, match="the cache holds"):  # a block alone knows no model
        model.blocks[-1](torch.zeros(2, 3, model.config.d_model, dtype=torch.float64), cache=cache)
    assert cache.length == 0
