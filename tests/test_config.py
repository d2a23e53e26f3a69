"""GPTConfig: what it derives, what it refuses and how it names it, what the presets are."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.config import TRAINING_PRESETS, GPTConfig
from nextword.errors import ConfigError
from nextword.model import GPTModel
from tests.oracle.cases import CASES, LLAMA3_SCALING

SIX: dict[str, Any] = dict(
    zip(
        ("vocab_size", "d_model", "num_heads", "num_layers", "dropout", "context_length"),
        (29, 12, 4, 3, 0.1, 11),
        strict=True,
    )
)
FIELDS = [item.name for item in dataclasses.fields(GPTConfig)]
NOT_A_COUNT = [0, -1, 2.0, True, "3", None, math.nan]
NOT_A_SIZE = [-1, 2.5, True, "3", None]
NOT_A_FLAG = [0, 1, "true", None]
NOT_A_CHOICE = ["", "other", None, 1, ["gelu"]]
LINEAR = {"rope_type": "linear", "factor": 2.0}

BAD: dict[str, list[Any]] = {
    **dict.fromkeys(("vocab_size", "d_model", "num_heads", "num_layers", "context_length"), NOT_A_COUNT),
    **dict.fromkeys(("num_kv_heads", "head_dim", "d_ff"), NOT_A_SIZE),
    **dict.fromkeys(("qkv_bias", "attention_output_bias", "mlp_bias", "output_bias"), NOT_A_FLAG),
    **dict.fromkeys(("qk_norm", "tie_embeddings"), NOT_A_FLAG),
    **dict.fromkeys(("position", "rope_layout", "norm", "activation", "residual"), NOT_A_CHOICE),
    "dropout": [-0.1, 1, 1.5, math.nan, math.inf, "0", None, True],
    "norm_eps": [0, -1e-5, math.nan, math.inf, "1e-5", None, True],
    "rope_theta": [0, -1.0, math.nan, math.inf, "10000", None, True],
    "no_rope_layers": [(3,), (-1,), (0, 7), ("0",), (None,), (True,), (1.0,), 1, None],
    "layer_windows": [
        (1,),
        (1, 2),
        (1, 2, 3, 4),
        (0, 1, 2),
        (-1, 1, 2),
        (1.5, 1, 2),
        ("1", 1, 2),
        (True, 1, 2),
        3,
        None,
    ],
    "rope_scaling": [
        *(LINEAR["rope_type"], [], 3),
        {},
        {"factor": 2.0},
        {"rope_type": "yarn", "factor": 2.0},
        {"rope_type": None, "factor": 2.0},
        {"rope_type": ["linear"], "factor": 2.0},
        {"rope_type": "linear"},
        {**LINEAR, "extra": 1},
        *({**LINEAR, "factor": bad} for bad in (0, -1, "2", None, math.nan, True)),
        {**LLAMA3_SCALING, "low_freq_factor": 4.0},  # low and high alike: nothing between them to blend
        {**LLAMA3_SCALING, "low_freq_factor": 5.0},
        {name: value for name, value in LLAMA3_SCALING.items() if name != "high_freq_factor"},
    ],
}


# -- what it refuses -----------------------------------------------------------------------------------------------


def test_every_field_has_bad_values_to_try() -> None:
    assert sorted(BAD) == sorted(FIELDS)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in FIELDS for value in BAD[name]])
def test_a_bad_value_is_refused_by_the_name_of_its_field(name: str, value: Any) -> None:
    rotary = {"position": "rotary", "head_dim": 4} if name == "rope_scaling" else {}
    with pytest.raises(ConfigError, match=rf"^GPTConfig\.{name} is ") as raised:
        GPTConfig(**{**SIX, **rotary, name: value})
    assert repr(value) in str(raised.value) or isinstance(value, tuple)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("d_model", {"d_model": 13}),  # not divisible by 4 heads
        ("num_kv_heads", {"num_kv_heads": 3}),
        ("num_kv_heads", {"num_kv_heads": 8}),
        ("head_dim", {"position": "rotary", "head_dim": 3}),
        ("head_dim", {"position": "rotary"}),  # 12 / 4 = 3 is odd
        ("rope_scaling", {"rope_scaling": LINEAR}),  # positions are learned
    ],
)
def test_fields_that_contradict_each_other_are_refused(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^GPTConfig\.{field} is "):
        GPTConfig(**{**SIX, **fields})


def test_a_width_that_heads_do_not_divide_is_fine_with_a_head_dim_of_its_own() -> None:
    assert GPTConfig(**{**SIX, "d_model": 13, "head_dim": 5}).head_dim == 5


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no field 'd_modle'") as raised:
        GPTConfig.from_dict({**SIX, "d_modle": 3})
    assert "d_model" in raised.value.hint
    with pytest.raises(ConfigError, match="no field 'heads'"):
        GPTConfig(**SIX).replace(heads=3)


@pytest.mark.parametrize("name", SIX)
def test_a_missing_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"GPTConfig\.{name} is missing"):
        GPTConfig.from_dict({field: value for field, value in SIX.items() if field != name})


def test_a_model_without_a_context_length_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"GPTConfig\.context_length is 0"):
        GPTModel(29, 12, 4, 3)


def test_a_change_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"GPTConfig\.num_layers"):
        GPTConfig(**SIX).replace(num_layers=0)


def test_a_config_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig(**SIX).d_model = 3  # type: ignore[misc]


# -- what it derives -----------------------------------------------------------------------------------------------


def test_fields_left_out_follow_from_the_others() -> None:
    config = GPTConfig(**SIX)
    assert (config.num_kv_heads, config.head_dim, config.d_ff) == (4, 3, 48)
    given_sizes = GPTConfig(**SIX, num_kv_heads=2, head_dim=5, d_ff=7)
    assert (given_sizes.num_kv_heads, given_sizes.head_dim, given_sizes.d_ff) == (2, 5, 7)


@pytest.mark.parametrize("case", CASES)
def test_a_config_survives_json(case: str) -> None:
    config = CASES[case]
    values = json.loads(json.dumps(config.to_dict()))
    assert sorted(values) == sorted(FIELDS)
    assert GPTConfig.from_dict(values) == config
    assert config.replace() == config
    changed = config.replace(context_length=99)
    assert (changed.context_length, changed.replace(context_length=config.context_length)) == (99, config)


@pytest.mark.parametrize("case", CASES)
def test_parameter_shapes_are_the_models(case: str) -> None:
    config = CASES[case]
    model = GPTModel.from_config(config)
    state = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_embeddings:
        assert state.pop("output_layer.weight") == (config.vocab_size, config.d_model)
    assert state == config.parameter_shapes()
    assert list(model.weights()) == list(config.parameter_shapes())
    assert config.num_parameters == sum(parameter.numel() for parameter in model.parameters())


@given(
    num_kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    head_dim=st.integers(1, 4).map(lambda half: 2 * half),
    activation=st.sampled_from(["gelu", "swiglu"]),
    norm=st.sampled_from(["layernorm", "rmsnorm"]),
    flags=st.tuples(*[st.booleans()] * 6),
)
def test_parameter_shapes_are_the_models_for_any_combination(
    num_kv_heads: int, group: int, head_dim: int, activation: Any, norm: Any, flags: tuple[bool, ...]
) -> None:
    names = ("qkv_bias", "attention_output_bias", "mlp_bias", "output_bias", "qk_norm", "tie_embeddings")
    config = GPTConfig(
        **{**SIX, "num_heads": num_kv_heads * group},
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        activation=activation,
        norm=norm,
        **dict(zip(names, flags, strict=True)),
    )
    weights = GPTModel.from_config(config, initialized=False).weights()
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == config.parameter_shapes()


# -- presets -------------------------------------------------------------------------------------------------------


def test_six_arguments_build_the_lessons_config() -> None:
    six = (29, 12, 3, 2, 0.1, 11)
    assert GPTModel(*six).config == GPTConfig.lesson(*six)
    assert GPTModel(*six, d_ff=30).config == GPTConfig.lesson(*six, d_ff=30)
    fields = {"residual": "stream", "activation": "relu_squared", "num_kv_heads": 1}
    assert GPTModel(*six, **fields).config == GPTConfig.lesson(*six, **fields)
    lesson = GPTConfig.lesson(*six)
    assert lesson == GPTConfig(*six, residual="normalized")
    assert (lesson.position, lesson.norm, lesson.activation) == ("learned", "layernorm", "gelu")
    assert (lesson.norm_eps, lesson.d_ff, lesson.tie_embeddings) == (1e-5, 48, False)
    assert all((lesson.qkv_bias, lesson.attention_output_bias, lesson.mlp_bias, lesson.output_bias))


def test_gpt2_is_the_released_124m_model() -> None:
    config = GPTConfig.gpt2()
    assert config.num_parameters == 124_439_808
    sizes = (config.vocab_size, config.context_length, config.d_model, config.num_heads, config.num_layers, config.d_ff)
    assert sizes == (50257, 1024, 768, 12, 12, 3072)
    assert (config.activation, config.norm, config.norm_eps) == ("gelu_tanh", "layernorm", 1e-5)
    assert (config.tie_embeddings, config.output_bias, config.qkv_bias) == (True, False, True)


@pytest.mark.parametrize(
    ("sizes", "parameters"),  # as counted in the models' published files
    [
        ({"d_model": 1024, "num_heads": 16, "num_layers": 24}, 354_823_168),
        ({"d_model": 1280, "num_heads": 20, "num_layers": 36}, 774_030_080),
        ({"d_model": 1600, "num_heads": 25, "num_layers": 48}, 1_557_611_200),
    ],
)
def test_the_larger_gpt2s_have_their_published_sizes(sizes: dict[str, Any], parameters: int) -> None:
    assert GPTConfig.gpt2(**sizes).num_parameters == parameters


def test_llama_and_qwen3_have_their_published_sizes() -> None:
    llama = {"d_model": 4096, "num_heads": 32, "num_layers": 32, "d_ff": 11008}
    assert GPTConfig.llama(32000, **llama).num_parameters == 6_738_415_616  # Llama 2 7B
    qwen3 = {"d_model": 1024, "num_heads": 16, "num_kv_heads": 8, "head_dim": 128, "num_layers": 28, "d_ff": 3072}
    assert GPTConfig.qwen3(151936, 40960, **qwen3).num_parameters == 596_049_920  # Qwen3 0.6B


@pytest.mark.parametrize("config", [GPTConfig.llama(31), GPTConfig.preset("tiny", 31, 16)], ids=["llama", "qwen3"])
def test_modern_presets_have_no_bias_and_modern_parts(config: GPTConfig) -> None:
    assert (config.position, config.norm, config.activation) == ("rotary", "rmsnorm", "swiglu")
    assert not any("bias" in name for name in config.parameter_shapes())
    assert config.residual == "stream"


def test_qwen3_is_llama_with_qk_norm() -> None:
    sizes = {"d_model": 24, "num_heads": 4, "num_layers": 2, "d_ff": 36}
    qwen3, llama = GPTConfig.qwen3(31, 16, **sizes), GPTConfig.llama(31, 16, **sizes)
    assert qwen3 == llama.replace(qk_norm=True, norm_eps=1e-6, tie_embeddings=True)


@pytest.mark.parametrize(
    ("name", "layers", "width"), [("tiny", 4, 128), ("small", 6, 256), ("medium", 8, 512), ("large", 12, 768)]
)
def test_training_presets_are_qwen3_in_their_documented_sizes(name: str, layers: int, width: int) -> None:
    config = GPTConfig.preset(name, 4096, 256)
    assert (config.num_layers, config.d_model) == (layers, width)
    assert (config.vocab_size, config.context_length, config.qk_norm, config.tie_embeddings) == (4096, 256, True, True)
    assert config.num_heads % config.num_kv_heads == 0
    assert config.num_kv_heads < config.num_heads
    assert GPTConfig.preset(name, 4096, 256, dropout=0.2, d_ff=100).d_ff == 100


def test_training_presets_are_these_four() -> None:
    assert list(TRAINING_PRESETS) == ["tiny", "small", "medium", "large"]
    with pytest.raises(ConfigError, match="no preset 'huge'") as raised:
        GPTConfig.preset("huge", 4096, 256)
    assert "tiny, small, medium, large" in raised.value.hint
