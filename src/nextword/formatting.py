"""Names and counts as they are told."""

from __future__ import annotations

import re

_LONE = re.compile("[\ud800-\udfff]")  # how Python keeps the bytes of a file name that are not UTF-8


def escape_surrogates(text: object) -> str:
    r"""A text or path in which the bytes that are not UTF-8 stand as `\xb0`; anything else is left as it is."""
    return _LONE.sub(_escaped, str(text))


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def pluralize(count: int, things: str) -> str:
    """So many things: `1 step`, `2,000 steps`; `things` is the plural, which ends in s."""
    return f"{count:,} {things.removesuffix('s') if count == 1 else things}"
