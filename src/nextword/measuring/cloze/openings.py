"""Openings of sentences in a file: kind, opening and accepted next words, with tabs between."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nextword.errors import TextError
from nextword.text_file import read_text

_EXAMPLE = "everyday<TAB>I drank a cup of<TAB>tea|coffee"
FIELDS = ("kind", "opening", "accepted words")
STARTS = "~"
CONTINUES = "+"
_ONE_WORD = re.compile(r"\+?[\w'’]+~?|[^\w\s~]+")
"""A word as whole words are counted: letters, digits and apostrophes, or else punctuation."""
_WITHOUT_BLANKS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of scripts that set no blanks between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


@dataclass(frozen=True)
class Opening:
    """The beginning of a sentence, and what may come next."""

    group: str
    """Where it is from: a language, or the name of a file."""
    kind: str
    """What it asks for, such as `everyday` or `grammar`."""
    text: str
    """What the model reads."""
    accepted: tuple[str, ...]
    """Words that are right; one with `~` at its end stands for all words that begin so, one with `+` at its beginning
    goes on with the opening's last word without a blank."""

    def accepts(self, word: str) -> bool:
        """Whether a word is among the accepted ones; case makes no difference.

        Args:
            word: With the blank before it, if there is one: without it letters go on with the opening's last word.
        """
        whole, beginnings = self._completions if self._completes_word(word) else self._plain_accepted
        word = _plain(word)
        return word in whole or (bool(word) and word.startswith(beginnings))

    def _completes_word(self, word: str) -> bool:
        """Whether a word is the end of one that the opening begins."""
        last, first = self.text[-1:], word[:1]
        return last.isalnum() and first.isalnum() and not _WITHOUT_BLANKS.match(first)

    @cached_property
    def _plain_accepted(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """Whole words, and beginnings of words."""
        return _whole_and_beginnings(word for word in self.accepted if not word.startswith(CONTINUES))

    @cached_property
    def _completions(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """The same of what goes on with the opening's last word."""
        return _whole_and_beginnings(word[1:] for word in self.accepted if word.startswith(CONTINUES))


def _whole_and_beginnings(words: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    accepted = list(words)
    whole = frozenset(_plain(word) for word in accepted if not word.endswith(STARTS))
    return whole, tuple(_plain(word[:-1]) for word in accepted if word.endswith(STARTS))


def _plain(word: str) -> str:
    return unicodedata.normalize("NFC", word).strip().casefold()


def shipped_openings() -> list[Opening]:
    """The openings that come with nextword, in English and Korean."""
    folder = Path(__file__).parent
    return [opening for group in ("english", "korean") for opening in read_openings(folder / f"{group}.tsv")]


def read_openings(path: Path) -> list[Opening]:
    """The openings of a file, a line each; empty lines and lines that begin with `#` are passed over.

    Raises:
        ModelFileError: The file cannot be read.
        TextError: A line has not three fields, one of them is empty, what is accepted is no word, an opening stands
            twice, or there is none.
    """
    found: dict[str, Opening] = {}
    lines: dict[str, int] = {}
    text = "" if path.is_file() and path.stat().st_size == 0 else read_text(path)
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{path}, line {number}"
        fields = [unicodedata.normalize("NFC", field).strip() for field in line.split("\t")]
        if len(fields) != len(FIELDS):
            raise TextError(
                f"{place}: {len(fields)} field{'s' * (len(fields) != 1)}, there must be three",
                hint=f"kind, opening, accepted words, with tabs between: {_EXAMPLE}",
            )
        for name, field in zip(FIELDS, fields, strict=True):
            if not field:
                raise TextError(
                    f"{place}: the {name} {'is' if name != FIELDS[2] else 'are'} empty", hint=f"a line is {_EXAMPLE}"
                )
        kind, beginning, words = fields
        accepted = tuple(word.strip() for word in words.split("|"))
        if any(not word.removesuffix(STARTS).removeprefix(CONTINUES) for word in accepted):
            raise TextError(f"{place}: one of the accepted words is empty", hint="words stand between bars: tea|coffee")
        if odd := next((word for word in accepted if not _ONE_WORD.fullmatch(word)), None):
            raise TextError(
                f"{place}: the accepted word {odd!r} is not one word",
                hint="letters, digits and apostrophes; ~ behind them: all that begin so, + before: no blank",
            )
        if beginning in found:
            raise TextError(f"{place}: the opening stands in line {lines[beginning]} already", hint="put them together")
        found[beginning] = Opening(path.stem, kind, beginning, accepted)
        lines[beginning] = number
    if not found:
        raise TextError(f"{path} has no openings", hint=f"a line is {_EXAMPLE}")
    return list(found.values())
