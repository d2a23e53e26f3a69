"""Files -> documents: which files are meant, and the text in them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nextword.errors import ConfigError, TextError

SUFFIXES = (".txt", ".md")
GUESSES = ("utf_16_le", "utf_16_be", "cp949", "shift_jis", "gb18030", "big5", "cp1252", "cp1251")


@dataclass(frozen=True)
class Document:
    """One text, and where it came from."""

    name: str
    text: str


def read_documents(paths: Iterable[str | Path], encoding: str | None = None) -> list[Document]:
    """The documents in files and directories (their .txt and .md files, at any depth, in order of their names).

    Args:
        paths: Files and directories; one named twice is read twice.
        encoding: How the files are encoded; None is UTF-8, with or without a byte order mark.

    Raises:
        TextError: A path does not exist, a directory has no text, a file is empty or not in this encoding.
        ConfigError: There is no such encoding.
    """
    documents = [_read(file, encoding) for path in paths for file in _files(Path(path))]
    if not documents:
        raise TextError("no text was given", hint="name at least one file or directory")
    return documents


def _files(path: Path) -> list[Path]:
    try:
        exists, directory = path.exists(), path.is_dir()
    except OSError as error:  # a name that is too long, a directory that may not be entered
        raise TextError(f"{path} cannot be read: {error.strerror}") from None
    if not exists:
        raise TextError(f"{path} does not exist")
    if not directory:
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise TextError(f"{path} holds no text files", hint=f"files ending in {' or '.join(SUFFIXES)} are read")
    return files


def _read(path: Path, encoding: str | None) -> Document:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode(encoding or "utf-8").removeprefix("\ufeff")
        text.encode()
    except UnicodeDecodeError as error:
        raise _wrong_encoding(path, data, encoding or "UTF-8", error.start) from None
    except UnicodeEncodeError as error:  # UTF-7 can spell it
        raise TextError(f"{path} holds a lone surrogate at character {error.start:,}") from None
    except (LookupError, ValueError):
        raise ConfigError(f"there is no encoding {encoding!r}", hint="for example utf-8, utf-16, cp949") from None
    if encoding is None and text.count("\0") > len(text) // 10:
        raise _wrong_encoding(path, data, "UTF-8", data.index(0))
    text = text.replace("\r\n", "\n")
    if not text.strip():
        raise TextError(f"{path} is empty")
    return Document(str(path), text)


def _wrong_encoding(path: Path, data: bytes, expected: str, offset: int) -> TextError:
    guess = guess_encoding(data)
    hint = f"it looks like {guess}: --encoding {guess}" if guess else "name its encoding with --encoding, or repair it"
    if expected != "UTF-8" and _decodes(data, "utf-8"):
        hint = "it is UTF-8: leave --encoding out"
    return TextError(f"{path} is not {expected}: byte 0x{data[offset]:02X} at offset {offset:,}", hint=hint)


def guess_encoding(data: bytes) -> str | None:
    """The most likely encoding of bytes that are not UTF-8, or None: damaged UTF-8, or no text at all."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    damaged = data.decode("utf-8", errors="ignore")
    if len(damaged.encode()) > 0.99 * len(data) and "\0" not in damaged:
        return None
    candidates = [name for name in GUESSES if _decodes(data, name)]
    if "cp949" in candidates:
        share = _common_hangul(data.decode("cp949")[:100_000])
        if share > 0.5:
            return "cp949"
        if share < 0.1:  # Japanese, for one, looks like rare syllables only
            candidates.remove("cp949")
    try:
        from charset_normalizer import from_bytes
    except ModuleNotFoundError:  # it comes with the extra `train`
        return None
    best = from_bytes(data[:100_000], cp_isolation=candidates).best() if candidates else None
    return None if best is None else best.encoding.replace("_", "-")


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _common_hangul(text: str) -> float:
    """Share of the 2,350 usual Hangul syllables (KS X 1001) among the characters that are not ASCII."""
    foreign = [character for character in text if ord(character) > 127]
    usual = ("가" <= character <= "힣" and len(character.encode("euc_kr")) == 2 for character in foreign)
    return sum(usual) / max(1, len(foreign))
