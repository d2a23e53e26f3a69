"""Fonts for labels in any script: which installed ones have the glyphs, and what to write where none has.

matplotlib draws an empty box for a character without a glyph. Nothing here lets it come to that: such a character is
written as its code point, `U+AC00`, and the caller is told which ones they are.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from nextword.tokens.visible import code_point

BASE_FAMILY = "DejaVu Sans"
"""Comes with matplotlib; it has Latin, Greek, Cyrillic, arrows and the signs for blanks."""

_KOREAN = "다음 단어"

# Korean fonts of Debian, macOS, Windows and Google, asked before all others.
_PREFERRED = (
    "NanumGothic",
    "Nanum Gothic",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
    "NanumBarunGothic",
    "AppleGothic",
)
# Fonts that claim characters they do not show: placeholders, and pieces of mathematics at letters' places.
_NOT_FOR_TEXT = (".", "Last Resort", "LastResort", "Adobe Blank", "Adobe NotDef", "STIXNonUni", "STIXSize", "cm")


@dataclass(frozen=True)
class FontChoice:
    """The fonts that draw a text between them."""

    families: tuple[str, ...]
    """Family names in the order matplotlib is to try them, for a text's `fontfamily`."""
    missing: tuple[str, ...]
    """Characters that none of them has, sorted."""

    @property
    def note(self) -> str:
        """One line that says what is missing and what helps; empty if nothing is missing."""
        if not self.missing:
            return ""
        shown = ", ".join(code_point(character) for character in self.missing[:6])
        more = f" and {len(self.missing) - 6} more" if len(self.missing) > 6 else ""
        said = f"no installed font has {shown}{more}"
        names = [unicodedata.name(character, "") for character in self.missing]
        if any(name.startswith("HANGUL") and "FILLER" not in name for name in names):  # fillers are blank in any font
            return (
                f"{said}: install a Korean font, e.g. fonts-nanum (Debian), Noto Sans CJK or NanumGothic "
                "(macOS and Windows have one)"
            )
        return f"{said}: such characters are shown by their code points"


def choose_fonts(text: str) -> FontChoice:
    """The fewest installed fonts, in a fixed order, that have a glyph for each character of `text`.

    Args:
        text: Everything that will be drawn; line breaks need no glyph.
    """
    families, blank, wanted = [], set(), set(text) - {"\n"}
    for family in _in_order(installed_families()):
        held = {character for character in wanted if ord(character) in _code_points(family)}
        shown = {character for character in held if character == " " or _has_outline(family, character)}
        if shown or family == BASE_FAMILY:
            families.append(family)
            blank |= held - shown  # matplotlib takes the first font that has a character, even if it shows nothing
            wanted -= held
    return FontChoice(tuple(families), tuple(sorted(wanted | blank)))


def installed_families() -> set[str]:
    """The font families that matplotlib knows of, from the list it has already made."""
    from matplotlib import font_manager

    return {font.name for font in font_manager.fontManager.ttflist}


def _in_order(families: set[str]) -> list[str]:
    first = [BASE_FAMILY, *(family for family in _PREFERRED if family in families)]
    return first + sorted(family for family in families.difference(first) if not family.startswith(_NOT_FOR_TEXT))


@lru_cache(maxsize=1024)
def _code_points(family: str) -> frozenset[int]:
    from matplotlib import font_manager

    try:
        return frozenset(font_manager.get_font(_path(family)).get_charmap())
    except (ValueError, OSError, RuntimeError):  # gone since matplotlib made its list, or nothing FreeType can open
        return frozenset()


def _has_outline(family: str, character: str) -> bool:
    """Whether something is drawn: fillers are blank, and in colour fonts (emoji) a glyph may be a mere picture."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(_path(family))
        font.set_size(12, 72)
        font.load_char(ord(character))
        return len(font.get_path()[0]) > 0
    except (ValueError, OSError, RuntimeError):
        return False


def _path(family: str) -> str:
    """The file of the family's regular font; not `findfont`, which complains of families that have none."""
    from matplotlib import font_manager

    def distance(font: font_manager.FontEntry) -> tuple[bool, bool, bool, str]:
        regular = font.weight in (400, "normal", "regular", "book")
        return font.style != "normal", not regular, font.stretch != "normal", font.fname

    fonts = [font for font in font_manager.fontManager.ttflist if font.name == family]
    return min(fonts, key=distance).fname


def korean_font() -> str:
    """The family that figures draw Korean with; empty if no installed one can."""
    chosen = choose_fonts(_KOREAN)
    return "" if chosen.missing else next((name for name in chosen.families if name != BASE_FAMILY), BASE_FAMILY)
