"""Edits: changes to a forward pass, as values that can be kept, compared, combined and written as JSON.

`lm.edit(...)` gives a model that applies them in every pass. An edit that changes nothing leaves the logits as they
were, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from nextword.arguments import OWN_CHECK, check_fields, checked
from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.inspection.hook_names import Key, full_name, hook_shapes, is_pattern, name_of_version_1, resolve, select

VERSION = 2
"""Of edits as JSON. In version 1, which says nothing of itself, a norm's output was named `hook_normalized`."""

Action = Literal["scale", "add", "set", "embed", "clamp", "project_out", "project_onto", "function"]
Value = NDArray[Any]


@dataclass(frozen=True)
class EditContext:
    """What a function that changes a value is told about it."""

    name: str
    """The value's full name."""
    layer: int | None
    """The block that it belongs to; None outside all blocks."""
    positions: tuple[int, ...]
    """Where the rows that are given stand in the text."""
    heads: tuple[int, ...] | None
    """Which heads are given; None is all of them."""
    config: GPTConfig


EditFunction = Callable[[Any, EditContext], Any]
"""Takes an array, which it may write into, and its context; gives an array of the same shape, or None."""


@dataclass(frozen=True, eq=False)
class Edit:
    """One change to one named value. The functions of this module make them.

    Two edits are equal when all their fields are; `to_json` and `from_json` keep every bit.
    """

    name: str
    """The value that is changed."""
    action: Action
    """`scale` multiplies, `add` adds, `set` replaces, `embed` takes another token's embedding, `clamp` keeps between
    two bounds, `project_out` and `project_onto` take out or keep what lies along a direction, `function` calls one."""
    value: Annotated[Value, OWN_CHECK]
    """What with: a number, a vector for every position, or one row a position (read-only)."""
    positions: tuple[int, ...] | None = None
    """Places in the text from its first token on; None is every one, generated ones included."""
    heads: tuple[int, ...] | None = None
    """Only these heads; None is all."""
    by_position: bool = False
    """Whether `value` has a row for each of `positions`."""
    layers: tuple[int, ...] | None = None
    """Which blocks' values a kind or pattern means, counted from the last one if negative; None is all."""
    function: EditFunction | None = None
    """What changes the value, if the action is `function`."""

    def __post_init__(self) -> None:
        """Checks what does not depend on a model, and makes the value read-only."""
        check_fields(self, "an edit's ")
        for name in ("positions", "heads"):
            if any(number < 0 for number in getattr(self, name) or ()):
                raise ConfigError(f"{name} of an edit are whole numbers of at least 0, not {getattr(self, name)!r}")
        try:
            value = np.array(self.value)
        except ValueError:  # rows of different lengths
            value = np.array(None)
        if not np.issubdtype(value.dtype, np.number):
            raise ConfigError(f"the value of an edit of {self.name} is not made of numbers")
        value.flags.writeable = False
        object.__setattr__(self, "value", value)

    @checked
    def check(self, config: GPTConfig) -> None:
        """Whether it fits an architecture.

        Raises:
            ConfigError: It has no such value, head or token, or the vector has another length.
        """
        resolve(self.name, config)
        if self.name.endswith("hook_result"):
            raise ConfigError(
                "hook_result is rebuilt from z, so it cannot be edited",
                hint="edit hook_z, which a head's output is made of",
            )
        count = 1 if self.positions is None else len(self.positions)
        shape = hook_shapes(config, count)[self.name]
        heads = _head_count(self.name, config)
        if self.heads is not None:
            if heads is None:
                raise ConfigError(f"{self.name} has no heads")
            if beyond := [head for head in self.heads if head >= heads]:
                raise ConfigError(f"there is no head {beyond[0]} in {self.name}", hint=f"heads are 0 to {heads - 1}")
        if self.action == "embed":
            if self.name != "hook_embed" or not all(0 <= token < config.vocab_size for token in self.value.ravel()):
                raise ConfigError(f"an embedding of a token from 0 to {config.vocab_size - 1} is needed")
            return
        if self.positions is not None and max(self.positions, default=0) >= config.context_length:
            raise ConfigError(f"position {max(self.positions)} is beyond the context of {config.context_length}")
        wanted = list(shape[1:])
        if is_pattern(self.name):  # a row for each head, of as many keys as the text that it comes from had
            wanted = [shape[0], self.value.shape[-1] if self.value.ndim else 1]
        if self.heads is not None:
            wanted[0] = len(self.heads)
        if self.by_position:
            wanted.insert(0, count)
        if self.action.startswith("project") and is_pattern(self.name):
            raise ConfigError(f"{self.name} has no direction: its last axis is the keys")
        if self.action == "clamp":
            wanted = [2]
        padded = (1,) * (len(wanted) - self.value.ndim) + self.value.shape
        if len(padded) > len(wanted) or any(n not in (1, m) for n, m in zip(padded, wanted, strict=True)):
            raise ConfigError(
                f"{self.name} is edited with a value of shape {self.value.shape}, it takes {tuple(wanted)}"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edit) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        value = (self.value.dtype.str, self.value.shape, self.value.tobytes())
        return self.name, self.action, value, self.positions, self.heads, self.by_position, self.layers, self.function

    @checked
    def expand(self, config: GPTConfig) -> tuple[Edit, ...]:
        """One edit for each value that the name means in an architecture, by its full name.

        Raises:
            ConfigError: It means none, or a layer does not exist.
        """
        names = select(config, self.name, self.layers)
        names = tuple(name for name in names if not name.endswith("hook_result")) or names
        return tuple(replace(self, name=name, layers=None) for name in names)

    def __str__(self) -> str:
        what = f"{self.value:g}" if self.value.ndim == 0 else f"values of shape {self.value.shape}"
        what = f"token {int(self.value)}" if self.action == "embed" else what
        what = getattr(self.function, "__name__", "a function") if self.function is not None else what
        where = "" if self.heads is None else f" head {', '.join(map(str, self.heads))}"
        at = "" if self.positions is None else f" at {', '.join(map(str, self.positions))}"
        layers = "" if self.layers is None else f" in layers {', '.join(map(str, self.layers))}"
        return f"{self.action} {self.name}{layers}{where}{at}: {what}"

    def __repr__(self) -> str:
        return f"<Edit {self}>"

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats keep every bit (not-a-number and infinities as words).

        Raises:
            ConfigError: It is a function.
        """
        if self.function is not None:
            raise ConfigError(
                f"the edit of {self.name} is a Python function, which cannot be written as JSON",
                hint="scale, add, set_value, clamp and project_out make edits that can",
            )
        flat = [_plain(number) for number in self.value.ravel().tolist()]
        return {
            "version": VERSION,
            "name": self.name,
            "action": self.action,
            "value": flat,
            "shape": list(self.value.shape),
            "dtype": self.value.dtype.name,
            "positions": None if self.positions is None else list(self.positions),
            "heads": None if self.heads is None else list(self.heads),
            "by_position": self.by_position,
            **({} if self.layers is None else {"layers": list(self.layers)}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Edit:
        """The edit that `to_json` wrote.

        Raises:
            ConfigError: It is not one, or a newer nextword wrote it.
        """
        try:
            version, name = values.get("version", 1), values["name"]
            if version not in (1, VERSION):
                raise ConfigError(f"this edit has version {version!r}, this nextword reads versions 1 and {VERSION}")
            value = np.array([float(number) for number in values["value"]]).astype(np.dtype(values["dtype"]))
            positions, heads = (
                None if values[name] is None else tuple(values[name]) for name in ("positions", "heads")
            )
            return cls(
                name_of_version_1(name) if version == 1 else name,
                values["action"],
                value.reshape(values["shape"]),
                positions,
                heads,
                bool(values["by_position"]),
                None if values.get("layers") is None else tuple(values["layers"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"this is no edit: {error}") from None


Edits = Edit | Sequence[Edit]
"""One edit, or several (`ablate_layer` is two)."""


@checked
def ablate_head(layer: int, head: int, positions: Sequence[int] | None = None) -> Edit:
    """Switches a head off: what it gathered is 0 before the output projection reads it."""
    return _edit(("z", layer), "set", 0.0, positions, (head,))


@checked
def ablate_mlp(layer: int, positions: Sequence[int] | None = None) -> Edit:
    """Switches a feed-forward layer off: it adds nothing."""
    return _edit(("mlp_out", layer), "set", 0.0, positions)


@checked
def ablate_layer(layer: int, positions: Sequence[int] | None = None) -> tuple[Edit, Edit]:
    """Switches a block off: neither its attention nor its feed-forward layer adds anything."""
    return _edit(("attn_out", layer), "set", 0.0, positions), ablate_mlp(layer, positions)


@checked
def scale(
    name: Key,
    factor: object,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | int | None = None,
) -> Edit:
    """Multiplies a value by a number, or each channel by its own: 1 changes nothing, 0 takes it out, -1 turns it round.

    Raises:
        ConfigError: A factor is not finite: it would leave no number.
    """
    edit = _edit(name, "scale", factor, positions, heads, layers)
    if not np.isfinite(edit.value).all():
        raise ConfigError(f"{edit.name} is scaled by what is not finite, factor must be finite numbers")
    return edit


@checked
def set_value(
    name: Key,
    vector: object,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | int | None = None,
) -> Edit:
    """Puts a number, a vector (an array, list or tensor), or one vector for each of `positions`, in a value's place."""
    return _edit(name, "set", vector, positions, heads, layers)


@checked
def add(
    name: Key,
    vector: object,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | int | None = None,
) -> Edit:
    """Adds a number, a vector, or one for each of `positions`; into the residual stream, this steers the model."""
    return _edit(name, "add", vector, positions, heads, layers)


@checked
def clamp(
    name: Key,
    low: float = -math.inf,
    high: float = math.inf,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | int | None = None,
) -> Edit:
    """Keeps a value's numbers between two bounds.

    Raises:
        ConfigError: The bounds are no numbers, or the lower one is above the other.
    """
    if not low <= high:
        raise ConfigError(f"{full_name(name)} is kept between {low} and {high}, low must be at most high")
    return _edit(name, "clamp", [low, high], positions, heads, layers)


@checked
def project_out(
    name: Key,
    direction: object,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | int | None = None,
) -> Edit:
    """Takes out of a value what lies along a direction, a vector of any length but 0.

    Raises:
        ConfigError: The direction is no vector of finite numbers, or has no length.
    """
    return _edit(name, "project_out", _unit_vector(direction), positions, heads, layers)


@checked
def project_onto(
    name: Key,
    direction: object,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | int | None = None,
) -> Edit:
    """Keeps of a value only what lies along a direction.

    Raises:
        ConfigError: The direction is no vector of finite numbers, or has no length.
    """
    return _edit(name, "project_onto", _unit_vector(direction), positions, heads, layers)


@checked
def at(
    name: Key,
    layers: Sequence[int] | int | None = None,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> Callable[[EditFunction], Edit]:
    """Makes an edit of any function of a value: `lm.edit(nextword.at("resid_post", 5)(function))`.

    The function is given an array of its own (the rows at the positions and heads, [T, D], [T, H, C] or, of scores and
    patterns, [T, H, S]) and an `EditContext`. It gives back an array of the same shape; None keeps what it has written
    into the one it was given. While a text is written, it sees the rows of each pass, not of the whole text. Where
    torch records gradients it is given a tensor.

    Args:
        name: A full name, its short form, a pattern or a kind such as `resid_post`.
        layers: Only these blocks; -1 is the last one. None is all.
        positions: Only these places in the text; None is every one, generated ones included.
        heads: Only these heads; None is all.
    """

    def edit(function: EditFunction) -> Edit:
        if not callable(function):
            raise ConfigError(f"{type(function).__name__} is no function of an array and its context")
        return replace(_edit(name, "set", 0.0, positions, heads, layers), action="function", function=function)

    return edit


@checked
def swap_embedding(position: int, token_id: int) -> Edit:
    """Reads another token at one position, without changing the text."""
    return _edit("hook_embed", "embed", token_id, (position,))


def _edit(
    name: Key,
    action: Action,
    value: object,
    positions: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | int | None = None,
) -> Edit:
    array = _array(value)
    places = None if positions is None else tuple(positions)
    full = full_name(name)
    try:
        shape = np.array(array).shape
    except ValueError:  # rows of different lengths, which Edit refuses
        shape = ()
    rows = action in ("add", "set") and places is not None and shape[:-1] == (len(places),)
    return Edit(
        full,
        action,
        cast(Value, array),
        places,
        None if heads is None else tuple(heads),
        by_position=rows and heads is None and not is_pattern(full) and ".attn." not in full,
        layers=None if layers is None else (layers,) if isinstance(layers, int) else tuple(layers),
    )


def _unit_vector(direction: object) -> Value:
    """A direction at length 1.

    Raises:
        ConfigError: It is no vector of finite numbers, or has no length.
    """
    try:
        vector = np.array(_array(direction), np.float64)
    except (TypeError, ValueError):
        vector = np.zeros(0)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not 0 < length < math.inf:
        raise ConfigError("a direction is a vector of finite numbers that are not all 0")
    return vector / length


def _array(value: object) -> object:
    """A torch tensor as an array of at least float32; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    tensor: Any = value
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()


def flatten(edits: Iterable[Edits]) -> tuple[Edit, ...]:
    """All edits in one row.

    Raises:
        ConfigError: Something is no edit.
    """
    row: list[Edit] = []
    for item in edits:
        try:
            several = [item] if isinstance(item, Edit) else list(item)
        except TypeError:
            several = [item]  # type: ignore[list-item]  # what is no edit is told below
        for edit in several:
            if not isinstance(edit, Edit):
                raise ConfigError(
                    f"{type(edit).__name__} is no edit", hint="ablate_head, scale, add, set_value and patch make some"
                )
            row.append(edit)
    return tuple(row)


def _head_count(name: str, config: GPTConfig) -> int | None:
    shape = hook_shapes(config, 1)[name]
    if is_pattern(name):
        return shape[0]
    return shape[1] if ".attn." in name else None


def _plain(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)
