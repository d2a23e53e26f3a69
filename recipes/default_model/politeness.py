"""Says plain Korean politely: 갔다 becomes 갔어요 or 갔습니다.

The written text leans to the plain style, in which nobody speaks to a stranger. Kiwi finds the verb that ends a
sentence and joins it with another ending, so stems change as they must (돕다, 도와요, 돕습니다).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from documents import stable_number

if TYPE_CHECKING:
    from kiwipiepy import Kiwi, Token

_PLAIN = frozenset({"다", "\u11ab다", "는다"})
_FORMAL = ("\u11b8니다", "EF")
_VERBS = ("VV", "VA", "VX", "VCP", "VCN", "XSV", "XSA")


def ending(body: list[tuple[str, str]], formal: bool) -> list[tuple[str, str]]:
    """Puts a polite ending to the morphemes of a verb."""
    if formal:
        return [*body, _FORMAL]
    if body[-1] in {("시", "EP"), ("으시", "EP")}:
        return [*body[:-1], (body[-1][0][:-1] + "세요", "EF")]
    return [*body, ("에요" if body[-1][1] in {"VCP", "VCN"} else "어요", "EF")]


def closes_in_vowel(syllable: str) -> bool:
    """Says whether a Korean syllable has no final consonant."""
    return "가" <= syllable <= "힣" and (ord(syllable) - ord("가")) % 28 == 0


def polite(kiwi: Kiwi, text: str, tokens: list[Token], formal: bool) -> str | None:
    """Returns a paragraph with polite endings, what is said within quotation marks apart.

    Returns:
        None where a sentence ends otherwise, or where Kiwi does not build the plain verb as it stands.
    """
    parts: list[str] = []
    last = 0
    for i, token in enumerate(tokens):
        if token.tag != "SF" or text.count('"', 0, token.start) % 2:
            continue
        end = tokens[i - 1]
        if i < 2 or end.tag != "EF" or end.form not in _PLAIN:
            return None
        first = i - 2
        while first and tokens[first].tag == "EP":
            first -= 1
        stem, stop = tokens[first], end.start + end.len
        if not stem.tag.startswith(_VERBS) or kiwi.join(tokens[first:i]) != text[stem.start : stop]:
            return None
        body = [(morpheme.form, morpheme.tag) for morpheme in tokens[first : i - 1]]
        said = kiwi.join(ending(body, formal))
        if said == "이에요" and closes_in_vowel(text[stem.start - 1]):
            said = "예요"
        parts += [text[last : stem.start], said]
        last = stop
    return "".join([*parts, text[last:]]) if parts else None


def politely(texts: Iterable[str]) -> Iterator[str]:
    """Yields the paragraphs that can be said politely; whether with 어요 or with 습니다 depends on the text alone."""
    from kiwipiepy import Kiwi  # noqa: PLC0415  what the recipe alone needs is imported where it is used

    kiwi, lines = Kiwi(num_workers=1), list(texts)
    for text, tokens in zip(lines, kiwi.tokenize(lines), strict=True):
        if said := polite(kiwi, text, tokens, formal=stable_number(text) % 2 == 0):
            yield said
