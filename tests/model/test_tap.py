"""The tap shows every named value as it is, changes nothing by looking, and an edit changes exactly what it should."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from nextword.config import GPTConfig
from nextword.model import GPTModel, KVCache
from tests.oracle.cases import CASES, PRESETS, random_tokens, random_weights
from tests.oracle.compare import gap, torch_model
from tests.oracle.numpy_gpt import Array, NumpyGPT


@dataclass
class Store:
    """Keeps every value whose name fits one of the patterns."""

    patterns: tuple[str, ...] = ("*",)
    seen: dict[str, Tensor] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in self.patterns)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        assert self.wants(name), f"{name} was handed over unasked"
        assert name not in self.seen, f"{name} was handed over twice"
        self.seen[name] = tensor
        return tensor


@dataclass
class Edit:
    """Replaces one value."""

    name: str
    change: Callable[[Tensor], Tensor]

    def wants(self, name: str) -> bool:
        return name == self.name

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        return self.change(tensor)


def model_and_ids(case: str, dtype: torch.dtype = torch.float64) -> tuple[GPTModel, Tensor]:
    config = CASES[case]
    ids = torch.from_numpy(random_tokens(config, batch_size=2)[0])
    return torch_model(config, random_weights(config), dtype).requires_grad_(False), ids


def hooks(config: GPTConfig) -> list[str]:
    """The names that architecture.md lists, in the order of the pass."""
    names = ["hook_embed"] + (["hook_pos_embed"] if config.position == "learned" else [])
    attention = ["q", "k", "v", "rot_q", "rot_k", "attn_scores", "pattern", "z"]
    mlp = ["pre", "pre_linear", "post"] if config.activation == "swiglu" else ["pre", "post"]
    for i in range(config.num_layers):
        inner = ["hook_resid_pre", "ln1.hook_scale", "ln1.hook_normalized", "ln1.hook_out"]
        inner += [f"attn.hook_{name}" for name in attention]
        inner += ["hook_attn_out", "hook_resid_mid", "ln2.hook_scale", "ln2.hook_normalized", "ln2.hook_out"]
        inner += [f"mlp.hook_{name}" for name in mlp]
        inner += ["hook_mlp_out", "hook_resid_post"]
        names += [f"blocks.{i}.{name}" for name in inner]
    return [*names, "ln_final.hook_scale", "ln_final.hook_normalized", "ln_final.hook_out", "logits"]


def shape_of(name: str, config: GPTConfig, B: int, T: int, S: int) -> tuple[int, ...]:
    """TransformerLens's shape of the value of this name."""
    H, K, C = config.num_heads, config.num_kv_heads, config.head_dim
    match name.rsplit(".", 1)[-1]:
        case "hook_q" | "hook_rot_q" | "hook_z":
            return (B, T, H, C)
        case "hook_k" | "hook_v" | "hook_rot_k":
            return (B, T, K, C)
        case "hook_attn_scores" | "hook_pattern":
            return (B, H, T, S)
        case "hook_scale":
            return (B, T, 1)
        case "hook_pre" | "hook_pre_linear" | "hook_post":
            return (B, T, config.d_ff)
        case "logits":
            return (B, T, config.vocab_size)
        case _:
            return (B, T, config.d_model)


# -- looking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_name_is_there_once_in_order_and_in_its_shape(case: str) -> None:
    model, ids = model_and_ids(case)
    tap = Store()
    model(ids, tap=tap)
    expected = hooks(model.config)
    assert sorted(tap.seen) == sorted(expected)
    if model.config.activation != "swiglu":  # the gate and the matrix beside it have no order
        assert list(tap.seen) == expected
    B, T = ids.shape
    for name, value in tap.seen.items():
        assert tuple(value.shape) == shape_of(name, model.config, B, T, T), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_looking_changes_no_bit(case: str, dtype: torch.dtype) -> None:
    model, ids = model_and_ids(case, dtype)
    tap = Store()
    looked_at = model(ids, tap=tap)
    assert torch.equal(looked_at, model(ids))
    assert tap.seen["logits"] is looked_at


@pytest.mark.parametrize("case", CASES)
def test_every_value_equals_the_oracles(case: str) -> None:
    model, ids = model_and_ids(case)
    tap, values = Store(), {}

    def keep(name: str, value: Array) -> Array:
        values[name] = value
        return value

    model(ids, tap=tap)
    NumpyGPT(model.config, random_weights(model.config), keep).logits(ids.numpy())
    assert values.keys() == tap.seen.keys()
    for name, value in values.items():
        # Scores of blocked keys are -inf in both.
        np.testing.assert_allclose(tap.seen[name].numpy(), value, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_pattern_rows_sum_to_one_and_gather_z(case: str) -> None:
    model, ids = model_and_ids(case)
    tap = Store()
    model(ids, tap=tap)
    group = model.config.num_heads // model.config.num_kv_heads
    T = ids.shape[1]
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    for i in range(model.config.num_layers):
        p = f"blocks.{i}.attn.hook_"
        pattern = tap.seen[p + "pattern"]
        assert gap(pattern.sum(-1), torch.ones(pattern.shape[:-1])) < 1e-6
        assert float(pattern[..., later].abs().max()) == 0
        v_BHSC = tap.seen[p + "v"].repeat_interleave(group, dim=2).transpose(1, 2)
        assert gap((pattern @ v_BHSC).transpose(1, 2), tap.seen[p + "z"]) < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_residual_stream_adds_up(case: str) -> None:
    model, ids = model_and_ids(case)
    tap = Store()
    logits = model(ids, tap=tap)
    seen, layers = tap.seen, model.config.num_layers
    assert gap(seen["blocks.0.hook_resid_pre"], seen["hook_embed"] + seen.get("hook_pos_embed", torch.tensor(0.0))) == 0
    for i in range(layers):
        p = f"blocks.{i}.hook_"
        if i + 1 < layers:
            assert seen[f"blocks.{i + 1}.hook_resid_pre"] is seen[p + "resid_post"]
        stream = model.config.residual == "stream"
        before_attn = seen[p + "resid_pre"] if stream else seen[f"blocks.{i}.ln1.hook_out"]
        before_mlp = seen[p + "resid_mid"] if stream else seen[f"blocks.{i}.ln2.hook_out"]
        assert torch.equal(seen[p + "resid_mid"], before_attn + seen[p + "attn_out"])
        assert torch.equal(seen[p + "resid_post"], before_mlp + seen[p + "mlp_out"])
    read = seen["ln_final.hook_out"]
    head = model.output_layer
    by_hand = read @ head.weight.T + (head.bias if head.bias is not None else 0)
    assert gap(by_hand, logits) < 1e-12
    assert torch.equal(model.hidden(ids), read)


@pytest.mark.parametrize("case", CASES)
def test_hook_scale_divides_the_centred_input(case: str) -> None:
    model, ids = model_and_ids(case)
    tap = Store()
    model(ids, tap=tap)
    x = tap.seen[f"blocks.{model.config.num_layers - 1}.hook_resid_post"]
    if model.config.norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    by_hand = x / tap.seen["ln_final.hook_scale"]
    assert gap(by_hand, tap.seen["ln_final.hook_normalized"]) < 1e-12
    by_hand = by_hand * model.ln_final.weight
    by_hand = by_hand if model.ln_final.bias is None else by_hand + model.ln_final.bias
    assert gap(by_hand, tap.seen["ln_final.hook_out"]) < 1e-12


def test_a_tap_gets_only_what_it_wants() -> None:
    model, ids = model_and_ids("qwen3")
    for name in hooks(model.config):
        tap = Store((name,))
        model(ids, tap=tap)
        assert list(tap.seen) == [name]


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_with_a_cache_the_values_are_the_rows_of_the_whole_pass(case: str, chunk: int) -> None:
    model, ids = model_and_ids(case)
    B, T = ids.shape
    whole = Store()
    model(ids, tap=whole)
    cache = KVCache(model.config, T, batch_size=B, dtype=torch.float64)
    for start in range(0, T, chunk):
        tap, end = Store(), min(start + chunk, T)
        model(ids[:, start:end], cache=cache, tap=tap)
        assert tap.seen.keys() == whole.seen.keys()
        for name, value in tap.seen.items():
            assert tuple(value.shape) == shape_of(name, model.config, B, end - start, end), name
            over_keys = name.endswith(("attn_scores", "pattern"))
            expected = whole.seen[name][:, :, start:end, :end] if over_keys else whole.seen[name][:, start:end]
            np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=0, atol=1e-10, err_msg=name)


# -- changing ------------------------------------------------------------------------------------------------------

ALL_HOOKS = [(case, name) for case in PRESETS for name in hooks(PRESETS[case])]


@pytest.mark.parametrize(("case", "name"), ALL_HOOKS)
def test_an_edit_of_any_value_gives_the_logits_of_the_oracle_with_the_same_edit(case: str, name: str) -> None:
    model, ids = model_and_ids(case)
    B, T = ids.shape
    rng = np.random.default_rng(10)
    factor = rng.uniform(0.5, 1.5, shape_of(name, model.config, B, T, T))
    add = 0.0 if name.endswith(("scores", "pattern", "scale")) else 0.5  # -inf stays -inf, zero stays zero

    def change_array(found: str, value: Array) -> Array:
        return value * factor + add if found == name else value

    expected = NumpyGPT(model.config, random_weights(model.config), change_array).logits(ids.numpy())
    edited = model(ids, tap=Edit(name, lambda value: value * torch.from_numpy(factor) + add))
    assert np.abs(edited.numpy() - expected).max() < 1e-10
    assert gap(edited, model(ids)) > 1e-6


@pytest.mark.parametrize("case", ["sliding windows", "normalised residual with modern parts"])
@pytest.mark.parametrize("name", ["attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_z", "ln1.hook_scale"])
def test_edits_hold_with_windows_and_other_residuals_too(case: str, name: str) -> None:
    test_an_edit_of_any_value_gives_the_logits_of_the_oracle_with_the_same_edit(case, f"blocks.1.{name}")


@pytest.mark.parametrize("case", CASES)
def test_an_edit_that_gives_back_an_equal_copy_changes_nothing(case: str) -> None:
    model, ids = model_and_ids(case)
    usual = model(ids)
    for name in hooks(model.config):
        assert gap(model(ids, tap=Edit(name, torch.clone)), usual) < 1e-11, name


@pytest.mark.parametrize("case", CASES)
def test_a_pattern_of_zeros_leaves_the_output_projection_of_zeros(case: str) -> None:
    model, ids = model_and_ids(case)
    attn = model.blocks[-1].attn
    zeros = torch.zeros(*ids.shape, model.config.num_heads * model.config.head_dim, dtype=torch.float64)
    edit = Edit(f"blocks.{model.config.num_layers - 1}.attn.hook_pattern", torch.zeros_like)

    @dataclass
    class Both:
        out: Tensor | None = None

        def wants(self, name: str) -> bool:
            return edit.wants(name) or name.endswith("hook_attn_out")

        def __call__(self, name: str, tensor: Tensor) -> Tensor:
            if edit.wants(name):
                return edit(name, tensor)
            self.out = tensor
            return tensor

    tap = Both()
    model(ids, tap=tap)
    assert tap.out is not None
    assert torch.equal(tap.out, attn.out_proj(zeros))


@pytest.mark.parametrize("head", [0, 1, -1])
@pytest.mark.parametrize("case", [case for case, config in CASES.items() if config.num_heads > 1])
def test_a_head_without_z_is_a_head_without_columns_in_the_output_projection(case: str, head: int) -> None:
    model, ids = model_and_ids(case)
    C, layer = model.config.head_dim, model.config.num_layers - 1

    def silence(z_BTHC: Tensor) -> Tensor:
        z_BTHC = z_BTHC.clone()
        z_BTHC[:, :, head] = 0
        return z_BTHC

    usual, edited = model(ids), model(ids, tap=Edit(f"blocks.{layer}.attn.hook_z", silence))
    columns = model.blocks[layer].attn.out_proj.weight.unflatten(1, (-1, C))  # [D, H, C], a view
    columns[:, head] = 0
    assert gap(edited, model(ids)) < 1e-12
    assert gap(edited, usual) > 1e-3


def test_equal_scores_look_at_every_token_alike() -> None:
    model, ids = model_and_ids("llama")
    T = ids.shape[1]
    tap = Store(("blocks.1.attn.hook_v",))
    model(ids, tap=tap)
    group = model.config.num_heads // model.config.num_kv_heads
    mean_BTHC = tap.seen["blocks.1.attn.hook_v"].cumsum(1) / torch.arange(1, T + 1)[:, None, None]
    by_hand = mean_BTHC.repeat_interleave(group, dim=2)

    flat = Edit("blocks.1.attn.hook_attn_scores", lambda scores: torch.where(scores.isinf(), scores, 0.0))
    put_in = Edit("blocks.1.attn.hook_z", lambda _: by_hand)
    assert gap(model(ids, tap=flat), model(ids, tap=put_in)) < 1e-12
    assert gap(model(ids, tap=flat), model(ids)) > 1e-3


def test_edited_logits_are_what_comes_out() -> None:
    model, ids = model_and_ids("gpt2")
    assert torch.equal(model(ids, tap=Edit("logits", lambda logits: logits - 3)), model(ids) - 3)


@pytest.mark.parametrize("name", ["attn.hook_pattern", "attn.hook_rot_k", "attn.hook_v", "hook_resid_mid"])
@pytest.mark.parametrize("case", [*PRESETS, "sliding windows"])
def test_the_same_edit_holds_token_by_token_with_a_cache(case: str, name: str) -> None:
    model, ids = model_and_ids(case)
    B, T = ids.shape
    cache = KVCache(model.config, T, batch_size=B, dtype=torch.float64)
    edit = Edit(f"blocks.1.{name}", torch.square)
    pieces = [model(piece, cache=cache, tap=edit) for piece in ids.split([4, 1, 1, 3, T - 9], dim=1)]
    assert gap(torch.cat(pieces, dim=1), model(ids, tap=edit)) < 1e-12
    assert gap(model(ids), model(ids, tap=edit)) > 1e-3


def test_gradients_flow_through_a_tap() -> None:
    model, ids = model_and_ids("qwen3")
    model.requires_grad_(True)
    tap = Store(("blocks.1.attn.hook_z",))
    logits = model(ids, tap=tap)
    (gradient,) = torch.autograd.grad(logits[0, -1, 3], tap.seen["blocks.1.attn.hook_z"])
    assert gradient.shape == tap.seen["blocks.1.attn.hook_z"].shape
    assert float(gradient[0, -1].abs().max()) > 1e-4
    assert float(gradient[1].abs().max()) == 0  # the other sequence of the batch


def test_gradients_flow_after_a_pass_without_them() -> None:
    model, ids = model_and_ids("qwen3")
    with torch.inference_mode():
        model(ids)  # makes the rotary tables
    embed = model.token_embedding.weight.clone().requires_grad_()
    logits = model(ids, tap=Edit("hook_embed", lambda _: embed[ids]))
    assert torch.autograd.grad(logits[0, -1, 0], embed)[0].abs().max() > 0
