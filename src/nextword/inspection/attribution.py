"""Direct logit attribution: which head or feed-forward layer added what to a logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword.errors import ConfigError, NextwordError
from nextword.generation import html
from nextword.generation.backend import Backend
from nextword.inspection.decomposition import Values, decomposition
from nextword.inspection.lens import token_label, token_of
from nextword.inspection.readout import is_unembed_edit, unembed
from nextword.inspection.recording import Recording, absolute_position

SUM_TOLERANCE = 1e-4
"""How far the parts may miss the logit (in logits, where products are rounded as in float32 or less)."""


@dataclass(frozen=True, eq=False, repr=False)
class LogitAttribution:
    """What each part of the model added to a logit, or to the difference of two; prints as a table, largest first.

    Only the direct way counts, from the part through the final norm to the head; what a part does to later parts is
    counted there. The arrays are read-only.
    """

    labels: tuple[str, ...]
    """The parts, in the order of the pass."""
    values: Values
    """What each added, in logits: [n]."""
    heads: Values
    """Of these, the heads': [L, H]."""
    mlps: Values
    """The feed-forward layers', their bias included: [L]."""
    embed: float
    """The token embedding's."""
    pos: float | None
    """The learned position's; None where there is none."""
    constant: float
    """What is added whatever the text is: the final norm's bias through the head, and the head's own bias."""
    logit: float
    """The model's own logit, or difference of two logits."""
    target: int
    target_text: str
    against: int | None
    """The token whose logit is taken off; None is none."""
    against_text: str
    position: int
    """Where the prediction is made, counted from the text's start."""

    @property
    def total(self) -> float:
        """The sum of all values: the logit, up to the rounding of the model's own pass."""
        return float(self.values.sum())

    def __repr__(self) -> str:
        return f"<LogitAttribution of {self._what()} after position {self.position}: {self.logit:.4f}>"

    def __str__(self) -> str:
        lines = [repr(self)]
        largest = float(np.abs(self.values).max()) or 1.0
        order = self._order()
        for i in order[:20]:
            bar = "█" * round(20 * abs(self.values[i]) / largest)
            lines.append(f"  {self.values[i]:+9.4f} {bar:<20} {self.labels[i]}")
        if rest := order[20:]:
            lines.append(f"  {self.values[rest].sum():+9.4f} {'':20} {len(rest)} smaller ones together")
        return "\n".join([*lines, f"  {self.total:+9.4f} {'':20} sum"])

    def _repr_html_(self) -> str:
        rows = [[self.labels[i], f"{self.values[i]:+.4f}"] for i in self._order()]
        caption = f"what each part added to {self._what()} after position {self.position}"
        return html.table(["part", "logits"], [*rows, ["sum", f"{self.total:+.4f}"]], caption)

    def _order(self) -> list[int]:
        return np.argsort(-np.abs(self.values), kind="stable").tolist()  # type: ignore[no-any-return]

    def _what(self) -> str:
        off = "" if self.against is None else f" minus {self.against_text!r} ({self.against})"
        return f"{self.target_text!r} ({self.target}){off}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": "direct logit attribution",
            "position": self.position,
            "target_id": self.target,
            "target": self.target_text,
            "against_id": self.against,
            "against": None if self.against is None else self.against_text,
            "logit": self.logit,
            "total": self.total,
            "parts": [
                {"part": label, "value": value} for label, value in zip(self.labels, self.values.tolist(), strict=True)
            ],
        }


def logit_attribution(
    trace: Recording, target: int | str | None = None, position: int = -1, against: int | str | None = None
) -> LogitAttribution:
    """Splits a logit into what each head, each feed-forward layer and the rest added to it, in float64.

    The final norm divides by a number that depends on all parts together; it is held at its value in this run. What
    the norm does beyond that (centring, the weight) is linear, so the parts' values sum to the logit.

    Args:
        trace: The run.
        target: The next token, its id or its text; None is the most probable one.
        position: Where the prediction is made; negative ones count from the end.
        against: Another token, whose logit is taken off the target's; None for the logit itself.

    Raises:
        ConfigError: The architecture has no residual stream, the final norm or the logits are edited, there is no such
            position, or the trace lacks a value or its model.
        TextError: A target is not one token of the vocabulary.
        NextwordError: The parts do not sum to the logit.
    """
    config = trace.config
    if (edited := next(filter(is_unembed_edit, trace.edits), None)) is not None:
        raise ConfigError(
            f"{edited.name} is edited: what comes behind the residual stream is no sum of parts",
            hint="trace without that edit, or edit the stream itself (resid_post of the last block)",
        )
    place = absolute_position(trace, position)
    labels, parts_nD = decomposition(trace, place)
    logits_V = _own_logits(trace, place)
    chosen = int(logits_V.argmax()) if target is None else token_of(target, trace.tokenizer, config.vocab_size)
    other = None if against is None else token_of(against, trace.tokenizer, config.vocab_size)

    backend = trace.backend_for("ln_final", "output_layer")
    direction_D, offset = _row(backend, chosen)
    logit = float(logits_V[chosen])
    if other is not None:
        other_D, other_offset = _row(backend, other)
        direction_D, offset, logit = direction_D - other_D, offset - other_offset, logit - float(logits_V[other])

    stream_D = parts_nD.sum(0)
    centred = config.norm == "layernorm"
    if centred:
        parts_nD = parts_nD - parts_nD.mean(-1, keepdims=True)
        stream_D = stream_D - stream_D.mean()
    scale = np.sqrt(np.mean(stream_D**2) + config.norm_eps)
    reading_D = backend.weight("ln_final.weight").astype(np.float64) / scale * direction_D
    constant = offset + (float(backend.weight("ln_final.bias").astype(np.float64) @ direction_D) if centred else 0.0)
    values = np.append(parts_nD @ reading_D, constant)

    # How far rounding can push a half-precision pass; for float32 it stays below the tolerance.
    bound = max(SUM_TOLERANCE, backend.eps * (np.abs(logits_V).max() + 8 * float(np.linalg.norm(stream_D * reading_D))))
    if not abs(values.sum() - logit) <= bound:  # not-a-number too
        raise NextwordError(
            f"the parts sum to {values.sum():.6g}, the logit is {logit:.6g}",
            hint="the trace was made with other weights than its model has now",
        )

    by_label = dict(zip((*labels, "constant"), values.tolist(), strict=True))
    layers, heads = range(config.num_layers), range(config.num_heads)
    heads_LH = np.array([[by_label[f"L{layer}H{h}"] for h in heads] for layer in layers])
    mlps_L = np.array([by_label[f"L{layer} MLP"] for layer in layers])
    for array in (values, heads_LH, mlps_L):
        array.flags.writeable = False
    return LogitAttribution(
        tuple(by_label),
        values,
        heads_LH,
        mlps_L,
        by_label["embed"],
        by_label.get("position"),
        by_label["constant"],
        logit,
        chosen,
        token_label(trace.tokenizer, chosen),
        other,
        "" if other is None else token_label(trace.tokenizer, other),
        place,
    )


def _own_logits(trace: Recording, place: int) -> Values:
    stored = "logits" in trace
    row_V = trace["logits"][place] if stored else unembed(trace, trace.config.num_layers, [place])[0]
    wide_V: Values = row_V.astype(np.float64)
    return wide_V


def _row(backend: Backend, token: int) -> tuple[Values, float]:
    """The head's weights for one token, [D], and its bias."""
    row_D: Values = backend.weight("output_layer.weight", [token])[0].astype(np.float64)
    return row_D, float(backend.weight("output_layer.bias")[token]) if backend.config.output_bias else 0.0
