"""What is asked of either backend wrongly is told in the same words, and leaves caches as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nextword.engine.backend import NativeBackend
from nextword.errors import ConfigError, ContextOverflowError
from nextword.generation.backend import Backend
from nextword.model import TorchBackend
from tests.engine.test_tap import stored
from tests.oracle.cases import CASES, random_weights
from tests.oracle.compare import torch_model

CONFIG = CASES["gpt2"]
D, V = CONFIG.d_model, CONFIG.vocab_size
IDS = [3, 1, 4, 1]


@pytest.fixture(params=["native", "torch"])
def backend(request: pytest.FixtureRequest) -> Backend:
    weights = random_weights(CONFIG)
    if request.param == "native":
        return NativeBackend(CONFIG, stored(weights))
    return TorchBackend(torch_model(CONFIG, weights))


class Changing:
    """A tap that puts something in the place of one value."""

    def __init__(self, name: str, change: Callable[[np.ndarray], Any]) -> None:
        self.names, self._change = (name,), change

    def __call__(self, name: str, value: np.ndarray, chunk: int) -> Any:
        return self._change(value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros(3), r"with shape \(3,\), it must stay \(4, 15\)"),
        (np.zeros((4, D + 1)), r"with shape \(4, 16\), it must stay \(4, 15\)"),
        (np.zeros((1, 4, D)), r"with shape \(1, 4, 15\), it must stay \(4, 15\)"),
        ("text", "as str, it must be an array of numbers, or None"),
        (np.zeros((4, D), complex), "as ndarray, it must be an array of numbers, or None"),
        ([["a"] * D] * 4, "as list, it must be an array of numbers, or None"),
    ],
)
def test_what_a_tap_may_not_give_back(backend: Backend, wrong: object, said: str) -> None:
    cache = backend.new_cache(8)
    with pytest.raises(ConfigError, match=r"a tap gave back blocks\.0\.hook_resid_mid " + said):
        backend.forward([IDS], [cache], "all", Changing("blocks.0.hook_resid_mid", lambda _: wrong))
    assert cache.length == 0


def test_a_list_of_numbers_and_whole_numbers_are_taken(backend: Backend) -> None:
    (doubled,) = backend.forward([IDS], [backend.new_cache(4)], "all", Changing("hook_embed", lambda x: x * 2))
    (listed,) = backend.forward(
        [IDS], [backend.new_cache(4)], "all", Changing("hook_embed", lambda x: (x * 2).tolist())
    )
    np.testing.assert_array_equal(listed, doubled)
    ones = Changing("hook_embed", lambda x: np.ones(x.shape, int))
    assert np.isfinite(backend.forward([IDS], [backend.new_cache(4)], "all", ones)[0]).all()


@pytest.mark.parametrize("name", ["hook_embed", "blocks.2.hook_resid_post", "ln_final.hook_out", "logits"])
@pytest.mark.parametrize("logits", ["last", "all", "none"])
def test_what_a_tap_raises_leaves_every_cache_as_it_was(backend: Backend, name: str, logits: Any) -> None:
    caches = [backend.new_cache(8), backend.new_cache(8)]
    backend.forward([[1, 2], [3]], caches)
    expected = backend.forward([IDS, [5]], [cache.fork() for cache in caches], "all")

    def fail(_: np.ndarray) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.forward([IDS, [5]], caches, logits, Changing(name, fail))
    assert [cache.length for cache in caches] == [2, 1]
    for found, one in zip(backend.forward([IDS, [5]], caches, "all"), expected, strict=True):
        np.testing.assert_array_equal(found, one)


def test_without_logits_and_without_a_tap_nothing_runs(backend: Backend) -> None:
    cache = backend.new_cache(8)
    for tap in (None, Changing("hook_embed", lambda x: x)):
        assert [one.shape for one in backend.forward([IDS], [cache], "none", tap)] == [(0, V)]
        assert cache.length == 0
    with pytest.raises(ConfigError, match="logits is 'best', it must be last, all or none"):
        backend.forward([IDS], [cache], "best")  # type: ignore[arg-type]


def test_rows_of_another_width_and_matrices_that_there_are_not(backend: Backend) -> None:
    for rows in (np.zeros((2, D + 1)), np.zeros(D), np.zeros((1, 2, D))):
        with pytest.raises(ConfigError, match=r"are given, they must be \[N, 15\]"):
            backend.unembed(rows)
        with pytest.raises(ConfigError, match=r"are given, they must be \[N, 15\]"):
            backend.linear("blocks.0.attn.q_proj", rows)
    for name in ("token_embedding", "position_encoding", "ln_final", "blocks.0.ln1", "blocks.9.attn.q_proj", ""):
        with pytest.raises(ConfigError, match="the model has no matrix"):
            backend.linear(name, np.zeros((1, D)))
    assert backend.linear("output_layer", np.zeros((2, D))).shape == (2, V)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["native", "torch"])
def test_a_pass_that_begins_at_a_block_is_the_whole_pass(kind: str, case: str) -> None:
    config = CASES[case]
    weights = random_weights(config)
    native = kind == "native"
    backend = NativeBackend(config, stored(weights)) if native else TorchBackend(torch_model(config, weights))
    chunks, caches = [[3, 1, 4, 1], [4, 2]], [backend.new_cache(8), backend.new_cache(8)]
    backend.forward([[1, 2], [3]], caches)
    names = {f"blocks.{layer}.hook_resid_pre" for layer in range(config.num_layers)}
    whole = Keeping({*names, f"blocks.{config.num_layers - 1}.attn.hook_z", "logits"})
    expected = backend.forward(chunks, [cache.fork() for cache in caches], "all", whole)
    for layer in range(config.num_layers):
        rows = [whole.values[f"blocks.{layer}.hook_resid_pre", number] for number in range(2)]
        tap = Keeping({*names, f"blocks.{config.num_layers - 1}.attn.hook_z", "logits"})
        found = backend.forward_from(layer, rows, caches, "all", tap)
        last = backend.forward_from(layer, rows, caches)
        assert [one.shape for one in backend.forward_from(layer, rows, caches, "none")] == [(0, config.vocab_size)] * 2
        for number in range(2):
            np.testing.assert_allclose(found[number], expected[number], rtol=0, atol=0 if native else 1e-5)
            np.testing.assert_allclose(last[number], expected[number][-1], rtol=0, atol=0 if native else 1e-5)
        assert {int(name.split(".")[1]) for name, _ in tap.values if "resid_pre" in name} == set(
            range(layer, config.num_layers)
        )
        for key, value in tap.values.items():
            np.testing.assert_allclose(value, whole.values[key], rtol=0, atol=0 if native else 1e-5)
    assert [cache.length for cache in caches] == [2, 1]


class Keeping:
    """A tap that keeps what it sees."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.values: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, name: str, value: np.ndarray, chunk: int) -> None:
        self.values[name, chunk] = value


def test_what_no_pass_can_begin_with(backend: Backend) -> None:
    cache = backend.new_cache(8)
    rows = np.zeros((3, D))
    for layer in (-1, CONFIG.num_layers):
        with pytest.raises(ConfigError, match=f"there is no layer {layer}"):
            backend.forward_from(layer, [rows], [cache])
    with pytest.raises(ConfigError, match=r"must be \[N, 15\]"):
        backend.forward_from(0, [np.zeros((3, D + 1))], [cache])
    with pytest.raises(ConfigError, match="a chunk has no rows"):
        backend.forward_from(0, [rows[:0]], [cache])
    with pytest.raises(ContextOverflowError):
        backend.forward_from(0, [np.zeros((9, D))], [cache])
    with pytest.raises(ConfigError, match="a cache of its own"):
        backend.forward_from(0, [rows, rows], [cache, cache])
