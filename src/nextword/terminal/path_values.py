"""What `nextword look` shows, as plain values: each number is the trace's own, only averaged, sorted or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.generation.prediction import Candidate, Prediction
from nextword.inspection.compare import Comparison
from nextword.tokens import Piece

if TYPE_CHECKING:
    from nextword.inspection.fitted_lens import FittedLens
    from nextword.inspection.trace import Trace

GRID_LIMIT = 64
"""Rows and columns of an attention pattern at most, however long the text."""


@dataclass(frozen=True)
class TokenValues:
    """One token of the text and the vectors it enters the model with; a strip is the means of equal parts of one."""

    position: int
    token_id: int
    text: str
    part: int
    parts: int
    embedding_norm: float
    embedding: list[float]
    position_norm: float | None
    """None for a model without position vectors."""
    position_vector: list[float] | None
    input_norm: float
    """Of what the first block reads."""
    input: list[float]


@dataclass(frozen=True)
class Attended:
    """A token that is looked at, and the share of attention it gets."""

    position: int
    weight: float
    head: int | None = None
    """None for the mean of all heads."""


@dataclass(frozen=True)
class LensToken:
    """A token that would come next if the model ended here."""

    token_id: int
    text: str
    probability: float


@dataclass(frozen=True)
class LayerValues:
    """What one block did at the position."""

    layer: int
    mean: Attended
    elsewhere: Attended | None
    """The largest weight of any one head on another token; None in a text of one token."""
    attention_norm: float
    mlp_norm: float
    residual_norm: float
    lens: list[LensToken]
    """What the model's own last norm and head make of the residual stream behind this block."""
    rank: int
    """Where the finally most probable token stands there; 1 is first."""


@dataclass(frozen=True)
class HeadValues:
    """One head at the position."""

    head: int
    attended: list[Attended]
    norm: float
    contribution: float | None
    """To the logit of the most probable token, directly; None where it cannot be told."""


@dataclass(frozen=True)
class OpenedLayer:
    """One block, head by head."""

    layer: int
    heads: list[HeadValues]
    mlp_norm: float
    mlp_contribution: float | None
    target: Candidate
    why_no_contributions: str = ""


@dataclass(frozen=True)
class Grid:
    """The attention pattern of one head: rows are the tokens that look, columns those looked at."""

    layer: int
    head: int
    positions: list[int]
    """The rows' and columns' places in the text; not all, if it is long."""
    weights: list[list[float]]
    best: list[Attended]
    """For each row, the token of the whole text that gets most."""


@dataclass(frozen=True)
class PredictionPath:
    """The way from the tokens to the next word."""

    text: str
    config: GPTConfig
    position: int
    pieces: list[Piece]
    tokens: list[TokenValues]
    """Those that are shown; all, unless the text is long."""
    start: list[LensToken]
    """The lens before the first block."""
    start_rank: int
    layers: list[LayerValues]
    candidates: list[Candidate]
    opened: OpenedLayer | None = None
    grid: Grid | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = asdict(self)
        config = values.pop("config")
        del values["pieces"]
        facts = ("num_layers", "d_model", "num_heads", "vocab_size", "position", "residual")
        return {"text": self.text, "model": {name: config[name] for name in facts}, "token_count": len(self.pieces)} | {
            name: value for name, value in values.items() if value is not None
        }


def read_path(
    trace: Trace,
    position: int = -1,
    top: int = 10,
    *,
    layer: int | None = None,
    head: int | None = None,
    cells: int = 16,
    rows: int = GRID_LIMIT,
    lens: FittedLens | None = None,
) -> PredictionPath:
    """Everything that is shown of one run.

    Args:
        trace: The run.
        position: The token from which the next one is predicted; negative ones count from the end.
        top: Candidates at the end.
        layer: A block to open.
        head: Its head whose pattern is shown.
        cells: Parts that a vector is cut into.
        rows: Tokens shown at most.
        lens: A fitted lens that the layers are read through; None is the logit lens.

    Raises:
        ConfigError: There is no such position, layer or head, or the lens was fitted for another model.
    """
    config, count = trace.config, len(trace.token_ids)
    place = _index("position", position, count, wraps=True)
    shown = shown_positions(count, place, rows)
    pieces = trace.tokens
    read = trace.lens(top=min(3, config.vocab_size), positions=[place], lens=lens)
    text_of = (lambda _: "") if trace.tokenizer is None else trace.tokenizer.text_of

    def lens_tokens(row: int) -> list[LensToken]:
        ids, shares = read.token_ids[row, 0].tolist(), read.probabilities[row, 0].tolist()
        texts = [text_of(token) for token in ids]
        return [LensToken(*fields) for fields in zip(ids, texts, shares, strict=True)]

    layers = []
    for number in range(config.num_layers):
        pattern_HS = trace.attention(number)[:, place, :]
        mean_S = pattern_HS.mean(0)
        best = int(mean_S.argmax())
        layers.append(
            LayerValues(
                number,
                Attended(best, float(mean_S[best])),
                _elsewhere(pattern_HS[:, : place + 1], best),
                _norm(trace["attn_out", number][place]),
                _norm(trace["mlp_out", number][place]),
                _norm(trace["resid_post", number][place]),
                lens_tokens(number + 1),
                int(read.target_rank[number + 1, 0]),
            )
        )
    candidates = trace.top(place, top)
    opened = None if layer is None else _open(trace, _index("layer", layer, config.num_layers), place)
    grid = None
    if head is not None and layer is not None:
        grid = _grid(trace, layer, _index("head", head, config.num_heads), shown)
    tokens = [_token(trace, pieces, number, cells) for number in shown]
    rank = int(read.target_rank[0, 0])
    return PredictionPath(
        trace.text, config, place, pieces, tokens, lens_tokens(0), rank, layers, candidates, opened, grid
    )


def comparison(before: Trace, after: Trace, position: int, top: int) -> Comparison:
    """What edits did to the next token after a position: two runs of one text, without them and with."""
    first, second = (
        Prediction(trace.text, list(trace.token_ids[: position + 1]), 0, trace["logits"][position], tokenizer, top)
        for trace in (before, after)
        if (tokenizer := trace.tokenizer) is not None
    )
    return Comparison(first, second)


def shown_positions(count: int, position: int, limit: int) -> list[int]:
    """At most `limit` places: all, or the first quarter's worth and those that end at `position`."""
    if count <= limit:
        return list(range(count))
    first = limit // 4
    start = min(max(first, position + 1 - (limit - first)), count - (limit - first))
    return [*range(first), *range(start, start + limit - first)]


def strip(vector: NDArray[Any], cells: int) -> list[float]:
    """The means of `cells` equal parts of a vector, as far as it can be cut into so many."""
    return [float(part.mean()) for part in np.array_split(vector.astype(np.float64), min(cells, len(vector)))]


def _token(trace: Trace, pieces: Sequence[Piece], place: int, cells: int) -> TokenValues:
    piece, embedding, start = pieces[place], trace["embed"][place], trace.residual(0)[place]
    vector = trace["pos_embed"][place] if trace.config.position == "learned" else None
    return TokenValues(
        place,
        piece.token_id,
        piece.text,
        piece.part,
        piece.parts,
        _norm(embedding),
        strip(embedding, cells),
        None if vector is None else _norm(vector),
        None if vector is None else strip(vector, cells),
        _norm(start),
        strip(start, cells),
    )


def _elsewhere(pattern_HS: NDArray[Any], best: int) -> Attended | None:
    others_HS = np.delete(pattern_HS, best, axis=1)
    if not others_HS.size:
        return None
    head, place = (int(index) for index in np.unravel_index(others_HS.argmax(), others_HS.shape))
    return Attended(place + (place >= best), float(others_HS[head, place]), head)


def _open(trace: Trace, layer: int, place: int) -> OpenedLayer:
    pattern_HS, result_HD = trace.attention(layer)[:, place, :], trace["result", layer][place]
    contributions: list[float | None] = [None] * trace.config.num_heads
    mlp, reason = None, ""
    try:
        attribution = trace.attribution(position=place)
        contributions, mlp = [float(value) for value in attribution.heads[layer]], float(attribution.mlps[layer])
    except ConfigError as error:
        if trace.config.residual == "stream":
            raise
        reason = error.message
    heads = []
    for head, (weights_S, result_D) in enumerate(zip(pattern_HS, result_HD, strict=True)):
        order = np.argsort(-weights_S[: place + 1], kind="stable")[:3]
        attended = [Attended(int(key), float(weights_S[key]), head) for key in order]
        heads.append(HeadValues(head, attended, _norm(result_D), contributions[head]))
    return OpenedLayer(layer, heads, _norm(trace["mlp_out", layer][place]), mlp, trace.top(place, 1)[0], reason)


def _grid(trace: Trace, layer: int, head: int, shown: list[int]) -> Grid:
    pattern_TS = trace.attention(layer, head)
    best = [Attended(int(pattern_TS[row].argmax()), float(pattern_TS[row].max()), head) for row in shown]
    return Grid(layer, head, shown, pattern_TS[np.ix_(shown, shown)].tolist(), best)


def _norm(vector: NDArray[Any]) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


def _index(name: str, number: int, count: int, *, wraps: bool = False) -> int:
    if not (-count if wraps else 0) <= number < count:
        raise ConfigError(f"there is no {name} {number}", hint=f"{name}s are 0 to {count - 1}")
    return number % count
