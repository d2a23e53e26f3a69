"""Sweeps: one change after the other, over layers and positions or heads, and what each does to a prediction.

Source of activation patching: Vig et al. 2020 (arXiv:2004.12265), Meng et al. 2022 (arXiv:2202.05262).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nextword.arguments import checked
from nextword.config import GPTConfig
from nextword.errors import ConfigError, NextwordError
from nextword.formatting import pluralize
from nextword.generation import html
from nextword.generation.backend import Backend
from nextword.generation.context import Prompt, fit_to_context
from nextword.inspection.hook_names import is_pattern, layer_of, select
from nextword.tokens import Tokenizer

BATCH_TOKENS = 1024
"""Tokens that are read at once, about."""

Array = NDArray[Any]
Metric = Callable[[Array], float] | tuple[int | str, int | str]
"""A function of the last position's logits, [V]; or two tokens, whose logits' difference it is."""


class Readable(Protocol):
    """A LanguageModel, as far as a sweep needs one."""

    @property
    def backend(self) -> Backend: ...  # noqa: D102
    @property
    def tokenizer(self) -> Tokenizer: ...  # noqa: D102
    @property
    def config(self) -> GPTConfig: ...  # noqa: D102


@dataclass(frozen=True, eq=False, repr=False)
class SweepMap:
    """What each change of a sweep does to a metric; prints as a map."""

    name: str
    """The kind of value: `resid_pre`, `z`, ..."""
    layers: tuple[int, ...]
    columns: tuple[str, ...]
    """What stands beside the layers: tokens of the text that is changed, or heads."""
    axis: str
    """`position` or `head`."""
    values: NDArray[np.float64]
    """The metric of each changed run, [layers, columns]."""
    plain: float
    """The metric of the run that is changed, as it is."""

    @property
    def effects(self) -> NDArray[np.float64]:
        """What each change does to the metric, [layers, columns]."""
        effects: NDArray[np.float64] = self.values - self.plain
        return effects

    def shown(self) -> tuple[NDArray[np.float64], str, str]:
        """What is printed and drawn, what it is, and how a number of it is written."""
        return self.effects, "the change of the metric", "+.4f"

    def __repr__(self) -> str:
        count = pluralize(self.values.size, "changes")
        return f"<{type(self).__name__} of {self.name}: {count}, the metric as it is {self.plain:.4f}>"

    def __str__(self) -> str:
        blocks = " ░▒▓█"
        shown, what, form = self.shown()
        size = np.abs(shown[np.isfinite(shown)]).max(initial=0.0) or 1.0
        lines = [repr(self), f"  layer, then each {self.axis}: {what}"]
        for row in range(len(self.layers) - 1, -1, -1):
            cells = "".join(
                blocks[int(np.clip(np.rint(np.abs(value) / size * 4), 0, 4))] * 2 if np.isfinite(value) else "??"
                for value in shown[row]
            )
            sizes = np.where(np.isfinite(shown[row]), np.abs(shown[row]), -1)
            most = int(sizes.argmax())
            lines.append(
                f"  {self.layers[row]:>3} |{cells}| most {format(shown[row, most], form):>8} at {most} "
                f"{self.columns[most]!r}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shown = self.shown()[0]
        rows = [
            [str(self.layers[row]), *(f"{value:+.2f}" for value in shown[row])]
            for row in range(len(self.layers) - 1, -1, -1)
        ]
        return html.table(["layer", *self.columns], rows, repr(self)[1:-1])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "layers": list(self.layers),
            "axis": self.axis,
            "columns": list(self.columns),
            "values": self.values.tolist(),
            "plain": self.plain,
        }


@dataclass(frozen=True, eq=False, repr=False)
class PatchMap(SweepMap):
    """What putting each value of a clean run into a corrupted one does to a metric; prints as a map."""

    clean: float
    """The metric of the clean run."""

    @property
    def corrupted(self) -> float:
        """The metric of the corrupted run."""
        return self.plain

    @property
    def restored(self) -> NDArray[np.float64]:
        """How much of the way from corrupted to clean each patch goes: 0 nothing, 1 all of it.

        Raises:
            NextwordError: The metric is the same in both runs.
        """
        if self.clean == self.corrupted:
            raise NextwordError(
                "the metric is the same in the clean and the corrupted run: there is nothing to restore",
                hint="choose texts, or a metric, that differ",
            )
        restored: NDArray[np.float64] = (self.values - self.corrupted) / (self.clean - self.corrupted)
        return restored

    def shown(self) -> tuple[NDArray[np.float64], str, str]:
        """The share that is restored, if anything is to be; otherwise the change of the metric."""
        if self.clean == self.corrupted:
            return super().shown()
        return self.restored, "the share that is restored", "+.1%"

    def __str__(self) -> str:
        return repr(self) if self.clean == self.corrupted else super().__str__()

    def __repr__(self) -> str:
        count = pluralize(self.values.size, "patches")
        return f"<PatchMap of {self.name}: {count}, clean {self.clean:.4f}, corrupted {self.corrupted:.4f}>"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**super().to_json(), "clean": self.clean, "corrupted": self.corrupted}


@checked
def patch_map(
    lm: Readable,
    clean: Prompt,
    corrupted: Prompt,
    metric: Metric,
    name: str = "resid_pre",
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | Mapping[int, int] | None = None,
    heads: Sequence[int] | None = None,
) -> PatchMap:
    """Puts values of a clean run into a corrupted one, each by itself, and measures what the model then says.

    A patched run begins at the patch's layer, with the corrupted run's residual stream, and at its token, behind the
    corrupted run's cache; many are read together. Each gives what the whole run would, on the native backend to the
    bit.

    Args:
        lm: The model; its edits hold in every run.
        clean: The text whose values are taken.
        corrupted: The text that they are put into.
        metric: A function of the last position's logits, [V], or two tokens (ids or texts): the first one's logit less
            the second one's.
        name: A kind of value of the blocks, such as `resid_pre`, `attn_out`, `mlp_out`, `z`.
        layers: Which blocks; None is all. Negative ones count from the last.
        positions: Where: places of the corrupted text, the same in the clean one; or a mapping from place to place, for
            texts of unequal length. None is every place, and with `heads` all of them at once.
        heads: Sweeps over these heads instead of positions; `name` is then one that has heads.

    Raises:
        ConfigError: There is no such value, layer, position or head, or the texts' lengths differ and no mapping says
            what belongs together.
        TextError: A text is empty, or a target is no single token.
        ContextOverflowError: A text is longer than the context.
    """
    score = _metric(metric, lm)
    clean_ids, sweep = _ids(lm, clean), _Sweep(lm, _ids(lm, corrupted), name, layers)
    pairs = _pairs(positions, len(clean_ids), len(sweep.ids))
    kept = _Kept(sweep.names.values())
    clean_logits = _run(lm.backend, clean_ids, kept)

    def rows(layer: int, head: int | None, place: int | None) -> tuple[list[int], Array]:
        here = pairs if place is None else [pairs[place]]
        value = kept.values[sweep.names[layer]]
        sources = value[[source for _, source in here]]
        return [at for at, _ in here], sources if head is None else sources[:, head]

    logits = sweep.run(rows, len(pairs), heads)
    columns, axis = sweep.columns([at for at, _ in pairs], heads)
    values = np.array([[score(logits_V) for logits_V in row] for row in logits], np.float64)
    return PatchMap(name, sweep.layers, columns, axis, values, score(sweep.logits_V), score(clean_logits))


@checked
def ablate_map(
    lm: Readable,
    text: Prompt,
    metric: Metric,
    name: str = "z",
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    by: Literal["zero", "mean", "resample"] = "zero",
    texts: Sequence[Prompt] = (),
) -> SweepMap:
    """Takes values out of a run, each by itself, and measures what the model then says.

    What takes their place is 0, their mean over other texts, or what they are in another text. The mean, and another
    text's, keep the model where it is used to be; 0 may not (Wang et al. 2022, arXiv:2211.00593, and Chan et al. 2022,
    "Causal scrubbing").

    Args:
        lm: The model; its edits hold in every run.
        text: The text.
        metric: A function of the last position's logits, [V], or two tokens (ids or texts): the first one's logit less
            the second one's.
        name: A kind of value of the blocks, such as `z`, `attn_out`, `mlp_out`, `post`.
        layers: Which blocks; None is all. Negative ones count from the last.
        positions: Where, negative ones from the end; None is every place, and with `heads` all of them at once.
        heads: Sweeps over these heads instead of positions; `name` is then one that has heads.
        by: `zero`; `mean`, over all tokens of the `texts`; or `resample`: the value of each of the `texts` at the same
            place, where the metric is the mean over the texts.
        texts: The other texts; those to resample from are no shorter than the text.

    Raises:
        ConfigError: There is no such value, layer, position or head, or the texts do not fit.
        TextError: A text is empty, or a target is no single token.
        ContextOverflowError: A text is longer than the context.
    """
    score = _metric(metric, lm)
    sweep = _Sweep(lm, _ids(lm, text), name, layers)
    if (by == "zero") == bool(texts):
        raise ConfigError(
            f"by={by!r} takes {'no texts' if by == 'zero' else 'texts'}", hint='by="mean" and by="resample" take texts='
        )
    places = [at for at, _ in _pairs(positions, len(sweep.ids), len(sweep.ids))]
    kept = [_Kept(sweep.names.values()) for _ in texts]
    for other, one in zip(texts, kept, strict=True):
        ids = _ids(lm, other)
        if by == "resample" and len(ids) <= max(places):
            raise ConfigError(
                f"a text to resample from has {pluralize(len(ids), 'tokens')}, there is no position {max(places)}",
                hint="take texts that are no shorter, or say positions=",
            )
        _run(lm.backend, ids, one)
    of_layer: dict[int, list[Array]] = {}  # what takes a value's place, for each run of it: one row, or one a place
    for layer, full in sweep.names.items():
        found = [one.values[full] for one in kept]
        if by == "mean":
            found = [np.concatenate(found).astype(np.float64).mean(0)[None]]
        of_layer[layer] = found

    sums = np.zeros((len(sweep.layers), len(places) if heads is None else len(heads)))
    for turn in range(len(texts) if by == "resample" else 1):

        def rows(layer: int, head: int | None, place: int | None, turn: int = turn) -> tuple[list[int], Array]:
            here = places if place is None else [places[place]]
            if by == "zero":
                return here, np.zeros(1, np.float32)
            value = of_layer[layer][turn]
            value = value[here] if by == "resample" else np.repeat(value, len(here), 0)
            return here, value if head is None else value[:, head]

        logits = sweep.run(rows, len(places), heads)
        sums += np.array([[score(logits_V) for logits_V in row] for row in logits], np.float64)
    columns, axis = sweep.columns(places, heads)
    values = sums / max(1, len(texts) if by == "resample" else 1)
    return SweepMap(name, sweep.layers, columns, axis, values, score(sweep.logits_V))


class _Sweep:
    """The run of a text that is changed in one place after the other.

    Args:
        lm: The model.
        ids: The text.
        name: The kind of value that is changed.
        layers: Where.
    """

    def __init__(self, lm: Readable, ids: list[int], name: str, layers: Sequence[int] | None) -> None:
        self.ids, self._lm = ids, lm
        self.layers = _layers(layers, lm.config)
        self.names = _names(name, self.layers, lm.config)
        self._cache = lm.backend.new_cache(len(ids))
        self._kept = _Kept([*(f"blocks.{layer}.hook_resid_pre" for layer in self.layers), *self.names.values()])
        [self.logits_V] = lm.backend.forward([ids], [self._cache], "last", self._kept)

    def run(
        self,
        rows: Callable[[int, int | None, int | None], tuple[list[int], Array]],
        places: int,
        heads: Sequence[int] | None,
    ) -> list[list[Array]]:
        """The last position's logits of each changed run, by layer and by place or head.

        Args:
            rows: Says, for a layer and a head or the number of a place, which tokens are changed and what their rows
                become.
            places: How many places there are.
            heads: Which heads; None sweeps over the places.
        """
        changes: list[_Change] = []
        for layer in self.layers:
            full = self.names[layer]
            value = self._kept.values[full]
            if heads is None:
                changes += [_Change(layer, full, *rows(layer, None, place), None) for place in range(places)]
                continue
            count = value.shape[1] if value.ndim == 3 else 0
            if not heads or not all(0 <= head < count for head in heads):
                raise ConfigError(f"{full} has {pluralize(count, 'heads')}, not all of {list(heads)}")
            changes += [_Change(layer, full, *rows(layer, head, None), head) for head in heads]
        found: list[Array] = []
        batch: list[_Change] = []
        for i, change in enumerate(changes):
            batch.append(change)
            tokens = sum(len(self.ids) - one.start for one in batch)
            if i + 1 == len(changes) or tokens >= BATCH_TOKENS or changes[i + 1].layer != change.layer:
                found += self._run_together(batch)
                batch = []
        width = len(changes) // len(self.layers)
        return [found[row * width : (row + 1) * width] for row in range(len(self.layers))]

    def _run_together(self, batch: Sequence[_Change]) -> list[Array]:
        """Changes in one layer, each behind what the cache holds before it."""
        layer, forks = batch[0].layer, []
        for one in batch:
            forks.append(self._cache.fork())
            forks[-1].truncate(one.start)
        stream_TD = self._kept.values[f"blocks.{layer}.hook_resid_pre"]
        rows_TD = [stream_TD[one.start :] for one in batch]
        return self._lm.backend.forward_from(layer, rows_TD, forks, "last", _ChangesTap(batch))

    def columns(self, places: Sequence[int], heads: Sequence[int] | None) -> tuple[tuple[str, ...], str]:
        """What stands beside the layers, and whether it is positions or heads."""
        if heads is not None:
            return tuple(f"H{head}" for head in heads), "head"
        pieces = self._lm.tokenizer.pieces(self.ids)
        return tuple(pieces[at].label for at in places), "position"


@dataclass(frozen=True)
class _Change:
    """Rows that some places of a text get in one layer."""

    layer: int
    name: str
    places: Sequence[int]
    rows: Array
    head: int | None

    @property
    def start(self) -> int:
        """The first token that it changes."""
        return min(self.places)

    def apply(self, value: Array) -> Array:
        at = [place - self.start for place in self.places]
        if self.head is None:
            value[at] = self.rows
        else:
            value[at, self.head] = self.rows
        return value


class _ChangesTap:
    """Gives each chunk its own change."""

    def __init__(self, changes: Sequence[_Change]) -> None:
        self.names = frozenset(change.name for change in changes)
        self._changes = changes

    def __call__(self, name: str, value: Array, chunk: int) -> Array | None:
        change = self._changes[chunk]
        return change.apply(value) if change.name == name else None


def _ids(lm: Readable, text: Prompt) -> list[int]:
    return fit_to_context(lm.tokenizer, text, lm.config.context_length, "stop")[0]


def _names(name: str, layers: Sequence[int], config: GPTConfig) -> dict[int, str]:
    """The full name in each layer of a kind of value that has one row a token."""
    names = {layer_of(full): full for full in select(config, name, layers)}
    if set(names) != set(layers) or any(is_pattern(full) or full.endswith("hook_result") for full in names.values()):
        raise ConfigError(
            f"{name!r} is no kind of value that has one row a token in each block",
            hint="resid_pre, attn_out, mlp_out, resid_post, q, k, v and z are some",
        )
    return {layer: names[layer] for layer in layers}


class _Kept:
    """Keeps what it sees of one chunk."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self.values: dict[str, Array] = {}

    def __call__(self, name: str, value: Array, chunk: int) -> None:  # noqa: ARG002  there is one
        self.values[name] = value


def _run(backend: Backend, ids: Sequence[int], tap: Any) -> Array:
    [logits] = backend.forward([ids], [backend.new_cache(len(ids))], "last", tap)
    return logits


def _metric(metric: Metric, lm: Readable) -> Callable[[Array], float]:
    if not isinstance(metric, tuple):
        return partial(_measured, metric)
    from nextword.inspection.lens import token_of

    if len(metric) != 2:
        raise ConfigError(f"metric has {pluralize(len(metric), 'tokens')}, it must have two, or be a function")
    target, against = (token_of(token, lm.tokenizer, lm.config.vocab_size) for token in metric)
    return lambda logits_V: float(logits_V[target]) - float(logits_V[against])


def _measured(metric: Callable[[Array], float], logits_V: Array) -> float:
    try:
        return float(metric(logits_V))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"metric gives no number for the logits: {error}") from error


def _layers(layers: Sequence[int] | None, config: GPTConfig) -> tuple[int, ...]:
    count = config.num_layers
    if layers is None:
        return tuple(range(count))
    if not layers:
        raise ConfigError("layers is empty: there is nothing to sweep over")
    if beyond := [layer for layer in layers if not -count <= layer < count]:
        raise ConfigError(f"there is no layer {beyond[0]}", hint=f"layers are 0 to {count - 1}")
    return tuple(layer % count for layer in layers)


def _pairs(positions: Sequence[int] | Mapping[int, int] | None, clean: int, corrupted: int) -> list[tuple[int, int]]:
    """Places of the corrupted text, and those of the clean one whose values they get."""
    if not isinstance(positions, Mapping) and clean != corrupted:
        raise ConfigError(
            f"the clean text has {pluralize(clean, 'tokens')}, the corrupted one {corrupted}",
            hint="positions={corrupted place: clean place, ...} says which belong together",
        )
    given = range(corrupted) if positions is None else positions
    pairs = list(given.items()) if isinstance(given, Mapping) else [(at, at) for at in given]
    try:
        ints = [(operator.index(at), operator.index(of)) for at, of in pairs]
    except TypeError:
        ints = []
    places = [(at + corrupted if at < 0 else at, of + clean if of < 0 else of) for at, of in ints]
    fits = all(0 <= at < corrupted and 0 <= of < clean for at, of in places)
    if not fits or not places:
        raise ConfigError(
            f"positions is {positions!r}"[:200] + ", it must be places of the texts",
            hint=f"the corrupted text has places 0 to {corrupted - 1}, the clean one 0 to {clean - 1}",
        )
    return places
