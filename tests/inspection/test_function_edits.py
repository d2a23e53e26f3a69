"""Functions, projections, bounds and rows of vectors as edits; layers counted from the end, kinds and patterns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nextword
from nextword import at, clamp, project_onto, project_out
from nextword.errors import ConfigError
from nextword.inspection.edits import Edit, EditContext
from nextword.inspection.hook_names import select
from tests.inspection.models import language_model, some_tokens
from tests.inspection.test_edited_backend import native_model


def rows(lm: Any, ids: list[int]) -> Any:
    return lm.backend.forward([ids], [lm.backend.new_cache(11)], "all")[0]


def test_a_function_does_what_the_edit_of_the_same_meaning_does_in_every_backend() -> None:
    plain, ids = language_model("qwen3"), some_tokens("qwen3")
    function = at("resid_post", 1, positions=[2, 4])(lambda value, _: value * 3)
    for lm in (plain, native_model(plain)):
        edited, scaled = lm.edit(function), lm.edit(nextword.scale(("resid_post", 1), 3.0, positions=[2, 4]))
        np.testing.assert_array_equal(rows(edited, ids), rows(scaled, ids))
        assert edited.predict("abcab").logits.tolist() == scaled.predict("abcab").logits.tolist()
        assert edited.generate("abc", 5, temperature=0).text == scaled.generate("abc", 5, temperature=0).text
        assert "".join(edited.stream("abc", 5, temperature=0)) == scaled.generate("abc", 5, temperature=0).text
        assert edited.score("abcab").nats == scaled.score("abcab").nats
        np.testing.assert_array_equal(edited.trace(ids)["logits"], scaled.trace(ids)["logits"])


def test_a_function_is_told_where_it_is_and_may_write_into_what_it_is_given() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    seen: list[tuple[EditContext, tuple[int, ...]]] = []

    def silence(value: Any, context: EditContext) -> None:
        seen.append((context, value.shape))
        value[...] = 0

    edited = lm.edit(at("z", -1, positions=[3, 5], heads=[1])(silence))
    last = lm.config.num_layers - 1
    expected = lm.edit(nextword.set_value(("z", last), 0.0, positions=[3, 5], heads=[1]))
    np.testing.assert_array_equal(rows(edited, ids), rows(expected, ids))
    [(context, shape)] = seen
    assert (context.name, context.layer, context.positions) == (f"blocks.{last}.attn.hook_z", last, (3, 5))
    assert (context.heads, context.config, shape) == ((1,), lm.config, (2, 1, lm.config.head_dim))


def test_a_function_that_gives_back_what_it_got_changes_no_bit() -> None:
    lm, ids = native_model(language_model("llama")), some_tokens("llama")
    edited = lm.edit(at("*")(lambda value, _: value))
    assert len(edited.edits) > 40
    np.testing.assert_array_equal(rows(edited, ids), rows(lm, ids))


def test_what_is_no_value_or_no_json_is_refused_in_one_sentence() -> None:
    lm = language_model("llama")
    edit = at("resid_post", 0)(lambda value, _: value[1:])
    with pytest.raises(ConfigError, match=r"blocks\.0\.hook_resid_post gave back ndarray of shape \(4, 24\), it must"):
        lm.edit(edit).predict("abcab")
    with pytest.raises(ConfigError, match="is a Python function, which cannot be written as JSON"):
        edit.to_json()
    with pytest.raises(ConfigError, match="is no function"):
        at("resid_post")(3)  # type: ignore[arg-type]


def test_projections_and_bounds_are_what_numpy_makes_of_the_value() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    before = lm.trace(ids)["resid_post", 0].astype(np.float64)
    direction = np.linspace(-1, 2, 24)
    unit = direction / np.linalg.norm(direction)
    along = np.outer(before @ unit, unit)
    for edit, expected in (
        (project_out(("resid_post", 0), direction), before - along),
        (project_onto(("resid_post", 0), direction), along),
        (clamp(("resid_post", 0), -0.2, 0.1), before.clip(-0.2, 0.1)),
        (clamp(("resid_post", 0), high=0.1), before.clip(None, 0.1)),
    ):
        assert Edit.from_json(edit.to_json()) == edit
        np.testing.assert_allclose(lm.edit(edit).trace(ids)["resid_post", 0], expected, atol=1e-6)
        np.testing.assert_allclose(rows(native_model(lm).edit(edit), ids), rows(lm.edit(edit), ids), atol=5e-5)
    for wrong in ([0.0] * 24, [[1.0]], [np.nan], "up"):
        with pytest.raises(ConfigError, match="a direction is a vector"):
            project_out("embed", wrong)
    with pytest.raises(ConfigError, match="low must be at most high"):
        clamp("embed", 1, 0)


def test_a_row_of_values_for_each_position_is_put_where_it_belongs() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    vectors = np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32)
    plain = lm.trace(ids)["resid_pre", 1]
    changed = lm.edit(nextword.set_value(("resid_pre", 1), vectors, positions=[7, 2, 4])).trace(ids)["resid_pre", 1]
    np.testing.assert_array_equal(changed[[7, 2, 4]], vectors)
    added = lm.edit(nextword.add(("resid_pre", 1), vectors, positions=[7, 2, 4])).trace(ids)["resid_pre", 1]
    np.testing.assert_array_equal(added[[7, 2, 4]], plain[[7, 2, 4]] + vectors)


def test_layers_kinds_and_patterns_mean_each_of_their_values() -> None:
    lm, ids = language_model("qwen3"), some_tokens("qwen3")
    last = lm.config.num_layers - 1
    for edit, layers in (
        (nextword.scale(("mlp_out", -1), 0.5), [last]),
        (nextword.scale("mlp_out", 0.5, layers=[0, -1]), [0, last]),
        (nextword.scale("mlp_out", 0.5), range(last + 1)),
        (nextword.scale("blocks.*.hook_mlp_out", 0.5, layers=-1), [last]),
    ):
        expected = [nextword.scale(("mlp_out", layer), 0.5) for layer in layers]
        assert lm.edit(edit).edits == tuple(expected)
        np.testing.assert_array_equal(rows(lm.edit(edit), ids), rows(lm.edit(*expected), ids))
    with pytest.raises(ConfigError, match="no layer 9"):
        lm.edit(nextword.scale("mlp_out", 0.5, layers=[9]))
    chosen = select(lm.config, [("z", -1), "resid_mid", lambda name: name.endswith("embed")], layers=[-1])
    assert chosen == ("hook_embed", f"blocks.{last}.attn.hook_z", f"blocks.{last}.hook_resid_mid")
    assert select(lm.config, ("pattern", -1), None) == (f"blocks.{last}.attn.hook_pattern",)
