"""Which standard architecture a config is, and which config.json is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nextword import GPTConfig
from nextword.errors import ModelFileError
from nextword.files import read_bundle, write_bundle
from nextword.files.families import config_from_json, config_to_json, family_of
from tests.files.making import CONFIGS, LLAMA3, SMALL, change_json, minimal_bundle, random_bundle, refusal

STANDARD = {"qwen3": CONFIGS["qwen3"], "llama": CONFIGS["llama"], "gpt2": CONFIGS["gpt2"]}


@pytest.mark.parametrize(("name", "config"), CONFIGS.items())
def test_each_standard_architecture_is_recognised(name: str, config: GPTConfig) -> None:
    assert family_of(config) == {"lesson": "nextword"}.get(name, name.split(",", maxsplit=1)[0])


@pytest.mark.parametrize("size", ["tiny", "small", "medium", "large"])
def test_everything_trained_here_is_a_qwen3(size: str) -> None:
    assert family_of(GPTConfig.preset(size, 1000, 128, dropout=0.1)) == "qwen3"


# What each family can express: all other fields, changed once, make the config nobody's but ours.
SIZES = {"vocab_size", "d_model", "num_heads", "num_layers", "dropout", "context_length", "d_ff", "norm_eps"}
FREE = {
    "qwen3": {*SIZES, "num_kv_heads", "head_dim", "rope_theta", "rope_scaling", "tie_embeddings"},
    "llama": {*SIZES, "num_kv_heads", "head_dim", "rope_theta", "rope_scaling", "tie_embeddings"},
    "gpt2": {*SIZES, "tie_embeddings"},
}
CHANGES: dict[str, Any] = {
    "num_kv_heads": 1,
    "head_dim": 10,
    "position": "learned",
    "rope_theta": 77.0,
    "rope_scaling": LLAMA3,
    "rope_layout": "interleaved",
    "no_rope_layers": (1,),
    "norm": "layernorm",
    "activation": "gelu",
    "qkv_bias": True,
    "attention_output_bias": True,
    "mlp_bias": True,
    "output_bias": True,
    "qk_norm": True,
    "tie_embeddings": False,
    "residual": "normalized",
}


@pytest.mark.parametrize("family", STANDARD)
@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(GPTConfig) if f.name not in SIZES])
def test_one_changed_field_makes_it_nobodys_but_ours(family: str, field: str) -> None:
    config = STANDARD[family]
    value: Any = (4, *[None] * (config.num_layers - 1)) if field == "layer_windows" else CHANGES[field]
    if family == "gpt2" and field in ("rope_theta", "rope_layout", "no_rope_layers", "rope_scaling"):
        return  # GPT-2 turns nothing: these do not touch its numbers
    if family == "gpt2":
        value = {"position": "rotary", "norm": "rmsnorm", "activation": "gelu", "output_bias": True}.get(field, value)
        value = (not getattr(config, field)) if isinstance(value, bool) else value
    changed = config.replace(**{field: value})
    if changed == config:  # qwen3 has qk_norm: take it away
        changed = config.replace(**{field: not value})
    expected = family if field in FREE[family] else "nextword"
    if field == "qk_norm" and family != "gpt2":
        expected = {"qwen3": "llama", "llama": "qwen3"}[family]
    assert family_of(changed) == expected
    values = config_to_json(changed, dtype="float32", bos_id=None, eos_id=None)
    assert config_from_json(json.loads(json.dumps(values)), "x") == changed


@pytest.mark.parametrize("windows", [(), (None, None)])
def test_windows_over_everything_are_no_windows(windows: tuple[None, ...]) -> None:
    assert family_of(CONFIGS["llama"].replace(layer_windows=windows)) == "llama"


# -- fields of config.json -----------------------------------------------------------------------------------------


def _values(family: str) -> dict[str, Any]:
    return config_to_json(STANDARD[family], dtype="float32", bos_id=0, eos_id=0)


def _refused(values: dict[str, Any]) -> str:
    with pytest.raises(ModelFileError) as caught:
        config_from_json(values, "dir/config.json")
    assert caught.value.message.startswith("dir/config.json: ")
    assert len(caught.value.message.splitlines()) == 1
    return caught.value.message


@pytest.mark.parametrize("family", STANDARD)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logit_scale", 0.5),
        ("partial_rotary_factor", 0.5),
        ("quantization_config", {"bits": 4}),
        ("num_experts", 8),
        ("attention_multiplier", 1.0),
        ("residual_multiplier", 1.0),
        ("new\nline", 1),
    ],
)
def test_a_field_that_is_not_understood_is_refused_by_name(family: str, name: str, value: object) -> None:
    assert f"the field {name!r} is not understood" in _refused({**_values(family), name: value})


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("qwen3", "use_sliding_window", True),
        ("qwen3", "attention_bias", True),
        ("llama", "attention_bias", True),
        ("llama", "mlp_bias", True),
        ("llama", "hidden_act", "gelu"),
        ("llama", "rope_interleaved", True),
        ("gpt2", "activation_function", "gelu"),
        ("gpt2", "activation_function", "relu"),
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "reorder_and_upcast_attn", True),
        ("gpt2", "add_cross_attention", True),
    ],
)
def test_a_value_that_is_not_computed_is_refused_by_name(family: str, name: str, value: object) -> None:
    assert f"{name} is {value!r}; nextword computes only" in _refused({**_values(family), name: value})


def test_sliding_layers_are_refused() -> None:
    assert "layer_types holds 'sliding_attention'" in _refused(
        {**_values("qwen3"), "layer_types": ["full_attention", "sliding_attention"]}
    )


def test_the_refusal_reaches_the_reader_of_a_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/config.json", use_sliding_window=True)
    assert "config.json: use_sliding_window is True" in refusal(tmp_path / "model")
    change_json(tmp_path / "model/config.json", use_sliding_window=False, attention_bias=True)
    assert "config.json: attention_bias is True" in refusal(tmp_path / "model")


@pytest.mark.parametrize("name", ["mistral", "gpt_neox", "", None, 5, [], {}, "QWEN3"])
def test_another_architecture_is_refused_by_name(name: object) -> None:
    assert f"model_type {name!r} is not supported" in _refused({**_values("qwen3"), "model_type": name})


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *[("qwen3", name) for name in ("vocab_size", "num_attention_heads", "num_hidden_layers", "head_dim")],
        *[("llama", name) for name in ("hidden_size", "intermediate_size", "num_attention_heads", "rms_norm_eps")],
        ("llama", "max_position_embeddings"),
        *[("gpt2", name) for name in ("vocab_size", "n_embd", "n_head", "n_layer", "n_positions")],
    ],
)
def test_a_missing_field_is_named_and_never_guessed(family: str, name: str) -> None:
    values = _values(family)
    assert f"the field {name!r} is missing" in _refused({**values, name: None})
    del values[name]
    assert f"the field {name!r} is missing" in _refused(values)


def test_what_transformers_leaves_out_means_what_it_means_there() -> None:
    values = _values("llama")
    for name in ("tie_word_embeddings", "num_key_value_heads", "head_dim", "rope_parameters", "rope_theta"):
        del values[name]
    config = config_from_json(values, "x")
    assert (config.tie_embeddings, config.num_kv_heads, config.head_dim) == (False, 4, 8)
    assert (config.rope_theta, config.rope_scaling) == (10000.0, None)
    qwen3 = _values("qwen3")
    del qwen3["tie_word_embeddings"]
    assert config_from_json(qwen3, "x").tie_embeddings is False
    gpt2 = _values("gpt2")
    for name in ("tie_word_embeddings", "n_inner", "layer_norm_epsilon"):
        del gpt2[name]
    assert config_from_json(gpt2, "x") == STANDARD["gpt2"]


def test_what_says_nothing_about_the_numbers_is_passed_over() -> None:
    more = {"transformers_version": "4.56.0", "use_cache": False, "_name_or_path": "x", "pad_token_id": 3}
    smollm = {"is_llama_config": True, "rope_interleaved": False, "pretraining_tp": 1}
    assert config_from_json({**_values("llama"), **more, **smollm}, "x") == STANDARD["llama"]


WRONG = ["64", -1, -(10**400), 10**400, 1.5, True, [], {}, [64], "x" * 50, float("nan"), float("inf"), 10**12]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "head_dim"])
def test_a_size_of_the_wrong_kind_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/config.json", **{name: value})
    refusal(tmp_path / "model")


@pytest.mark.parametrize("value", ["64", -1, 0, 10**400, 10**12, 1.5, True, [], {}], ids=lambda v: repr(v)[:12])
def test_a_context_of_the_wrong_kind_is_refused(tmp_path: Path, value: object) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/config.json", max_position_embeddings=value)
    assert "context" in refusal(tmp_path / "model")


@pytest.mark.parametrize("value", ["1e-6", -1e-6, 0, 10**400, True, [], {}, float("nan")], ids=lambda v: repr(v)[:12])
@pytest.mark.parametrize("name", ["rms_norm_eps", "rope_theta"])
def test_a_number_of_the_wrong_kind_is_refused(name: str, value: object) -> None:
    values = {**_values("llama"), name: value}
    if name == "rope_theta":
        values["rope_parameters"] = None
    _refused(values)


@pytest.mark.parametrize("value", ["yes", 1, [], {}], ids=repr)
def test_a_switch_of_the_wrong_kind_is_refused(value: object) -> None:
    assert "tie_embeddings" in _refused({**_values("qwen3"), "tie_word_embeddings": value})


@pytest.mark.parametrize("name", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(
    "value",
    [
        "linear",
        5,
        [1],
        ["ab"],
        {"rope_type": "yarn", "factor": 2.0},
        {"rope_type": ["linear"], "factor": 2.0},
        {"rope_type": "linear"},
        {"rope_type": "linear", "factor": "2"},
        {"rope_type": "linear", "factor": -2.0},
        {"rope_type": "linear", "factor": 2.0, "attention_factor": 1.0},
        {"rope_type": "llama3", "factor": 8.0},
        {"rope_type": "default", "partial_rotary_factor": 0.5},
        {"rope_theta": None},
        {"factor": 2.0},
    ],
    ids=repr,
)
def test_rotary_settings_that_are_not_understood_are_refused(name: str, value: object) -> None:
    if name == "rope_scaling" and value == {"rope_theta": None}:
        value = {"rope_theta": "x"}
    _refused({**_values("llama"), "rope_parameters": None, name: value})


@pytest.mark.parametrize("value", [None, 5, "abc", [], ["vocab_size"], {}, {"vocab_size": 5}, {"bogus": 1}], ids=repr)
def test_a_config_of_our_own_that_is_none_is_refused(value: object) -> None:
    _refused({"model_type": "nextword", "gpt_config": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer_windows", 5),
        ("layer_windows", "ab"),
        ("layer_windows", [1, -1]),
        ("layer_windows", [1, 10**400, 3]),
        ("no_rope_layers", ["a"]),
        ("no_rope_layers", [10**400]),
        ("rope_scaling", "linear"),
        ("rope_scaling", [1]),
        ("activation", ["gelu"]),
        ("norm", None),
        ("context_length", 10**9),
        ("dropout", "0.1"),
        ("dropout", 10**400),
        ("qkv_bias", 1),
    ],
)
def test_a_field_of_our_own_config_of_the_wrong_kind_is_refused_by_name(name: str, value: object) -> None:
    config = {**CONFIGS["lesson"].to_dict(), name: value}
    if name.startswith(("rope", "no_rope")):
        config = {**GPTConfig.llama(300, 64, **SMALL).to_dict(), name: value}
    _refused({"model_type": "nextword", "gpt_config": config})


@pytest.mark.parametrize("layers", [3, 1000, 10**12, 10**400])
def test_layers_that_the_file_does_not_hold_cost_nothing(tmp_path: Path, layers: int) -> None:
    write_bundle(tmp_path / "a", minimal_bundle())
    change_json(tmp_path / "a/config.json", num_hidden_layers=layers)
    refusal(tmp_path / "a")
    write_bundle(tmp_path / "b", random_bundle(CONFIGS["lesson"]))
    config = {**CONFIGS["lesson"].to_dict(), "num_layers": layers}
    change_json(tmp_path / "b/config.json", gpt_config=config)
    refusal(tmp_path / "b")


def test_fewer_layers_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["llama"]))
    change_json(tmp_path / "model/config.json", num_hidden_layers=1)
    assert "tensor 'model.layers.1." in refusal(tmp_path / "model")
    change_json(tmp_path / "model/config.json", num_hidden_layers=2)
    assert read_bundle(tmp_path / "model").config == CONFIGS["llama"]
