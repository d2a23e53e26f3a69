"""What every kind of settings can do, and how a call takes them."""

import inspect
from collections.abc import Callable, KeysView
from dataclasses import dataclass, fields
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
