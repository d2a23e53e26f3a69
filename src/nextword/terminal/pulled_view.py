"""Pulled models, and those that can be pulled, as lines."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from nextword.files.sources.catalogue import Entry
from nextword.files.sources.pulled import Pulled


def pulled_line(pulled: Pulled) -> Text:
    """Name, size, licence and origin of a model."""
    origin = pulled.origin
    facts = f"{megabytes(pulled.size)}, licence {origin.licence}, {origin.kind} {origin.address} {origin.revision}"
    return Text.assemble((pulled.name, "bold"), ": ", facts)


def show_pulled(console: Console, pulled: Iterable[Pulled], catalogue: Iterable[Entry]) -> None:
    """What the catalogue holds, then what was pulled, each with its path."""
    console.print(Text("can be pulled by name; every other hub id (org/name) can be, too", style="dim"))
    for entry in catalogue:
        facts = f"{entry.summary} ({megabytes(entry.packaged.size)}, {entry.licence})"
        console.print(Text.assemble("  ", (entry.name, "bold"), ": ", facts), soft_wrap=True)
    console.print(Text("\npulled", style="dim"))
    nothing = True
    for model in pulled:
        nothing = False
        console.print(Text("  ").append_text(pulled_line(model)), soft_wrap=True)
        console.print(Text(f"    {model.model}"), soft_wrap=True)
    if nothing:
        console.print(Text("  nothing yet"))


def megabytes(size: int) -> str:
    """A number of bytes to read."""
    return f"{size / 1e6:,.1f} MB"
