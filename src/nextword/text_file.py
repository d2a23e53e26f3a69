"""Text in files, as other programs write it; and what may lie where the content of a file should be."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nextword.errors import ModelFileError

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/|/annex/objects/|(\.\./)*\.git/annex/objects/")
_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*+(?:<!--(?:(?!-->).)*+-->\s*+)*+<(!doctype html|html|head|body)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
"""Comments may come first; nothing in it is tried twice, so that many of them take no longer than they are long."""
_BEGINNING = 4096
FETCH_AGAIN = "fetch it again: the download is probably not complete"


def read_text(path: Path) -> str:
    """A text in UTF-8, or in UTF-16 or 32 as editors on Windows write it; a byte order mark is no part of it.

    Raises:
        ModelFileError: The file is missing, cannot be read, is no such text, or has something else in its place.
    """
    try:
        data = path.read_bytes()
        require_content(path, data)
        return data.decode(json.detect_encoding(data))
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ModelFileError(
            f"{path} cannot be read: line {line} is no {error.encoding.upper()}", hint="save it as UTF-8"
        ) from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None


def require_content(path: Path, data: bytes | memoryview) -> None:
    """Refuses what lies in a file's place when it was not fetched, or not all of it.

    Args:
        path: The file.
        data: Its content, or the beginning of it.

    Raises:
        ModelFileError: It is empty, a pointer of Git LFS or git-annex, or a web page.
    """
    beginning = bytes(data[:_BEGINNING])
    if not beginning:
        raise ModelFileError(f"{path} is damaged: it is empty", hint=FETCH_AGAIN)
    if pointer := _POINTER.match(beginning):
        program, command = ("git-annex", "git annex get") if b"annex" in pointer[0] else ("Git LFS", "git lfs pull")
        raise ModelFileError(
            f"{path} is a pointer of {program}, not the file itself", hint=f"{command}, where it was cloned, fetches it"
        )
    if _PAGE.match(beginning):
        raise ModelFileError(
            f"{path} is a web page, not the file itself", hint="fetch it again: the link was to a page about it"
        )
