"""Edits change exactly what they name, cached and uncached alike, and nothing else."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import nextword
from nextword import ablate_head, ablate_layer, ablate_mlp, add, patch, scale, set_value, swap_embedding
from nextword.errors import ConfigError
from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import hook_shapes
from nextword.language_model import LanguageModel
from tests.inspection.models import language_model, some_tokens
from tests.oracle.cases import CASES, PRESETS

STREAM = [name for name in CASES if CASES[name].residual == "stream"]


def logits(lm: LanguageModel, ids: list[int]) -> Any:
    return lm.trace(ids, names="logits")["logits"]


def stepwise(lm: LanguageModel, ids: list[int]) -> Any:
    """Token by token with the cache."""
    cache = lm.backend.new_cache(len(ids))
    return np.stack([lm.backend.forward([[token]], [cache])[0] for token in ids])


# -- nothing is changed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PRESETS)
def test_an_edit_that_changes_nothing_leaves_every_bit(case: str) -> None:
    lm, ids = language_model(case), some_tokens(case)
    plain = logits(lm, ids)
    names = [name for name in hook_shapes(lm.config, len(ids)) if not name.endswith("hook_result")]
    own = lm.trace(ids, names)  # named, scores and patterns are the pass's own, not rebuilt
    for name in names:
        for edit in (scale(name, 1.0), patch(name, own)) + (() if name.endswith("scores") else (add(name, 0.0),)):
            np.testing.assert_array_equal(logits(lm.edit(edit), ids), plain, err_msg=str(edit))


def test_the_model_that_is_edited_stays_as_it_is() -> None:
    lm, ids = language_model("qwen3"), some_tokens("qwen3")
    plain = logits(lm, ids)
    edited = lm.edit(ablate_head(0, 1), ablate_layer(1), scale(("resid_post", 2), 3.0))
    assert not np.array_equal(logits(edited, ids), plain)
    np.testing.assert_array_equal(logits(lm, ids), plain)
    assert edited.model is lm.model
    assert (len(lm.edits), len(edited.edits), len(edited.edit(ablate_mlp(0)).edits)) == (0, 4, 5)


# -- what is changed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_an_ablated_head_is_a_zeroed_slice_of_the_output_projection(case: str) -> None:
    lm, ids = language_model(case), some_tokens(case)
    C, head, last = lm.config.head_dim, lm.config.num_heads - 1, lm.config.num_layers - 1
    edited = logits(lm.edit(ablate_head(last, head)), ids)
    assert np.abs(edited - logits(lm, ids)).max() > 1e-4
    lm.model.blocks[last].attn.out_proj.weight[:, head * C : (head + 1) * C] = 0
    np.testing.assert_allclose(edited, logits(lm, ids), atol=2e-6)


def test_an_ablated_mlp_and_layer_add_nothing() -> None:
    lm, ids = language_model("gpt2"), some_tokens("gpt2")
    trace = lm.edit(ablate_mlp(0), ablate_layer(2)).trace(ids)
    np.testing.assert_array_equal(trace["resid_post", 0], trace["resid_mid", 0])
    np.testing.assert_array_equal(trace["resid_post", 2], trace["resid_pre", 2])
    assert np.abs(trace["resid_post", 1] - trace["resid_mid", 1]).max() > 0.01


@pytest.mark.parametrize("case", STREAM)
def test_patching_every_position_of_a_layer_gives_the_other_texts_logits(case: str) -> None:
    lm = language_model(case)
    ids, others = some_tokens(case), some_tokens(case, seed=1)
    assert ids != others
    other = lm.trace(others)
    for layer in range(lm.config.num_layers):
        patched = lm.edit(patch(("resid_pre", layer), other))
        np.testing.assert_array_equal(logits(patched, ids), other["logits"])


def test_patching_one_position_or_head_changes_only_what_can_see_it() -> None:
    lm = language_model("qwen3")
    ids, other = some_tokens("qwen3"), lm.trace(some_tokens("qwen3", seed=1))
    plain = lm.trace(ids)
    changed = lm.edit(patch(("resid_mid", 1), other, positions=[4])).trace(ids)
    np.testing.assert_array_equal(changed["resid_mid", 1][4], other["resid_mid", 1][4])
    np.testing.assert_array_equal(changed["logits"][:4], plain["logits"][:4])
    assert np.abs(changed["logits"][4:] - plain["logits"][4:]).max(-1).min() > 1e-6
    headed = lm.edit(patch(("z", 1), other, positions=[2, 4], heads=[5, 0])).trace(ids)["z", 1]
    expected = plain["z", 1].copy()
    for position in (2, 4):
        expected[position, [5, 0]] = other["z", 1][position, [5, 0]]
    np.testing.assert_array_equal(headed, expected)


def test_a_zeroed_pattern_changes_the_logits_and_gathers_nothing() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    trace = lm.edit(set_value(("pattern", 1), 0.0, heads=[2])).trace(ids)
    assert np.abs(trace["logits"] - logits(lm, ids)).max() > 1e-4
    assert (trace["pattern", 1][2] == 0).all()
    assert (trace["z", 1][:, 2] == 0).all()
    np.testing.assert_allclose(trace["logits"], logits(lm.edit(ablate_head(1, 2)), ids), atol=2e-6)


def test_a_patched_pattern_is_used_as_it_is() -> None:
    lm = language_model("llama")
    ids, other = some_tokens("llama"), lm.trace(some_tokens("llama", seed=1))
    trace = lm.edit(patch(("pattern", 0), other, positions=[3, 6], heads=[4, 1])).trace(ids)
    np.testing.assert_array_equal(trace["pattern", 0][4, 6], other["pattern", 0][4, 6])
    v_TKC = np.repeat(trace["v", 0], 3, axis=1)
    z_THC = np.einsum("hts,shc->thc", trace["pattern", 0], v_TKC)
    np.testing.assert_allclose(trace["z", 0], z_THC, atol=1e-6)


def test_a_swapped_embedding_is_the_other_tokens_text() -> None:
    lm, ids = language_model("gpt2"), some_tokens("gpt2")
    other = [*ids[:3], (ids[3] + 1) % 20, *ids[4:]]
    np.testing.assert_array_equal(logits(lm.edit(swap_embedding(3, other[3])), ids), logits(lm, other))


def test_vectors_are_set_and_added_where_they_are_said_to_be() -> None:
    lm, ids = language_model("qwen3"), some_tokens("qwen3")
    plain, vector = lm.trace(ids), np.linspace(-1, 1, 20, dtype=np.float32)
    trace = lm.edit(add(("resid_pre", 1), vector, positions=[2]), set_value("embed", torch.zeros(20), [0])).trace(ids)
    assert (trace["embed"][0] == 0).all()
    np.testing.assert_array_equal(trace["embed"][1:], plain["embed"][1:])
    everywhere = lm.edit(add(("resid_post", 0), vector)).trace(ids)
    np.testing.assert_array_equal(everywhere["resid_post", 0], plain["resid_post", 0] + vector)


def test_edits_of_one_value_are_made_in_their_order() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    first = lm.edit(scale("embed", 2.0), add("embed", 1.0)).trace(ids)["embed"]
    second = lm.edit(add("embed", 1.0)).edit(scale("embed", 2.0)).trace(ids)["embed"]
    np.testing.assert_allclose(second - first, np.ones_like(first), atol=1e-6)


# -- with the cache ------------------------------------------------------------------------------------------------


def several(lm: LanguageModel, case: str) -> dict[str, tuple[Edit, ...]]:
    other, top = lm.trace(some_tokens(case, seed=1)), lm.config.num_layers - 1
    return {
        "head": (ablate_head(top, 0),),
        "head at positions": (ablate_head(0, lm.config.num_heads - 1, positions=[1, 5, 9]),),
        "layer": ablate_layer(top),
        "steering": (add(("resid_post", 0), 0.3), scale(("mlp_out", top), -1.0, positions=[4])),
        "patch": (patch(("resid_pre", top), other, positions=[2, 7]),),
        "keys": (scale(("k", top), 0.5, heads=[0]), scale(("rot_q", top), 3.0)),
        "pattern": (patch(("pattern", top), other, positions=[3, 6]), scale(("scores", 0), 0.5)),
        "embedding": (swap_embedding(6, (some_tokens(case)[6] + 1) % lm.tokenizer.vocab_size),),
        "norm": (scale(("scale", 0, "ln1"), 2.0), scale(("scale",), 0.5), scale("logits", 2.0)),
    }


@pytest.mark.parametrize("case", CASES)
def test_with_the_cache_edits_do_what_they_do_without(case: str) -> None:
    lm, ids = language_model(case, torch.float64), some_tokens(case)
    for name, edits in several(lm, case).items():
        edited = lm.edit(*edits)
        whole = logits(edited, ids)
        assert np.abs(whole - logits(lm, ids)).max() > 1e-5, name
        np.testing.assert_allclose(stepwise(edited, ids), whole, rtol=1e-6, atol=1e-6, err_msg=name)


def test_generating_predicting_streaming_and_scoring_hold_the_edit() -> None:
    lm = language_model("llama")
    edited = lm.edit(scale("logits", -1.0))  # what was least probable is most probable now
    text = "abcab"
    worst = int(lm.predict(text).logits[:20].argmin())
    ban = lm.edit(
        set_value("logits", [0.0] * 20 + [-50.0] * (lm.config.vocab_size - 20)), add("logits", np.eye(37)[3] * 9)
    )
    turned = lm.edit(scale("logits", -1.0)).predict(text).logits[worst]
    assert turned == pytest.approx(-lm.predict(text).logits[worst], rel=1e-6)
    assert ban.generate(text, 4, temperature=0).text == "dddd"
    assert "".join(ban.stream(text, 4, temperature=0)) == "dddd"
    assert ban.score("dddd").nats < 0.05
    assert ban.score("abab").nats > 20
    assert edited.score(text).nats != lm.score(text).nats


def test_two_threads_with_different_edits_do_not_see_each_other() -> None:
    lm, ids = language_model("qwen3"), some_tokens("qwen3", 5)
    models = [lm, *(lm.edit(add(("resid_post", 1), 0.5 * number)) for number in (1, 2, 3))]
    alone = [model.generate(ids, 6, temperature=0, logprobs=1).logprobs for model in models]
    assert len({repr(logprobs) for logprobs in alone}) == len(models)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = list(pool.map(lambda model: model.generate(ids, 6, temperature=0, logprobs=1).logprobs, models))
            assert together == alone


# -- values --------------------------------------------------------------------------------------------------------


def test_edits_are_equal_values_that_json_keeps_to_the_last_bit() -> None:
    lm = language_model("llama")
    other = lm.trace(some_tokens("llama"))
    edits = [
        ablate_head(3, 1),
        *ablate_layer(0),
        scale(("z", 1), 0.1, positions=np.arange(3, 4), heads=(0, 2)),  # type: ignore[arg-type]
        add("embed", np.float32([0.1, 1e-30, np.pi] * 8)),
        patch(("scores", 1), other, positions=[2, 3]),
        swap_embedding(2, 7),
    ]
    again = [Edit.from_json(json.loads(json.dumps(edit.to_json()))) for edit in edits]
    assert again == edits
    assert {hash(edit) for edit in again} == {hash(edit) for edit in edits}
    assert ablate_head(3, 1) != ablate_head(3, 2)
    assert str(ablate_head(3, 1)) == "set blocks.3.attn.hook_z head 1: 0"
    assert str(swap_embedding(2, 7)) == "embed hook_embed at 2: token 7"
    with pytest.raises(ValueError, match="read-only"):
        edits[0].value[...] = 1
    with pytest.raises(ConfigError):
        Edit.from_json({"name": "logits"})


def test_edits_of_version_1_mean_what_they_meant_then() -> None:
    """A norm's output, weight and bias applied, was called hook_normalized."""
    lm, ids = language_model("gpt2", torch.float64), some_tokens("gpt2")
    for name in ("blocks.1.ln2.hook_normalized", "ln_final.hook_normalized", "blocks.0.ln1.hook_scale"):
        old = {key: value for key, value in scale(name, 1.5).to_json().items() if key != "version"}
        edit = Edit.from_json(old)
        assert edit == scale(name.replace("normalized", "out"), 1.5)
        assert Edit.from_json(edit.to_json()) == edit
    bias = lm.reference.ln_final.bias.numpy()
    read = lm.trace(ids)["out",]
    scaled = lm.edit(scale(("out",), 1.5)).trace(ids)["out",]
    np.testing.assert_allclose(scaled, 1.5 * read, atol=1e-12)
    before_bias = lm.edit(scale(("normalized",), 1.5)).trace(ids)["out",]
    np.testing.assert_allclose(before_bias, 1.5 * (read - bias) + bias, atol=1e-12)
    with pytest.raises(ConfigError, match="this edit has version 3, this nextword reads versions 1 and 2"):
        Edit.from_json({**edit.to_json(), "version": 3})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (ablate_head(3, 0), "blocks.3.attn.hook_z"),
        (ablate_head(0, 6), "no head 6"),
        (scale("hook_pos_embed", 0.0), "hook_pos_embed"),
        (scale(("resid_pre", 0), 0.0, heads=[0]), "has no heads"),
        (add(("resid_pre", 0), [1.0, 2.0]), r"shape \(2,\), it takes \(24,\)"),
        (add(("resid_pre", 0), 1.0, positions=[11]), "beyond the context of 11"),
        (scale(("result", 0), 0.0), "cannot be edited"),
        (set_value(("pattern", 0), np.zeros((5, 3))), r"shape \(5, 3\), it takes \(6, 3\)"),
        (set_value(("scores", 0), np.zeros((2, 6, 3))), r"shape \(2, 6, 3\)"),
        (scale(("pattern", 0), 0.0, positions=[11]), "beyond the context of 11"),
        (swap_embedding(0, 37), "0 to 36"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_with_the_reason(edit: Edit, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        language_model("llama").edit(edit)


def test_edits_may_come_from_anything_that_gives_some() -> None:
    lm = language_model("llama")
    two = (ablate_head(0, 0), ablate_head(0, 1))
    assert [lm.edit(edits).edits for edits in (iter(two), list(two), (edit for edit in two))] == [two] * 3
    assert lm.edit(*two).edits == two


def test_what_is_no_edit_is_refused() -> None:
    lm = language_model("llama")
    with pytest.raises(ConfigError, match="is no edit"):
        lm.edit([3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="not made of numbers"):
        add("embed", "loud")
    with pytest.raises(ConfigError, match="whole numbers of at least 0"):
        scale("embed", 0.0, positions=[-1])
    with pytest.raises(ConfigError, match="no position 11"):
        patch("embed", lm.trace(some_tokens("llama")), positions=[11])
    for values in ([], {}, {"name": 5, "action": "set"}, {**ablate_mlp(0).to_json(), "version": 1, "name": 5}):
        with pytest.raises(ConfigError, match="this is no edit"):
            Edit.from_json(values)  # type: ignore[arg-type]


def test_an_edited_model_is_not_written_to_disk(tmp_path: Any) -> None:
    edited = language_model("llama").edit(ablate_mlp(0))
    with pytest.raises(ConfigError, match="no weights"):
        edited.save(tmp_path / "model")
    with pytest.raises(ConfigError, match="no weights"):
        edited.export(tmp_path / "model.gguf", format="gguf")
    assert not list(tmp_path.iterdir())


# -- before and after ----------------------------------------------------------------------------------------------


def test_a_comparison_shows_both_distributions_and_how_far_they_lie_apart() -> None:
    lm = language_model("llama")
    edited = lm.edit(ablate_layer(1))
    shown = nextword.compare(lm, edited, "abcab", top=3)
    before, after = lm.predict("abcab", 3), edited.predict("abcab", 3)
    assert {row.token_id for row in shown} == {c.token_id for c in (*before, *after)}
    for row in shown:
        assert row.before == before.probabilities[row.token_id]
        assert row.after == after.probabilities[row.token_id]
    p, q = before.probabilities, after.probabilities
    assert shown.kl == pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-9)
    assert shown.kl > 1e-4
    assert nextword.compare(lm, lm, "abcab").kl == 0
    assert shown.to_json()["changes"][0]["token_id"] == shown[0].token_id
    assert "KL(before || after)" in str(shown)
    table = shown._repr_html_()
    assert all(f">{share:.2%}</td>" in table for row in shown for share in (row.before, row.after))


def test_models_that_read_other_tokens_are_not_compared() -> None:
    with pytest.raises(ConfigError, match="different"):
        nextword.compare(language_model("llama"), language_model("qwen3"), "abc")
