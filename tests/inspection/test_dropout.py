"""Dropout is off in everything that looks inside, and every module is in the mode it was in afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nextword
from nextword import GPTModel, LanguageModel
from nextword.config import Residual
from nextword.inspection.heads import ablation_map, induction_scores
from nextword.inspection.hooks import run_with_cache, run_with_hooks
from tests.inspection.models import letters

IDS, TEXT = [3, 9, 4, 1, 3, 9, 4, 1], "abcdabcd"


@pytest.mark.parametrize("residual", ["stream", "normalized"])
def test_nothing_that_looks_inside_sees_dropout_and_every_module_keeps_its_mode(residual: Residual) -> None:
    torch.manual_seed(0)
    model = GPTModel(20, 16, 4, 2, 0.5, 12, residual=residual)
    lm = LanguageModel.from_model(model, letters("lesson"))
    edit = nextword.ablate_head(1, 0)
    looks: dict[str, Callable[[], Any]] = {
        "trace": lambda: lm.trace(IDS)["logits"],
        "result": lambda: lm.trace(IDS)["result", 1],
        "lens": lambda: lm.trace(IDS, names=["resid_pre", "resid_post"]).lens().probabilities,
        "gradient x input": lambda: lm.attribute(TEXT).scores,
        "score": lambda: lm.score(TEXT).nats,
        "predict": lambda: lm.predict(TEXT).logits,
        "words": lambda: [word.probability for word in lm.predict(TEXT, 3, unit="word")],
        "generate": lambda: lm.generate(TEXT, 8, seed=1).token_ids,
        "compare": lambda: nextword.compare(lm, lm.edit(edit), TEXT).kl,
        "edited trace": lambda: lm.edit(edit).trace(IDS)["logits"],
        "ablation map": lambda: ablation_map(lm, IDS),
        "edited score": lambda: lm.edit(edit).score(TEXT).nats,
        "induction": lambda: induction_scores(lm, IDS, 4),
        "run_with_cache": lambda: run_with_cache(lm, IDS)[1]["z", 1],
        "run_with_hooks": lambda: run_with_hooks(lm, IDS, return_type="loss").item(),  # type: ignore[union-attr]
    }
    if residual == "stream":
        looks["contributions"] = lambda: lm.trace(IDS).attribution().values
    model.eval()
    expected = {name: look() for name, look in looks.items()}
    model.train()
    model.blocks[0].attn.eval()
    modes = [module.training for module in model.modules()]
    for name, look in looks.items():
        np.testing.assert_array_equal(look(), expected[name], err_msg=name)
        assert [module.training for module in model.modules()] == modes, name
    ids_1T = torch.tensor([IDS])
    assert not torch.equal(model(ids_1T), model(ids_1T))  # there is dropout to be seen
