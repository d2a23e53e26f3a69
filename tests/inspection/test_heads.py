"""The map of ablated heads equals ablating each by an edit; induction scores read the right diagonal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nextword import ablate_head, add, patch, scale, set_value
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.generation.sampling import log_softmax
from nextword.inspection.heads import ablation_map, induction_scores
from tests.inspection.models import language_model, some_tokens
from tests.oracle.cases import PRESETS


@pytest.mark.parametrize("case", PRESETS)
def test_the_map_holds_what_each_ablation_alone_does_to_the_targets(case: str) -> None:
    lm, ids = language_model(case, torch.float64), some_tokens(case)
    targets = {3: 7, len(ids) - 1: 2}
    done: list[int] = []
    effects = ablation_map(lm, ids, targets, watch=done.append)
    assert done == list(range(lm.config.num_layers))
    assert effects.shape == (lm.config.num_layers, lm.config.num_heads)
    plain = log_softmax(lm.trace(ids)["logits"])
    for layer in range(lm.config.num_layers):
        for head in range(lm.config.num_heads):
            edited = log_softmax(lm.edit(ablate_head(layer, head)).trace(ids)["logits"])
            expected = np.mean([edited[place, token] - plain[place, token] for place, token in targets.items()])
            assert effects[layer, head] == pytest.approx(expected, abs=1e-9)
    assert np.abs(effects).max() > 1e-4


@pytest.mark.parametrize("case", ["gpt2", "qwen3"])
def test_the_map_of_an_edited_model_is_that_of_its_own_passes(case: str) -> None:
    lm, ids = language_model(case, torch.float64), some_tokens(case)
    ban = np.zeros(lm.config.vocab_size)
    ban[5] = 2.0
    edited = lm.edit(
        scale(("pattern", 1), 0.5, heads=[1]),
        set_value(("resid_pre", 1), 0.25, positions=[2]),
        add(("z", 2), 0.5, heads=[0]),
        add("logits", ban, positions=[len(ids) - 1]),
        patch(("mlp_out", 0), lm.trace(ids[::-1]), positions=[4]),
    )
    targets = {3: 7, len(ids) - 1: 5}
    effects = ablation_map(edited, ids, targets)
    plain = log_softmax(edited.trace(ids)["logits"])
    for layer in range(lm.config.num_layers):
        for head in range(lm.config.num_heads):
            without = log_softmax(edited.edit(ablate_head(layer, head)).trace(ids)["logits"])
            expected = np.mean([without[place, token] - plain[place, token] for place, token in targets.items()])
            assert effects[layer, head] == pytest.approx(expected, abs=1e-9)
    assert np.abs(effects - ablation_map(lm, ids, targets)).max() > 1e-3


def test_without_targets_the_first_choice_after_the_text_is_watched() -> None:
    lm, ids = language_model("llama", torch.float64), some_tokens("llama")
    first = int(lm.trace(ids)["logits"][-1].argmax())
    np.testing.assert_array_equal(ablation_map(lm, ids), ablation_map(lm, ids, {len(ids) - 1: first}))


def test_induction_is_attention_to_the_token_after_the_previous_occurrence() -> None:
    lm = language_model("llama")
    ids = [3, 9, 4, 1, 3, 9, 4, 1, 3]
    for model in (lm, lm.edit(scale(("pattern", 0), 0.5, heads=[0]), add(("q", 2), 3.0))):
        trace, scores = model.trace(ids, names="pattern"), induction_scores(model, ids, 4)
        for layer, head in ((0, 0), (2, 5)):
            expected = np.mean([trace["pattern", layer][head, row, row - 3] for row in range(4, 9)])
            assert scores[layer, head] == pytest.approx(expected, abs=1e-7)
    plain = induction_scores(lm, ids, 4)
    assert scores[0, 0] == pytest.approx(plain[0, 0] / 2, abs=1e-7)
    assert abs(scores[2, 5] - plain[2, 5]) > 0.01
    with pytest.raises(ConfigError, match="every 3 tokens"):
        induction_scores(lm, ids, 3)


def test_wrong_texts_and_targets_are_refused() -> None:
    model = language_model("llama").model
    with pytest.raises(TextError):
        ablation_map(model, [])
    with pytest.raises(ContextOverflowError):
        ablation_map(model, [1] * 12)
    with pytest.raises(ConfigError, match="position 5"):
        ablation_map(model, [1, 2], {5: 0})
