"""AdamW, with weight decay on matrices only; Muon for the matrices of the blocks, where a plan asks for it."""

from __future__ import annotations

from typing import get_args

import torch

from nextword.errors import ConfigError
from nextword.model import GPTModel
from nextword.settings import OptimizerName
from nextword.training.planning.plan import Plan


def make_optimizers(model: GPTModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Fused AdamW for the weights that require gradients. Norms, biases and embeddings are not decayed.

    With `muon` the matrices of the blocks are PyTorch's Muon's (Jordan et al. 2024), whose steps are as long as AdamW's
    would be (Liu et al. 2025, "Muon is Scalable for LLM Training"), so that both take the plan's learning rate.

    Raises:
        ConfigError: The plan asks for another optimizer, or for Muon where this PyTorch has none.
    """
    if plan.optimizer not in get_args(OptimizerName):
        raise ConfigError(f"optimizer is {plan.optimizer!r}, it must be adamw or muon")
    embeddings = {id(model.token_embedding.weight)}
    if model.position_encoding is not None:
        embeddings.add(id(model.position_encoding.weight))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    muon_matrices = (
        [w for w in model.blocks.parameters() if w.requires_grad and w.dim() == 2] if plan.optimizer == "muon" else []
    )
    muon_ids = {id(weight) for weight in muon_matrices}
    decay = [w for w in weights if w.dim() >= 2 and id(w) not in embeddings | muon_ids]
    no_decay = [w for w in weights if w.dim() < 2 or id(w) in embeddings]
    groups = [{"params": decay, "weight_decay": plan.weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.95), fused=True))
    if not muon_matrices:
        return optimizers
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(f"PyTorch {torch.__version__} has no Muon", hint="2.9 and later have")
    muon = torch.optim.Muon(
        muon_matrices, lr=plan.learning_rate, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [*optimizers, muon]
