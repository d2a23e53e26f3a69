"""What every kind of settings can do, and how a call takes them."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, KeysView
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, TypeVar, cast

from nextword.arguments import check_fields, type_hints

Call = TypeVar("Call", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that are given by name, held against the types of their fields.

    `**settings` hands them on: `nextword.train("my.txt", "my-model", **settings)`.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    def keys(self) -> KeysView[str]:
        """The names, in the order in which the fields stand: what `**` and `dict` ask for, with `settings[name]`."""
        return vars(self).keys()

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))


class FieldDocs:
    """A class's docstring with what each field means, for `help` and editors: read from the source when asked for.

    A program that is packed without sources has the docstring alone.
    """

    def __init__(self, kind: type[Settings]) -> None:
        self._kind, self._plain = kind, inspect.cleandoc(kind.__doc__ or "")

    def __get__(self, instance: object, owner: type | None = None) -> str:
        said: dict[str, str] = {}
        try:
            for base in reversed(self._kind.__mro__):
                if base.__module__.startswith("nextword.settings"):
                    said |= _field_docs(base)
        except OSError:
            return self._plain
        lines = [
            textwrap.fill(f"{one.name}: {said[one.name]}", 116, initial_indent="    ", subsequent_indent="        ")
            for one in fields(self._kind)
        ]
        return "\n".join([self._plain, "", "Attributes:", *lines, ""])


def _field_docs(kind: type) -> dict[str, str]:
    """The text below each field of a class, in a line."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    found = {}
    body = cast(ast.ClassDef, tree).body
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def takes_settings(kind: type[Settings]) -> Callable[[Call], Call]:
    """Spells `**settings` out in a call's signature, for people, editors and `checked`, which stands above it."""

    def spelled_out(call: Call) -> Call:
        signature, hints = inspect.signature(call), type_hints(kind)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        defaults = dict(kind())
        spelled = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=defaults[field.name], annotation=hints[field.name]
            )
            for field in fields(kind)
        ]
        cast(Any, call).__signature__ = signature.replace(parameters=[*own, *spelled])
        return call

    return spelled_out
