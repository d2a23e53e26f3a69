"""Writes below the programs and commands of the pages what they print now.

    python -m tests.docs.refresh [PAGE...]     # such as start or teaching.ko; all of test_pages.PAGES if none is named

For when the default model has changed: read what it says before you commit it, and the sentences around it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

from nextword.cli import run
from tests.docs.sources import DOCS
from tests.docs.test_pages import COMMANDS, NOT_RUN, PAGES, PROGRAM, without_trailing_blanks
from tests.training.sample_text import write_text


def printed(program: str) -> str:
    """What a program prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program, {})  # noqa: S102  our own page
    return without_trailing_blanks(out.getvalue())


def answered(commands: str) -> str:
    """What the last of some commands prints."""
    said = ""
    for line in commands.splitlines():
        if not line.strip().startswith(NOT_RUN):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                status = run(shlex.split(line.replace("--minutes 1", "--minutes 0.1"), comments=True)[1:])
            if status:
                raise SystemExit(f"{line} ended with {status}")
            said = out.getvalue()
    return without_trailing_blanks(said)


def refresh(page: Path) -> None:
    """Replaces the blocks of text below programs and commands."""
    text = page.read_text(encoding="utf-8")
    found = sorted([*PROGRAM.finditer(text), *COMMANDS.finditer(text)], key=re.Match.start)
    parts, end = [], 0
    for match in found:
        says = (printed if match.re is PROGRAM else answered)(match[1])
        if match[2] is not None:
            parts += [text[end : match.start(2)], says, "\n"]
            end = match.end(2)
    page.write_text("".join([*parts, text[end:]]), encoding="utf-8")


def main() -> None:
    """Reads the command line; every page has a directory of its own, with the text that its commands read."""
    os.environ["COLUMNS"] = "80"
    for name in sys.argv[1:] or [f"{page}{suffix}" for page in PAGES for suffix in ("", ".ko")]:
        with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
            write_text(Path(directory)).rename("my.txt")
            refresh(DOCS / f"{name}.md")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
