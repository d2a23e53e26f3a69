"""Files as memory: pages are read when they are touched, and nothing is copied."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

from nextword.errors import ModelFileError


def map_file(path: Path) -> memoryview:
    """A file's bytes. They live as long as anything refers to them; what is written into them never reaches the file.

    Raises:
        ModelFileError: The file is missing, no file, or may not be read.
    """
    try:
        with path.open("rb") as file:
            empty = file.seek(0, os.SEEK_END) == 0  # which cannot be mapped
            return memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None


def release_pages(views: Iterable[memoryview]) -> None:
    """Gives the memory of mapped files back to the system; what of it is needed again is read again.

    Only for files that nobody has written into since they were mapped: that would be lost.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):  # the system takes them back on its own
        return
    for mapping in {id(view.obj): view.obj for view in views if isinstance(view.obj, mmap.mmap)}.values():
        mapping.madvise(mmap.MADV_DONTNEED)
