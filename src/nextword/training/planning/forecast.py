"""What a run will reach, said before it starts: steps and passes over the text, and bits per byte with their margin.

Held-out loss is counted in units of what a table of token pairs reaches on the same text (`Baselines.bigram`): that
takes language, script and tokenizer out of it. (gzip's size does not: after the same 100,000 tokens the preset tiny
is at 0.77 of gzip on Korean and at 1.26 on English help pages, but at 1.10 and 1.04 of the pairs.) The rest is a power
law:

    loss / bigram loss = 0.75 + 0.341 (D / 100,000)^-0.508 (P / 1,000,000)^0.137 (N / 400,000)^0.176

with D tokens read in all, P parameters and N tokens of training text: a larger model learns more slowly at first, and
the more text there is, the better the table of pairs becomes. The 0.75 is the best of a grid from 0.5 to 0.8; the rest
is fitted by least squares on 23 short runs (one or two cores): 14 on tinyshakespeare, a few of them with trial
settings, 9 on Korean help pages, English help pages and Python sources; 19 of the preset tiny and 4 of small's size;
30,000 to 1.6 million tokens read, vocabularies of 512 and 1,024. The fit misses them by 3.2 % (root mean square), the
worst by 9 %; texts left out of the fit it misses by 4.1 %, the worst by 12.5 %, 21 of 23 by less than 8 %. Nothing was
long enough to tell where larger presets overtake smaller ones, and only one run read its text more than twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MARGIN = 0.08
"""Share of the loss by which a run like those of the fit may miss."""
_FLOOR, _SCALE = 0.75, 0.341
_BY_TOKENS_READ, _BY_PARAMETERS, _BY_TEXT = -0.508, 0.137, 0.176
# What has been measured: tokens read, parameters, tokens of training text, passes.
_MEASURED = ((3e4, 1.6e6), (9e5, 5.3e6), (1.2e4, 5e5), (0.0, 8.0))
_WORST_MARGIN = 0.4
_MAX_EXTRAPOLATION = 10.0
"""Times by which a text may be shorter than those of the fit: nothing is foretold from less."""


@dataclass(frozen=True)
class Forecast:
    """What to expect of a run. `bits_per_byte`, `low` and `high` are None where nothing is known to go by."""

    tokens_per_second: float
    seconds: float
    """Of training."""
    steps: int
    tokens: int
    """Read in all, those of repeated passes each time."""
    epochs: float
    """Passes over the training text."""
    bits_per_byte: float | None = None
    """Of the held-out text, at the end."""
    low: float | None = None
    high: float | None = None
    beyond: bool = False
    """Whether the run is larger or smaller than those of the fit: the margin is wider then, by judgement."""

    @property
    def expected(self) -> tuple[float, float] | None:
        """Low and high, as `verdict` takes them."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def forecast(
    *,
    parameters: int,
    tokens_per_step: int,
    tokens_per_second: float,
    train_tokens: int,
    seconds: float | None = None,
    steps: int | None = None,
    bigram: float | None = None,
) -> Forecast:
    """What to expect of a run; of `seconds` and `steps`, whichever ends it first.

    Args:
        parameters: Of the model.
        tokens_per_step: Predictions a step.
        tokens_per_second: Measured, of this model on this machine.
        train_tokens: Of the training text.
        seconds: Of training, or None for no bound.
        steps: Of the whole run, or None for no bound.
        bigram: `Baselines.bigram` of the held-out text; None if nothing is held out, or if the model has learned
            before: then only the run's length is told.

    Raises:
        ValueError: Neither `seconds` nor `steps` is given.
    """
    if seconds is None and steps is None:
        raise ValueError("a run has an end: give seconds or steps")
    bounds = [] if steps is None else [steps]
    if seconds is not None:
        bounds.append(max(1, math.floor(seconds * tokens_per_second / tokens_per_step)))
    taken = min(bounds)
    tokens = taken * tokens_per_step
    epochs = tokens / train_tokens
    length = Forecast(tokens_per_second, tokens / tokens_per_second, taken, tokens, epochs)
    if bigram is None or train_tokens * _MAX_EXTRAPOLATION < _MEASURED[2][0]:
        return length
    # The best weights are kept, so more passes than were seen to help do no harm.
    useful = min(tokens, _MEASURED[3][1] * train_tokens)
    ratio = _FLOOR + _SCALE * (
        (useful / 1e5) ** _BY_TOKENS_READ * (parameters / 1e6) ** _BY_PARAMETERS * (train_tokens / 4e5) ** _BY_TEXT
    )
    strange = sum(
        math.log10(max(1.0, value / high, low / value))
        for value, (low, high) in zip((tokens, parameters, train_tokens, epochs), _MEASURED, strict=True)
    )
    margin = min(_WORST_MARGIN, MARGIN * (1 + strange))
    expected = ratio * bigram
    return Forecast(
        length.tokens_per_second, length.seconds, taken, tokens, epochs,
        expected, expected * (1 - margin), expected * (1 + margin), strange > 0,
    )  # fmt: skip
