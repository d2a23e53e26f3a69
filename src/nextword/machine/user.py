"""Whose account this process runs under, as far as it has one: in a container it may have no name and no home."""

from __future__ import annotations

import os
from pathlib import Path


def home_directory() -> Path | None:
    """The user's home; None where neither HOME nor the system names one."""
    try:
        if os.environ.get("HOME") == "":  # as if it were not set
            import pwd  # noqa: PLC0415  Windows has none

            return Path(pwd.getpwuid(os.getuid()).pw_dir)
        return Path.home()
    except (ImportError, KeyError, RuntimeError):
        return None


def abbreviate_home(path: Path) -> str:
    """A path as people write it: `~/...` where it lies in the user's home."""
    home = home_directory()
    inside = home is not None and home != Path(home.anchor) and path.is_relative_to(home)
    return f"~/{path.relative_to(home).as_posix()}" if home is not None and inside else str(path)
