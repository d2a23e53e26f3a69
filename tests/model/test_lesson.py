"""The lesson's own classes and GPTModel are the same model: logits, gradients, masks, dropout, first weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.model import GPTModel, TransformerBlock
from nextword.model.lesson import convert_lesson_weights
from tests.oracle.cases import random_tokens
from tests.oracle.compare import errors, gap, gpt_pass, torch_pass
from tests.oracle.lesson import LessonGPT, in_our_names, shaken_lesson

TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-10}
SIZES = (29, 12, 3, 3, 0.0, 11)


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
def test_logits_loss_and_every_gradient_equal_the_lesson(dtype: torch.dtype, train: bool) -> None:
    lesson = shaken_lesson(dropout=0.0).to(dtype).train(train)
    model = GPTModel.from_lesson(lesson.state_dict(), num_heads=3).to(dtype).train(train)
    ids, targets = random_tokens(model.config)
    theirs = torch_pass(lesson, dict(lesson.named_parameters()), ids, targets)
    found = errors(gpt_pass(model, ids, targets), in_our_names(theirs, model.config))
    assert found.logits < TOLERANCE[dtype]
    assert found.loss < TOLERANCE[dtype]
    assert found.gradients < TOLERANCE[dtype], found.worst


def masks(T: int, num_heads: int, batch_size: int) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(5)
    blocked = torch.rand(T, T, generator=generator) < 0.4
    blocked.fill_diagonal_(fill_value=False)
    per_head = torch.rand(batch_size * num_heads, T, T, generator=generator) < 0.4
    per_head[:, torch.arange(T), torch.arange(T)] = False
    return {
        "None": None,
        "bool": blocked,
        "bool, nothing blocked": torch.zeros(T, T, dtype=torch.bool),
        "float, causal": torch.triu(torch.full((T, T), -torch.inf), diagonal=1),
        "float, any number": torch.randn(T, T, generator=generator),
        "bool for each head": per_head,
        "float for each head": torch.randn(batch_size * num_heads, T, T, generator=generator),
    }


@pytest.mark.parametrize("kind", masks(1, 1, 1))
def test_masks_mean_what_they_mean_in_the_lesson(kind: str) -> None:
    lesson = shaken_lesson(dropout=0.0).eval()
    model = GPTModel.from_lesson(lesson.state_dict(), num_heads=3)
    ids, targets = random_tokens(model.config, batch_size=2, length=7)
    mask = masks(7, num_heads=3, batch_size=2)[kind]
    theirs = torch_pass(lambda ids_BT: lesson(ids_BT, mask), dict(lesson.named_parameters()), ids, targets)
    ours = torch_pass(lambda ids_BT: model(ids_BT, mask), dict(model.named_parameters()), ids, targets)
    found = errors(ours, in_our_names(theirs, model.config))
    assert found.logits < 5e-5
    assert found.gradients < 5e-5, found.worst


def test_a_mask_changes_the_logits() -> None:
    model = GPTModel.from_lesson(shaken_lesson(dropout=0.0).state_dict(), num_heads=3)
    ids = torch.from_numpy(random_tokens(model.config, length=7)[0])
    usual = model(ids)
    for kind, mask in masks(7, num_heads=3, batch_size=2).items():
        difference = gap(model(ids, mask), usual)
        assert difference < 1e-5 if kind in ("None", "float, causal") else difference > 0.1, kind


def test_dropout_falls_where_it_falls_in_the_lesson() -> None:
    lesson = shaken_lesson(dropout=0.3).train()
    model = GPTModel(29, 12, 3, 3, 0.3, 11).train()
    model.load_weights(convert_lesson_weights(lesson.state_dict(), model.config))
    ids = torch.from_numpy(random_tokens(model.config)[0])
    torch.manual_seed(8)
    theirs = lesson(ids)
    torch.manual_seed(8)
    ours = model(ids)
    assert gap(ours, theirs) < 5e-5
    assert gap(ours, model(ids)) > 0.1  # other seed, other numbers: dropout was on
    assert gap(model.eval()(ids), lesson.eval()(ids)) < 5e-5


def test_a_block_equals_the_lessons_block() -> None:
    theirs = shaken_lesson(dropout=0.0).blocks[1].eval()
    block = TransformerBlock(12, 3, 0.0, 11).eval()
    state = theirs.state_dict()
    q, k, v = state["attn.in_proj_weight"].chunk(3)
    q_bias, k_bias, v_bias = state["attn.in_proj_bias"].chunk(3)
    block.load_state_dict(
        {
            **{name: tensor for name, tensor in state.items() if name.startswith(("ln", "attn.out_proj"))},
            "attn.q_proj.weight": q,
            "attn.k_proj.weight": k,
            "attn.v_proj.weight": v,
            "attn.q_proj.bias": q_bias,
            "attn.k_proj.bias": k_bias,
            "attn.v_proj.bias": v_bias,
            **{f"ffn.up.{kind}": state[f"ffn.0.{kind}"] for kind in ("weight", "bias")},
            **{f"ffn.down.{kind}": state[f"ffn.2.{kind}"] for kind in ("weight", "bias")},
        }
    )
    x = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(6))
    assert gap(block(x), theirs(x)) < 1e-5
    mask = torch.zeros(9, 9, dtype=torch.bool)
    assert gap(block(x, mask), theirs(x, mask)) < 1e-5
    assert gap(block(x, mask), block(x)) > 0.01


def test_attributes_have_the_lessons_names() -> None:
    model, lesson = GPTModel(*SIZES), LessonGPT(*SIZES)
    for name, _ in lesson.named_children():
        assert hasattr(model, name), name
    assert {name for name, _ in model.blocks[0].named_children()} == {"ln1", "attn", "ln2", "ffn"}
    assert len(model.blocks) == 3
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in lesson.parameters())


def test_the_lesson_adds_to_the_normalised_input_and_the_stream_does_not() -> None:
    weights = GPTModel.from_lesson(shaken_lesson(dropout=0.0).state_dict(), num_heads=3).weights()
    ids = torch.from_numpy(random_tokens(GPTConfig.lesson(*SIZES))[0])
    outputs = []
    for residual in ("normalized", "stream"):
        model = GPTModel.from_config(GPTConfig.lesson(*SIZES, residual=residual)).eval()
        model.load_weights(weights)
        outputs.append(model(ids))
    assert gap(outputs[0], outputs[1]) > 0.1


# -- weights that do not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LessonGPT(*SIZES).state_dict())
def test_each_missing_weight_is_named_or_its_part_is(name: str) -> None:
    state = LessonGPT(*SIZES).state_dict()
    del state[name]
    if name.endswith("causal_mask"):  # a constant, not a weight
        GPTModel.from_lesson(state, num_heads=3)
        return
    # in_proj is named by the first part that is missing then; all others by their new name.
    named = name.replace("in_proj_", "k_proj.").replace("ffn.0", "ffn.(0|up)").replace("ffn.2", "ffn.down")
    with pytest.raises(ModelFileError, match=named):
        GPTModel.from_lesson(state, num_heads=3)


def test_an_unexpected_weight_is_named() -> None:
    state = {**LessonGPT(*SIZES).state_dict(), "blocks.0.ffn.4.weight": torch.zeros(2)}
    with pytest.raises(ModelFileError, match=r"blocks\.0\.ffn\.4\.weight should be absent"):
        GPTModel.from_lesson(state, num_heads=3)


def test_heads_that_do_not_divide_the_width_are_a_config_error() -> None:
    with pytest.raises(ConfigError, match="d_model"):
        GPTModel.from_lesson(LessonGPT(*SIZES).state_dict(), num_heads=5)


# -- first weights -------------------------------------------------------------------------------------------------


def test_fresh_weights_are_drawn_as_the_lesson_draws_them() -> None:
    torch.manual_seed(7)
    sizes = (101, 96, 4, 2, 0.0, 33)
    ours = GPTModel(*sizes).weights()
    theirs = convert_lesson_weights(LessonGPT(*sizes).state_dict(), GPTConfig.lesson(*sizes))
    for name, expected in theirs.items():
        found = ours[name]
        if expected.unique().numel() == 1:
            assert torch.equal(found, expected), name  # norms at one and zero, attention's biases at zero
        else:
            assert float(found.std() / expected.std()) == pytest.approx(1, abs=0.3 if found.dim() == 1 else 0.05), name
            if "embedding" not in name and "position" not in name:  # uniform: the extremes tell the bound
                assert float(found.abs().max() / expected.abs().max()) == pytest.approx(1, abs=0.06), name


def test_all_other_presets_are_drawn_as_gpt2_was() -> None:
    torch.manual_seed(7)
    config = GPTConfig.gpt2(101, 33, d_model=96, num_heads=4, num_layers=8)
    for name, weight in GPTModel.from_config(config).weights().items():
        into_stream = name.endswith(("out_proj.weight", "down.weight"))
        if weight.dim() == 2:
            expected = 0.02 / 4 if into_stream else 0.02  # sqrt(2 * 8 layers) = 4
            assert float(weight.std()) == pytest.approx(expected, rel=0.06), name
        else:
            assert weight.unique().tolist() == [1.0 if name.endswith("weight") else 0.0], name
