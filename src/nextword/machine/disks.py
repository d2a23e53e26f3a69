"""Room on disks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """Room on the disk of a directory."""

    purpose: str
    path: str
    free: int
    total: int


def disk(purpose: str, path: Path) -> Disk:
    """Room on a directory's disk; the directory need not be there yet."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(there)
    return Disk(purpose, str(path), usage.free, usage.total)
