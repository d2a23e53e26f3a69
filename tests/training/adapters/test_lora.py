"""LoRA: what is added, what stands still, what is learned, what remains after merging. The oracle is NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nextword import GPTModel
from nextword.errors import ConfigError
from nextword.model.backend import stored_tensors
from nextword.training.adapters.lora import (
    LoRA,
    LoRALinear,
    add_lora,
    attach,
    lora_layers,
    matrices,
    merge_lora,
)
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import gap, torch_model


def model_of(case: str, dtype: torch.dtype = torch.float64) -> GPTModel:
    return torch_model(CASES[case], random_weights(CASES[case]), dtype)


def lora_parameters(model: GPTModel) -> dict[str, nn.Parameter]:
    """The adapters' matrices, by name (`blocks.0.attn.q_proj.lora_A`)."""
    return {
        f"{name}.{kind}": getattr(layer, kind) for name, layer in lora_layers(model) for kind in ("lora_A", "lora_B")
    }


def taught(model: GPTModel, seed: int = 5) -> GPTModel:
    """As if something had been learned: B is no longer zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in lora_parameters(model).values():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return model


def logits(model: GPTModel) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(torch.from_numpy(random_tokens(model.config)[0]))
    return result


@pytest.mark.parametrize(("rslora", "scale"), [(False, 16 / 4), (True, 16 / 2)])
def test_an_adapted_matrix_computes_the_papers_formula(rslora: bool, scale: float) -> None:
    base = nn.Linear(6, 5).double()
    layer = LoRALinear(base, LoRA(4, 16, rslora=rslora))
    rng = np.random.default_rng(0)
    x, A, B = rng.normal(size=(3, 6)), rng.normal(size=(4, 6)), rng.normal(size=(5, 4))
    with torch.no_grad():
        layer.lora_A.copy_(torch.from_numpy(A))
        layer.lora_B.copy_(torch.from_numpy(B))
    W, bias = base.weight.detach().numpy(), base.bias.detach().numpy()
    expected = x @ W.T + bias + scale * (x @ A.T @ B.T)
    assert np.abs(layer(torch.from_numpy(x)).detach().numpy() - expected).max() < 1e-12
    merged = layer.merged()
    assert type(merged) is nn.Linear
    assert merged.weight is base.weight
    assert np.abs(merged(torch.from_numpy(x)).detach().numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("case", ["gpt2", "qwen3", "lesson", "llama, every bias"])
def test_at_first_nothing_changes_and_the_weights_keep_their_names(case: str) -> None:
    model = model_of(case)
    before, weights = logits(model), {name: weight.clone() for name, weight in model.weights().items()}
    add_lora(model, rank=3)
    assert torch.equal(logits(model), before)
    after = model.weights()
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], weight) for name, weight in weights.items())
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(lora_parameters(model))


def test_a_is_drawn_as_a_linear_layer_draws_and_b_is_zero() -> None:
    base = nn.Linear(400, 30)
    torch.manual_seed(3)
    layer = LoRALinear(base, LoRA(50))
    torch.manual_seed(3)
    expected = nn.Linear(400, 50).weight
    assert torch.equal(layer.lora_A, expected)
    assert layer.lora_A.abs().max() <= 1 / math.sqrt(400)
    assert layer.lora_B.shape == (30, 50)
    assert not layer.lora_B.any()


@pytest.mark.parametrize(
    ("case", "per_block"),
    [("gpt2", 6), ("qwen3", 7)],  # GELU has no gate
)
def test_every_matrix_of_the_blocks_is_adapted_or_those_that_are_named(case: str, per_block: int) -> None:
    config = CASES[case]
    model = model_of(case)
    add_lora(model, rank=2)
    assert len(lora_parameters(model)) == 2 * per_block * config.num_layers
    assert all(isinstance(layer, LoRALinear) for layer in matrices(model).values())

    model = model_of(case)
    add_lora(model, rank=2, targets=["q_proj", "down"])
    names = {name for name, _ in lora_layers(model)}
    assert names == {f"blocks.{i}.{part}" for i in range(config.num_layers) for part in ("attn.q_proj", "ffn.down")}
    assert not isinstance(model.output_layer, LoRALinear)


@pytest.mark.parametrize("case", ["gpt2", "qwen3", "lesson"])
@pytest.mark.parametrize("rslora", [False, True])
def test_merged_the_model_says_the_same_and_is_an_ordinary_one(case: str, rslora: bool) -> None:
    model = model_of(case)
    plain, kinds = logits(model), {name: type(part) for name, part in model.named_modules()}
    add_lora(model, rank=3, alpha=5, rslora=rslora)
    changed = logits(taught(model))
    assert gap(changed, plain) > 0.05
    merge_lora(model)
    assert gap(logits(model), changed) < 1e-12
    assert {name: type(part) for name, part in model.named_modules()} == kinds
    assert not lora_parameters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    copy = GPTModel.from_config(model.config, initialized=False).double()
    copy.load_weights(model.weights())
    assert torch.equal(logits(copy.eval()), logits(model))


def test_in_half_precision_only_the_sum_is_rounded() -> None:
    base = nn.Linear(16, 16, bias=False).bfloat16()
    layer = LoRALinear(base, LoRA(4, 8))
    with torch.no_grad():
        layer.lora_B.normal_(generator=torch.Generator().manual_seed(1))
    exact = base.weight.double() + 2 * (layer.lora_B.double() @ layer.lora_A.double())
    assert torch.equal(layer.merged().weight, exact.float().bfloat16())


def test_only_the_adapters_move_and_the_loss_falls() -> None:
    model = model_of("qwen3", torch.float32)
    torch.manual_seed(0)
    add_lora(model, rank=4)
    frozen = {name: weight.clone() for name, weight in model.weights().items()}
    before = {name: weight.detach().clone() for name, weight in lora_parameters(model).items()}
    ids, targets = map(torch.from_numpy, random_tokens(model.config))
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.02, weight_decay=0.0)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(weight, frozen[name]) for name, weight in model.weights().items())
    assert all(not torch.equal(weight, before[name]) for name, weight in lora_parameters(model).items())


def test_dropout_is_for_training_only_and_spares_the_frozen_path() -> None:
    layer = LoRALinear(nn.Linear(64, 8).eval(), LoRA(4, 4, dropout=0.5))
    with torch.no_grad():
        layer.lora_B.fill_(1.0)
    assert not layer.training
    x = torch.ones(2000, 64)
    still = layer(x)
    assert torch.equal(still[0], still[1])
    layer.train()
    torch.manual_seed(0)
    frozen = nn.functional.linear(x, layer.weight, layer.bias)
    adapted, expected = layer(x) - frozen, (still - frozen)[0]
    assert not torch.equal(adapted[0], adapted[1])
    assert (adapted.mean(0) - expected).abs().max() < 0.1 * adapted.std()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rank": 0}, "rank of the adapter is 0"),
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"dropout": 1.0}, "dropout of the adapter is 1.0"),
        ({"targets": ["q_proj", "gate"]}, "'gate' is none of"),
        ({"targets": []}, "none was named"),
    ],
)
def test_settings_out_of_range_are_named_and_nothing_is_changed(settings: dict[str, Any], named: str) -> None:
    model = model_of("gpt2")
    with pytest.raises(ConfigError) as caught:
        add_lora(model, **settings)
    assert named in caught.value.message
    assert not lora_parameters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_adapters_are_not_put_upon_adapters() -> None:
    model = model_of("qwen3")
    add_lora(model)
    with pytest.raises(ConfigError, match="adapters already"):
        attach(model, {})


@pytest.mark.parametrize("case", ["qwen3", "gpt2"])
def test_a_model_is_not_saved_without_its_adapters(case: str) -> None:
    model = model_of(case)
    add_lora(model)
    with pytest.raises(ConfigError, match="lora_A is no part of the model's architecture") as caught:
        stored_tensors(model)
    assert "merge_lora" in (caught.value.hint or "")
    merge_lora(model)
    assert stored_tensors(model).keys() == model.config.parameter_shapes().keys()
