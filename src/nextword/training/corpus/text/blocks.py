"""A source's bytes, unpacked, a block at a time; whether they are packed is told by how they begin, or by the name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from nextword.errors import TextError, missing_extra
from nextword.training.corpus.text.sources import Source, unreadable

BLOCK_BYTES = 1 << 20
_PACKED_BYTES = 4096  # read at once of a .zst file: a hostile one can grow 30,000-fold
_BEGINNINGS = {
    re.compile(rb"\x1f\x8b"): ".gz",
    re.compile(rb"\x28\xb5\x2f\xfd"): ".zst",
    re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"): ".bz2",
    re.compile(rb"\xfd7zXZ\x00"): ".xz",
}
_UNPACKERS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    ".gz": lambda packed: cast("BinaryIO", gzip.GzipFile(fileobj=packed)),
    ".bz2": lambda packed: cast("BinaryIO", bz2.BZ2File(packed)),
    ".xz": lambda packed: cast("BinaryIO", lzma.LZMAFile(packed)),  # noqa: SIM115  it is closed with what it reads
}


def read_blocks(source: Source) -> Iterator[bytes]:
    """The bytes of a source.

    Raises:
        TextError: It cannot be read, or is compressed and damaged.
        ConfigError: A package that it takes is not installed.
    """
    try:
        with source.open() as raw:
            peeking = io.BufferedReader(cast("io.RawIOBase", raw))
            begin, packed = peeking.peek(10), cast("BinaryIO", peeking)
            compression = next((one for mark, one in _BEGINNINGS.items() if mark.match(begin)), source.compression)
            if compression == ".zst":
                yield from _zstandard(packed, source.name)
            elif compression:
                yield from _blocks(_UNPACKERS[compression](packed))
            else:
                yield from _blocks(packed)
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise TextError(f"{source.name} is damaged: {error}") from None
    except OSError as error:
        raise unreadable(source.name, error) from None
    except _web_errors() as error:
        raise unreadable(source.name, error) from None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _zstandard(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise missing_extra("zstandard", "data", f"reading {name}") from None
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    whole = True
    try:
        while packed := file.read(_PACKED_BYTES):
            while packed:
                yield unpacker.decompress(packed)
                packed, whole = unpacker.unused_data, unpacker.eof
                if whole:  # another frame may follow
                    unpacker = zstandard.ZstdDecompressor().decompressobj()
    except zstandard.ZstdError as error:
        raise TextError(f"{name} is damaged: {error}") from None
    if not whole:
        raise TextError(f"{name} is damaged: it ends inside a compressed frame")


def _web_errors() -> tuple[type[Exception], ...]:
    """What fsspec lets through from the package that it reads https with, if that is in use."""
    return (sys.modules["aiohttp"].ClientError,) if "aiohttp" in sys.modules else ()
