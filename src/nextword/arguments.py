"""What public calls are given, held against their own type hints: one line for whatever is of another type.

NumPy's numbers become Python's, so that results can be written as JSON. Ranges are checked where a value is used, and
what has a check of its own says so in its hint: `Annotated[..., OWN_CHECK]`.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import inspect
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from nextword.errors import ConfigError

Call = TypeVar("Call", bound=Callable[..., Any])

OWN_CHECK = "checked where it is read"
Device = Annotated[str, "a device"]
"""A device's name; `torch.device` is one too."""
Destination = Annotated[str | Path, "no empty name"]
"""Where something is written: an empty name would be the current directory."""
_MAX_SHOWN_ITEMS = 8
"""Items of a list that are shown."""
_MAX_INT_BITS = 128
"""Of a whole number: Python does not write one of thousands of digits out, and no seed has more."""
_TYPE_NAMES = {str: "a text", int: "a whole number", float: "a finite number", bool: "True or False", NoneType: "None"}
_PLURAL_TYPE_NAMES = {str: "texts", int: "whole numbers", float: "finite numbers"}


@dataclasses.dataclass(frozen=True)
class Reader:
    """What reads other spellings of a type, and old names: it stands beside the type in `Annotated`."""

    read: Callable[[object], object]

    def __repr__(self) -> str:
        return self.read.__name__  # a function's own holds an address, and help() shows it


class _WrongTypeError(Exception):
    """A value is not of the type that a hint says."""


@dataclasses.dataclass(frozen=True)
class _Taken:
    """What a call takes; asked when it is first called, since few of all calls ever are."""

    names: tuple[str, ...]
    places: tuple[str, ...]
    """Those that may be given by their place."""
    rest: str
    """What takes all further places; empty if nothing does."""
    open_ended: bool
    """Whether it takes any name."""
    hints: Mapping[str, Any]

    @classmethod
    def by(cls, call: Callable[..., Any]) -> _Taken:
        parameters = inspect.signature(call).parameters
        kinds = {name: one.kind for name, one in parameters.items()}
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return cls(
            names=tuple(kinds),
            places=tuple(name for name, kind in kinds.items() if kind in by_place),
            rest=next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL), ""),
            open_ended=inspect.Parameter.VAR_KEYWORD in kinds.values(),
            hints={name: hint for name, hint in type_hints(call).items() if name in kinds},
        )


def checked(call: Call, elsewhere: Mapping[str, str] | None = None) -> Call:
    """Holds what a function or method is given against its type hints.

    It then raises ConfigError for a value of another type, naming the argument and what it must be, and TypeError, with
    the nearest name, for an argument that there is not.

    Args:
        call: The function or method.
        elsewhere: What is to be said of names that other libraries have.
    """
    owner, _, name = call.__qualname__.rpartition(".")
    title = owner if name == "__init__" else name

    @functools.cache
    def taken() -> _Taken:
        return _Taken.by(call)

    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        takes = taken()
        if not takes.open_ended and (unknown := next((name for name in kwargs if name not in takes.names), None)):
            known = [name for name in takes.names if name not in ("self", "cls")]
            raise unknown_name(title, unknown, known, elsewhere)
        names = [*takes.places[: len(args)], *[takes.rest] * (len(args) - len(takes.places))]
        hints = takes.hints
        return call(
            *[argument(name, value, hints.get(name, Any)) for name, value in zip(names, args, strict=True)],
            **{name: argument(name, value, hints.get(name, Any)) for name, value in kwargs.items()},
        )

    return cast(Call, wrapper)


def check_fields(values: object, before: str = "") -> None:
    """Holds the fields of a frozen dataclass against their type hints; for its `__post_init__`.

    Args:
        values: The dataclass.
        before: What stands before a field's name in a message.

    Raises:
        ConfigError: A field is of another type.
    """
    for name, hint in _field_hints(cast(Any, type(values))).items():
        object.__setattr__(values, name, argument(before + name, getattr(values, name), hint))


def argument(name: str, value: Any, hint: Any) -> Any:
    """A value as its hint says it is; `name` is what it was given as.

    Raises:
        ConfigError: It is of another type.
    """
    try:
        return _coerce(value, hint)
    except _WrongTypeError:
        raise ConfigError(f"{name} is {_format_value(value)}, it must be {_describe_type(hint)}") from None


def unknown_name(call: str, name: str, known: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> TypeError:
    """The error for an argument that there is not.

    Args:
        call: What was called.
        name: The argument.
        known: Those that there are.
        elsewhere: What is to be said of names that other libraries have.
    """
    known = list(known)
    if elsewhere is not None and name in elsewhere:
        said = f": {elsewhere[name]}"
    elif meant := get_close_matches(name, known, n=1):
        said = f": did you mean {meant[0]}?"
    else:
        said = f"; there are {', '.join(known)}" if known else ""
    return TypeError(f"{call}() has no setting {name}{said}")


def type_hints(call: Any) -> dict[str, Any]:
    """The hints of a function or class; a type that is imported for type checkers alone may be anything."""
    if isinstance(call, type):  # each base in the names of its own module
        parts = [SimpleNamespace(__annotations__=inspect.get_annotations(base)) for base in call.__mro__]
        modules = [vars(sys.modules[base.__module__]) for base in call.__mro__]
        pairs = reversed(list(zip(parts, modules, strict=True)))
        return {name: hint for part, there in pairs for name, hint in _resolved_hints(part, there).items()}
    return _resolved_hints(call, getattr(call, "__globals__", None) or vars(sys.modules[call.__module__]))


def _resolved_hints(annotated: Any, there: dict[str, Any]) -> dict[str, Any]:
    class Names(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            if name in there or hasattr(builtins, name):
                raise KeyError(name)
            return Any

    return get_type_hints(annotated, globalns=there, localns=Names(), include_extras=True)


@functools.cache
def _field_hints(kind: Any) -> dict[str, Any]:
    hints = type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _coerce(value: Any, hint: Any) -> Any:
    """A value of the type that a hint says, NumPy's as Python's.

    Raises:
        _WrongTypeError: It is of another type.
    """
    if hint in _READERS:
        return _READERS[hint](value)
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or hint is object or isinstance(hint, TypeVar) or (origin is Annotated and OWN_CHECK in inner):
        return value
    if origin is Annotated and isinstance(inner[1], Reader):
        return _coerce(inner[1].read(value), inner[0])
    if hint == Device:
        return _coerce(
            str(value) if f"{type(value).__module__}.{type(value).__name__}" == "torch.device" else value, str
        )
    if hint == Destination:
        return _coerce(_require(value, not isinstance(value, str) or value != ""), str | Path)
    if origin is Annotated:  # what others note beside a type, such as a flag's name
        return _coerce(value, inner[0])
    if origin in (Union, UnionType):
        if Path in inner and isinstance(value, str):
            return _file_name(value)
        for arm in inner:
            try:
                return _coerce(value, arm)
            except _WrongTypeError:
                continue
        raise _WrongTypeError
    if origin is Literal:
        return _require(value, isinstance(value, str) and value in inner)
    kind = hint if origin is None else origin
    if not isinstance(kind, type):
        return value
    if kind is Mapping:
        _require(value, isinstance(value, Mapping))
        keys = str if inner and inner[0] is str else Any  # ids may be spelled in digits, as JSON has them
        return {_coerce(key, keys): _coerce(item, inner[1]) for key, item in value.items()} if inner else value
    if kind in (Sequence, Iterable, tuple, list):
        return _coerce_items(value, kind, inner[0] if inner else Any)
    if Protocol in kind.__mro__:
        return _require(value, all(hasattr(value, name) for name in _members(kind)))
    return _require(value, isinstance(value, kind))


def _require(value: Any, holds: bool) -> Any:
    if not holds:
        raise _WrongTypeError
    return value


def _to_int(value: Any) -> int:
    _require(value, not isinstance(value, bool) and not _is_numpy_bool(value))
    try:
        number = operator.index(value)
    except TypeError:
        raise _WrongTypeError from None
    return int(_require(number, number.bit_length() <= _MAX_INT_BITS))


def _to_float(value: Any) -> float:
    _require(value, hasattr(value, "__float__") and not isinstance(value, bool) and not _is_numpy_bool(value))
    try:
        number = float(value)  # NumPy's and torch's arrays of one number have it too
    except (OverflowError, TypeError, ValueError, RuntimeError):
        raise _WrongTypeError from None
    return value if type(value) is int else float(_require(number, math.isfinite(number)))


def _to_bool(value: Any) -> bool:
    return bool(_require(value, isinstance(value, bool) or _is_numpy_bool(value)))


def _is_numpy_bool(value: Any) -> bool:
    return type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")


def _to_str(value: Any) -> str:
    return str.__str__(_require(value, isinstance(value, str)))


def _to_path(value: Any) -> Path:
    _require(value, isinstance(value, os.PathLike) and isinstance(os.fspath(value), str))
    return Path(_file_name(os.fspath(value)))


def _file_name(name: str) -> str:
    """The name, if a file can have it: no system takes a NUL, or half a character."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise _WrongTypeError from None
    return _to_str(_require(name, b"\0" not in encoded))


def _to_none(value: Any) -> None:
    _require(value, value is None)


_READERS: dict[Any, Callable[[Any], Any]] = {
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    str: _to_str,
    Path: _to_path,
    NoneType: _to_none,
}


def _coerce_items(value: Any, kind: type, hint: Any) -> Any:
    """A sequence or iterable of items of a type; an iterator's are held against it as they come."""
    apart = isinstance(value, bytes | bytearray | Mapping) or (isinstance(value, str) and hint is not str)
    _require(value, not apart and hasattr(value, "__iter__"))
    if getattr(value, "ndim", 1) == 0:  # an array that holds one number
        raise _WrongTypeError
    if hint is int and getattr(getattr(value, "dtype", None), "kind", "") in ("i", "u") and value.ndim == 1:
        value = value.tolist()  # token ids in an array, which Python reads one by one otherwise
    if isinstance(value, list | tuple) and {hint}.issuperset(map(type, value)):
        return tuple(value) if kind is tuple else value
    if kind is Iterable and not hasattr(value, "__len__"):
        return (_coerce_item(item, hint) for item in value)
    if isinstance(value, str):
        return value
    items = [_coerce(item, hint) for item in value]
    return tuple(items) if kind is tuple else items


def _coerce_item(item: Any, hint: Any) -> Any:
    try:
        return _coerce(item, hint)
    except _WrongTypeError:
        raise ConfigError(f"one of the {_describe_type(hint, several=True)} is {_format_value(item)}") from None


def _members(kind: type) -> list[str]:
    """The methods and properties of a protocol."""
    return [
        name
        for name, value in vars(kind).items()
        if (inspect.isfunction(value) or isinstance(value, property)) and not name.startswith("_")
    ]


def _format_value(value: object) -> str:
    """A value in a few words, on one line."""
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return f"a number of {value.bit_length():,} bits"
    items = value if isinstance(value, list | tuple) and len(value) <= _MAX_SHOWN_ITEMS else [value]
    if not all(item is None or isinstance(item, str | bytes | int | float) for item in items):
        return f"of type {type(value).__name__}"
    if any(isinstance(item, int) and item.bit_length() > _MAX_INT_BITS for item in items):
        return f"of type {type(value).__name__}"
    spelled = repr(value)
    return spelled if len(spelled) <= 40 else f"{spelled[:36]}..."


def _describe_type(hint: Any, *, several: bool = False) -> str:
    """What a hint asks for, in words."""
    if several and hint in _PLURAL_TYPE_NAMES:
        return _PLURAL_TYPE_NAMES[hint]
    if hint in _TYPE_NAMES:
        return _TYPE_NAMES[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _describe_type(inner[0], several=several)
    if origin in (Union, UnionType):
        arms = [arm for arm in inner if arm is not str or Path not in inner]
        return _one_of([_describe_type(arm, several=several) for arm in arms])
    if origin is Literal:
        return _one_of(list(map(str, inner)))
    kind = hint if origin is None else origin
    if kind in (Sequence, Iterable, tuple, list):
        return f"a list of {_describe_type(inner[0], several=True)}" if inner else "a list"
    if kind is Path:
        return "a path"
    if not isinstance(kind, type):
        return "something else"
    if kind is Mapping:
        return (
            f"a mapping to {_describe_type(inner[1], several=True)}"
            if len(inner) > 1 and inner[1] is not Any
            else "a mapping"
        )
    if Protocol in kind.__mro__:
        return f"something that has {', '.join(_members(kind))}"
    owner = kind.__module__.partition(".")[0]
    name = kind.__name__ if owner in ("nextword", "builtins") else f"{owner}.{kind.__name__}"
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _one_of(meanings: list[str]) -> str:
    *most, last = meanings
    return f"{', '.join(most)} or {last}" if most else last
