"""The loss on held-out text, all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nextword.model import GPTModel
from nextword.training.data import TokenizedText, evaluation_windows

_TOKENS_AT_ONCE = 8192


@dataclass(frozen=True)
class Loss:
    """Negative log-likelihood of a text, in the units that do and do not depend on the tokenizer."""

    nats: float
    tokens: int
    characters: int
    bytes: int

    @property
    def nats_per_token(self) -> float:
        """Comparable only between models with the same tokenizer."""
        return self.nats / self.tokens

    @property
    def nats_per_character(self) -> float:
        """Comparable between tokenizers."""
        return self.nats / self.characters

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers and, roughly, between scripts."""
        return self.nats / self.bytes / math.log(2)


@torch.inference_mode()
def evaluate(model: GPTModel, text: TokenizedText) -> Loss:
    """Scores every token but the first (the document start) once, in windows that do not overlap."""
    was_training = model.training
    model.eval()
    device = model.token_embedding.weight.device
    window = min(model.config.context_length, max(1, len(text.tokens) - 1))
    nats = 0.0
    for windows in evaluation_windows(text.tokens, window, max(1, _TOKENS_AT_ONCE // window)):
        ids = torch.from_numpy(windows).to(device)
        logits_BTV = model(ids[:, :-1])
        nats += F.cross_entropy(logits_BTV.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
    model.train(was_training)
    return Loss(nats, len(text.tokens) - 1, text.characters, text.bytes)
