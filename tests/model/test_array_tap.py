"""TorchBackend hands a tap of arrays what a torch tap sees, and goes on with what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import ConfigError
from nextword.model import TorchBackend
from tests.model.test_backend import BACKENDS, backend_for, some_ids
from tests.model.test_tap import Store, hooks
from tests.oracle.cases import CASES

Array = NDArray[Any]


@dataclass
class ArrayTap:
    """Keeps what it is shown, by name and chunk, and gives back what `change` makes of it."""

    names: Collection[str]
    change: Callable[[str, Array], Array | None] = lambda name, value: None
    seen: dict[tuple[str, int], Array] = field(default_factory=dict)

    def __call__(self, name: str, value: Array, chunk: int) -> Array | None:
        assert name in self.names, f"{name} was handed over unasked"
        assert (name, chunk) not in self.seen, f"{name} was handed over twice"
        self.seen[name, chunk] = value
        return self.change(name, value)


def run(backend: TorchBackend, chunks: list[list[int]], **options: Any) -> list[Array]:
    return backend.forward(chunks, [backend.new_cache(11) for _ in chunks], **options)


# -- looking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_every_value_is_what_the_torch_tap_sees(case: str, dtype: torch.dtype) -> None:
    backend = backend_for(case, dtype)
    chunks = [some_ids(backend.config, count, seed) for seed, count in enumerate((5, 1, 7))]
    names = hooks(backend.config)
    tap = ArrayTap(names)
    run(backend, chunks, logits="all", tap=tap)
    assert len(tap.seen) == len(names) * len(chunks)
    width = np.float64 if dtype == torch.float64 else np.float32
    for number, chunk in enumerate(chunks):
        store = Store()
        with torch.inference_mode():
            backend.model(torch.tensor([chunk]), cache=backend.new_cache(11), tap=store)
        for name in names:
            found = tap.seen[name, number]
            assert found.dtype == width
            np.testing.assert_array_equal(found, store.seen[name][0].to(torch.float64).numpy(), err_msg=name)


@pytest.mark.parametrize("logits", ["last", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", BACKENDS)
def test_a_tap_that_gives_back_what_it_got_changes_no_bit(case: str, dtype: torch.dtype, logits: str) -> None:
    backend = backend_for(case, dtype)
    chunks = [some_ids(backend.config, count, count) for count in (4, 9)]
    plain = run(backend, chunks, logits=logits)
    for change in (lambda name, value: None, lambda name, value: value, lambda name, value: value.copy()):
        tapped = run(backend, chunks, logits=logits, tap=ArrayTap(hooks(backend.config), change))
        for expected, found in zip(plain, tapped, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_value_belongs_to_the_tap() -> None:
    backend = backend_for("qwen3")
    chunk = [some_ids(backend.config, 6)]

    def spoil(name: str, value: Array) -> None:
        value[...] = np.nan

    (plain,) = run(backend, chunk)
    np.testing.assert_array_equal(run(backend, chunk, tap=ArrayTap(hooks(backend.config), spoil))[0], plain)


def test_of_the_last_logits_the_tap_sees_the_last_row() -> None:
    backend = backend_for("gpt2")
    tap = ArrayTap(["logits"])
    (last,) = run(backend, [some_ids(backend.config, 6)], tap=tap)
    np.testing.assert_array_equal(tap.seen["logits", 0], last[None])


# -- changing ------------------------------------------------------------------------------------------------------


class TorchEdit:
    """Scales one value of a torch pass."""

    def __init__(self, name: str) -> None:
        self.name = name

    def wants(self, name: str) -> bool:
        return name == self.name

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        return tensor * 1.5


@pytest.mark.parametrize("case", BACKENDS)
def test_what_a_tap_gives_back_is_gone_on_with(case: str) -> None:
    backend = backend_for(case)
    chunks = [some_ids(backend.config, count, count) for count in (5, 3)]
    for name in hooks(backend.config):
        found = run(backend, chunks, logits="all", tap=ArrayTap([name], lambda _, value: value * value.dtype.type(1.5)))
        for number, chunk in enumerate(chunks):
            with torch.inference_mode():
                ids = torch.tensor([chunk])
                expected = backend.model(ids, cache=backend.new_cache(11), tap=TorchEdit(name))[0].numpy()
            np.testing.assert_array_equal(found[number], expected, err_msg=name)


def test_a_value_of_another_shape_is_refused() -> None:
    backend = backend_for("gpt2")
    with pytest.raises(ConfigError, match=r"hook_embed with shape \(5, 15\), it must stay \(6, 15\)"):
        run(backend, [some_ids(backend.config, 6)], tap=ArrayTap(["hook_embed"], lambda _, value: value[1:]))


# -- without logits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BACKENDS)
def test_without_logits_the_pass_stops_behind_the_last_wanted_value(case: str) -> None:
    backend = backend_for(case)
    chunks = [some_ids(backend.config, count, count) for count in (4, 2)]
    more = [some_ids(backend.config, count, 9 + count) for count in (3, 5)]
    caches, others = ([backend.new_cache(11) for _ in chunks] for _ in range(2))
    for own in (caches, others):
        backend.forward(chunks, own)
    ran: list[int] = []
    for number, block in enumerate(backend.model.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    for name in ("hook_embed", "blocks.0.hook_resid_mid", "blocks.1.hook_resid_pre", "logits"):
        ran.clear()
        tap, whole = ArrayTap([name]), ArrayTap([name])
        rows = backend.forward(more, caches, logits="none", tap=tap)
        assert [row.shape for row in rows] == [(0, backend.config.vocab_size)] * 2
        last = {"hook_embed": -1, "blocks.0.hook_resid_mid": -1, "blocks.1.hook_resid_pre": 0}
        assert max(ran, default=-1) == last.get(name, backend.config.num_layers - 1)
        assert [cache.length for cache in caches] == [4, 2]
        backend.forward(more, [cache.fork() for cache in others], logits="all", tap=whole)
        for key, value in whole.seen.items():
            np.testing.assert_array_equal(tap.seen[key], value)
    for found, expected in zip(backend.forward(more, caches), backend.forward(more, others), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_without_logits_and_tap_nothing_runs() -> None:
    backend = backend_for("gpt2")
    cache = backend.new_cache(4)
    assert [row.size for row in backend.forward([[1, 2]], [cache], logits="none")] == [0]
    assert cache.length == 0
    with pytest.raises(ConfigError, match="another model"):
        backend_for("gpt2").forward([[1, 2]], [cache], logits="none")


# -- parts of the pass ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", BACKENDS)
def test_unembed_reads_rows_as_the_pass_does(case: str, dtype: torch.dtype) -> None:
    backend = backend_for(case, dtype)
    last = f"blocks.{backend.config.num_layers - 1}.hook_resid_post"
    ending = [name for name in hooks(backend.config) if name.startswith("ln_final")] + ["logits"]
    whole, tap = ArrayTap([last, *ending]), ArrayTap(ending)
    run(backend, [some_ids(backend.config, 7)], logits="all", tap=whole)
    logits = backend.unembed(whole.seen[last, 0], tap)
    np.testing.assert_array_equal(logits, whole.seen["logits", 0])
    assert logits.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    for name in ending:
        np.testing.assert_array_equal(tap.seen[name, 0], whole.seen[name, 0])
    louder = ArrayTap(["ln_final.hook_out"], lambda _, value: value * 2)
    assert np.abs(backend.unembed(whole.seen[last, 0], louder) - logits).max() > 0.1


@pytest.mark.parametrize("case", BACKENDS)
def test_weights_are_told_whole_and_by_rows(case: str) -> None:
    backend = backend_for(case)
    for name, weight in {**backend.model.weights(), "output_layer.weight": backend.model.output_layer.weight}.items():
        np.testing.assert_array_equal(backend.weight(name), weight.detach().numpy())
        np.testing.assert_array_equal(backend.weight(name, [2, 0]), weight.detach().numpy()[[2, 0]])
    with pytest.raises(ConfigError, match=r"no weight 'blocks\.9\.ln1\.weight'"):
        backend.weight("blocks.9.ln1.weight")


@pytest.mark.parametrize("case", BACKENDS)
def test_linear_multiplies_with_a_matrix_without_its_bias(case: str) -> None:
    backend = backend_for(case)
    weights = backend.model.weights()
    for name, shape in backend.config.parameter_shapes().items():
        if len(shape) != 2 or not name.startswith(("blocks.", "output_layer")):
            continue
        x = np.random.default_rng(1).standard_normal((3, shape[1])).astype(np.float32)
        found = backend.linear(name.removesuffix(".weight"), x)
        np.testing.assert_allclose(found, x @ weights[name].numpy().T, atol=1e-5)
    assert backend.linear("output_layer", np.ones((2, backend.config.d_model))).shape == (2, backend.config.vocab_size)
    for name in ("ln_final", "token_embedding", "blocks.9.attn.out_proj", ""):
        with pytest.raises(ConfigError, match=f"no matrix '{name}'"):
            backend.linear(name, np.ones((1, 4)))
