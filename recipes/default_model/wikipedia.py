"""Rebuilds plain Korean sentences from morphemes.

kollocate keeps sentences of the Korean Wikipedia as an analyser saw them, a word being `학교/NNG+에/JKM`. Kiwi joins
the morphemes again, spaces the words and scores what came out; only what it finds nothing odd in is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiwipiepy import Kiwi, Token

Morpheme = tuple[str, str, bool]  # (form, part of speech in Kiwi's names, is a blank before it)

# The parts of speech of Kkma, the analyser, that Kiwi calls otherwise.
_TAGS = {
    "NNM": "NNB",
    "VXV": "VX",
    "VXA": "VX",
    "MDT": "MM",
    "MDN": "MM",
    "MAC": "MAJ",
    "JKM": "JKB",
    "JKI": "JKV",
    "EPH": "EP",
    "EPT": "EP",
    "EPP": "EP",
    "ETD": "ETM",
    "OL": "SL",
    "ON": "SN",
    "XPV": "XPN",
}
_FINALS = str.maketrans("ㄱㄴㄹㅁㅂ", "\u11a8\u11ab\u11af\u11b7\u11b8")  # letters that close the syllable before them
_ATTACHED = re.compile("J|E|XS|VCP")  # never begins a word
_UNFIT = frozenset({"SS", "SW", "SO", "SE", "OH", "UN", "EMO"})  # quotations, formulas, signs, Chinese characters
_COUNTED = re.compile(
    r"(?<=\d) (?=(?:세기|년대?|월|일|만|억|조|천|회|차|명|개월?|번|위|세|시간?|분|초|도|권|장|편|곳|대|층|호|배|점|쪽"
    r"|미터|킬로미터|달러|원|톤|주년?|종|마리|여)(?:[^가-힣]|[에은는이가을를의도과와로부까간동]|$))"
)
# Nouns of one syllable that stand alone behind another noun.
_SHORT_NOUNS = frozenset(
    "때말뒤앞안밖옆속위끝일법책집물길땅눈손왕글곡꽃돈몸밤밥배봄불비빛뼈산삶새색섬성소숲술시신쌀씨알약옷용입잎잔전점주죄줄중짝차축"
    "춤층침칼컵코탑털틀팀판팔편폭표풀피한해핵향혀형호힘값강개골공관국군굴귀등목벽별병문면못발방간내외후당겉곁낮날달돌들떡뜻몫맛맨멋"
)
BATCH = 2000
LEAST_SCORE = -3.0  # natural logarithm of Kiwi's probability, a character
LEAST_WORD_SCORE = -17.0  # of the least probable morpheme: below are names that few sentences have
UNKNOWN = frozenset({2, 3})  # what Kiwi's dictionary numbers a noun and a name that are not in it


def morphemes(line: str) -> list[Morpheme]:
    """Reads one analysed sentence, less what stands in brackets.

    Returns:
        Its morphemes as Kiwi names them, none where the line is no whole and ordinary sentence.
    """
    found: list[Morpheme] = []
    depth = 0
    for word in line.split(" "):
        blank = True
        for part in word.split("+"):
            form, _, tag = part.rpartition("/")
            if tag == "SS" and form in "()":
                depth += 1 if form == "(" else -1
                if depth < 0:
                    return []
            elif depth == 0:
                if not form or tag in _UNFIT or (tag == "SP" and form not in ",·"):
                    return []
                tag = _TAGS.get(tag, tag[:2] if tag[:2] in {"EF", "EC"} else tag)
                tag = "SN" if tag == "NR" and form[0].isdigit() else tag
                attached = tag[0] in "EJ"
                form = form.translate(_FINALS) if attached else form
                found.append((form, tag, blank and not _ATTACHED.match(tag) and tag not in {"SF", "SP"}))
                blank = False
    words = sum(blank for *_, blank in found)
    ends = sum(tag == "SF" for _, tag, _ in found)
    whole = ends == 1 and [tag for _, tag, _ in found[-2:]] == ["EF", "SF"] and depth == 0
    if not whole or not 4 <= words <= 25 or _ATTACHED.match(found[0][1]) or found[0][1] in {"NNB", "SP"}:
        return []
    if found[0][1] == "SN" and found[1][1] != "NNB":
        return []  # the second half of a number that was taken for two sentences
    return found


def torn(text: str, tokens: list[Token]) -> bool:
    """Says whether a syllable stands alone behind a noun, as the last one of a word that was torn does."""
    pairs = pairwise(tokens)
    return any(
        before.tag in {"NNG", "NNP", "XSN"}
        and token.tag in {"NNG", "NNP", "XSN", "NR"}
        and len(token.form) == 1
        and token.form not in _SHORT_NOUNS
        and text[token.start - 1] == " "
        for before, token in pairs
    )


def mended(text: str, tokens: list[Token]) -> str:
    """Sets blanks where Kiwi leaves them out against the rules: before an auxiliary 하다 that is not 어하다."""
    blanks = [
        token.start
        for before, token in pairwise(tokens)
        if (token.form, token.tag) == ("하", "VX")
        and not (before.tag == "EC" and before.form in {"어", "아", "여"})
        and text[token.start - 1] != " "
    ]
    for place in reversed(blanks):
        text = f"{text[:place]} {text[place:]}"
    text = re.sub(" ?· ?", "·", text).replace("하았", "했").replace("하아 ", "해 ")
    return _COUNTED.sub("", re.sub(r"(?<![가-힣])제 (?=\d)", "제", text))


def plain(kiwi: Kiwi, lines: list[str]) -> Iterator[str]:
    """Rebuilds the sentences that come out right."""
    joined = [kiwi.join(found) for found in map(morphemes, lines) if found]
    spaced = list(kiwi.space(joined, reset_whitespace=True))
    for text, results in zip(spaced, kiwi.analyze(spaced), strict=True):
        tokens, score = results[0]
        words = [token for token in tokens if token.tag in {"NNG", "NNP"}]
        odd = any(token.id in UNKNOWN or token.score < LEAST_WORD_SCORE for token in words)
        if score >= LEAST_SCORE * len(text) and not odd and not torn(text, tokens):
            yield mended(text, tokens)


def sentences(index: Path) -> Iterator[str]:
    """Reads the sentences of kollocate's index.

    Args:
        index: The folder of the index.
    """
    from kiwipiepy import Kiwi  # noqa: PLC0415  what the recipe alone needs is imported where it is used
    from whoosh.index import open_dir  # noqa: PLC0415

    with open_dir(str(index)).reader() as reader:
        lines = [fields["analysis"] for fields in reader.all_stored_fields()]
    kiwi = Kiwi(num_workers=1)
    for start in range(0, len(lines), BATCH):
        yield from plain(kiwi, lines[start : start + BATCH])
