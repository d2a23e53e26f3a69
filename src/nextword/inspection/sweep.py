"""Sweeps: one change after the other, over layers and positions or heads, and what each does to a prediction.

Source of activation patching: Vig et al. 2020 (arXiv:2004.12265), Meng et al. 2022 (arXiv:2202.05262).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

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
class PatchMap:
    """What putting each value of a clean run into a corrupted one does to a metric; prints as a map."""

    name: str
    """The kind of value: `resid_pre`, `z`, ..."""
    layers: tuple[int, ...]
    columns: tuple[str, ...]
    """What stands beside the layers: tokens of the corrupted text, or heads."""
    axis: str
    """`position` or `head`."""
    values: NDArray[np.float64]
    """The metric of each patched run, [layers, columns]."""
    clean: float
    """The metric of the clean run."""
    corrupted: float
    """The metric of the corrupted run."""

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

    def __repr__(self) -> str:
        count = pluralize(self.values.size, "patches")
        return f"<PatchMap of {self.name}: {count}, clean {self.clean:.4f}, corrupted {self.corrupted:.4f}>"

    def __str__(self) -> str:
        if self.clean == self.corrupted:
            return repr(self)
        blocks = " ░▒▓█"
        restored = self.restored
        lines = [repr(self), f"  layer, then each {self.axis}: the share that is restored"]
        for row in range(len(self.layers) - 1, -1, -1):
            cells = "".join(
                blocks[int(np.clip(np.rint(np.abs(value) * 4), 0, 4))] * 2 if np.isfinite(value) else "??"
                for value in restored[row]
            )
            best = int(np.nanargmax(restored[row])) if np.isfinite(restored[row]).any() else 0
            lines.append(
                f"  {self.layers[row]:>3} |{cells}| most {restored[row, best]:+7.1%} at {best} {self.columns[best]!r}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shown = self.values if self.clean == self.corrupted else self.restored
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
            "clean": self.clean,
            "corrupted": self.corrupted,
        }


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
    backend, config = lm.backend, lm.config
    score = _metric(metric, lm)
    clean_ids, corrupted_ids = (
        fit_to_context(lm.tokenizer, text, config.context_length, "stop")[0] for text in (clean, corrupted)
    )
    chosen = _layers(layers, config)
    names = {layer_of(full): full for full in select(config, name, chosen) if layer_of(full) is not None}
    if set(names) != set(chosen) or any(is_pattern(full) or full.endswith("hook_result") for full in names.values()):
        raise ConfigError(
            f"{name!r} is no kind of value that has one row a token in each block",
            hint="resid_pre, attn_out, mlp_out, resid_post, q, k, v and z are some",
        )
    pairs = _pairs(positions, len(clean_ids), len(corrupted_ids))
    kept = _Kept(names.values())
    clean_logits = _run(backend, clean_ids, kept)
    cache = backend.new_cache(len(corrupted_ids))
    stream = _Kept(f"blocks.{layer}.hook_resid_pre" for layer in chosen)
    [corrupted_logits] = backend.forward([corrupted_ids], [cache], "last", stream)
    of_layer = {names[layer]: layer for layer in chosen}

    patches: list[_Patch] = []
    for layer in chosen:
        value = kept.values[names[layer]]
        if heads is None:
            patches += [_Patch(names[layer], [at], value[[source]], None) for at, source in pairs]
        else:
            if value.ndim != 3 or not all(0 <= head < value.shape[1] for head in heads):
                count = value.shape[1] if value.ndim == 3 else 0
                raise ConfigError(f"{names[layer]} has {pluralize(count, 'heads')}, not all of {list(heads)}")
            places, sources = [at for at, _ in pairs], [source for _, source in pairs]
            patches += [_Patch(names[layer], places, value[sources], head) for head in heads]
    scores: list[float] = []
    batch: list[_Patch] = []
    for i, patch in enumerate(patches):
        batch.append(patch)
        tokens = sum(len(corrupted_ids) - one.start for one in batch)
        if i + 1 == len(patches) or tokens >= BATCH_TOKENS or patches[i + 1].name != patch.name:
            forks = []
            for one in batch:
                forks.append(cache.fork())
                forks[-1].truncate(one.start)
            layer = of_layer[patch.name]
            rows_TD = [stream.values[f"blocks.{layer}.hook_resid_pre"][one.start :] for one in batch]
            found = backend.forward_from(layer, rows_TD, forks, "last", _PatchTap(batch))
            scores += [score(row) for row in found]
            batch = []
    columns = (
        tuple(lm.tokenizer.pieces(corrupted_ids)[at].label for at, _ in pairs)
        if heads is None
        else tuple(f"H{head}" for head in heads)
    )
    values = np.array(scores, np.float64).reshape(len(chosen), len(columns))
    axis = "position" if heads is None else "head"
    return PatchMap(name, chosen, columns, axis, values, score(clean_logits), score(corrupted_logits))


@dataclass(frozen=True)
class _Patch:
    """Rows of another run, for some places of a text."""

    name: str
    places: Sequence[int]
    rows: Array
    head: int | None

    @property
    def start(self) -> int:
        """The first token that it changes."""
        return min(self.places)

    def apply(self, value: Array) -> Array:
        changed = value.copy()
        at = [place - self.start for place in self.places]
        if self.head is None:
            changed[at] = self.rows
        else:
            changed[at, self.head] = self.rows[:, self.head]
        return changed


class _PatchTap:
    """Gives each chunk its own patch."""

    def __init__(self, patches: Sequence[_Patch]) -> None:
        self.names = frozenset(patch.name for patch in patches)
        self._patches = patches

    def __call__(self, name: str, value: Array, chunk: int) -> Array | None:
        patch = self._patches[chunk]
        return patch.apply(value) if patch.name == name else None


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
