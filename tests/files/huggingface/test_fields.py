"""Fields of a config.json: what transformers computes with them, measured, and what is made of them here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers

from nextword.errors import ModelFileError
from nextword.files.huggingface.config import config_from_json
from nextword.files.huggingface.families import FAMILIES
from nextword.files.huggingface.fields import NEUTRAL, ignored_field_notes
from nextword.files.huggingface.reference import TRANSFORMERS, WITHOUT_EFFECT
from nextword.rope import inverse_frequencies, rope_attention_factor
from tests.files.huggingface import reference
from tests.files.huggingface.published import PUBLISHED, Published

# -- the table of what transformers computes with ------------------------------------------------------------------


def test_the_table_is_of_the_transformers_that_is_installed() -> None:
    """Else: python -m tests.files.huggingface.reference."""
    assert transformers.__version__ == TRANSFORMERS


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_that_transformers_looks_at_is_read_neutral_or_without_effect(family: str) -> None:
    ours = FAMILIES[family]
    known = reference.known_fields(family)
    decided = {*ours.fields, *ours.reads, *ours.neutral, *ours.aliases, *NEUTRAL}
    assert known - WITHOUT_EFFECT[family] - decided == set()
    assert WITHOUT_EFFECT[family] <= known
    assert ours.aliases == reference.CONFIG_MAPPING[family].attribute_map
    theirs = reference.CONFIG_MAPPING[family]()
    assert {name: getattr(theirs, name) for name in ours.defaults} == ours.defaults


@pytest.mark.parametrize("family", FAMILIES)
def test_all_fields_without_effect_changed_at_once_leave_every_logit(family: str) -> None:
    refused = {"torch_dtype", "_commit_hash", "num_labels", "problem_type"}  # together with others they contradict
    changes = {name: reference.other_values(family, name)[0] for name in WITHOUT_EFFECT[family] - refused}
    assert len(changes) > 50
    changed, plain = reference.logits(family, **changes), reference.plain_logits(family)
    assert np.abs(plain).max() > 1
    assert np.abs(changed - plain).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_neutral_values_leave_every_logit_and_others_change_some(family: str) -> None:
    asked = {**NEUTRAL, **FAMILIES[family].neutral}
    for name in (reference.known_fields(family) & set(asked)) - WITHOUT_EFFECT[family] - FAMILIES[family].reads:
        if name == "return_dict":
            continue  # their False is another form of the answer
        for value in asked[name]:
            if value is not None:
                assert not reference.changes_numbers(family, **{name: value}), (name, value)
        assert all(reference.changes_numbers(family, **{name: v}) for v in reference.other_values(family, name)), name


@pytest.mark.parametrize(("family", "field"), [("gpt2", "activation_function"), ("llama", "hidden_act")])
def test_every_spelling_of_the_activation_is_taken(family: str, field: str) -> None:
    spellings = FAMILIES[family].neutral[field]
    assert sorted(spellings) == reference.same_activations(spellings[0])
    for spelling in spellings:
        assert _read(family, **{field: spelling}) == _read(family)


def test_names_of_other_architectures_arithmetic_mean_nothing_to_transformers_here() -> None:
    """They are refused for what they ask, not for what transformers would make of them."""
    unknown = set(NEUTRAL) - reference.known_fields("llama") - FAMILIES["llama"].reads
    changes = {name: 0.37 for name in unknown if "quant" not in name and name != "layers_block_type"}
    assert len(changes) > 40
    assert np.array_equal(reference.logits("llama", **changes), reference.plain_logits("llama"))


# -- reading -------------------------------------------------------------------------------------------------------


def _read(family: str, **changes: Any) -> Any:
    return config_from_json(_values(family, **changes), "x")


def _values(family: str, **changes: Any) -> dict[str, Any]:
    needed = {"rms_norm_eps": 1e-6} if family != "gpt2" else {}
    return {**reference.plain_values(family), **needed, **changes}


HARMLESS: dict[str, Any] = {
    "use_mrope": False,
    "_num_labels": 1,
    "n_special": 0,
    "predict_special_tokens": True,
    "output_past": True,
    "unsloth_fixed": True,
    "unsloth_version": "2025.3.19",
    "max_sequence_length": 2048,
    "is_causal": True,
    "license": "mit",
    "author": "김철수",
    "residual_multiplier": 1.0,
    "rotary_dim": None,
    "rope_interleaved": False,
    "new\nline": 1,
    "attention_bias": True,
    "n_ctx": 1024,
    "quantization_config": None,
    "emoji": "🙂",
}


@pytest.mark.parametrize("family", ["gpt2", "mistral", "qwen2"])
def test_what_transformers_does_not_know_is_passed_over_with_one_note(family: str) -> None:
    values = _values(family, **HARMLESS)
    assert config_from_json(values, "x") == _read(family)
    [note] = ignored_field_notes(values)
    assert note.startswith(f"config.json: passed over, because no {family} computes with it: use_mrope false, ")
    assert "unsloth_version 2025.3.19" in note
    assert '"new\\nline" 1' in note
    assert note.isprintable()
    assert "quantization_config" not in note
    assert ignored_field_notes(_values(family)) == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("name", "value"), [("use_mrope", True), ("logit_scale", 0.5), ("clip_qkv", 8.0), ("alibi", True)]
)
def test_arithmetic_that_only_others_have_is_refused_by_name(family: str, name: str, value: object) -> None:
    with pytest.raises(ModelFileError, match=f"the field '{name}' is not understood"):
        _read(family, **{name: value})


def test_a_scale_that_every_llama_has_is_neutral() -> None:
    """The channels of a head are 8."""
    scales = {"attention_multiplier": 0.35355339, "query_pre_attn_scalar": 8, "rotary_dim": 8, "logits_scaling": 1.0}
    assert _read("llama", **scales) == _read("llama")
    for name, value in {"attention_multiplier": 0.125, "query_pre_attn_scalar": 16, "rotary_dim": 4}.items():
        with pytest.raises(ModelFileError, match=f"the field '{name}' is not understood"):
            _read("llama", **{name: value})


def test_second_names_are_the_same_fields() -> None:
    values = _values("gpt2")
    sizes = {alias: values.pop(name) for alias, name in FAMILIES["gpt2"].aliases.items()}
    assert config_from_json({**values, **sizes}, "x") == _read("gpt2")
    assert config_from_json({**_values("gpt2"), **sizes}, "x") == _read("gpt2")
    with pytest.raises(ModelFileError, match="n_embd is 16, and hidden_size, which is the same field, 32"):
        _read("gpt2", hidden_size=32)


@pytest.mark.parametrize(("family", "name"), [("llama", "max_position_embeddings"), ("qwen3", "head_dim")])
def test_what_changes_no_number_or_the_weights_prove_may_be_left_out(family: str, name: str) -> None:
    values = _values(family)
    del values[name]
    default = FAMILIES[family].defaults[name]
    assert config_from_json(values, "x") == _read(family, **{name: default})
    assert ignored_field_notes(values) == [
        f"config.json: left out, so taken as transformers takes it: {name} {default}"
    ]


def test_what_transformers_4_wrote_everywhere_is_no_news() -> None:
    old = {"torchscript": False, "is_decoder": False, "pruned_heads": {}, "use_bfloat16": False, "n_ctx": 1024}
    old |= {"task_specific_params": {"text-generation": {"max_length": 50}}, "output_attentions": False}
    assert ignored_field_notes(_values("gpt2", **old)) == []
    assert np.array_equal(reference.logits("gpt2", **old), reference.plain_logits("gpt2"))


def test_a_window_over_the_whole_context_of_a_llama_cuts_nothing() -> None:
    assert _read("llama", sliding_window=32) == _read("llama")
    assert not reference.changes_numbers("llama", sliding_window=32)
    with pytest.raises(ModelFileError, match="sliding_window"):
        _read("llama", sliding_window=31)


def test_code_that_comes_with_a_model_and_another_class_are_said() -> None:
    assert ignored_field_notes(_values("qwen2", architectures=["Qwen2ForCausalLM"])) == []
    assert ignored_field_notes(_values("qwen2", architectures=["Qwen2ForRewardModel"])) == [
        'config.json: made for ["Qwen2ForRewardModel"]; computed as transformers\' Qwen2ForCausalLM'
    ]
    [note] = ignored_field_notes(_values("llama", auto_map={"AutoModelForCausalLM": "modeling_x.X"}))
    assert note.startswith("config.json: code that comes with a model is never run")


YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 0.2}


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": YARN},  # its original context is the whole one, if no other is named
        {"rope_parameters": {**YARN, "original_max_position_embeddings": 8}},
        {"rope_parameters": YARN, "original_max_position_embeddings": 8},
        {"rope_parameters": {**YARN, "original_max_position_embeddings": 16}, "original_max_position_embeddings": 8},
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 77.0},  # before rope_parameters
        {"rope_scaling": {"type": "linear", "factor": 2.0, "finetuned": True, "attention_factor": 1.0}},
        {"rope_scaling": {"type": "linear", "rope_type": "default", "partial_rotary_factor": 1.0}},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        {"rope_parameters": {}, "rope_scaling": None, "rope_theta": 500000.0},
    ],
    ids=repr,
)
def test_rotary_positions_turn_as_in_transformers(changes: dict[str, Any]) -> None:
    config, theirs = _read("llama", **changes), reference.load("llama", **changes).model.rotary_emb
    expected = theirs.inv_freq.double().numpy()
    assert np.abs(inverse_frequencies(config) / expected - 1).max() < 1e-6
    assert rope_attention_factor(config) == pytest.approx(theirs.attention_scaling, rel=1e-6)


def test_dynamic_scaling_stretches_nothing_within_the_context_and_the_note_says_so() -> None:
    changes = {"rope_scaling": {"type": "dynamic", "factor": 2.0}}
    plain = {"rope_scaling": {"rope_type": "default"}}
    assert np.array_equal(reference.logits("llama", **changes), reference.logits("llama", **plain))
    assert _read("llama", **changes) == _read("llama", **plain)
    assert ignored_field_notes(_values("llama", **changes)) == [
        "config.json: dynamic scaling begins behind 32 tokens, where the context ends here"
    ]


def test_a_rotary_parameter_that_nothing_depends_on_is_noted() -> None:
    values = _values("llama", rope_scaling={"type": "linear", "factor": 2.0, "finetuned": True})
    assert ignored_field_notes(values) == [
        "config.json: passed over, because no rotary position depends on it: finetuned"
    ]


# -- what is published ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", PUBLISHED, ids=lambda found: found.where[:40])
def test_published_configs_open_and_the_note_names_what_was_passed_over(found: Published) -> None:
    changes = {name: ... if value is None else value for name, value in found.fields.items()}
    if found.family == "mistral":
        changes["sliding_window"] = None  # which must be there
    values = {name: value for name, value in _values(found.family, **changes).items() if value is not ...}
    if found.refused:
        with pytest.raises(ModelFileError, match=found.refused):
            config_from_json(values, "x")
        return
    config_from_json(values, "x")
    notes = " ".join(ignored_field_notes(values))
    left_out = {
        name for name, value in found.fields.items() if value is None and name in FAMILIES[found.family].defaults
    }
    assert {name for name in found.fields if f" {name} " in notes} == set(found.passed_over) | left_out
