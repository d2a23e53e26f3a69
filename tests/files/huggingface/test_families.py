"""Which standard architecture a config is, and which config.json is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nextword import GPTConfig
from nextword.errors import ModelFileError
from nextword.files import read_bundle, read_model, write_bundle
from nextword.files.huggingface.config import config_from_json, config_to_json
from nextword.files.huggingface.families import family_of, misfit
from nextword.files.huggingface.fields import ignored_field_notes
from tests.files.making import CONFIGS, LLAMA3, SMALL, change_json, minimal_bundle, random_bundle, refusal

STANDARD = {name: CONFIGS[name] for name in ("qwen3", "llama", "gpt2")}


@pytest.mark.parametrize(("name", "config"), CONFIGS.items())
def test_each_standard_architecture_is_recognised(name: str, config: GPTConfig) -> None:
    assert family_of(config) == {"lesson": "nextword"}.get(name, name.split(",", maxsplit=1)[0])


@pytest.mark.parametrize("size", ["tiny", "small", "medium", "large"])
def test_everything_trained_here_is_a_qwen3(size: str) -> None:
    assert family_of(GPTConfig.preset(size, 1000, 128, dropout=0.1)) == "qwen3"


# One field changed, and which architecture the config is then: another one, or nobody's but ours.
SIZES = {"vocab_size", "d_model", "num_heads", "num_layers", "dropout", "context_length", "d_ff", "norm_eps"}
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
SAME = ("num_kv_heads", "head_dim", "rope_theta", "rope_scaling", "tie_embeddings")
BECOMES: dict[str, dict[str, str]] = {
    "qwen3": {**dict.fromkeys((*SAME, "layer_windows"), "qwen3"), "qk_norm": "llama"},
    "llama": {
        **dict.fromkeys((*SAME, "mlp_bias"), "llama"),
        "qk_norm": "qwen3",
        "qkv_bias": "qwen2",
        "no_rope_layers": "smollm3",
        "layer_windows": "smollm3",
    },
    "gpt2": {"tie_embeddings": "gpt2"},
}


@pytest.mark.parametrize("family", STANDARD)
@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(GPTConfig) if f.name not in SIZES])
def test_one_changed_field_makes_it_another_architecture_or_nobodys_but_ours(family: str, field: str) -> None:
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
    assert family_of(changed) == BECOMES[family].get(field, "nextword")
    values = config_to_json(changed, dtype="float32", bos_id=None, eos_id=None)
    assert config_from_json(json.loads(json.dumps(values)), "x") == changed


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (CONFIGS["lesson"], "residual"),
        (CONFIGS["llama"].replace(rope_layout="interleaved"), "rope_layout"),
        (CONFIGS["llama"].replace(attention_output_bias=True), "attention_output_bias"),
        (CONFIGS["qwen3"].replace(layer_windows=(3, 4, None, None)), "layer_windows"),
        (CONFIGS["gpt2"].replace(activation="relu_squared"), "activation"),
    ],
)
def test_the_field_that_no_architecture_has_is_named(config: GPTConfig, field: str) -> None:
    assert family_of(config) == "nextword"
    assert misfit(config) == field


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "lesson"])
def test_a_published_architecture_has_no_misfit(name: str) -> None:
    assert misfit(CONFIGS[name]) is None


def test_a_width_that_its_heads_do_not_divide_is_mistrals() -> None:
    """transformers refuses it for a Llama."""
    assert family_of(CONFIGS["llama"].replace(d_model=34, head_dim=8)) == "mistral"


@pytest.mark.parametrize("windows", [(), (None, None)])
def test_windows_over_everything_are_no_windows(windows: tuple[None, ...]) -> None:
    assert family_of(CONFIGS["llama"].replace(layer_windows=windows)) == "llama"


# -- fields of config.json -----------------------------------------------------------------------------------------


def _values(family: str) -> dict[str, Any]:
    return config_to_json(CONFIGS[family], dtype="float32", bos_id=0, eos_id=0)


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
        ("quantization_config", {"bits": 4}),
        ("num_experts", 8),
        ("attention_multiplier", 1.0),
        ("residual_multiplier", 0.22),
        ("use_mrope", True),
        ("attn_logit_softcapping", 50.0),
        ("quantization", {"group_size": 64, "bits": 4}),
        ("is_causal", False),
        ("is_causal", None),
        ("per_layer_config", {"0": {"head_dim": 4}}),
    ],
)
def test_a_field_that_could_change_the_numbers_is_refused_by_name(family: str, name: str, value: object) -> None:
    assert f"the field {name!r} is not understood" in _refused({**_values(family), name: value})


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("llama", "hidden_act", "gelu"),
        ("llama", "rope_interleaved", True),
        ("llama", "partial_rotary_factor", 0.5),
        ("gpt2", "activation_function", "gelu"),
        ("gpt2", "activation_function", "relu"),
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "add_cross_attention", True),
    ],
)
def test_a_value_that_is_not_computed_is_refused_by_name(family: str, name: str, value: object) -> None:
    assert f"{name} is {value!r}; nextword computes only" in _refused({**_values(family), name: value})


@pytest.mark.parametrize(
    ("family", "name"),
    [("llama", "sliding_window"), ("llama", "layer_types"), ("mistral", "layer_types"), ("gpt2", "sliding_window")],
)
def test_another_architectures_field_that_transformers_asks_for_is_refused(family: str, name: str) -> None:
    assert f"the field {name!r} is not understood" in _refused({**_values(family), name: True})


def test_a_bias_that_the_config_names_is_looked_for_in_the_weights(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/config.json", attention_bias=True)
    assert "tensor blocks.0.attn.q_proj.bias of shape (8,) is missing" in refusal(tmp_path / "model")


def test_the_refusal_reaches_the_reader_of_a_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/config.json", hidden_act="gelu")
    assert "config.json: hidden_act is 'gelu'" in refusal(tmp_path / "model")


def test_weights_that_were_quantised_for_other_programs_are_refused_with_the_way_out() -> None:
    with pytest.raises(ModelFileError, match="'quantization_config' is not understood") as caught:
        config_from_json({**_values("llama"), "quantization_config": {"quant_method": "gptq"}}, "x")
    assert ".gguf" in caught.value.hint


# -- windows and layers without rotation ---------------------------------------------------------------------------


def _read(family: str, **changes: Any) -> GPTConfig:
    values = {**_values(family), **changes}
    return config_from_json({name: value for name, value in values.items() if value is not ...}, "x")


def test_a_window_counts_only_when_it_is_switched_on() -> None:
    assert _read("qwen2", sliding_window=9, max_window_layers=0, layer_types=...).layer_windows == ()
    on = {"use_sliding_window": True, "sliding_window": 9, "layer_types": ...}
    assert _read("qwen2", **on, max_window_layers=1).layer_windows == (None, 9)
    assert _read("qwen2", **on, max_window_layers=0).layer_windows == (9, 9)
    assert _read("qwen2", **on, max_window_layers=...).layer_windows == ()  # 28, as transformers has it
    assert _read("qwen2", **{**on, "sliding_window": None}).layer_windows == ()


def test_layer_types_decide_before_max_window_layers() -> None:
    kinds = ["sliding_attention", "full_attention"]
    on = {"use_sliding_window": True, "sliding_window": 9}
    assert _read("qwen2", **on, layer_types=kinds, max_window_layers=1).layer_windows == (9, None)


def test_mistrals_window_is_every_layers_and_must_be_named() -> None:
    assert _read("mistral").layer_windows == (9, 9)
    assert _read("mistral", sliding_window=None).layer_windows == ()
    values = _values("mistral")
    del values["sliding_window"]
    assert "the field 'sliding_window' is missing" in _refused(values)


def test_smollm3s_list_holds_a_one_for_a_layer_that_turns() -> None:
    assert _read("smollm3", no_rope_layers=[0, 1]).no_rope_layers == (0,)
    assert _read("smollm3", no_rope_layers=None, no_rope_layer_interval=2).no_rope_layers == (1,)
    assert _read("smollm3", no_rope_layers=None).no_rope_layers == ()  # every fourth of two layers


def test_smollm3_slides_where_it_does_not_turn() -> None:
    on = {"use_sliding_window": True, "sliding_window": 9, "layer_types": ...}
    assert _read("smollm3", **on, no_rope_layers=[0, 1]).layer_windows == (9, None)


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("qwen2", "layer_types", ["full_attention"]),
        ("qwen2", "layer_types", ["full_attention", "chunked_attention"]),
        ("qwen2", "layer_types", 5),
        ("qwen2", "use_sliding_window", "yes"),
        ("qwen2", "use_sliding_window", []),
        ("mistral", "sliding_window", "9"),
        ("mistral", "sliding_window", 0),
        ("mistral", "sliding_window", -1),
        ("mistral", "sliding_window", True),
        ("smollm3", "no_rope_layers", [1]),
        ("smollm3", "no_rope_layers", [1, 2]),
        ("smollm3", "no_rope_layers", "ab"),
        ("smollm3", "no_rope_layers", 10**400),
        ("llama", "attention_bias", 2),
        ("llama", "mlp_bias", "no"),
    ],
)
def test_what_cannot_be_understood_of_them_is_refused(family: str, name: str, value: object) -> None:
    _refused({**_values(family), name: value})


@pytest.mark.parametrize("interval", [0, -1, "4", 1.5, None])
def test_an_interval_that_is_none_is_refused(interval: object) -> None:
    _refused({**_values("smollm3"), "no_rope_layers": None, "no_rope_layer_interval": interval})


def test_yarn_is_read_with_what_transformers_takes_for_granted() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    config = _read("qwen2", rope_scaling=None, rope_parameters={**scaling, "rope_theta": 1e6})
    assert config.rope_scaling == {
        **scaling,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "attention_factor": pytest.approx(1.138629436111989, abs=1e-15),
    }
    assert config.rope_theta == 1e6


@pytest.mark.parametrize(
    "change", [{"truncate": False}, {"mscale": 1.0}, {"factor": None}, {"factor": 0.5}, {"beta_fast": 0.5}]
)
def test_yarn_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, **change}
    _refused({**_values("qwen2"), "rope_scaling": None, "rope_parameters": scaling})


@pytest.mark.parametrize("name", ["mixtral", "gpt_neox", "", None, 5, [], {}, "QWEN3"])
def test_another_architecture_is_refused_by_name(name: object) -> None:
    assert f"model_type {name!r} is not supported" in _refused({**_values("qwen3"), "model_type": name})


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *[("qwen3", name) for name in ("vocab_size", "num_attention_heads", "num_hidden_layers")],
        *[("llama", name) for name in ("hidden_size", "intermediate_size", "num_attention_heads", "rms_norm_eps")],
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
    assert "tie_word_embeddings" in _refused({**_values("qwen3"), "tie_word_embeddings": value})


@pytest.mark.parametrize("name", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(
    "value",
    [
        "linear",
        5,
        [1],
        ["ab"],
        {"rope_type": "yarn"},
        {"rope_type": "dynamic"},
        {"rope_type": ["linear"], "factor": 2.0},
        {"rope_type": "linear"},
        {"rope_type": "linear", "factor": "2"},
        {"rope_type": "linear", "factor": -2.0},
        {"rope_type": "linear", "factor": 2.0, "attention_factor": 1.5},
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


# -- a file's own words and spellings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "changes", "says"),
    [
        ("llama", {"hidden_size": -8}, ": hidden_size is -8, it must be at least 1"),
        (
            "llama",
            {"hidden_size": 30, "head_dim": None},
            "hidden_size is 30, it must be divisible by num_attention_heads (4)",
        ),
        (
            "qwen2",
            {"num_key_value_heads": 3},
            "num_key_value_heads is 3, it must be a divisor of num_attention_heads (4)",
        ),
        ("qwen3", {"rms_norm_eps": 0}, "rms_norm_eps is 0, it must be above 0"),
        ("qwen3", {"max_position_embeddings": "9"}, "max_position_embeddings is '9', it must be"),
        ("gpt2", {"n_embd": 30}, "n_embd is 30, it must be divisible by n_head (4)"),
        ("gpt2", {"n_embd": None, "hidden_size": 30}, "hidden_size is 30, it must be divisible by n_head (4)"),
        ("gpt2", {"resid_pdrop": 2}, "resid_pdrop is 2, it must be at least 0"),
        ("mistral", {"sliding_window": 0}, "sliding_window is 0, it must be a whole number of at least 1"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": -2.0}}, "rope_scaling is {'rope_type': 'linear', "),
        ("llama", {"rope_parameters": {"rope_type": "klingon"}}, "rope_parameters is {'rope_type': 'klingon'}"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 9, "layer_types": None, "max_window_layers": "x"},
            "max_window_layers is 'x', it must be a whole number of at least 0",
        ),
        ("qwen2", {"layer_types": 5}, "layer_types should hold 2 entries, found 5"),
        ("smollm3", {"no_rope_layers": 5}, "no_rope_layers should hold 2 times 0 or 1, found 5"),
    ],
)
def test_what_is_wrong_has_the_name_that_the_file_gives_it(family: str, changes: dict[str, Any], says: str) -> None:
    message = _refused({**_values(family), **changes})
    assert says in message
    assert "GPTConfig" not in message
    assert "d_model" not in message


def test_a_field_of_nextwords_own_is_named_where_it_stands() -> None:
    values = {"model_type": "nextword", "gpt_config": {**CONFIGS["lesson"].to_dict(), "d_model": 0}}
    assert ": gpt_config.d_model is 0, it must be" in _refused(values)


def test_a_layer_count_that_the_weights_do_not_have_is_named_as_the_file_does(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/config.json", num_hidden_layers=4000, layer_types=None)
    assert "config.json: num_hidden_layers is 4000, but " in refusal(tmp_path / "model")


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "nextword"])
def test_whole_numbers_may_have_a_point(family: str) -> None:
    config = CONFIGS["lesson"]
    values = {"model_type": family, "gpt_config": config.to_dict()} if family == "nextword" else _values(family)
    on = {"use_sliding_window": True, "sliding_window": 9, "layer_types": None, "max_window_layers": 1}
    values |= on if family == "qwen2" else {}

    def pointed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: pointed(item) for name, item in value.items()}
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    found = config_from_json(pointed(values), "x")
    assert found == config_from_json(values, "x")
    assert type(found.d_model) is type(found.num_heads) is type(found.vocab_size) is int
    assert all(type(window) is int for window in found.layer_windows if window is not None)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_layers_that_are_all_of_the_only_kind_say_nothing(family: str) -> None:
    kinds = {"layer_types": ["full_attention"] * 2, "mlp_layer_types": ["dense"] * 2}
    assert _read(family, **kinds) == _read(family)
    assert "layer_types" in _refused({**_values(family), "layer_types": ["full_attention", "sliding_attention"]})
    assert "mlp_layer_types" in _refused({**_values(family), "mlp_layer_types": ["dense", "sparse"]})


def test_mistrals_layers_slide_where_it_has_a_window() -> None:
    sliding, full = ["sliding_attention"] * 2, ["full_attention"] * 2
    assert _read("mistral", layer_types=sliding) == _read("mistral")
    assert _read("mistral", layer_types=full, sliding_window=None) == _read("mistral", sliding_window=None)
    assert "'layer_types' is not understood" in _refused({**_values("mistral"), "layer_types": full})


FULL, SLIDING = {"rope_type": "default", "rope_theta": 77.0}, {"rope_type": "linear", "factor": 2.0, "rope_theta": 5.0}


@pytest.mark.parametrize(
    ("family", "changes", "theta"),
    [
        ("llama", {}, 77.0),
        ("llama", {"layer_types": ["full_attention"] * 2}, 77.0),
        ("qwen3", {}, 77.0),
        ("qwen2", {"layer_types": ["sliding_attention"] * 2}, 5.0),
        ("mistral", {}, 5.0),
        ("mistral", {"sliding_window": None}, 77.0),
    ],
)
def test_positions_given_by_kind_of_layer_are_those_of_the_layers_there_are(
    family: str, changes: dict[str, Any], theta: float
) -> None:
    by_kind = {"rope_parameters": {"full_attention": FULL, "sliding_attention": SLIDING}, "rope_scaling": None}
    config = _read(family, **by_kind, **changes)
    assert config.rope_theta == theta
    assert config.rope_scaling == (None if theta == 77.0 else {"rope_type": "linear", "factor": 2.0})
    assert ignored_field_notes({**_values(family), **by_kind, **changes}) == ignored_field_notes(
        {**_values(family), **changes}
    )


def test_positions_given_by_kind_must_be_alike_where_both_kinds_are_used() -> None:
    mixed = {
        "use_sliding_window": True,
        "sliding_window": 9,
        "rope_scaling": None,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    alike = {"rope_parameters": {"full_attention": FULL, "sliding_attention": FULL}}
    assert _read("qwen2", **mixed, **alike) == _read("qwen2", **mixed, rope_parameters=FULL)
    differ = {"rope_parameters": {"full_attention": FULL, "sliding_attention": SLIDING}}
    assert "differ between full_attention and sliding_attention" in _refused({**_values("qwen2"), **mixed, **differ})
    lacking = {"rope_parameters": {"full_attention": FULL, "sliding_attention": None}}
    assert "the rotary positions of sliding_attention are missing" in _refused({**_values("qwen2"), **mixed, **lacking})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_config_in_any_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    plain = read_model(tmp_path / "model").config
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        file = tmp_path / "model" / name
        file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    assert read_model(tmp_path / "model").config == plain
