"""One pipeline from logits to the next token: penalties, temperature, top-k, top-p, min-p, distribution, draw.

`Stages` shows every step over the whole vocabulary; `draw` does the same on the head of the distribution alone. Both
go through `_truncate`, so that a drawn token comes from exactly the distribution that is shown. Texts are drawn by
`sampler.py`: by the same steps in native code where it is built (native/src/sampler.cpp), else by `draw`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError
from nextword.generation.backend import Logits
from nextword.settings import SamplingSettings

Probabilities = NDArray[np.float64]

_SORT_THRESHOLDS = (1e-3, 1e-5, 0.0)
"""Weights that are looked at first, then if those were not enough; the most probable token weighs 1."""


class Sampling(SamplingSettings):
    """How the next token is chosen: `SamplingSettings`, and what they do to logits."""

    def penalized(self, logits: Logits, seen: Iterable[int], written: Sequence[int] = ()) -> Logits:
        """The logits after penalties and biases. The repetition penalty divides positive logits, and multiplies others.

        Sources: Keskar et al. 2019, "CTRL" (repetition); OpenAI's API (presence, frequency, bias).

        Args:
            logits: The model's, [V].
            seen: The text's tokens.
            written: Those of them that the model wrote.
        """
        changed = logits
        if self.repetition_penalty != 1.0:
            ids = np.fromiter(set(seen), np.int64)
            changed = logits.copy()
            values = changed[ids].astype(np.float64)
            with np.errstate(over="ignore"):  # at the ends of float32: no larger than the largest, or -inf
                penalized_values = np.where(
                    values > 0, values / self.repetition_penalty, values * self.repetition_penalty
                )
                changed[ids] = np.minimum(penalized_values, np.finfo(np.float32).max)
        if (self.presence_penalty or self.frequency_penalty) and written:
            ids, counts = np.unique(np.asarray(written, np.int64), return_counts=True)
            taken = self.presence_penalty + self.frequency_penalty * counts
            changed = changed.copy()
            changed[ids] -= taken.astype(np.float32)
        if self.logit_bias:
            changed = changed.copy()
            changed[list(self.logit_bias)] += np.fromiter(self.logit_bias.values(), np.float32)
        return changed

    def draw(self, logits: Logits, seen: Iterable[int], rng: np.random.Generator, written: Sequence[int] = ()) -> int:
        """The next token; one number is taken from `rng` unless the temperature is 0. `written` as for `penalized`.

        Raises:
            ConfigError: The largest logit is not finite, and the temperature is not 0.
        """
        logits = self.penalized(logits, seen, written)
        if self.temperature == 0:
            return int(np.argmax(logits))
        if not np.isfinite(logits.max()):
            raise undrawable()
        weights = _exp_logits(logits, self.temperature)
        kept, cumulative = _truncate(weights, self)
        place = min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")), len(cumulative) - 1)
        if kept is weights:
            return place
        equal = np.flatnonzero(weights == kept[place])
        return int(equal[place - np.argmax(kept == kept[place])])


@dataclass(frozen=True)
class Stages:
    """The way from logits to the distribution a token is drawn from, each stage over the whole vocabulary, [V]."""

    logits: Logits
    """The model's own."""
    penalized: Logits
    """After the repetition penalty."""
    probabilities: Probabilities
    """The model's own distribution: softmax of its logits."""
    tempered: Probabilities
    """Softmax of the penalised logits divided by the temperature."""
    kept: NDArray[np.bool_]
    """Which tokens top-k, top-p and min-p leave."""
    distribution: Probabilities
    """What is drawn from: the kept ones, renormalised."""

    @property
    def discarded_mass(self) -> float:
        """Probability (after temperature) of the tokens that were cut away."""
        return float(self.tempered[~self.kept].sum())

    @classmethod
    def of(cls, logits: Logits, sampling: Sampling, seen: Iterable[int] = ()) -> Stages:
        """All stages for one position's logits."""
        penalized = sampling.penalized(logits, seen)
        if sampling.temperature == 0:
            tempered = np.zeros(len(logits))
            tempered[np.argmax(penalized)] = 1.0
            return cls(logits, penalized, softmax(logits), tempered, tempered > 0, tempered)
        weights = _exp_logits(penalized, sampling.temperature)
        tempered = distribution = weights / weights.sum()
        kept, _ = _truncate(weights, sampling)
        if kept is not weights:
            order = np.flatnonzero(weights >= kept[-1])
            order = order[np.lexsort((order, -weights[order]))][: len(kept)]
            distribution = np.zeros(len(logits))
            distribution[order] = kept / kept.sum()
        return cls(logits, penalized, softmax(logits), tempered, distribution > 0, distribution)


def undrawable() -> ConfigError:
    """Why no token can be drawn."""
    return ConfigError(
        "no token can be drawn: the largest logit is infinite or no number",
        hint="an edit or a bias made it so, or weights that training has blown up",
    )


def topk_ids(values: Probabilities | Logits, top: int) -> NDArray[np.int64]:
    """The ids of the `top` largest values, [top], largest first, equal ones by id."""
    below = -values
    last = min(top, len(below)) - 1
    edge = np.partition(below, last)[last]
    ids = np.flatnonzero(~(below > edge))  # what is no number too: it is sorted last
    return ids[np.lexsort((ids, below[ids]))][:top]


def softmax(logits: Logits) -> Probabilities:
    """Probabilities in float64."""
    weights = np.exp(logits.astype(np.float64) - np.float64(logits.max()))
    return weights / weights.sum()  # type: ignore[no-any-return]


def log_softmax(logits: Logits) -> Probabilities:
    """Log-probabilities in float64, over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]


def _exp_logits(logits: Logits, temperature: float) -> Probabilities:
    """E to the logits divided by the temperature; the largest is moved to 0 first: no temperature makes it infinite."""
    limits = np.finfo(np.float32)
    divisor = np.float32(min(max(temperature, float(limits.tiny)), float(limits.max)))
    with np.errstate(over="ignore"):  # the others may become -inf
        scaled = (logits - logits.max()) / divisor
    return np.exp(scaled.astype(np.float64))  # type: ignore[no-any-return]


def _truncate(weights: Probabilities, sampling: Sampling) -> tuple[Probabilities, Probabilities]:
    """The weights that survive, largest first, and their running sums.

    Tokens of equal weight follow each other by id. Where nothing is cut, it is `weights` itself, in the order of ids.
    Only weights are sorted, not ids, which would take ten times as long; and first only those that are not tiny.
    """
    size = len(weights) if sampling.top_k is None else min(sampling.top_k, len(weights))
    if size == len(weights) and sampling.top_p == 1 and sampling.min_p == 0:
        return weights, np.cumsum(weights)
    total_weight = weights.sum() if sampling.top_p < 1 and sampling.top_k is None else None
    for threshold in _SORT_THRESHOLDS:
        found = weights[weights >= threshold]
        if len(found) < size and sampling.top_k is not None and threshold > 0:
            continue
        largest = np.sort(found)[::-1][:size]
        cumulative = np.cumsum(largest)
        count = len(largest)
        if sampling.top_p < 1:  # a token is kept while those before it have not reached top_p
            total = cumulative[-1] if total_weight is None else total_weight
            count = min(count, int(np.searchsorted(cumulative, sampling.top_p * total, side="left")) + 1)
        if sampling.min_p > 0:  # the most probable token weighs 1
            count = min(count, int(np.count_nonzero(largest >= sampling.min_p)))
        if count < len(largest) or len(largest) == size:
            break
    return largest[:count], cumulative[:count]


def token_biases(given: Mapping[int, float] | Mapping[str, float], vocab_size: int) -> dict[int, float]:
    """Biases by token id; ids may be spelled in digits, as JSON has them.

    Raises:
        ConfigError: One is no id of the vocabulary.
    """
    biases: dict[int, float] = {}
    for token, value in given.items():
        spelled = str(token)
        if not re.fullmatch(r"\d{1,10}", spelled, re.ASCII) or int(spelled) >= vocab_size:
            raise ConfigError(f"logit_bias holds {spelled[:40]!r}, which is no token id below {vocab_size}")
        biases[int(spelled)] = value
    return biases
