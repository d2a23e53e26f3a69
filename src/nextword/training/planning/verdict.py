"""What the held-out losses of a run say, in words. A pure function of numbers: no model, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nextword.formatting import pluralize

Kind = Literal[
    "unknown", "too few steps", "too early", "overfitting", "too little text", "worse than bigrams", "still improving",
    "as expected", "better than expected", "worse than expected", "levelled off",
]  # fmt: skip

OVERFIT_RISE = 0.005
"""Share by which the held-out loss must be above its best before that is called overfitting, not wavering."""
IMPROVING = 0.01
"""Share of the loss that the last fifth must bring to be called improvement."""
MIN_CHARACTERS = 1000
"""Held-out characters below which their loss is chance: a hundred words."""
MIN_STEPS = 20
"""Steps of a whole run below which no more is said than that they are few."""
BITS_OF_A_BYTE = 8.0
"""Bits per byte that knowing nothing costs: what needs more is nothing to beat, but a text too short to be counted."""
_GAP = 0.25
"""Share by which held-out text may be harder than training text before more text is advised, not more minutes."""
_TOO_FEW_BYTES = 0.2
"""Bytes of text for each parameter, below which a model that overfits is too large for its text."""


@dataclass(frozen=True)
class Verdict:
    """How a run went, or goes."""

    kind: Kind
    words: str
    """One or two sentences."""


def yardsticks(scores: Mapping[str, Any]) -> dict[str, float]:
    """What a model has to beat, in bits per byte by name; without what is missing, or worse than knowing nothing.

    Args:
        scores: The fields of `Baselines`, or what a record has of them.
    """
    named = {"unigrams": "unigram", "bigrams": "bigram", "gzip": "gzip"}
    found = {name: scores.get(field) for name, field in named.items()}
    return {name: score for name, score in found.items() if isinstance(score, float) and score < BITS_OF_A_BYTE}


def verdict(
    evaluations: Sequence[Mapping[str, Any]],
    *,
    parameters: int,
    text_bytes: int,
    held_out_characters: int | None = None,
    bigram: float | None = None,
    expected: tuple[float, float] | None = None,
    finished: bool = True,
) -> Verdict:
    """What the evaluations on the held-out text say; every loss in bits per byte.

    Args:
        evaluations: In the order of their steps: `step`, `bits_per_byte`, and the training text's
            `train_bits_per_byte` where it is known.
        parameters: Of the model.
        text_bytes: Of the training text.
        held_out_characters: Of the held-out text; None is not known.
        bigram: What a table of token pairs reaches, in bits per byte.
        expected: Lowest and highest bits per byte that the forecast gave for the end of the run.
        finished: Whether the run is over; before its end nothing is held against the forecast.
    """
    if not evaluations:
        return Verdict("unknown", "No text was held out: nothing tells how well it does on other text.")
    if held_out_characters is not None and held_out_characters < MIN_CHARACTERS:
        return Verdict(
            "unknown",
            f"Only {held_out_characters:,} characters were held out: too few to judge by. More text helps, or another "
            "text to be judged by.",
        )
    last = evaluations[-1]
    if finished and last["step"] < MIN_STEPS:
        ran = pluralize(last["step"], "steps")
        return Verdict("too few steps", f"Only {ran} ran: too few to learn from. Give it more minutes.")
    best = min(evaluations, key=lambda row: row["bits_per_byte"])
    reached = best["bits_per_byte"]
    rise = last["bits_per_byte"] - reached
    if rise > OVERFIT_RISE * reached:
        return _overfitting(best, last, rise, parameters, text_bytes)
    beaten = bigram is None or reached < bigram
    gain = _gain_of_the_last_fifth(evaluations)
    if gain is None and beaten and not finished:
        return Verdict("too early", "Too early to say.")
    if not beaten:
        worse = f"Worse than a table of token pairs ({reached:.2f} against {bigram:.2f} bits/byte)"
        if gain is None or gain > IMPROVING * reached:
            return Verdict("worse than bigrams", f"{worse}: too few steps so far; give it more minutes.")
        return Verdict(
            "worse than bigrams", f"{worse}, and it hardly improves: try another learning rate or more text."
        )
    advice = _advice(best)
    if not finished:
        expected = None
    if expected is not None and not expected[0] <= reached <= expected[1]:
        than = f"than expected for this size, text and time ({expected[0]:.2f} to {expected[1]:.2f} bits/byte)"
        if reached < expected[0]:
            return Verdict("better than expected", f"Better {than}; {advice}.")
        return Verdict("worse than expected", f"Worse {than}: another learning rate may help.")
    if gain is not None and gain > IMPROVING * reached:
        return Verdict("still improving", f"Still improving: {gain:.3f} bits/byte in the last fifth; {advice}.")
    if expected is not None:
        return Verdict("as expected", f"As expected for this size, text and time ({reached:.2f} bits/byte).")
    if gain is None:
        return Verdict("too early", "Too few looks at the held-out text to say more.")
    return Verdict(
        "levelled off",
        f"Levelled off: {gain:.3f} bits/byte in the last fifth. More text or a larger preset will help more than "
        "more minutes.",
    )


def _overfitting(
    best: Mapping[str, Any], last: Mapping[str, Any], rise: float, parameters: int, text_bytes: int
) -> Verdict:
    since = f"since step {best['step']:,} the held-out text got worse, by {rise:.3f} bits/byte"
    if text_bytes < _TOO_FEW_BYTES * parameters:
        return Verdict(
            "too little text",
            f"Too little text for this size ({text_bytes:,} bytes for {parameters:,} parameters): {since}. "
            "More text helps, or a smaller preset or dropout; more minutes do not.",
        )
    then, now = best.get("train_bits_per_byte"), last.get("train_bits_per_byte")
    if then is not None and now is not None and now > then:
        return Verdict(
            "worse than expected", f"Going wrong: {since}, and so did the training text. Try a smaller learning rate."
        )
    return Verdict("overfitting", f"Overfitting: {since}. More text or dropout helps; more minutes do not.")


def _gain_of_the_last_fifth(evaluations: Sequence[Mapping[str, Any]]) -> float | None:
    """Bits per byte won in the last fifth of the steps, or None if there are evaluations at fewer than two points.

    The loss where the fifth begins is read off the straight line between the two evaluations around it.
    """
    points = {int(row["step"]): float(row["bits_per_byte"]) for row in evaluations}
    steps = sorted(points)
    if len(steps) < 2:
        return None
    start = 0.8 * steps[-1]
    if start <= steps[0]:
        start = float(steps[0])
    after = next(step for step in steps[1:] if step >= start)
    before = steps[steps.index(after) - 1]
    share = (start - before) / (after - before)
    return points[before] + share * (points[after] - points[before]) - points[steps[-1]]


def _advice(row: Mapping[str, Any]) -> str:
    """More minutes while the training text is as hard as the held-out one, else more text."""
    train = row.get("train_bits_per_byte")
    if train is not None and row["bits_per_byte"] > (1 + _GAP) * train:
        return f"the training text is at {train:.2f} bits/byte already: more text will help more than more minutes"
    return "more minutes will help"
