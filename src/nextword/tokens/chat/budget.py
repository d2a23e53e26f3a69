"""What an unread template may use up: steps, time, and the size of everything it makes.

Whatever it makes is measured; where one operation makes something huge of something small, before it is made.
"""

from __future__ import annotations

import re
import time
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from jinja2.utils import Cycler, Joiner, Namespace

from nextword.errors import ModelFileError

MAX_VALUE_SIZE = 1_000_000  # characters and elements of one value: some 250,000 tokens of English
MAX_TOTAL_SIZE = 10_000_000  # characters and elements of all values made by one rendering: some 100 MB
MAX_STEPS = 500_000  # loop passes, calls, filters, operators of one rendering: one or two seconds
MAX_SECONDS = 3.0  # of processor time, where single steps are slow
MAX_INT_BITS = 64  # of a whole number
MAX_DIGITS = 100  # to round to; also the widest indent of JSON

# What `%` and `str.format` may hold: no lookup inside the values, no width that makes a long text of a short one.
_PERCENT = re.compile(r"%(?:%|(?:\(\w+\))?[-+ #0]*\d{0,3}(?:\.\d{0,3})?[diouxXeEfFgGcs])")
_BRACES = re.compile(r"\{\{|\}\}|\{\w*(?::[<>^]?[-+ ]?#?0?\d{0,3},?(?:\.\d{0,3})?[bcdeEfFgGnosxX%]?)?\}")
_VIEWS = (KeysView, ValuesView, ItemsView)
_LIST_ITERATOR = type(iter([None]))
# Filters that handle one element after another in Python.
_ELEMENTWISE_FILTERS = frozenset({"batch", "map", "max", "min", "reject", "rejectattr", "select", "selectattr"})
_ELEMENTWISE_FILTERS |= {"slice", "sort", "sum", "unique"}
_HELPERS = (Namespace, Cycler, Joiner)


class Budget:
    """What one rendering has used up; every method raises ModelFileError where a limit is passed."""

    def __init__(self) -> None:
        self._steps = 0
        self._made = 0
        self._end = time.thread_time() + MAX_SECONDS

    def step(self, count: int = 1) -> None:
        """Counts work."""
        self._steps += count
        if self._steps > MAX_STEPS:
            raise _limit(f"takes more than {MAX_STEPS:,} steps")
        if time.thread_time() > self._end:
            raise _limit(f"takes more than {MAX_SECONDS:g} seconds")

    def charge(self, value: Any) -> Any:
        """Measures what an operation has made, and hands it on; a generator is run, and stays readable once."""
        if type(value) in _HELPERS:
            self.step()
            return value
        once = isinstance(value, Iterator)
        made = list(value) if once or isinstance(value, _VIEWS) else value
        self._made += self.measure(made)
        if self._made > MAX_TOTAL_SIZE:
            raise _limit(f"makes more than {MAX_TOTAL_SIZE:,} characters and elements")
        return iter(made) if once else made

    def measure(self, value: Any) -> int:
        """Characters and elements of a value, counted as often as a reader would meet them.

        Raises:
            SecurityError: It holds something other than plain data.
        """
        total, looked_at, waiting = 0, 0, [value]
        while waiting:
            item = waiting.pop()
            kind = type(item)
            looked_at += 1
            total += 1 + (len(item) if kind in (str, list, tuple, dict) else 0)
            self.check_size(total)
            if kind in (list, tuple):
                waiting += item
            elif kind is dict:
                waiting += [*item.keys(), *item.values()]
            elif kind is int:
                if item.bit_length() > MAX_INT_BITS:
                    raise _limit(f"makes a number of more than {MAX_INT_BITS} bits")
            elif kind not in (str, bool, float, range, type(None), _LIST_ITERATOR) and not isinstance(item, Undefined):
                raise SecurityError(f"a {kind.__name__} is no plain data")
        self.step(1 + looked_at // 8)  # to look at an element is that much cheaper than an operation
        return total

    def check_size(self, size: int) -> None:
        """Refuses a value of that size."""
        if size > MAX_VALUE_SIZE:
            raise _limit(f"makes a value of more than {MAX_VALUE_SIZE:,} characters and elements")

    def text(self, value: Any) -> str:
        """A value as it is written."""
        if type(value) is str:
            return value
        self.measure(value)
        return str(value)

    def check_before(self, name: str, value: Any, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Refuses an operation that would make something huge, or compare very long texts, before it is run.

        Args:
            name: An operator, a filter or a method.
            value: What it is applied to.
            args: Its arguments.
            named: Those given by name.
        """
        others = [*args, *named.values()]
        number = max((abs(other) for other in others if isinstance(other, int)), default=0)
        text = max((len(other) for other in others if isinstance(other, str)), default=0)
        if name in _ELEMENTWISE_FILTERS and isinstance(value, (str, list, tuple, dict, range)):
            self.step(len(value) // 2)
        match name:
            case "*":
                for many, count in ((value, others[0]), (others[0], value)):
                    if isinstance(many, (str, list, tuple)) and isinstance(count, int):
                        self.check_size((len(many) if isinstance(many, str) else self.measure(many)) * count)
            case "**":
                if isinstance(value, int) and abs(value) > 1 and number > MAX_INT_BITS:
                    raise _limit(f"makes a number of more than {MAX_INT_BITS} bits")
            case "%" if isinstance(value, str):
                self._check_format(value, others, _PERCENT, "%")
            case "format":
                self._check_format(value, others, _BRACES, "{}")
            case "center" | "ljust" | "rjust" | "zfill" | "batch" | "slice":
                self.check_size(self.measure(value) + number)
            case "indent":
                self.check_size(self.measure(value) + max(4, number, text) * (value.count("\n") + 1))
            case "join":  # of the filter, the value is what is joined; of the method, the argument
                items = others[0] if isinstance(value, str) and others else value
                gap = value if items is not value else "," * text
                self.check_size(self.measure(items) + len(gap) * (len(items) if hasattr(items, "__len__") else 0))
            case "replace":
                old, new = [*args, *named.values()][:2] if len(others) >= 2 else ("", "")
                if isinstance(old, str) and isinstance(new, str):
                    self.check_size(len(value) + value.count(old) * max(0, len(new) - len(old)))
            case "round" if number > MAX_DIGITS:
                raise _limit(f"rounds to more than {MAX_DIGITS} digits")
            case "sum" if any(isinstance(other, (list, tuple)) for other in others):
                raise SecurityError("only numbers can be summed up")
            case "strip" | "lstrip" | "rstrip" | "trim" | "split" | "rsplit" | "partition" | "rpartition":
                self._check_search(value, text)
            case "find" | "rfind" | "index" | "rindex" | "count":
                self._check_search(value, text)

    def _check_format(self, text: str, values: list[Any], allowed: re.Pattern[str], marks: str) -> None:
        fields = len(allowed.findall(text))
        if any(mark in allowed.sub("", text) for mark in marks):
            raise SecurityError(f"the format {text[:80]!r} is not supported")
        self.check_size(len(text) + fields * (1000 + self.measure(values)))

    def _check_search(self, value: Any, length: int) -> None:
        """Each character of one text may be compared with each of the other."""
        if isinstance(value, str):
            self.step(len(value) * length // 1000)


def _limit(what: str) -> ModelFileError:
    return ModelFileError(
        f"the chat template {what}", hint="the messages are too long for it, or the template is faulty or hostile"
    )
