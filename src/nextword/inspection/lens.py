"""The logit lens: what the model would predict if it stopped after a layer.

Every row of the residual stream is read as the last one is, through the model's own final norm and output layer
(nostalgebraist 2020, "interpreting GPT: the logit lens").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError, TextError
from nextword.formatting import pluralize
from nextword.generation import html
from nextword.inspection.fitted_lens import FittedLens
from nextword.inspection.readout import SoftmaxBuffer, check_final_logits, rowwise_topk_ids, unembed, unembed_blocks
from nextword.inspection.recording import Recording, absolute_position
from nextword.tokens import Tokenizer
from nextword.tokens.visible import text_of, visible

_SHOWN = 8
"""Positions that a printed grid has room for."""

Ids = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Lens:
    """What each layer would predict, position by position; prints as a grid of the most probable tokens.

    Row 0 is what the first block reads, row `i` what comes out of block `i - 1`; the last row is the model's own
    prediction. Logarithms are natural. The arrays are read-only.
    """

    trace: Recording
    """The run that was read."""
    positions: tuple[int, ...]
    """The positions looked at, P of them, counted from the text's start."""
    token_ids: Ids
    """The most probable next tokens, best first, equal ones by id: [L + 1, P, k]."""
    probabilities: Values
    """Theirs: [L + 1, P, k]."""
    entropy: Values
    """How undecided a row is, in nats: [L + 1, P]."""
    kl: Values
    """What a row still lacks of the final distribution, KL(final || row) in nats: [L + 1, P]."""
    target_ids: Ids
    """The token that is followed through the layers; unless given, the one that the last row prefers: [P]."""
    target_rank: Ids
    """Its place in each row, 1 for the best; equal logits share a place: [L + 1, P]."""
    target_probability: Values
    """Its probability in each row: [L + 1, P]."""
    fitted: FittedLens | None = None
    """What the rows were read through; None is the logit lens, which reads them as they are."""

    @property
    def kind(self) -> str:
        """`logit`, `tuned` or `jacobian`."""
        return "logit" if self.fitted is None else self.fitted.kind

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows' names: `in`, then the number of the block that has just run."""
        return ("in", *(str(layer) for layer in range(self.trace.config.num_layers)))

    def logits(self, layer: int) -> NDArray[Any]:
        """What the head makes of row `layer` (0 to L), [P, V]; computed anew at each call.

        Raises:
            ConfigError: There is no such row, or the trace has no model.
        """
        count = self.trace.config.num_layers
        if not 0 <= layer <= count:
            raise ConfigError(f"the lens has no row {layer}", hint=f"rows are 0 to {count}")
        return unembed(self.trace, layer, self.positions, None if self.fitted is None else self.fitted.translate)

    def label(self, row: int, position: int, place: int = 0) -> str:
        """The text of a predicted token, blanks made visible; bytes that are no whole character as `⟨EA·B0⟩`.

        Args:
            row: 0 to L.
            position: A place in `positions`, not in the text.
            place: 0 is the most probable token.
        """
        return token_label(self.trace.tokenizer, int(self.token_ids[row, position, place]))

    def __repr__(self) -> str:
        rows, positions = pluralize(len(self.rows), "rows"), pluralize(len(self.positions), "positions")
        kind = "" if self.fitted is None else f"{self.kind}, "
        return f"<Lens: {kind}{rows}, {positions}{self._left_out()}>"

    def __str__(self) -> str:
        rows, L = self.rows, self.trace.config.num_layers
        lines = [repr(self)]
        for column in self._shown():
            lines.append(f"  after {self.positions[column]} {self._token(column)!r}")
            for row in range(L, -1, -1):
                lines.append(
                    f"    {rows[row]:>3} {self.probabilities[row, column, 0]:7.2%} {self.label(row, column)!r:<16} "
                    f"entropy {self.entropy[row, column]:6.3f}  KL {self.kl[row, column]:7.3f}  "
                    f"rank of {token_label(self.trace.tokenizer, int(self.target_ids[column]))!r} "
                    f"{self.target_rank[row, column]}"
                )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        columns = self._shown()
        headers = ["layer", *(f"{self.positions[column]} {self._token(column)}" for column in columns)]
        cells = [
            [
                self.rows[row],
                *(f"{self.label(row, column)} {self.probabilities[row, column, 0]:.1%}" for column in columns),
            ]
            for row in range(len(self.rows) - 1, -1, -1)
        ]
        return html.table(headers, cells, f"{self.kind} lens: the next token that each layer prefers{self._left_out()}")

    def _shown(self) -> range:
        return range(max(0, len(self.positions) - _SHOWN), len(self.positions))

    def _left_out(self) -> str:
        hidden = len(self.positions) - len(self._shown())
        return f", the last {_SHOWN} shown" if hidden else ""

    def _token(self, column: int) -> str:
        return token_label(self.trace.tokenizer, self.trace.token_ids[self.positions[column]])

    def to_json(self) -> dict[str, Any]:
        """Plain values; one entry a position, in it one a row."""
        tokenizer = self.trace.tokenizer
        return {
            "text": self.trace.text,
            **({} if self.fitted is None else {"lens": self.kind}),
            "rows": list(self.rows),
            "positions": [
                {
                    "position": position,
                    "token_id": self.trace.token_ids[position],
                    "target_id": int(self.target_ids[column]),
                    "target": token_label(tokenizer, int(self.target_ids[column])),
                    "rows": [self._row_json(row, column) for row in range(len(self.rows))],
                }
                for column, position in enumerate(self.positions)
            ],
        }

    def _row_json(self, row: int, column: int) -> dict[str, Any]:
        tokens = zip(self.token_ids[row, column].tolist(), self.probabilities[row, column].tolist(), strict=True)
        return {
            "candidates": [
                {"token_id": token, "text": self.label(row, column, place), "probability": probability}
                for place, (token, probability) in enumerate(tokens)
            ],
            "entropy": float(self.entropy[row, column]),
            "kl": float(self.kl[row, column]),
            "target_rank": int(self.target_rank[row, column]),
            "target_probability": float(self.target_probability[row, column]),
        }


def logit_lens(
    trace: Recording,
    top: int = 5,
    positions: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
    lens: FittedLens | None = None,
) -> Lens:
    """Reads every layer's output through the final norm and the head.

    It works for every architecture. In the lesson's, whose blocks add to their normalised input, a row is still what a
    block gave out, but no stream runs through them that would gather the answer. Edits show in the rows: those of the
    final norm and of the logits in all of them, since each row is read as the last one is.

    Args:
        trace: The run.
        top: Tokens kept of each row; at most the vocabulary.
        positions: Where; None is every position. Negative ones count from the end.
        targets: The token to follow at each of the positions; None follows what the last row prefers.
        lens: A fitted lens, through which the rows but the last are read; None reads them as they are.

    Raises:
        ConfigError: `top` is below 1, there is no such position, the numbers of targets and positions differ, the
            trace lacks residuals or its model, or the lens was fitted for another model.
        TextError: A target is not in the vocabulary.
        NextwordError: The last row is not the model's own logits, or the weights were changed after the run.
    """
    config = trace.config
    if top < 1:
        raise ConfigError(f"top is {top}, it must be at least 1")
    places = _places(trace, positions)
    if targets is not None and len(targets) != len(places):
        raise ConfigError(f"{len(targets)} targets are given for {len(places)} positions")
    if lens is not None:
        lens.check_model(trace.backend)
    given = None if targets is None else [token_of(target, trace.tokenizer, config.vocab_size) for target in targets]

    L, P, k = config.num_layers, len(places), min(top, config.vocab_size)
    token_ids, probabilities = np.zeros((L + 1, P, k), np.int64), np.zeros((L + 1, P, k))
    entropy, kl, target_probability = (np.zeros((L + 1, P)) for _ in range(3))
    target_ids, target_rank = np.zeros(P, np.int64), np.zeros((L + 1, P), np.int64)

    def read(here: slice, logits_RPV: NDArray[Any]) -> None:
        final_PV = logits_RPV[L]
        check_final_logits(trace, places[here], final_PV)
        softmax = SoftmaxBuffer(*final_PV.shape)
        softmax.read(final_PV)
        final_p_PV = softmax.probabilities()
        final_P = softmax.cross_entropy(final_p_PV)
        target_ids[here] = final_PV.argmax(-1) if given is None else given[here]
        target_P1 = target_ids[here][:, None]
        for row, logits_PV in enumerate(logits_RPV):
            softmax.read(logits_PV)
            best_Pk = rowwise_topk_ids(logits_PV, k)
            token_ids[row, here] = best_Pk
            probabilities[row, here] = softmax.probabilities_of(best_Pk)
            entropy[row, here] = softmax.entropy()
            lacking_P = softmax.cross_entropy(final_p_PV) - final_P
            kl[row, here] = np.maximum(lacking_P, 0.0)  # rounding may leave -1e-17
            of_rows = zip(logits_PV, target_ids[here], strict=True)
            target_rank[row, here] = [1 + np.count_nonzero(row_V > row_V[target]) for row_V, target in of_rows]
            target_probability[row, here] = softmax.probabilities_of(target_P1)[:, 0]

    unembed_blocks(trace, places, read, None if lens is None else lens.translate)
    arrays = (token_ids, probabilities, entropy, kl, target_ids, target_rank, target_probability)
    for array in arrays:
        array.flags.writeable = False
    return Lens(trace, places, *arrays, lens)


def token_of(target: int | str, tokenizer: Tokenizer | None, vocab_size: int) -> int:
    """The id of a token that is given by its id or its text.

    Raises:
        TextError: The id is not in the vocabulary, or the text is not exactly one token.
        ConfigError: A text is given without a tokenizer.
    """
    if isinstance(target, str):
        if tokenizer is None:
            raise ConfigError("without a tokenizer a target is a token id, not a text")
        ids = tokenizer.encode(target)
        if len(ids) != 1:
            raise TextError(
                f"the target {json.dumps(target, ensure_ascii=False)} is {len(ids)} tokens, it must be one",
                hint="a word inside a text often begins with a blank; or give a token id",
            )
        target = ids[0]
    if not 0 <= target < vocab_size:
        raise TextError(f"token id {target} is not in the model's vocabulary of {vocab_size} tokens")
    return int(target)


def token_label(tokenizer: Tokenizer | None, token_id: int) -> str:
    """The token's text with blanks made visible, or `#17` for one that no text belongs to."""
    if tokenizer is None or token_id >= tokenizer.vocab_size:
        return f"#{token_id}"
    [data] = tokenizer.bytes_of([token_id], continued=tokenizer.kind != "words")
    return visible(text_of(data)) or f"#{token_id}"


def _places(trace: Recording, positions: Sequence[int] | None) -> tuple[int, ...]:
    if positions is None:
        return tuple(range(len(trace.token_ids)))
    return tuple(absolute_position(trace, position) for position in positions)
