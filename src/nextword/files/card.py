"""A model's card: Markdown, with facts in YAML before it, of which only the languages and the licence are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_FRONT = re.compile(r"\A---\r?\n(.*?)^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)
_LANGUAGE = re.compile(r"^language:[ \t]*(.*(?:\n[ \t]*-[^\n]*)*)", re.MULTILINE)
_LICENCE = re.compile(r"^license:[ \t]*([^\s#]+)", re.MULTILINE)
_CODE = re.compile(r"[A-Za-z]{2,}(?:-[A-Za-z0-9]+)*")  # or a word: `code`, `multilingual`
_COMMENT = re.compile(r"(?:^|\s)#.*")
_NAMES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "pt": "Portuguese", "ru": "Russian", "th": "Thai", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip


def card_text(card: str) -> str:
    """The card without the facts before it."""
    return _FRONT.sub("", card, count=1).strip()


def card_lead(card: str) -> str:
    """What the card says before its second heading."""
    lines = card_text(card).splitlines()
    headings = [number for number, line in enumerate(lines) if re.match(r"#{1,6} ", line)]
    later = [number for number in headings if number > 0]
    return "\n".join(lines[: later[0]] if later else lines).strip()


def licence_of(card: str) -> str:
    """The licence that the card's facts name; `unknown` if they name none."""
    front = _FRONT.match(card)
    found = _LICENCE.search(front[1]) if front else None
    return found[1].strip("\"'") if found else "unknown"


def languages_of(card: str, provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """The languages that a model was made for, as its file or its card says; empty if neither does."""
    said = provenance.get("languages")
    if not isinstance(said, list):
        front = _FRONT.match(card)
        found = _LANGUAGE.search(front[1]) if front else None
        said = _CODE.findall(_COMMENT.sub("", found[1])) if found else []
    return tuple(_NAMES.get(str(code).lower(), str(code)) for code in said)
