"""The loss on held-out text, all of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch

from nextword.model import GPTModel
from nextword.training.corpus.tokenized_text import TokenizedText, Weights
from nextword.training.run.batches import evaluation_weights, evaluation_windows
from nextword.training.run.parallel import Parallel
from nextword.training.run.ranks import Ranks

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


@torch.no_grad()
def evaluate(model: GPTModel, text: TokenizedText, window: int | None = None, parallel: Parallel | None = None) -> Loss:
    """Scores every token but the first (the document start) once, in windows that do not overlap.

    Where the text has weights, a token counts as often as its weight says.

    Args:
        model: Scores; it is as it was afterwards.
        text: What is scored.
        window: Tokens that are seen at once; None is the model's context.
        parallel: Where several processes share the work. All must call this, and all get the sum.
    """
    was_training = model.training
    model.eval()
    run = parallel or Parallel(model, Ranks(str(model.token_embedding.weight.device)))
    window = min(window or model.config.context_length, max(1, len(text.tokens) - 1))
    at_once = max(1, _TOKENS_AT_ONCE // window)
    nats, tokens = 0.0, len(text.tokens) - 1
    all_weights: Iterator[Weights | None] = repeat(None)
    if text.weights is not None:
        tokens = int(text.weights[1:].sum(dtype=np.int64))
        all_weights = evaluation_weights(text.weights, window, at_once)
    batches = zip(evaluation_windows(text.tokens, window, at_once), all_weights, strict=False)
    for (ids, weights), counts in run.ranks.deal(batches):
        place = run.ranks.device
        counted = None if weights is None else torch.from_numpy(weights).to(place)
        share = run.nats(torch.from_numpy(ids).to(place), counted).item()
        nats += share if counts else 0.0
    model.train(was_training)
    return Loss(run.ranks.sum(nats), tokens, text.characters, text.bytes)
