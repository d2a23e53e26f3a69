"""The model as it is before the first step."""

from __future__ import annotations

import torch
from torch import nn

from nextword.language_model import LanguageModel
from nextword.model import GPTModel
from nextword.training.adapters.lora import add_lora
from nextword.training.planning.plan import Plan


def initial_model(plan: Plan, base: LanguageModel | None, seed: int) -> GPTModel:
    """A fresh model, or the one to start from, with what the plan adds to it; the same on every process."""
    torch.manual_seed(seed)
    if base is None:
        model = GPTModel.from_config(plan.config())
        init_weights(model)
        return model
    model = base.model
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = plan.dropout
    if plan.lora_rank is not None:
        add_lora(model, plan.lora_rank, alpha=2 * plan.lora_rank)
    return model


def init_weights(model: GPTModel) -> None:
    """First weights from which training is fastest: every block begins as the identity, tokens far apart.

    The matrices that write into the residual stream become zero; embeddings that are not also the head's are drawn
    with deviation 1 in place of GPT-2's 0.02.
    """
    if not model.config.tie_embeddings:
        torch.nn.init.normal_(model.token_embedding.weight)
    for name, weight in model.named_parameters():
        if name.endswith(("attn.out_proj.weight", "ffn.down.weight")):
            torch.nn.init.zeros_(weight)
