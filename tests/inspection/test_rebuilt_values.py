"""What a trace rebuilds is what ran, whatever was edited and whatever was asked for: held against NumPy in float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

import nextword
from nextword import Trace
from nextword.errors import ModelFileError, NextwordError
from nextword.inspection.edits import Edit
from nextword.inspection.frames import block_frame, look_frame, shown_names
from nextword.inspection.hooks import run_with_cache
from nextword.language_model import LanguageModel
from nextword.training.adapters.lora import add_lora
from tests.inspection.models import language_model, some_tokens
from tests.oracle.cases import CASES, random_weights
from tests.oracle.numpy_gpt import Array, NumpyGPT

EDITED = [
    *("attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_q", "attn.hook_rot_k", "attn.hook_v", "attn.hook_z"),
    *("ln1.hook_scale", "ln2.hook_normalized", "ln1.hook_out", "hook_resid_mid", "hook_attn_out"),
]
BEHIND = ["ln_final.hook_scale", "ln_final.hook_normalized", "ln_final.hook_out", "logits"]
ACTIONS = ["scale", "add", "set", "patch", "some heads, some positions"]
ASKED: dict[str, Any] = {
    "everything": None,
    "what the page shows": shown_names(CASES["gpt2"]),
    "rot_q and rot_k": ["rot_q", "rot_k", "z", "resid_pre", "resid_post", "logits"],
    "scores": ["attn_scores", "z", "resid_pre", "resid_post", "logits"],
    "the pattern": ["pattern", "z", "resid_pre", "resid_post", "logits"],
}


def asked_of(lm: LanguageModel, asked: str) -> Any:
    return shown_names(lm.config) if asked == "what the page shows" else ASKED[asked]


def edit_of(lm: LanguageModel, ids: Sequence[int], name: str, action: str) -> Edit:
    key, rng = name, np.random.default_rng(7)
    if action == "scale":
        return nextword.scale(key, 1.75)
    if action == "patch":
        return nextword.patch(key, lm.trace(list(reversed(ids))), positions=[1, 4, 5])
    if action == "some heads, some positions":
        return nextword.scale(key, 0.25, positions=[2, 5], heads=[0, 1] if ".attn." in name else None)
    place, spread_S = 4, rng.normal(size=len(ids)) ** 2
    later_S = np.arange(len(ids)) > place  # a cached pass has no later keys: what they get is said to be nothing
    if name.endswith("hook_attn_scores"):
        return nextword.set_value(key, np.where(later_S, -np.inf, spread_S), positions=[place])
    if name.endswith("hook_pattern"):
        spread_S[later_S] = 0
        return (nextword.add if action == "add" else nextword.set_value)(key, spread_S, positions=[place])
    if action == "add":
        return nextword.add(key, 0.5, positions=[place])
    return nextword.set_value(key, 1.5 if name.endswith("scale") else rng.normal(size=1), positions=[place])


def in_numpy(edit: Edit, value: Array) -> Array:
    """The same change of a value of a batch of one, written out."""
    changed = value.copy()[0]
    on_keys = edit.name.endswith(("scores", "pattern"))
    rows = changed.swapaxes(0, 1) if on_keys else changed  # position first, then heads where there are some
    for row, position in enumerate(range(len(rows)) if edit.positions is None else edit.positions):
        given = edit.value[row] if edit.by_position else edit.value
        for head in [slice(None)] if edit.heads is None else edit.heads:
            old = rows[position][head]
            if edit.action == "set":
                rows[position][head] = np.broadcast_to(given, old.shape)
            else:
                rows[position][head] = old * given if edit.action == "scale" else old + given
    return changed[None]


def oracle(case: str, ids: Sequence[int], edit: Edit) -> dict[str, Array]:
    """Every value of the edited pass, each head's result too, without the batch axis."""
    config, seen = CASES[case], {}

    def tap(name: str, value: Array) -> Array:
        seen[name] = in_numpy(edit, value) if name == edit.name else value
        return seen[name]

    weights = random_weights(config)
    NumpyGPT(config, weights, tap).logits(np.array([list(ids)]))
    for layer in range(config.num_layers):
        w_DHC = weights[f"blocks.{layer}.attn.out_proj.weight"].reshape(config.d_model, config.num_heads, -1)
        seen[f"blocks.{layer}.attn.hook_result"] = np.einsum(
            "bthc,dhc->bthd", seen[f"blocks.{layer}.attn.hook_z"], w_DHC
        )
    return {name: value[0] for name, value in seen.items()}


def check(trace: Trace, expected: dict[str, Array]) -> None:
    rebuilt = [
        f"blocks.{i}.attn.hook_{kind}" for i in range(trace.config.num_layers) for kind in ("pattern", "z", "result")
    ]
    for name in [*rebuilt, "logits", *map(str, trace)]:
        np.testing.assert_allclose(trace[name], expected[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("case", "action"),
    [*((case, action) for case in ("gpt2", "qwen3") for action in ACTIONS), ("sliding windows", "patch")],
)
def test_what_is_shown_is_what_ran_whatever_was_asked_for(case: str, action: str, tmp_path: Path) -> None:
    lm, ids = language_model(case, torch.float64), some_tokens(case)
    for name in (*(f"blocks.1.{edited}" for edited in EDITED), *BEHIND):
        edit = edit_of(lm, ids, name, action)
        edited, expected = lm.edit(edit), oracle(case, ids, edit)
        for asked in ASKED:
            trace = edited.trace(ids, names=asked_of(lm, asked))
            check(trace, expected)
            lens = trace.lens(positions=[5, 1, -1])
            np.testing.assert_allclose(
                lens.logits(lm.config.num_layers), expected["logits"][[5, 1, -1]], rtol=0, atol=1e-10, err_msg=name
            )
        trace.save(tmp_path / "trace")
        loaded = Trace.load(tmp_path / "trace", lm.reference, lm.tokenizer)
        check(loaded, expected)
        logits, cache = run_with_cache(edited, ids, names_filter=lambda _: True)
        np.testing.assert_allclose(logits[0], expected["logits"], rtol=0, atol=1e-10, err_msg=name)
        for kept, value in cache.items():
            np.testing.assert_allclose(value[0], expected[kept], rtol=0, atol=1e-10, err_msg=f"{name}: {kept}")
        step, rows = edited.backend.new_cache(len(ids)), []
        for token in ids:
            rows += edited.backend.forward([[token]], [step])
        np.testing.assert_allclose(rows, expected["logits"], rtol=0, atol=3e-5, err_msg=name)  # float32 comes out


def test_the_page_shows_an_edited_pattern_as_it_ran() -> None:
    """The recipe of docs/inspection.md: names=shown_names(...), then to_html."""
    lm = language_model("qwen3")
    text = "abcdefghij"
    edit = nextword.scale(("pattern", 1), 0.0, heads=[2])
    trace = lm.edit(edit).trace(text, names=shown_names(lm.config))
    arrays = safetensors.deserialize(block_frame(trace, 1))
    [pattern] = [np.frombuffer(a["data"], np.float32).reshape(a["shape"]) for name, a in arrays if name == "pattern"]
    assert not pattern[2].any()
    assert (pattern[[0, 1, 3, 4, 5]].sum(-1) > 0.99).all()
    plain = lm.trace(text, names=shown_names(lm.config))
    assert np.abs(plain["pattern", 1][2]).sum() > 1
    assert look_frame(trace) != look_frame(plain)


def test_a_token_whose_scores_are_all_blocked_looks_at_nothing() -> None:
    lm, ids = language_model("llama", torch.float64), some_tokens("llama")
    edited = lm.edit(nextword.set_value(("attn_scores", 0), -np.inf, positions=[3]))
    for asked in ASKED:
        trace = edited.trace(ids, names=asked_of(lm, asked))
        assert not trace["pattern", 0][:, 3].any()
        assert not trace["z", 0][3].any()
        np.testing.assert_allclose(trace["pattern", 0][:, 4].sum(-1), 1.0)


def test_a_logit_that_is_forbidden_is_so_in_every_row_of_the_lens() -> None:
    lm, ids = language_model("gpt2"), some_tokens("gpt2")
    ban = np.zeros(lm.config.vocab_size)
    best = int(lm.trace(ids)["logits"][-1].argmax())
    ban[best] = -np.inf
    lens = lm.edit(nextword.add("logits", ban)).trace(ids).lens(top=lm.config.vocab_size)
    assert not (lens.token_ids[:, :, :-1] == best).any()
    assert (lens.probabilities[:, :, -1] == 0).all()
    assert np.isfinite(lens.kl).all()


# -- weights that changed after the pass ---------------------------------------------------------------------------


def halve(weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight.mul_(0.5)


def halve_data(weight: torch.Tensor) -> None:
    weight.data.mul_(0.5)


def one_row(weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight[1] = 0.0


@pytest.mark.parametrize("change", [halve, halve_data, one_row])
def test_a_value_that_is_computed_after_the_weights_changed_says_so(change: Any, tmp_path: Path) -> None:
    lm, ids = language_model("qwen3"), some_tokens("qwen3")
    trace = lm.trace(ids, names=["z", "resid_pre", "resid_post"])
    before = trace["result", 0].copy()
    trace.save(tmp_path / "trace")
    blocks = lm.reference.blocks
    change(blocks[1].attn.out_proj.weight)
    np.testing.assert_array_equal(trace["result", 0], before)  # computed before, and its weights are the same
    for run in (trace, trace.copy()):
        with pytest.raises(NextwordError, match=r"the weights of blocks\.1\.attn\.out_proj were changed after"):
            run["result", 1]
    run = trace.copy()
    run["result", 2]
    run.lens()  # norm and head are as they were
    change(lm.reference.output_layer.weight)
    with pytest.raises(NextwordError, match="the weights of output_layer were changed after"):
        trace.lens()
    with pytest.raises(ModelFileError, match=r"other weights than this model has: blocks\.1\.attn\.out_proj\.weight"):
        Trace.load(tmp_path / "trace", lm.reference, lm.tokenizer)
    lm.trace(ids)["result", 1]


def test_a_layer_that_was_replaced_is_noticed() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    trace = lm.trace(ids)
    projection = lm.reference.blocks[0].attn.out_proj
    projection.weight = nn.Parameter(torch.zeros_like(projection.weight))
    with pytest.raises(NextwordError, match="were changed"):
        trace["result", 0]


def test_another_precision_of_the_same_weights_still_opens(tmp_path: Path) -> None:
    lm, ids = language_model("gpt2"), some_tokens("gpt2")
    trace = lm.trace(ids)
    trace.save(tmp_path / "trace")
    wide = language_model("gpt2", torch.float64)
    loaded = Trace.load(tmp_path / "trace", wide.reference, wide.tokenizer)
    np.testing.assert_allclose(loaded["result", 1], trace["result", 1], atol=1e-6)


def test_results_hold_what_an_adapter_adds() -> None:
    lm, ids = language_model("qwen3", torch.float64), some_tokens("qwen3")
    plain = lm.trace(ids)["result", 1]
    torch.manual_seed(0)
    add_lora(lm.reference, 2, dropout=0.5)
    for name, weight in lm.reference.named_parameters():
        if name.endswith("lora_B"):
            weight.data.normal_()
    lm.reference.train()
    trace = lm.trace(ids)
    np.testing.assert_allclose(trace["result", 1].sum(1), trace["attn_out", 1], rtol=0, atol=1e-10)
    assert np.abs(trace["result", 1] - plain).max() > 0.1
    assert abs(trace.attribution().total - trace["logits"][-1].max()) < 1e-10
    with torch.no_grad():
        _, cache = run_with_cache(lm, ids, names_filter="blocks.1.attn.hook_result")
    np.testing.assert_allclose(cache["result", 1][0], trace["result", 1], rtol=0, atol=1e-10)
    assert lm.reference.training
