"""Random logits and settings, and the token that the shown distribution gives for a random number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nextword.generation import Sampling, Stages
from nextword.generation.backend import Logits

WITHOUT_PENALTIES: dict[str, Any] = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
}


def random_logits(rng: np.random.Generator, size: int) -> Logits:
    kind = rng.integers(0, 7)
    values = rng.normal(0, rng.choice([0.05, 1, 5, 60]), size)
    if kind == 1:
        values = np.round(values)  # many ties
    elif kind == 2:
        values = np.zeros(size)
    elif kind == 3:
        values[rng.random(size) < 0.9] = -np.inf
        values[rng.integers(size)] = 1.0
    elif kind == 4:
        values = rng.choice([-3e38, -1e30, 0.0, 1e30, 3e38], size)
    elif kind == 5:
        values[rng.integers(size)] = 1000.0
    logits: Logits = values.astype(np.float32)
    return logits


def random_settings(rng: np.random.Generator, size: int) -> Sampling:
    return Sampling(
        temperature=float(rng.choice([1e-30, 0.01, 0.7, 1.0, 1.3, 40.0])),
        top_k=int(rng.choice([1, 2, 40, 255, 256, 257, 1000, size])) if rng.random() < 0.4 else None,
        top_p=float(rng.choice([1e-9, 0.3, 0.9, 0.95, 0.999])) if rng.random() < 0.6 else 1.0,
        min_p=float(rng.choice([1e-6, 0.01, 0.1, 1.0])) if rng.random() < 0.4 else 0.0,
        repetition_penalty=float(rng.choice([0.5, 1.3])) if rng.random() < 0.3 else 1.0,
    )


def full_pipeline_token(
    logits: Logits, settings: Sampling, u: float, seen: Iterable[int], written: Sequence[int] = ()
) -> int:
    """Where `u` falls in the shown distribution: in the vocabulary's order if nothing is cut, else best first."""
    penalized = settings.penalized(logits, seen, written)
    stages = Stages.of(penalized, replace(settings, **WITHOUT_PENALTIES))
    order = np.arange(len(logits))
    if (settings.top_k or len(logits)) < len(logits) or settings.top_p < 1 or settings.min_p > 0:
        order = np.lexsort((order, -stages.tempered))
    steps = np.cumsum(stages.distribution[order])
    return int(order[np.flatnonzero(steps > u * steps[-1])[0]])
