"""What a pass of training reads, and how often: the weights of the sources as a list of files.

python recipes/default_model/mixture.py --corpus build/default_model/corpus     # bytes a pass, by source
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from archives import RecipeError, ends
from corpus_sources import SOURCES
from documents import stable_number

WEIGHTS = {
    **{source.name: (0.3, 0.0) for source in SOURCES if source.trained},  # manuals, tax law
    "written-ko": (2.0, 2.0),
    "written-ko-polite": (1.0, 1.0),
    "wikipedia-ko": (0.5, 0.1),
    "written-en": (3.0, 3.0),
    "generated-en": (1.0, 1.0),
    "tatoeba": (1.0, 1.0),
    "wordnet": (0.5, 0.25),
    "recipes": (0.25, 0.1),
    "austen": (0.1, 0.0),
    "alice": (1.0, 0.0),
    "bible": (0.05, 0.0),
    "factbook": (0.25, 0.0),
    "moby-dick": (0.1, 0.0),
    "shakespeare": (0.3, 0.05),
    "law": (1.0, 0.0),
}
"""How often a pass of the first stage of training reads a source, and one of the second; below 1, the share of it.

Less than half a document is none: so eight of the manuals, of one document each, are not read.
"""


def sources_of(corpus: Path) -> dict[str, dict[str, Any]]:
    """Returns what `provenance.json` says of every source.

    Raises:
        RecipeError: There is no corpus.
    """
    if not (corpus / "provenance.json").exists():
        raise RecipeError(f"{corpus} holds no corpus\nhint: python recipes/default_model/corpus.py builds it")
    sources: dict[str, dict[str, Any]] = json.loads((corpus / "provenance.json").read_text(encoding="utf-8"))["sources"]
    return sources


def files_of(name: str, entry: dict[str, Any], corpus: Path) -> list[Path]:
    """Returns the files of a source that are trained on."""
    folder = corpus / "train/everyday" / entry["language"] / name
    if folder.exists():
        return sorted(folder.glob("*.txt"))
    return sorted((corpus / "train" / entry["language"]).glob("*.txt" if name == "shakespeare" else f"{name}-*.txt"))


def repeated(files: list[Path], weight: float) -> list[Path]:
    """Returns files as often as their weight says; of its fraction, the files that have the smallest stable numbers."""
    order = sorted(files, key=lambda file: stable_number(f"{file.parent.name}/{file.name}"))
    return files * int(weight) + sorted(order[: round(len(files) * (weight % 1))])


def mixture(corpus: Path, last: bool = False) -> dict[str, list[Path]]:
    """Returns the files that a pass reads, by source.

    Args:
        corpus: What `corpus.py` built.
        last: Whether it is a pass of the second stage.

    Raises:
        RecipeError: There is no corpus, or only a part of it.
    """
    sources = sources_of(corpus)
    weights = {name: WEIGHTS[name][last] for name in sources if name in WEIGHTS}  # GIMP's manual is kept to test with
    files = {name: files_of(name, sources[name], corpus) for name, weight in weights.items() if weight}
    if missing := [name for name in WEIGHTS if name not in weights or files.get(name) == []]:
        raise RecipeError(f"{corpus} has no text of {', '.join(missing)}\nhint: build it again")
    found = {name: repeated(files[name], weights[name]) for name in files}
    return {name: chosen for name, chosen in found.items() if chosen}


def main() -> None:
    """Prints what a pass reads.

    Raises:
        RecipeError: There is no corpus, or only a part of it.
    """
    parser = argparse.ArgumentParser(description="Show what a pass of training reads.")
    parser.add_argument("--corpus", type=Path, default=Path("build/default_model/corpus"))
    parser.add_argument("--last", action="store_true", help="a pass of the end of training")
    options = parser.parse_args()
    read = mixture(options.corpus, options.last)
    sizes = {name: sum(file.stat().st_size for file in files) for name, files in read.items()}
    for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        print(f"{size:>12,}  {name}")
    print(f"{sum(sizes.values()):>12,}  together")


if __name__ == "__main__":
    sys.exit(ends(main))
