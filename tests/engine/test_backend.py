"""NativeBackend against the float64 oracle: every architecture, element type and instruction set, bit by bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.engine._native import Cache
from nextword.engine.backend import UBATCH_TOKENS, NativeBackend
from nextword.engine.kernels import KERNELS as ALL_KERNELS
from nextword.engine.kernels import available_kernels
from nextword.engine.weights import FORMATS
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.files.precision import cast_matrices
from nextword.files.quantization import BLOCKS as BLOCK_KINDS
from nextword.files.quantization import quantize
from nextword.files.tensors import RawTensor
from nextword.settings import Activations
from tests.files.gguf.test_quantization import random_blocks
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.numpy_gpt import Array, Back, NumpyGPT

KERNELS = available_kernels()
# Wide enough for quantised blocks; rows, heads and widths that are no multiples of a tile.
BLOCKS = GPTConfig.qwen3(
    71, 400, d_model=96, num_heads=6, num_kv_heads=2, head_dim=16, num_layers=2, d_ff=160, layer_windows=(None, 37)
)
# Wide enough for blocks of 256.
QWEN3 = GPTConfig.qwen3(71, 400, d_model=256, num_heads=6, num_kv_heads=2, head_dim=128, num_layers=1, d_ff=512)
GPT2 = GPTConfig.gpt2(75, 90, d_model=256, num_heads=4, num_layers=1)
QUANTIZED = [kind for kind in FORMATS if kind in BLOCK_KINDS]


LARGE_BLOCKS = ("IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


def stored(weights: Mapping[str, Array], kind: str = "F32") -> dict[str, RawTensor]:
    """The oracle's weights as a file would hold them; vectors stay float32."""
    return {
        name: as_stored(name, np.asarray(w, np.float32), kind if w.ndim > 1 else "F32") for name, w in weights.items()
    }


def as_stored(name: str, values: NDArray[np.float32], kind: str) -> RawTensor:
    if kind in LARGE_BLOCKS:  # which nothing here can make of numbers: any of about this size
        blocks = random_blocks(kind, values.size // BLOCK_KINDS[kind].elements, seed=len(name))
        tensor = RawTensor(name, kind, values.shape, blocks.reshape(-1).data)
        shrink = float(values.std() / tensor.values().std())
        for at in BLOCK_KINDS[kind].halves:
            scales = np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2") * shrink
            blocks[:, at : at + 2] = scales.astype("<f2").view(np.uint8)
        return tensor
    if kind in BLOCK_KINDS:
        return RawTensor(name, kind, values.shape, np.ascontiguousarray(quantize(kind, values)).reshape(-1).data)
    return RawTensor.from_bits(name, "F32", values).astype(kind)


def ids_of(config: GPTConfig, count: int, seed: int = 1) -> list[int]:
    ids: list[int] = random_tokens(config, 1, count, seed)[0][0].tolist()
    return ids


def all_rows(backend: NativeBackend, ids: list[int]) -> NDArray[np.float32]:
    (rows,) = backend.forward([ids], [backend.new_cache(len(ids))], "all")
    return rows


# -- the numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_every_architecture_gives_the_oracles_logits(case: str, kernel: str) -> None:
    config, weights = CASES[case], random_weights(CASES[case])
    ids = ids_of(config, config.context_length)
    rows = all_rows(NativeBackend(config, stored(weights), kernels=kernel), ids)
    assert rows.dtype == np.float32
    assert rows.shape == (len(ids), config.vocab_size)
    assert np.abs(rows - NumpyGPT(config, weights).logits(np.array([ids]))[0]).max() < 5e-5


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("config", [QWEN3, GPT2], ids=["qwen3", "gpt2"])
def test_every_element_type_gives_the_logits_of_its_float32_values(config: GPTConfig, kind: str, kernel: str) -> None:
    tensors = stored(random_weights(config), kind)
    values = {name: tensor.values().astype(np.float64) for name, tensor in tensors.items()}
    ids = ids_of(config, 40)
    rows = all_rows(NativeBackend(config, tensors, kernels=kernel, activations="float32"), ids)
    assert np.abs(rows - NumpyGPT(config, values).logits(np.array([ids]))[0]).max() < 1e-4
    assert np.array_equal(rows, all_rows(NativeBackend(config, stored(values), kernels=kernel), ids))


class RoundedActivations(NumpyGPT):
    """The oracle with what enters a product rounded to whole numbers from -`most` to `most` for every 32 of them."""

    most = 0

    def _linear_with(self, weight: str, bias: str, x: Array) -> tuple[Array, Back]:
        columns = x.shape[-1]
        blocks = np.zeros((*x.shape[:-1], -(-columns // 32), 32))
        blocks.reshape(*x.shape[:-1], -1)[..., :columns] = x
        scale = np.abs(blocks).max(-1, keepdims=True) / self.most
        rounded = np.rint(blocks / np.where(scale == 0, 1, scale)) * scale
        return super()._linear_with(weight, bias, rounded.reshape(*x.shape[:-1], -1)[..., :columns])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("activations", "most"), [("int16", 16383), ("int8", 127)])
@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantised_weights_meet_rounded_activations(
    kind: str, activations: Activations, most: int, kernel: str
) -> None:
    """Nearer to the oracle that rounds than to the one that does not. Not equal: a number half way between two codes
    falls to either side where it differs in its last bits, and of the many codes of int16 some always do."""
    tensors = stored(random_weights(QWEN3), kind)
    values = {name: tensor.values().astype(np.float64) for name, tensor in tensors.items()}
    ids = ids_of(QWEN3, 40)
    rows = all_rows(NativeBackend(QWEN3, tensors, kernels=kernel, activations=activations), ids)
    oracle = RoundedActivations(QWEN3, values)
    oracle.most = most
    error = np.abs(rows - oracle.logits(np.array([ids]))[0]).mean()
    effect = np.abs(rows - NumpyGPT(QWEN3, values).logits(np.array([ids]))[0]).mean()
    assert error < (0.05 if activations == "int8" else 0.85) * effect
    assert effect < 25 / most  # where the largest logits are 65 to 250


def test_weights_that_are_floats_meet_floats_whatever_is_asked_for() -> None:
    tensors, ids = stored(random_weights(BLOCKS), "F16"), ids_of(BLOCKS, 40)
    every: tuple[Activations, ...] = ("float32", "int16", "int8")
    exact, *others = (all_rows(NativeBackend(BLOCKS, tensors, activations=activations), ids) for activations in every)
    for rows in others:
        np.testing.assert_array_equal(rows, exact)


@pytest.mark.parametrize("step", [1, -1])
def test_element_types_may_be_mixed_in_one_model(step: int) -> None:
    """Among products of the same input too, and where what follows takes its input as floats or not."""
    tensors = stored(random_weights(QWEN3))
    matrices = [name for name, tensor in tensors.items() if len(tensor.shape) > 1]
    kinds = ["Q6_K", "F16", "Q4_K", "Q8_0", "F32", "Q5_0", "IQ4_NL", "BF16"][::step]
    for name, kind in zip(matrices, kinds, strict=True):
        tensors[name] = as_stored(name, tensors[name].values(), kind)
    values = {name: tensor.values().astype(np.float64) for name, tensor in tensors.items()}
    ids = ids_of(QWEN3, 40)
    error = np.abs(all_rows(NativeBackend(QWEN3, tensors), ids) - NumpyGPT(QWEN3, values).logits(np.array([ids]))[0])
    assert error.max() < 0.02


@pytest.mark.parametrize("kernel", KERNELS)
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_shape_gives_the_oracles_logits(kernel: str, data: st.DataObject) -> None:
    draw = data.draw
    groups, kv_heads = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rotary, layers = draw(st.booleans()), draw(st.integers(1, 2))
    context = draw(st.integers(1, 150))
    config = GPTConfig(
        draw(st.integers(2, 90)),
        draw(st.integers(1, 70)),
        groups * kv_heads,
        layers,
        0.0,
        context,
        num_kv_heads=kv_heads,
        head_dim=2 * draw(st.integers(1, 40)),
        d_ff=draw(st.integers(1, 120)),
        position="rotary" if rotary else "learned",
        rope_layout=draw(st.sampled_from(["half", "interleaved"])),
        norm=draw(st.sampled_from(["layernorm", "rmsnorm"])),
        activation=draw(st.sampled_from(["gelu", "gelu_tanh", "relu_squared", "swiglu"])),
        qkv_bias=draw(st.booleans()),
        attention_output_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
        residual=draw(st.sampled_from(["stream", "normalized"])),
        no_rope_layers=tuple(range(draw(st.integers(0, layers)))) if rotary else (),
        layer_windows=draw(st.sampled_from([(), tuple(draw(st.integers(1, 99)) for _ in range(layers))])),
    )
    weights = random_weights(config)
    ids = ids_of(config, context)
    rows = all_rows(NativeBackend(config, stored(weights), kernels=kernel, threads=draw(st.integers(1, 3))), ids)
    expected = NumpyGPT(config, weights).logits(np.array([ids]))[0]
    # Where the oracle moves with the last bits of the weights (the norm of one number near zero), nothing is shown.
    signs = {name: np.sign(np.sin(np.arange(w.size) + 0.5)).reshape(w.shape) for name, w in weights.items()}
    nudged = {name: w * (1 + 1e-7 * signs[name]) for name, w in weights.items()}
    moved = np.abs(NumpyGPT(config, nudged).logits(np.array([ids]))[0] - expected).max()
    assume(moved < 1e-5 * max(1.0, np.abs(expected).max()))
    assert np.abs(rows - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


# -- the same bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cache_format", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_logits_have_the_same_bits_whatever_the_batch_the_chunks_the_threads_and_the_cache(
    kind: str, cache_format: str, kernel: str
) -> None:
    tensors = stored(random_weights(BLOCKS), kind)
    texts = [ids_of(BLOCKS, count, seed) for seed, count in enumerate((140, 1, 67, 9, 128))]
    backends = [
        NativeBackend(BLOCKS, tensors, kernels=kernel, threads=threads, cache_format=cache_format)  # type: ignore[arg-type]
        for threads in (1, 2, 3)
    ]
    expected = [all_rows(backends[0], ids) for ids in texts]
    rng = np.random.default_rng(0)
    for backend in backends:
        caches = [backend.new_cache(140) for _ in texts]
        found: list[list[NDArray[np.float32]]] = [[] for _ in texts]
        while left := [i for i, ids in enumerate(texts) if caches[i].length < len(ids)]:
            chosen = rng.permutation(left)[: rng.integers(1, len(left) + 1)]
            parts = [texts[i][caches[i].length :][: rng.integers(1, 70)] for i in chosen]
            for i, rows in zip(chosen, backend.forward(parts, [caches[i] for i in chosen], "all"), strict=True):
                found[i].append(rows)
        for rows, wanted in zip(found, expected, strict=True):
            assert np.array_equal(np.concatenate(rows), wanted)


@pytest.mark.parametrize("kernel", KERNELS)
def test_last_is_the_last_row_of_all_also_over_several_passes(kernel: str) -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)), kernels=kernel)
    texts = [ids_of(BLOCKS, count, count) for count in (UBATCH_TOKENS + 40, 3, UBATCH_TOKENS - 1)]
    every = backend.forward(texts, [backend.new_cache(400) for _ in texts], "all")
    last = backend.forward(texts, [backend.new_cache(400) for _ in texts])
    for rows, row, ids in zip(every, last, texts, strict=True):
        assert rows.shape == (len(ids), BLOCKS.vocab_size)
        assert np.array_equal(rows[-1], row)
        assert np.array_equal(rows, all_rows(backend, ids))


def test_several_python_threads_at_once_get_the_same_bits() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)), threads=2)
    texts = [ids_of(BLOCKS, 50 + i, i) for i in range(4)]
    expected = [all_rows(backend, ids) for ids in texts]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(10) if not np.array_equal(all_rows(backend, texts[i]), expected[i]))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


IDLE = """
import os, time
from pathlib import Path
from nextword.engine.backend import NativeBackend
from tests.engine.test_backend import BLOCKS, random_weights, stored
backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)), threads=4)
others = [Path(task.path) for task in os.scandir("/proc/self/task") if int(task.name) != os.getpid()]
def states():
    return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in others]
def switches():
    return [(task / "status").read_text().partition("voluntary_ctxt_switches")[2] for task in others]
deadline = time.monotonic() + 60
for _ in range(3):
    backend.forward([list(range(20))], [backend.new_cache(20)])
    while set(states()) != {"S"}:
        assert time.monotonic() < deadline, states()
before, start = switches(), time.process_time()
while time.process_time() - start < 0.05:  # a spinning or a polling thread would be seen in this time
    pass
assert switches() == before and set(states()) == {"S"}
print(len(others))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what threads do")
def test_threads_sleep_while_nobody_asks() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", IDLE],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_goes_on_without_the_other_threads() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)), threads=3)
    ids = ids_of(BLOCKS, 40)
    expected = all_rows(backend, ids)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(all_rows(backend, ids), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- the cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cache_format", "tolerance", "share"), [("float16", 0.01, 0.5), ("int8", 0.5, 0.32)])
def test_a_smaller_cache_gives_nearly_the_same_logits(cache_format: str, tolerance: float, share: float) -> None:
    weights = random_weights(BLOCKS)
    ids = ids_of(BLOCKS, 120)
    exact = NativeBackend(BLOCKS, stored(weights))
    backend = NativeBackend(BLOCKS, stored(weights), cache_format=cache_format)  # type: ignore[arg-type]
    difference = np.abs(all_rows(backend, ids) - all_rows(exact, ids)).max()
    assert 0 < difference < tolerance
    assert backend.new_cache(128).nbytes <= share * exact.new_cache(128).nbytes


@pytest.mark.parametrize("cache_format", ["float32", "float16", "int8"])
def test_forks_grow_apart_and_truncated_caches_forget(cache_format: str) -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)), cache_format=cache_format)  # type: ignore[arg-type]
    ids, other = ids_of(BLOCKS, 100), ids_of(BLOCKS, 100, 2)
    cache = backend.new_cache(100)
    backend.forward([ids[:70]], [cache])
    fork = cache.fork()
    (row,) = backend.forward([ids[70:]], [cache])
    (forked,) = backend.forward([other[70:]], [fork])
    assert np.array_equal(row, all_rows(backend, ids)[-1])
    assert np.array_equal(forked, all_rows(backend, ids[:70] + other[70:])[-1])
    assert (cache.length, fork.length, fork.capacity) == (100, 100, 100)
    cache.truncate(65)
    (again,) = backend.forward([other[65:]], [cache])
    assert np.array_equal(again, all_rows(backend, ids[:65] + other[65:])[-1])
    for length in (-1, 101):
        with pytest.raises(ValueError, match="truncate"):
            cache.truncate(length)


def test_what_does_not_fit_is_refused_and_no_cache_grows() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))
    small, large = backend.new_cache(4), backend.new_cache(500)
    backend.forward([[1, 2]], [small])
    with pytest.raises(ContextOverflowError, match="5 tokens"):
        backend.forward([[1], [1, 2, 3]], [large, small])
    with pytest.raises(ContextOverflowError, match="401 tokens"):
        backend.forward([ids_of(BLOCKS, 401)], [large])
    for chunk in ([], [-1], [71], [0, 71]):
        with pytest.raises(TextError, match="vocabulary of 71"):
            backend.forward([[1], chunk], [large, small])
    with pytest.raises(ConfigError, match="cache of its own"):
        backend.forward([[1], [2]], [large, large])
    assert (small.length, large.length) == (2, 0)
    assert backend.forward([], []) == []


def test_kernels_and_threads_can_be_chosen() -> None:
    tensors = stored(random_weights(BLOCKS))
    for name in KERNELS:
        backend = NativeBackend(BLOCKS, tensors, kernels=name, threads=3)
        assert (backend.kernels, backend.threads) == (name, 3)
        assert repr(backend) == f"<NativeBackend {name}, 3 threads: >"
    for threads in (0, -1, 1025, 10**12):
        with pytest.raises(ConfigError, match=f"threads is {threads}, it must be from 1 to 1024"):
            NativeBackend(BLOCKS, tensors, threads=threads)


def test_the_environment_may_say_which_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = stored(random_weights(BLOCKS))
    for name in KERNELS:
        for spelling in (name, name.upper(), f" {name} "):
            monkeypatch.setenv("NEXTWORD_KERNELS", spelling)
            assert NativeBackend(BLOCKS, tensors).kernels == name
        assert NativeBackend(BLOCKS, tensors, kernels="portable").kernels == "portable"  # what is asked for here counts
    monkeypatch.setenv("NEXTWORD_KERNELS", "")
    assert NativeBackend(BLOCKS, tensors).kernels == KERNELS[0]
    monkeypatch.delenv("NEXTWORD_KERNELS")
    assert NativeBackend(BLOCKS, tensors).kernels == KERNELS[0]


def test_kernels_that_cannot_be_had_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = stored(random_weights(BLOCKS))
    foreign = next(name for name in ALL_KERNELS if name not in KERNELS)  # no processor has both AVX2 and NEON
    for wrong, why in (
        ("abacus", "which does not exist"),
        ("avx-2", "which does not exist"),
        (foreign, "which this processor cannot run"),
    ):
        monkeypatch.setenv("NEXTWORD_KERNELS", wrong)
        with pytest.raises(ConfigError, match=f"NEXTWORD_KERNELS is '{wrong}'.*{why}") as refused:
            NativeBackend(BLOCKS, tensors)
        assert refused.value.hint == f"this processor can run {', '.join(KERNELS)}"
        with pytest.raises(ConfigError, match=f"^kernels is '{wrong}'"):
            NativeBackend(BLOCKS, tensors, kernels=wrong)


# -- what is foreign, and what is too much ---------------------------------------------------------------------------


def test_a_cache_of_another_model_is_refused_and_stays_as_it_is() -> None:
    small, other = (
        BLOCKS,
        BLOCKS.replace(num_layers=5, d_model=64, head_dim=40, num_heads=8, num_kv_heads=8, layer_windows=()),
    )
    ours, twin = (NativeBackend(BLOCKS, stored(random_weights(small))) for _ in range(2))
    larger = NativeBackend(other, stored(random_weights(other)))
    cache = ours.new_cache(50)
    ours.forward([[1, 2, 3]], [cache])
    for backend in (
        larger,
        twin,
    ):  # the twin's numbers would even be the same: whose they are is not looked for in them
        for foreign in (cache, cache.fork()):
            with pytest.raises(ConfigError, match="what another model"):
                backend.forward([[4], [5]], [backend.new_cache(5), foreign])
        assert not backend.owns(cache)
        assert backend.owns(backend.new_cache(1).fork())
    for nothing in (None, "cache", object()):
        with pytest.raises(ConfigError, match="what another model"):
            ours.forward([[1]], [nothing])  # type: ignore[list-item]
    assert cache.length == 3
    del twin, larger  # numbers of models that are gone are not used again
    assert not any(NativeBackend(BLOCKS, stored(random_weights(BLOCKS))).owns(cache) for _ in range(20))
    (row,) = ours.forward([[4]], [cache])
    assert np.array_equal(row, all_rows(ours, [1, 2, 3, 4])[-1])


def test_the_compiled_module_itself_refuses_what_would_write_elsewhere() -> None:
    ours, other = (NativeBackend(BLOCKS, stored(random_weights(BLOCKS)))._model for _ in range(2))
    cache, ids = ours.new_cache(4, "float32"), np.array([1, 2, 3], np.int32)
    for caches, why in (
        ([other.new_cache(9, "float32")], "of another model"),
        ([cache, cache], "given twice"),
        ([None], "no cache"),
        ([cache, ours.new_cache(1, "float32")], "room for 1"),
        ([], "as many caches as chunks"),
    ):
        with pytest.raises(ValueError, match=why):
            ours.forward([ids] * max(1, len(caches)), caches, "last")
    with pytest.raises(ValueError, match="no token has the id 71"):
        ours.forward([np.array([71], np.int32)], [cache], "last")
    assert cache.length == 0
    with pytest.raises(ValueError, match="cannot hold -1 tokens"):
        ours.new_cache(-1, "float32")
    for absurd in (10**13, 2**62):
        with pytest.raises(MemoryError):
            ours.new_cache(absurd, "float32")


def test_two_callers_who_share_a_cache_never_write_behind_its_end() -> None:
    backend = NativeBackend(BLOCKS, stored(random_weights(BLOCKS)), threads=1)
    for _ in range(20):
        cache, refused = backend.new_cache(60), list[Exception]()

        def work(cache: Cache = cache, refused: list[Exception] = refused) -> None:
            try:
                backend.forward([ids_of(BLOCKS, 40)], [cache])
            except (ContextOverflowError, ValueError) as error:  # the latter where both had found room
                refused.append(error)

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert (cache.length, len(refused)) == (40, 1)


LITTLE_MEMORY = """
import resource, sys
import numpy as np
from nextword.cli import run
import nextword.engine.backend, nextword.language_model
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory is taken")
def test_threads_that_the_system_does_not_start_end_in_one_line() -> None:
    """Each thread's stack takes 8 MB of addresses, of which there are too few."""
    ran = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", LITTLE_MEMORY, str(600 * 1024**2), "predict", "--json", "To be"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "NEXTWORD_THREADS": "1000", "MALLOC_ARENA_MAX": "1"},
    )
    assert ran.returncode == 2, ran.stderr
    error, hint = ran.stderr.splitlines()
    assert re.fullmatch(r"error: the system starts \d+ of 1000 threads: .*", error)
    assert hint == "hint: ask for fewer threads, or set NEXTWORD_THREADS"


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "q8_0", "q4_1"])
def test_weights_that_are_rounded_are_those_of_the_file_format(precision: str) -> None:
    weights = stored(random_weights(BLOCKS))
    rounded = cast_matrices(weights, precision)  # type: ignore[arg-type]
    kind = {"float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0", "q4_1": "Q4_1"}[precision]
    for name, tensor in rounded.items():
        finer = precision == "q4_1" and name == "token_embedding.weight"  # which makes the logits
        assert tensor.dtype == ("F32" if len(tensor.shape) == 1 else "Q8_0" if finer else kind)
        assert bytes(tensor.data) == bytes(as_stored(name, weights[name].values(), tensor.dtype).data)


# -- the packed copy -----------------------------------------------------------------------------------------------

WITHOUT_MEMORY = """
import resource, sys
from dataclasses import replace
import numpy as np
from nextword.engine.backend import NativeBackend
from tests.engine.test_backend import QWEN3, all_rows, ids_of, random_weights, stored

config = replace(QWEN3, num_heads=2, num_kv_heads=1, head_dim=64, d_ff=8192)  # much to copy, little to cache
tensors, ids = stored(random_weights(config), "Q8_0"), ids_of(config, 40)
packed = NativeBackend(config, tensors, threads=1)
expected = all_rows(packed, ids)
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
found = []
for megabytes in (90, 60, 6):  # with 60 there is room for a copy, but then for little else
    resource.setrlimit(resource.RLIMIT_AS, (taken + (megabytes << 20), hard))
    small = NativeBackend(config, tensors, "small", threads=1)
    found.append(small.reason)
    np.testing.assert_array_equal(all_rows(small, ids), expected)
    del small
assert packed.reason == ""
without = "small; no memory for a copy of 7 MB that is read faster"
assert found == ["small", without, without], found
print("the same bits")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system how much memory the process has")
def test_without_memory_for_a_packed_copy_the_bits_are_the_same_and_it_is_said() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "the same bits\n"), ran.stderr


WITHOUT_LARGE_PAGES = """
import ctypes
assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0  # PR_SET_THP_DISABLE
from nextword.engine.backend import NativeBackend
from tests.engine.test_backend import QWEN3, all_rows, ids_of, random_weights, stored

rows = all_rows(NativeBackend(QWEN3, stored(random_weights(QWEN3), "Q8_0")), ids_of(QWEN3, 40))
print(rows.sum().tobytes().hex())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="large pages are denied as Linux denies them")
def test_where_large_pages_are_denied_the_bits_are_the_same() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_LARGE_PAGES], check=False, capture_output=True, text=True)
    rows = all_rows(NativeBackend(QWEN3, stored(random_weights(QWEN3), "Q8_0")), ids_of(QWEN3, 40))
    assert (ran.returncode, ran.stdout) == (0, f"{rows.sum().tobytes().hex()}\n"), ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages are in memory")
def test_a_short_text_takes_little_of_the_memory_that_its_cache_sets_aside() -> None:
    config = replace(QWEN3, num_heads=16, num_kv_heads=16, head_dim=64, num_layers=8, context_length=2000)
    backend = NativeBackend(config, stored(random_weights(config)), threads=1)
    backend.forward([[1]], [backend.new_cache(1)])

    def resident() -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("RssAnon:")[1].split()[0]) * 1024

    cache = backend.new_cache(2000)
    before = resident()
    backend.forward([[1]], [cache])
    assert cache.nbytes > 4 * 33_000_000  # a block of each head of each layer, four times
    assert resident() - before < 5_000_000
