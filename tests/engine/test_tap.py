"""Looking into the native pass: every value against the reference in float64, and what a tap puts in its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.config import GPTConfig
from nextword.engine.backend import UBATCH_TOKENS, NativeBackend
from nextword.errors import ConfigError
from nextword.inspection.hook_names import hook_shapes
from nextword.settings import Activations, CacheFormat
from tests.engine.test_backend import BLOCKS, KERNELS, ids_of, stored
from tests.oracle.cases import CASES, random_weights
from tests.oracle.compare import torch_model

Values = NDArray[np.float32]
Change = Callable[[Values], Values | None]


def names_of(config: GPTConfig) -> list[str]:
    """What a pass hands to its tap."""
    return [name for name in hook_shapes(config, 1) if not name.endswith("hook_result")]


@dataclass
class Recorder:
    """Keeps what it sees, by chunk, and changes it where it is told how."""

    names: Collection[str]
    changes: dict[str, Change] = field(default_factory=dict)
    chunks: list[dict[str, Values]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def __call__(self, name: str, value: Values, chunk: int) -> Values | None:
        while len(self.chunks) <= chunk:
            self.chunks.append({})
        assert name not in self.chunks[chunk]
        self.chunks[chunk][name] = value
        self.order.append(name)
        return self.changes[name](value) if name in self.changes else None


class TorchRecorder:
    """The same for the reference model."""

    def __init__(self, changes: dict[str, Change]) -> None:
        self.values: dict[str, Values] = {}
        self._changes = changes

    def wants(self, _: str) -> bool:
        return True

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        self.values[name] = tensor[0].numpy().copy()
        changed = self._changes[name](tensor[0].numpy()) if name in self._changes else None
        return tensor if changed is None else torch.from_numpy(np.array(changed, np.float64))[None]


def reference(config: GPTConfig, ids: list[int], changes: dict[str, Change] | None = None) -> dict[str, Values]:
    """Every value in float64."""
    tap = TorchRecorder(changes or {})
    with torch.inference_mode():
        torch_model(config, random_weights(config))(torch.tensor([ids]), tap=tap)
    return tap.values


def look(
    backend: NativeBackend, texts: Iterable[list[int]], changes: dict[str, Change] | None = None
) -> tuple[list[Values], Recorder]:
    """Logits and every value of each text, in one batch."""
    tap = Recorder(names_of(backend.config), changes or {})
    texts = list(texts)
    logits = backend.forward(texts, [backend.new_cache(len(ids)) for ids in texts], "all", tap)
    return logits, tap


def assert_close(found: Values, expected: Values, tolerance: float, what: str) -> None:
    assert found.shape == expected.shape, what
    same = found == expected  # infinities too
    gap = np.abs(np.where(same, 0, found) - np.where(same, 0, expected)).max(initial=0)
    assert gap < tolerance * max(1.0, np.abs(expected[np.isfinite(expected)]).max(initial=0.0)), (what, gap)


# -- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_every_value_is_the_reference_models(case: str, kernel: str) -> None:
    config = CASES[case]
    ids = ids_of(config, config.context_length)
    _, tap = look(NativeBackend(config, stored(random_weights(config)), kernels=kernel), [ids])
    expected = reference(config, ids)
    assert tap.order == names_of(config)  # in the order of the pass
    assert tap.chunks[0].keys() == expected.keys()
    for name, value in tap.chunks[0].items():
        assert value.dtype == np.float32
        assert_close(value, expected[name], 5e-5, name)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cache_format", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_every_value_has_the_same_bits_alone_in_a_batch_and_behind_a_cache(
    kind: str, cache_format: CacheFormat, kernel: str
) -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS), kind), kernels=kernel, cache_format=cache_format)
    texts = [ids_of(BLOCKS, count, seed) for seed, count in enumerate((90, 1, 41, 2))]
    alone = [look(backend, [ids])[1].chunks[0] for ids in texts]
    _, together = look(backend, texts)
    caches = [backend.new_cache(len(ids)) for ids in texts]
    backend.forward(
        [ids[:-1] for ids in texts if len(ids) > 1], [c for c, i in zip(caches, texts, strict=True) if len(i) > 1]
    )
    last = Recorder(names_of(BLOCKS))
    backend.forward([ids[-1:] for ids in texts], caches, "last", last)
    for values, batched, cached in zip(alone, together.chunks, last.chunks, strict=True):
        for name, value in values.items():
            rows = value[:, -1:] if name.endswith(("scores", "pattern")) else value[-1:]
            if name.endswith("pattern"):  # its sum runs over as many keys as there are
                assert np.abs(batched[name] - value).max() < 1e-6
                assert np.abs(cached[name] - rows).max() < 1e-6
            else:
                assert np.array_equal(batched[name], value), name
                assert np.array_equal(cached[name], rows), name


@pytest.mark.parametrize(("activations", "tolerance"), [("float32", 5e-5), ("int16", 2e-3), ("int8", 0.2)])
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_values_of_quantised_weights_are_those_of_the_numbers_in_the_file(
    kind: str, activations: Activations, tolerance: float
) -> None:
    tensors = stored(random_weights(BLOCKS), kind)
    ids = ids_of(BLOCKS, 30)
    _, tap = look(NativeBackend(BLOCKS, tensors, activations=activations), [ids])
    recorder = TorchRecorder({})
    with torch.inference_mode():
        numbers = {name: tensor.values().astype(np.float64) for name, tensor in tensors.items()}
        torch_model(BLOCKS, numbers)(torch.tensor([ids]), tap=recorder)
    for name, value in tap.chunks[0].items():
        assert_close(value, recorder.values[name], tolerance, name)


# -- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cache_format", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", ["F32", "BF16", "Q8_0", "Q4_0"])
def test_a_tap_that_changes_nothing_changes_no_bit(kind: str, cache_format: CacheFormat, kernel: str) -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS), kind), kernels=kernel, cache_format=cache_format)
    texts = [ids_of(BLOCKS, count, seed) for seed, count in enumerate((50, 1, 17))]
    plain = backend.forward(texts, [backend.new_cache(60) for _ in texts], "all")
    for changes in ({}, dict.fromkeys(names_of(BLOCKS), np.copy)):
        tap = Recorder(names_of(BLOCKS), changes)  # type: ignore[arg-type]
        caches = [backend.new_cache(60) for _ in texts]
        seen = backend.forward(texts, caches, "all", tap)
        assert all(np.array_equal(a, b) for a, b in zip(seen, plain, strict=True))
        tap = Recorder(names_of(BLOCKS), changes)  # type: ignore[arg-type]
        forks = [cache.fork() for cache in caches]
        [*after] = backend.forward([[3], [4], [5]], caches)
        assert all(
            np.array_equal(a, b)
            for a, b in zip(backend.forward([[3], [4], [5]], forks, "last", tap), after, strict=True)
        )


@pytest.mark.parametrize("case", CASES)
def test_a_changed_value_leads_to_the_logits_of_the_reference_model(case: str) -> None:
    config = CASES[case]
    ids = ids_of(config, min(9, config.context_length))
    backend = NativeBackend(config, stored(random_weights(config)))
    plain, mattered = reference(config, ids)["logits"], []
    for name in names_of(config):

        def change(value: Values) -> Values:
            noise = np.random.default_rng(7).standard_normal(value.shape)
            return (value * (1 + 0.3 * noise)).astype(value.dtype)

        logits, tap = look(backend, [ids], {name: change})
        expected = reference(config, ids, {name: change})
        assert_close(logits[0], expected["logits"] if name != "logits" else change(plain), 1e-4, name)
        later = tap.order[tap.order.index(name) + 1 :]
        for other in later:
            assert_close(tap.chunks[0][other], expected[other], 1e-4, f"{other} behind {name}")
        mattered.append(np.abs(logits[0] - plain).max() > 1e-4)
    assert np.mean(mattered) > 0.8  # a window of one token leaves attention no choice


def test_scores_may_show_what_lies_ahead() -> None:
    config = CASES["qwen3"]
    ids = ids_of(config, 8)
    changes: dict[str, Change] = {"blocks.1.attn.hook_attn_scores": np.zeros_like}
    logits, _ = look(NativeBackend(config, stored(random_weights(config))), [ids], changes)
    assert_close(logits[0], reference(config, ids, changes)["logits"], 1e-4, "logits")
    changes = {"blocks.1.attn.hook_attn_scores": lambda value: np.full_like(value, -np.inf)}  # or nothing at all
    logits, tap = look(NativeBackend(config, stored(random_weights(config))), [ids], changes)
    assert not tap.chunks[0]["blocks.1.attn.hook_z"].any()
    assert_close(logits[0], reference(config, ids, changes)["logits"], 1e-4, "logits")


def test_each_chunk_is_changed_by_itself() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))
    texts = [ids_of(BLOCKS, count, count) for count in (12, 5, 9)]
    plain, _ = look(backend, texts)

    class Second(Recorder):
        def __call__(self, name: str, value: Values, chunk: int) -> Values | None:
            super().__call__(name, value, chunk)
            return np.zeros_like(value) if chunk == 1 else None

    for name in names_of(BLOCKS):
        caches = [backend.new_cache(20) for _ in texts]
        changed = backend.forward(texts, caches, "all", Second([name]))
        assert [np.array_equal(a, b) for a, b in zip(plain, changed, strict=True)] == [True, False, True], name


# -- what is computed ------------------------------------------------------------------------------------------------


def test_without_logits_the_pass_ends_behind_the_last_value_and_no_cache_grows() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))
    ids = ids_of(BLOCKS, 20)
    whole = look(backend, [ids])[1].chunks[0]
    for name in names_of(BLOCKS):
        cache, tap = backend.new_cache(20), Recorder([name])
        (nothing,) = backend.forward([ids], [cache], "none", tap)
        assert nothing.shape == (0, BLOCKS.vocab_size)
        assert cache.length == 0
        assert np.array_equal(tap.chunks[0][name], whole[name])


def test_of_the_last_row_alone_norm_and_logits_are_shown_alone() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))
    texts = [ids_of(BLOCKS, 20), ids_of(BLOCKS, 3)]
    whole = look(backend, texts)[1].chunks
    tap = Recorder(names_of(BLOCKS))
    logits = backend.forward(texts, [backend.new_cache(20), backend.new_cache(20)], "last", tap)
    for rows, values, all_values in zip(logits, tap.chunks, whole, strict=True):
        assert np.array_equal(values["logits"], rows[None])
        for name in ("ln_final.hook_scale", "ln_final.hook_normalized", "ln_final.hook_out", "logits"):
            assert np.array_equal(values[name], all_values[name][-1:])
        assert np.array_equal(values["blocks.1.hook_resid_post"], all_values["blocks.1.hook_resid_post"])


def test_a_chunk_longer_than_a_native_call_is_shown_whole() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))
    texts = [ids_of(BLOCKS, count, count) for count in (5, UBATCH_TOKENS + 40, 3, UBATCH_TOKENS - 1)]
    plain = backend.forward(texts, [backend.new_cache(400) for _ in texts], "all")
    logits, tap = look(backend, texts)
    for i, ids in enumerate(texts):
        assert np.array_equal(logits[i], plain[i])
        assert {name: value.shape for name, value in tap.chunks[i].items()} == {
            name: shape for name, shape in hook_shapes(BLOCKS, len(ids)).items() if name in names_of(BLOCKS)
        }


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_rows_of_the_residual_stream_are_read_out_as_the_pass_does(kind: str, kernel: str) -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS), kind), kernels=kernel)
    logits, tap = look(backend, [ids_of(BLOCKS, 30)])
    recorder = Recorder(names_of(BLOCKS))
    rows = backend.unembed(tap.chunks[0]["blocks.1.hook_resid_post"], recorder)
    assert np.array_equal(rows, logits[0])
    assert list(recorder.chunks[0]) == [
        "ln_final.hook_scale",
        "ln_final.hook_normalized",
        "ln_final.hook_out",
        "logits",
    ]
    assert backend.unembed(np.empty((0, BLOCKS.d_model), np.float32)).shape == (0, BLOCKS.vocab_size)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
def test_weights_are_told_whole_and_by_rows(kind: str) -> None:
    config = BLOCKS if kind == "Q8_0" else CASES["lesson"]
    tensors = stored(random_weights(config), kind)
    backend = NativeBackend(config, tensors)
    for name, tensor in tensors.items():
        assert np.array_equal(backend.weight(name), tensor.values())
        assert np.array_equal(backend.weight(name, [2, 0]), tensor.values()[[2, 0]])
    head = tensors.get("output_layer.weight", tensors["token_embedding.weight"])
    assert np.array_equal(backend.weight("output_layer.weight", [1]), head.values()[[1]])
    with pytest.raises(ConfigError, match=r"no weight 'blocks\.9"):
        backend.weight("blocks.9.ln1.weight")


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 1e-5), ("F16", 1e-5), ("Q8_0", 1e-3)])
def test_rows_go_through_a_matrix_as_in_the_pass(kind: str, tolerance: float) -> None:
    config = BLOCKS if kind == "Q8_0" else CASES["lesson"]  # which has biases
    tensors = stored(random_weights(config), kind)
    backend = NativeBackend(config, tensors)
    for name in ("blocks.1.attn.q_proj", "blocks.0.attn.out_proj", "blocks.1.ffn.down", "output_layer"):
        weights = (
            tensors[name + ".weight" if name + ".weight" in tensors else "token_embedding.weight"]
            .values()
            .astype(np.float64)
        )
        x = np.random.default_rng(0).standard_normal((7, weights.shape[1])).astype(np.float32)
        assert_close(backend.linear(name, x), x @ weights.T, tolerance, name)
    with pytest.raises(ConfigError, match=r"no matrix 'blocks\.9\.attn\.q_proj'"):
        backend.linear("blocks.9.attn.q_proj", np.zeros((1, 5), np.float32))
    with pytest.raises(ConfigError, match=r"they must be \[N, "):
        backend.linear("blocks.0.ffn.up", np.zeros((1, 5), np.float32))


# -- what may go wrong -----------------------------------------------------------------------------------------------


def test_what_a_tap_raises_ends_the_pass_and_no_cache_grows() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))
    ids, cache = ids_of(BLOCKS, 20), backend.new_cache(20)

    def fail(_: Values) -> Values:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.forward([ids], [cache], "all", Recorder(names_of(BLOCKS), {"blocks.1.attn.hook_z": fail}))
    assert cache.length == 0
    (rows,) = backend.forward([ids], [cache], "all")
    assert np.array_equal(rows, look(backend, [ids])[0][0])


def test_a_tap_cannot_run_the_model_that_it_looks_into() -> None:
    backend, other = (NativeBackend(BLOCKS, stored(random_weights(BLOCKS))) for _ in range(2))
    ids, name = ids_of(BLOCKS, 20), "blocks.0.hook_resid_mid"
    row = np.zeros((1, BLOCKS.d_model), np.float32)
    for call in (
        lambda: backend.forward([[1]], [backend.new_cache(1)]),
        lambda: backend.unembed(row),
        lambda: backend.linear("blocks.0.attn.q_proj", row),
    ):
        with pytest.raises(ConfigError, match="cannot run the model that it looks into"):
            backend.forward(
                [ids], [backend.new_cache(20)], "all", Recorder([name], {name: lambda _, call=call: call()})
            )  # type: ignore[misc]
    (plain,) = backend.forward([ids], [backend.new_cache(20)], "all")
    changes: dict[str, Change] = {name: lambda value: value + 0 * other.unembed(row)[0, 0]}  # another one it may run
    assert np.array_equal(backend.forward([ids], [backend.new_cache(20)], "all", Recorder([name], changes))[0], plain)


def test_what_a_tap_keeps_outlives_model_and_pass() -> None:
    tap = Recorder(names_of(BLOCKS))
    for _ in range(2):
        backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))
        tap.chunks.clear()
        backend.forward([ids_of(BLOCKS, 20)], [backend.new_cache(20)], "all", tap)
        before = {name: value.copy() for name, value in tap.chunks[0].items()}
        backend.forward([ids_of(BLOCKS, 200, 3)], [backend.new_cache(200)], "all")
        del backend
        assert all(np.array_equal(tap.chunks[0][name], value) for name, value in before.items())


@pytest.mark.parametrize("cache_format", ["float32", "float16", "int8"])
def test_a_fork_holds_what_was_read_over_several_blocks_too(cache_format: CacheFormat) -> None:
    config = BLOCKS.replace(context_length=1200)
    backend = NativeBackend(config, stored(random_weights(config)), cache_format=cache_format)
    for count in (1, 31, 33, 511, 512, 513, 1061):
        cache = backend.new_cache(1200)
        cache.origin = 7
        backend.forward([ids_of(config, count)], [cache])
        fork = cache.fork()
        assert (fork.length, fork.origin, fork.nbytes) == (count, 7, cache.nbytes)
        (found,), (expected,) = (backend.forward([[5, 6]], [one], "all") for one in (fork, cache))
        assert np.array_equal(found, expected)
