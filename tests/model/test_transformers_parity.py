"""The same weights in transformers give the same logits, loss and gradients."""

from __future__ import annotations

import pytest
import torch

from nextword.files.huggingface.families import family_of
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import errors, gpt_pass, torch_model, transformers_model, transformers_pass

TWINS = {case: config for case, config in CASES.items() if family_of(config) != "nextword"}
CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
}


def test_each_family_has_a_case() -> None:
    assert {family_of(config) for config in TWINS.values()} == set(CLASSES)
    assert all(family_of(config) == case.split(",")[0] for case, config in TWINS.items())
    assert {config.tie_embeddings for config in TWINS.values()} == {True, False}
    scalings = {str((config.rope_scaling or {}).get("rope_type")) for config in TWINS.values()}
    assert scalings == {"None", "linear", "llama3", "yarn"}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", TWINS)
def test_logits_loss_and_every_gradient_equal_transformers(case: str, attention: str) -> None:
    config = TWINS[case]
    weights, (ids, targets) = random_weights(config), random_tokens(config)
    twin = transformers_model(config, weights, attention)
    assert type(twin).__name__ == CLASSES[family_of(config)]
    theirs = transformers_pass(twin, config, ids, targets)
    found = errors(gpt_pass(torch_model(config, weights, torch.float32), ids, targets), theirs)
    assert found.logits < 5e-5
    assert found.loss < 5e-5
    assert found.gradients < 5e-5, found.worst
