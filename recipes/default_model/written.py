"""Packs the text that was written for this project: it belongs to the recipe, so that nobody has to write it again.

    python recipes/default_model/written.py ko-home.txt ko-town.txt en-plain.txt

Files hold a paragraph a line; their names begin with the language. What is packed passed the sieve: `written/ko.txt.xz`
and `written/en.txt.xz` hold no paragraph twice, nor what the development set asks for.
"""

from __future__ import annotations

import lzma
import sys
from dataclasses import dataclass
from pathlib import Path

from archives import RecipeError, ends
from everyday_text import tidy
from sieve import Sieve

RECIPE = Path(__file__).parent
OWN = "MIT: written for this project, sentence by sentence, by AI assistants of its team"


@dataclass(frozen=True)
class Written:
    """A text that the recipe keeps.

    Attributes:
        name: Name of the source.
        language: "korean" or "english".
        file: Where it is, from this folder.
        licence: Its licence.
        polite: Whether it is read with polite endings too.
    """

    name: str
    language: str
    file: str
    licence: str
    polite: bool = False

    @property
    def path(self) -> Path:
        """The packed file."""
        return RECIPE / self.file


TEXTS = [
    Written("written-ko", "korean", "written/ko.txt.xz", OWN, polite=True),
    Written("written-en", "english", "written/en.txt.xz", OWN),
    # Last, so that of two sentences alike the one written for the project stays.
    Written("generated-en", "english", "generated.txt.xz", "Apache-2.0: written by SmolLM2-135M-Instruct"),
]


def read(path: Path) -> list[str]:
    """Returns the paragraphs of a packed file."""
    return lzma.decompress(path.read_bytes()).decode("utf-8").splitlines()


def pack(paragraphs: list[str], path: Path) -> None:
    """Writes a packed file, the same bytes for the same paragraphs."""
    text = "".join(f"{paragraph}\n" for paragraph in paragraphs)
    path.write_bytes(lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))


def main(files: list[Path], folder: Path) -> None:
    """Adds files to what is packed, each to its language.

    Raises:
        RecipeError: There are none, or the name of one begins with no language.
    """
    if not files or any(file.name[:3] not in {"en-", "ko-"} for file in files):
        raise RecipeError("name files to pack, each en-*.txt or ko-*.txt")
    folder.mkdir(exist_ok=True)
    for language in sorted({file.name[:2] for file in files}):
        sieve, packed = Sieve(), folder / f"{language}.txt.xz"
        lines = read(packed) if packed.exists() else []
        lines += [line for file in sorted(files) if file.name[:2] == language for line in open_lines(file)]
        kept = list(sieve.passed(lines))
        pack(kept, packed)
        print(f"{language}: {len(kept):,} paragraphs, {sieve.counts()}")


def open_lines(file: Path) -> list[str]:
    """Returns the paragraphs of a plain file."""
    return [text for line in file.read_text(encoding="utf-8").splitlines() if (text := tidy(line))]


if __name__ == "__main__":
    sys.exit(ends(lambda: main([Path(name) for name in sys.argv[1:]], RECIPE / "written")))
