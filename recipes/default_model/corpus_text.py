"""Turn marked-up help pages and raw plays into clean paragraphs.

The cleaning half of `corpus.py`: nothing here knows where a text comes from.
"""

import html
import re
import unicodedata
from html.parser import HTMLParser

# An element whose start or end ends a paragraph. Everything else is inline and glues to its neighbours.
BLOCK = re.compile(
    "address|article|blockquote|body|br|caption|center|comment|d[dlt]|desc|div|example|figcaption|figure|form|h[1-6]|hr"
    "|item|li|list|listing|note|[ou]l|p|page|quote|section|steps|synopsis|t[dhr]|table|tbody|terms|thead|tree"
)
HEADING = re.compile("h[1-6]")
# Never prose: head matter, code, pictures, menus of links, and the credits of GNOME pages.
SKIPPED = re.compile("aside|code|footer|head|info|links|media|nav|noscript|pre|screen|script|style|svg|textarea")
SKIPPED_CLASS = re.compile(
    "docnav|embedded|footnotes|howtoget|indexterm|navfooter|navheader|programlisting|related|relatedbody|relatedtopics"
    "|screen|toc"
)
# Code inside one of these stays in its sentence; as a block of its own it goes.
SENTENCE = re.compile("p|h[1-6]|li|t[dh]|d[dt]|caption")
VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})
SWITCHES = frozenset({"switch", "switchinline"})

CONTROL = re.compile(r"[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_BLANKS = re.compile(r"[ \t\u00a0\u2002-\u200a\u202f\u3000]+")
_HANGUL = re.compile(r"[\u3130-\u318f\uac00-\ud7a3]")
_OLD_JAMO = re.compile(r"[\u1100-\u11ff]")  # only in lists of characters
# Particles that are never words of their own. A blank before one is a slip of the markup.
_PARTICLE = re.compile(
    r"(?<=[\w\"”’'»>)\]…]) +(?=(?:을|를|은|는|의|에|에서|에게|으로|로|와|부터|까지)(?:[\s.,)]|$))"
    r"|(?<=[A-Za-z0-9]) +(?=[과나] )"
)
# "을(를)" and its like: the form after a consonant, the form after a vowel.
_FORMS = {
    "은(는)": ("은", "는"),
    "는(은)": ("은", "는"),
    "이(가)": ("이", "가"),
    "가(이)": ("이", "가"),
    "을(를)": ("을", "를"),
    "를(을)": ("을", "를"),
    "과(와)": ("과", "와"),
    "와(과)": ("과", "와"),
}
_EITHER = re.compile(r"([가-힣A-Za-z0-9])([\"”’')\]]?) ?(" + "|".join(map(re.escape, [*_FORMS, "(으)로"])) + ")")
# The many middle dots and waves of Korean typing.
_SIGNS = str.maketrans(dict.fromkeys("․∙‧･•ㆍ", "·") | dict.fromkeys("～∼〜", "~"))
_SENTENCE_END = re.compile(r"[.!?:;。…][\"”’')\]]*$")


class PageParser(HTMLParser):
    """Collects the paragraphs of one HTML or Mallard page."""

    def __init__(self) -> None:
        """Starts with an empty page."""
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[tuple[bool, str]] = []  # (is a heading, text)
        self._parts: list[str] = []
        self._heading = False
        self._block = ""  # the block that was opened last, if it is still open
        self._skipped = ""  # the element whose whole content is being left out
        self._depth = 0
        self._variant = False  # whether one of the wordings of a LibreOffice switch has been taken

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a paragraph, or begins to skip an element."""
        if self._skipped:
            self._depth += tag == self._skipped
            return
        attributes = dict(attrs)
        classes = set((attributes.get("class") or "").split())
        if classes & SWITCHES:
            self._variant = False
        if "hidden" in attributes:
            # LibreOffice writes the wordings for each system and program side by side and shows one of them.
            if self._variant or "MAC" in classes:
                self._skipped, self._depth = tag, 1
                return
            self._variant = True
        inline_code = tag == "code" and SENTENCE.fullmatch(self._block)
        skipped = SKIPPED.fullmatch(tag) or any(map(SKIPPED_CLASS.fullmatch, classes))
        if skipped and tag not in VOID and not inline_code:
            self._skipped, self._depth = tag, 1
        elif BLOCK.fullmatch(tag):
            self.end_paragraph()
            self._block, self._heading = tag, HEADING.fullmatch(tag) is not None
        elif tag == "key" and self._parts and self._parts[-1] == "\uffff":
            self._parts[-1] = "+"  # two keys that are pressed together
        elif tag == "gui" and self._parts and self._parts[-1] == "\uffff":
            self._parts[-1] = " > "  # the next step of a menu path

    def handle_endtag(self, tag: str) -> None:
        """Closes a paragraph, or ends the skipping."""
        if self._skipped:
            self._depth -= tag == self._skipped
            if self._depth == 0:
                self._skipped = ""
        elif BLOCK.fullmatch(tag):
            self.end_paragraph()
            self._block = ""
        elif tag in {"key", "gui"}:
            self._parts.append("\uffff")  # a mark that the next start tag, if it is a neighbour, replaces

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Marks an empty link: Mallard shows the title of another page there, which is not at hand."""
        if tag in {"link", "code"} and not self._skipped:
            self._parts.append("\ufffe")
        else:
            super().handle_startendtag(tag, attrs)

    def handle_data(self, data: str) -> None:
        """Adds text to the open paragraph."""
        if self._skipped:
            return
        if self._parts and self._parts[-1] == "\uffff" and not data.strip():
            return  # white space between two keys
        self._parts.append(data)

    def end_paragraph(self) -> None:
        """Moves the open paragraph, if it holds anything, to the finished ones."""
        text = "".join(self._parts).replace("\uffff", "")
        text = clean_line(re.sub(r" ?\([\ufffe,\s]*\)", "", text) if "\ufffe" in text else text)
        if text and "\ufffe" not in text:
            self.paragraphs.append((self._heading, text))
        self._parts, self._heading = [], False


def clean_line(text: str) -> str:
    """Normalises one paragraph to a single clean line."""
    text = html.unescape(text).replace("\n", " ").replace("\r", " ").lstrip("@")
    text = CONTROL.sub("", unicodedata.normalize("NFC", text.translate(_SIGNS)))
    text = _BLANKS.sub(" ", text).strip()
    text = re.sub(r" +([,.;:!?)\]”](?:\s|$))", r"\1", text)  # no blank before a closing mark
    text = re.sub(r"(?<=[(\[“]) +", "", text)  # nor after an opening one
    text = re.sub(r"(?<=[가-힣]) ?\(\s*\)", "", text)  # brackets around a picture
    text = re.sub(r"(?<=[가-힣]다\.)(?=[가-힣])|(?<=[①-⑳])(?=[가-힣])", " ", text)  # a blank that was forgotten
    text = re.sub(r"^(.{4,}) \1$", r"\1", text)  # said twice, once for each of two programs
    return _EITHER.sub(choose_particle, _PARTICLE.sub("", text))


def choose_particle(match: re.Match[str]) -> str:
    """Turns the "을(를)" of a translated template into the one form that fits the word before it."""
    last, marks, sign = match.groups()
    if "가" <= last <= "힣":
        final = (ord(last) - ord("가")) % 28  # 0: the syllable ends in a vowel; 8: in ㄹ
    else:
        # How a Latin letter or a digit at the end of a word is mostly read in Korean.
        final = 8 if last in "lrLR178" else 4 if last in "mnMN036" else 0
    if sign == "(으)로":
        return last + marks + ("로" if final in {0, 8} else "으로")
    closed, opened = _FORMS[sign]
    return last + marks + (closed if final else opened)


def hangul_share(text: str) -> float:
    """Returns the share of Hangul among the letters of a text."""
    letters = sum(character.isalpha() for character in text)
    return len(_HANGUL.findall(text)) / letters if letters else 0.0


def page_paragraphs(page: str, start: str = "", end: str = "") -> list[tuple[bool, str]]:
    """Strips a page of its markup.

    Args:
        page: The HTML or Mallard source.
        start: A string with which the content begins; before it is navigation.
        end: A string with which the content ends.

    Returns:
        Pairs of (is a heading, paragraph).
    """
    page = page[page.find(start) :] if start and start in page else page
    page = page[: page.find(end)] if end and end in page else page
    if "projectmallard.org" in page:
        # Mallard calls its headings titles, which HTML keeps for the window's title and reads without markup.
        page = re.sub(r"<(/?)title\b", r"<\1h2", page)
    parser = PageParser()
    parser.feed(page)
    parser.close()
    parser.end_paragraph()
    return parser.paragraphs


def korean_prose(paragraphs: list[tuple[bool, str]], seen: set[str], least_share: float = 0.3) -> list[str]:
    """Keeps the paragraphs that are Korean prose and have not been seen.

    Args:
        paragraphs: Pairs of (is a heading, paragraph).
        seen: Every paragraph kept so far, in any source; grows.
        least_share: The least share of Hangul among the letters.

    Returns:
        The paragraphs to keep. A heading stays only if something follows it.
    """
    kept: list[str] = []
    heading = ""
    for is_heading, text in paragraphs:
        if hangul_share(text) < least_share or _OLD_JAMO.search(text) or "\ufffd" in text:
            heading = "" if is_heading else heading
        elif is_heading:
            heading = text
        elif text not in seen and (len(text) >= 25 or (len(text) >= 10 and _SENTENCE_END.search(text))):
            # Shorter scraps are cells of tables and labels of buttons.
            seen.add(text)
            if heading and heading != text:
                kept.append(heading)
            kept.append(text)
            heading = ""
    return kept


def unwrap_bill(text: str) -> list[tuple[bool, str]]:
    """Rejoins the lines of a parliamentary bill, which were cut at the width of a printed page.

    A line that ends within a word has no blank at its end, so joining the lines as they are restores the words.
    The table that compares old and new wording, and what follows it, is left out: its columns are interleaved.
    """
    body = text[max(text.find("제안이유"), 0) :]
    body = re.split(r"신\s*[·ㆍ]\s*구\s*조\s*문\s*대\s*비\s*표", body)[0]
    paragraphs: list[str] = []
    for line in body.splitlines():
        if not line.strip() or re.fullmatch(r"\s*-\s*\d+\s*-\s*", line):
            continue
        if re.match(r"법률\s+제\s+호", line):
            continue
        starts = re.match(r"\s{2,}|제\d+조|법률\s+제|부\s+칙|[가-하]\.\s|\d+\.\s|[①-⑮]", line)
        ended = not paragraphs or re.search(r"(?:[.:]|이유|내용|법률안|칙)\s*$", paragraphs[-1])
        if starts or ended:
            paragraphs.append(line.lstrip())
        else:
            paragraphs[-1] += line
    return [(False, clean_line(paragraph)) for paragraph in paragraphs]


_RULE = re.compile(r"[_*\-= ]{5,}")  # a line drawn across the page


def clean_play(data: bytes) -> str:
    """Cleans the text of one play or poem.

    Deep indentation, which shows where a shared line of verse goes on, is taken off: it would cost many tokens.

    Raises:
        ValueError: If a notice of Project Gutenberg is left, which must not be learnt.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = [CONTROL.sub("", _BLANKS.sub(" ", line)).strip() for line in text.split("\n")]
    text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(line for line in lines if not _RULE.fullmatch(line)))
    # A dozen stage directions open with a brace and close with a bracket, or the other way round.
    text = re.sub(r"[{\[]([^\n{}\[\]]+)(?:\}|(?<=\w[.!?])\])", r"[\1]", text)
    if "gutenberg" in text.lower():
        raise ValueError("a licence notice is left in an English text")
    return unicodedata.normalize("NFC", text).strip() + "\n"
