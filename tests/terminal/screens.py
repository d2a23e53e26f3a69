"""The command line's own console, whose output is kept."""

from __future__ import annotations

import io

from rich.console import Console

from nextword.terminal.console import make_console


def screen(width: int = 80) -> Console:
    """What the views print to, so wide."""
    console = make_console()
    console.file, console.width = io.StringIO(), width
    return console
