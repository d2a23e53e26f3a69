"""Bytes -> text, a block at a time; and what to say of bytes that are in another encoding."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from nextword.errors import ConfigError, TextError
from nextword.training.corpus.text.no_text import NoTextError

GUESSES = ("utf_16_le", "utf_16_be", "cp949", "shift_jis", "gb18030", "big5", "cp1252", "cp1251")
_SAMPLE_BYTES = 100_000


class EncodingError(TextError):
    """A text is not in the encoding that was asked for."""


def decode(blocks: Iterable[bytes], name: str, encoding: str | None) -> Iterator[str]:
    r"""Text without its byte order mark and with \n for \r\n, in pieces about as long as the blocks.

    Args:
        blocks: The bytes.
        name: Of the file, for errors.
        encoding: None is UTF-8.

    Raises:
        TextError: The bytes are not in this encoding; a tenth of them as UTF-8 is NUL, which no text is; or they
            spell half a character (a lone surrogate).
        ConfigError: There is no such encoding.
    """
    decoder = _decoder(encoding)
    offset = characters = nuls = 0
    first_nul: int | None = None
    held = ""
    for block, following in _with_next(blocks):
        try:
            text = decoder.decode(block, final=following is None)
            if encoding is not None:
                text.encode()
        except UnicodeDecodeError as error:
            # What went before was in this encoding: the sample for guessing begins where it is not.
            sample = error.object[error.start :] + (following or b"") if offset else block
            place = offset + len(block) - len(error.object) + error.start
            raise _wrong_encoding(name, sample, encoding, place, error.object[error.start], not following) from None
        except UnicodeEncodeError as error:  # UTF-7 can spell it
            raise TextError(f"{name} holds a lone surrogate at character {characters + error.start:,}") from None
        except ValueError:
            raise _no_encoding(encoding) from None
        if encoding is None:
            nuls += text.count("\0")
            if first_nul is None and nuls:
                first_nul = offset + block.index(0)
            if first_nul is not None and nuls > (characters + len(text)) // 10:
                raise _wrong_encoding(name, block, encoding, first_nul, 0, following is None)
        if characters == 0:
            text, characters = text.removeprefix("\ufeff"), len(text)
        else:
            characters += len(text)
        offset += len(block)
        text = (held + text).replace("\r\n", "\n")
        held = "\r" if following is not None and text.endswith("\r") else ""
        if text := text.removesuffix(held):
            yield text


def _decoder(encoding: str | None) -> codecs.IncrementalDecoder:
    try:
        b"a".decode(encoding or "utf-8")  # refuses codecs that make no text
    except UnicodeDecodeError:
        pass  # an encoding, but a byte is too few for it
    except (LookupError, ValueError):
        raise _no_encoding(encoding) from None
    try:
        return codecs.getincrementaldecoder(encoding or "utf-8")()
    except LookupError:
        raise _no_encoding(encoding) from None


def _no_encoding(encoding: str | None) -> ConfigError:
    return ConfigError(f"there is no encoding {encoding!r}", hint="for example utf-8, utf-16, cp949")


def _with_next(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    """Every block with the one that follows it, or None."""
    blocks = (block for block in blocks if block)
    block = next(blocks, None)
    while block is not None:
        following = next(blocks, None)
        yield block, following
        block = following


def _wrong_encoding(
    name: str, sample: bytes, encoding: str | None, offset: int, byte: int, complete: bool
) -> TextError:
    guess = guess_encoding(sample, complete=complete)
    hint = (
        f'it looks like {guess}: encoding="{guess}"' if guess else "name its encoding with encoding=..., or repair it"
    )
    if encoding is not None and _decodes(sample, "utf-8", complete):
        hint = "it is UTF-8: leave out encoding=..."
    why = f"is not {encoding or 'UTF-8'}: byte 0x{byte:02X} at offset {offset:,}"
    if not guess and b"\0" in sample:  # no text in any encoding
        return NoTextError(name, why, hint=hint)
    return EncodingError(f"{name} {why}", hint=hint)


def guess_encoding(data: bytes, *, complete: bool = True) -> str | None:
    """The most likely encoding of bytes that are not UTF-8, or None: damaged UTF-8, or no text at all.

    Args:
        data: The bytes, from the start of a character.
        complete: Whether they also end with one.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    damaged = data.decode("utf-8", errors="ignore")
    if len(damaged.encode()) > 0.99 * len(data) and "\0" not in damaged:
        return None
    candidates = [name for name in GUESSES if _decodes(data, name, complete)]
    if "cp949" in candidates:
        share = _common_hangul(data.decode("cp949", errors="ignore")[:_SAMPLE_BYTES])
        if share > 0.5:
            return "cp949"
        if share < 0.1:  # Japanese, for one, looks like rare syllables only
            candidates.remove("cp949")
    try:
        from charset_normalizer import from_bytes
    except ModuleNotFoundError:  # it comes with the extra `train`
        return None
    best = from_bytes(data[:_SAMPLE_BYTES], cp_isolation=candidates).best() if candidates else None
    return None if best is None else best.encoding.replace("_", "-")


def _decodes(data: bytes, encoding: str, complete: bool) -> bool:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=complete)
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _common_hangul(text: str) -> float:
    """Share of the 2,350 usual Hangul syllables (KS X 1001) among the characters that are not ASCII."""
    foreign = [character for character in text if ord(character) > 127]
    usual = ("가" <= character <= "힣" and len(character.encode("euc_kr")) == 2 for character in foreign)
    return sum(usual) / max(1, len(foreign))
