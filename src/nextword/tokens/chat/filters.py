"""What an unread template may call: filters, tests and functions, each within the budget of its rendering."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NoReturn, cast

from jinja2 import Environment, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import safe_range
from jinja2.utils import Cycler, Joiner, Namespace

from nextword.errors import ConfigError
from nextword.tokens.chat.budget import MAX_DIGITS, Budget
from nextword.tokens.chat.marking import ESCAPE_MARK
from nextword.tokens.visible import write_code_points

STEP, TAKE, CONCATENATE = "a step", "a value", "a text"
"""Names of guards; no template can write them behind a `|`."""

_NO_ASCII = re.compile(f"[^\x00-\x7e{ESCAPE_MARK}]+")  # a mark must stay what it is
_MAX_DATE_FORMAT = 200  # characters of a date format
_MAX_MESSAGE = 300  # characters of an error message
_FILTERS = """abs batch capitalize center count d default dictsort first float format indent int items join last length
    list lower map max min reject rejectattr replace reverse round select selectattr slice sort sum title trim truncate
    unique upper wordcount"""
_TEXT_FILTERS = "capitalize center format indent lower replace title trim truncate upper wordcount"
_TESTS = """boolean defined divisibleby even false float in integer iterable lower mapping none number odd sameas
    sequence string true undefined upper == != > >= < <= eq equalto ne gt greaterthan ge lt lessthan le"""


class BudgetContext(Context):
    """The names of one rendering, and its budget."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.budget = Budget()


def budget_of(context: Context) -> Budget:
    """The budget of a rendering."""
    return cast(BudgetContext, context).budget


def filters(library: Environment) -> dict[str, Any]:
    """The filters by name: Jinja's own, run in `library`, and those that transformers adds or this package needs."""
    listed = {name: _filter(name, library) for name in _FILTERS.split()}
    return listed | {
        "tojson": _to_json,
        "string": write,
        "safe": write,
        STEP: _step,
        TAKE: _take,
        CONCATENATE: _concatenate,
    }


def tests(library: Environment) -> dict[str, Any]:
    """The tests by name."""
    return {name: _test(name, library) for name in _TESTS.split()}


def functions() -> dict[str, Any]:
    """The functions by name."""
    helpers = {"cycler": Cycler, "joiner": Joiner, "namespace": Namespace, "dict": dict, "range": safe_range}
    return {**helpers, "raise_exception": _raise_exception, "strftime_now": _strftime_now}


def one_line(words: str) -> str:
    """What a template says, without anything that a terminal would obey."""
    line = " ".join(words.split())[:_MAX_MESSAGE]
    return write_code_points(line, {c for c in line if unicodedata.category(c).startswith("C")})


def _filter(name: str, library: Environment) -> Callable[..., Any]:
    of_text, seen_as = name in _TEXT_FILTERS.split(), "%" if name == "format" else name

    @pass_context
    def run(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        budget = budget_of(context)
        value = list(value) if isinstance(value, Iterator) else value
        value = budget.text(value) if of_text else value
        if name == "replace":
            args = tuple(budget.text(arg) if index < 2 else arg for index, arg in enumerate(args))
            named = {key: budget.text(arg) if key in ("old", "new") else arg for key, arg in named.items()}
        budget.check_before(seen_as, value, args, named)
        return budget.charge(library.call_filter(name, value, args, named, context=context))

    return run


def _test(name: str, library: Environment) -> Callable[..., bool]:
    @pass_context
    def run(context: Context, value: Any, *args: Any, **named: Any) -> bool:
        budget_of(context).step()
        return bool(library.call_test(name, value, args, named, context=context))

    return run


@pass_context
def write(context: Context, value: Any) -> str:
    """A value as text; everything that is written goes through here."""
    budget = budget_of(context)
    return str(budget.charge(budget.text(value)))


@pass_context
def _step(context: Context, value: Any) -> Any:
    budget_of(context).step()
    return value


@pass_context
def _take(context: Context, value: Any) -> Any:
    return budget_of(context).charge(value)


@pass_context
def _concatenate(context: Context, values: list[Any]) -> str:
    budget = budget_of(context)
    texts = [budget.text(value) for value in values]
    budget.check_size(sum(map(len, texts)))
    return str(budget.charge("".join(texts)))


@pass_context
def _to_json(
    context: Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers writes it: Korean stays Korean, and nothing is escaped for HTML."""
    budget = budget_of(context)
    budget.measure([value, indent, separators])
    if isinstance(indent, int) and indent > MAX_DIGITS:
        raise SecurityError(f"JSON is indented by at most {MAX_DIGITS}")
    encoder = json.JSONEncoder(ensure_ascii=False, indent=indent, separators=separators, sort_keys=bool(sort_keys))
    pieces, total = [], 0
    for encoded in encoder.iterencode(value):
        piece = _NO_ASCII.sub(_escaped, encoded) if ensure_ascii else encoded
        total += len(piece)
        budget.step()
        budget.check_size(total)
        pieces.append(piece)
    return str(budget.charge("".join(pieces)))


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def _raise_exception(message: Any = "") -> NoReturn:
    words = one_line(str(message)) if isinstance(message, (str, int, float)) else "no reason is given"
    raise ConfigError(f"the chat template refuses the messages: {words}")


def _strftime_now(form: str) -> str:
    if len(form) > _MAX_DATE_FORMAT:
        raise SecurityError(f"a date format has at most {_MAX_DATE_FORMAT} characters")
    return datetime.now().strftime(form)
