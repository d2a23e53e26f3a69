"""A known finding on a real model: SmolLM2's induction heads copy, and without them it cannot repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recipes import induction_heads as recipe

import nextword
from nextword import LanguageModel, Tokenizer
from nextword.errors import ConfigError
from nextword.loading import DEFAULT_MODEL
from tests.published import smollm2_gguf

PERIOD = 40


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return nextword.load(smollm2_gguf())


def test_without_the_heads_that_look_behind_the_previous_occurrence_nothing_is_repeated(lm: LanguageModel) -> None:
    sequences = [recipe.repeated_tokens(lm.tokenizer, PERIOD, seed=0)]
    scores_LH = recipe.mean_scores(lm, sequences)
    order = recipe.strongest(scores_LH)
    assert scores_LH[order[0]] == scores_LH.max() > 0.7
    assert np.median(scores_LH) < 0.05
    assert min(layer for layer, _ in order[:10]) > 5  # they read what earlier layers have written
    whole = recipe.loss_without(lm, [], sequences)
    assert whole.first > 10  # random tokens cannot be foreseen
    assert whole.repeat < whole.first / 2
    found = recipe.loss_without(lm, order[:10], sequences)
    assert found.repeat > whole.repeat + 5
    assert abs(found.first - whole.first) < 0.5
    for seed in range(3):
        others = recipe.other_heads(order[:10], order[:20], scores_LH.shape, seed)
        assert recipe.loss_without(lm, others, sequences).repeat < whole.repeat + 2


def test_the_heads_to_compare_with_are_of_the_same_layers_where_there_are_any_left() -> None:
    found = [(1, 0), (1, 2), (2, 1), (2, 0)]
    draws = [recipe.other_heads(found, [*found, (0, 0)], (3, 3), seed) for seed in range(5)]
    for drawn in draws:  # one is left in layer 1 and one in layer 2; the rest can only be of layer 0
        assert sorted(drawn) == [(0, 1), (0, 2), (1, 1), (2, 2)]
    assert len({tuple(recipe.other_heads([(1, 0)], [], (3, 9), seed)) for seed in range(9)}) > 2


def test_random_tokens_are_ordinary_ones(lm: LanguageModel) -> None:
    ids = recipe.repeated_tokens(lm.tokenizer, 300, seed=1)
    assert ids[:300] == ids[300:]
    assert len(set(ids)) == 300
    assert all(lm.tokenizer.encode(lm.tokenizer.decode([token])) == [token] for token in ids[:300])
    with pytest.raises(ConfigError, match="only 3 ordinary tokens"):
        recipe.repeated_tokens(Tokenizer.characters("abc"), 4, seed=0)


def test_the_recipe_prints_its_table_and_draws_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "induction.svg"
    arguments = [str(DEFAULT_MODEL), "--period", "20", "--seeds", "1", "--draws", "1"]
    monkeypatch.setattr("sys.argv", ["induction_heads.py", *arguments, "--out", str(out)])
    recipe.main()
    assert "heads off" in capsys.readouterr().out
    assert out.read_bytes().startswith(b"<?xml")
