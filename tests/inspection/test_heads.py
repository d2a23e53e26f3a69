"""The map of ablated heads equals ablating each by an edit; induction scores read the right diagonal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nextword import ablate_head
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.generation.sampling import log_softmax
from nextword.inspection.edit_tap import EditTap
from nextword.inspection.heads import ablation_map, induction_scores, token_losses
from tests.inspection.models import language_model, some_tokens
from tests.oracle.cases import PRESETS


@pytest.mark.parametrize("case", PRESETS)
def test_the_map_holds_what_each_ablation_alone_does_to_the_targets(case: str) -> None:
    lm, ids = language_model(case, torch.float64), some_tokens(case)
    targets = {3: 7, len(ids) - 1: 2}
    done: list[int] = []
    effects = ablation_map(lm.model, ids, targets, watch=done.append)
    assert done == list(range(lm.config.num_layers))
    assert effects.shape == (lm.config.num_layers, lm.config.num_heads)
    plain = log_softmax(lm.trace(ids)["logits"])
    for layer in range(lm.config.num_layers):
        for head in range(lm.config.num_heads):
            edited = log_softmax(lm.edit(ablate_head(layer, head)).trace(ids)["logits"])
            expected = np.mean([edited[place, token] - plain[place, token] for place, token in targets.items()])
            assert effects[layer, head] == pytest.approx(expected, abs=1e-9)
    assert np.abs(effects).max() > 1e-4


def test_without_targets_the_first_choice_after_the_text_is_watched() -> None:
    lm, ids = language_model("llama", torch.float64), some_tokens("llama")
    first = int(lm.trace(ids)["logits"][-1].argmax())
    np.testing.assert_array_equal(ablation_map(lm.model, ids), ablation_map(lm.model, ids, {len(ids) - 1: first}))


def test_token_losses_are_those_of_score_with_and_without_an_edit() -> None:
    lm, ids = language_model("qwen3"), some_tokens("qwen3")
    edit = ablate_head(1, 2)
    for model, tap in ((lm, None), (lm.edit(edit), EditTap([edit], lm.model))):
        scored = model.score(lm.tokenizer.decode(ids)).token_logprobs
        losses = token_losses(lm.model, ids, tap, copies=2)
        np.testing.assert_allclose(losses, -np.array([scored[1:]] * 2, dtype=float), atol=3e-6)


def test_induction_is_attention_to_the_token_after_the_previous_occurrence() -> None:
    lm = language_model("llama")
    ids = [3, 9, 4, 1, 3, 9, 4, 1, 3]
    trace = lm.trace(ids)
    scores = induction_scores(trace, 4)
    for layer, head in ((0, 0), (2, 5)):
        expected = np.mean([trace["pattern", layer][head, row, row - 3] for row in range(4, 9)])
        assert scores[layer, head] == pytest.approx(expected, abs=1e-7)
    with pytest.raises(ConfigError, match="every 3 tokens"):
        induction_scores(trace, 3)


def test_wrong_texts_and_targets_are_refused() -> None:
    model = language_model("llama").model
    with pytest.raises(TextError):
        ablation_map(model, [])
    with pytest.raises(TextError):
        token_losses(model, [1])
    with pytest.raises(ContextOverflowError):
        token_losses(model, [1] * 12)
    with pytest.raises(ConfigError, match="position 5"):
        ablation_map(model, [1, 2], {5: 0})
