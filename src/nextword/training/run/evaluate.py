"""The loss on held-out text, all of it; when a run measures it, and what it keeps of that."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import repeat

import numpy as np
import torch

from nextword.model import GPTModel
from nextword.training.checkpoints.checkpoint import RunState
from nextword.training.corpus.tokenized_text import TokenizedText, Weights
from nextword.training.events import Validated
from nextword.training.planning.plan import Plan
from nextword.training.run.batches import evaluation_weights, evaluation_windows
from nextword.training.run.parallel import Parallel
from nextword.training.run.ranks import Ranks

EVALUATION_EVERY = 0.1
"""Share of the run between two evaluations, unless they take long."""
EVALUATION_COST = 0.1
"""At most this share of the time goes into evaluations (and one at the end)."""
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
    for (ids, weights), counts in run.ranks.shard(batches):
        place = run.ranks.device
        counted = None if weights is None else torch.from_numpy(weights).to(place)
        share = run.nats(torch.from_numpy(ids).to(place), counted).item()
        nats += share if counts else 0.0
    model.train(was_training)
    return Loss(run.ranks.sum(nats), tokens, text.characters, text.bytes)


class HeldOut:
    """The text that a run is judged by: when it is scored, how long that takes, and what it showed.

    Args:
        text: What is scored.
        parallel: The model, as the processes of the run hold it.
        tokens_per_step: Predictions that a step of the training learns from.
    """

    def __init__(self, text: TokenizedText, parallel: Parallel, tokens_per_step: int) -> None:
        self._text = text
        self._parallel = parallel
        self._tokens_per_step = tokens_per_step
        self.seconds = 0.0
        """That the last evaluation took."""

    @staticmethod
    def is_due(state: RunState, plan: Plan, progress: float) -> bool:
        """Whether the text is to be scored after this step, at this share of the run."""
        if plan.evaluate_every:
            return state.step % plan.evaluate_every == 0
        return state.next_evaluation <= progress < 1

    @staticmethod
    def is_evaluated(state: RunState) -> bool:
        """Whether the text has been scored since the last step."""
        return bool(state.validations) and state.validations[-1]["step"] == state.step

    def evaluate(self, state: RunState, plan: Plan) -> Loss:
        """Scores the text; the seconds are counted in the state."""
        began = time.monotonic()
        loss = evaluate(self._parallel.model, self._text, plan.context_length, self._parallel)
        self.seconds = self._parallel.ranks.broadcast(time.monotonic() - began)
        state.looking += self.seconds
        return loss

    def record(self, state: RunState, plan: Plan, progress: float, loss: Loss, train_bits_per_byte: float) -> Validated:
        """Keeps a loss in the state: as a row, as the best if it is, and when the text is to be scored next."""
        if plan.seconds is None and plan.steps is not None:
            # At the same steps on every machine; a token costs three times as much to learn as to score.
            cost = len(self._text.tokens) / (3 * plan.steps * self._tokens_per_step)
        else:
            cost = self.seconds / (plan.seconds or math.inf)
        state.next_evaluation = progress + max(EVALUATION_EVERY, cost / EVALUATION_COST)
        best = state.best_nats is None or loss.nats < state.best_nats
        if best:
            state.best_nats, state.best_step = loss.nats, state.step
        event = Validated(
            state.step,
            state.seconds,
            loss.nats_per_token,
            loss.nats_per_character,
            loss.bits_per_byte,
            best,
            train_bits_per_byte=train_bits_per_byte,
            training_seconds=state.seconds - state.looking + self.seconds,
        )
        row = asdict(event)
        if state.loss is None:
            row["train_bits_per_byte"] = None  # JSON has no NaN
        state.validations.append(row)
        return event
