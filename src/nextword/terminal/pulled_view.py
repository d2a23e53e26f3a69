"""Pulled models, and those that can be pulled, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from nextword.files.sources.catalogue import Entry
from nextword.files.sources.pulled import Pulled


def pulled_line(pulled: Pulled) -> Text:
    """Name, size, licence and origin of a model."""
    origin = pulled.origin
    facts = f"{megabytes(pulled.size)}, licence {origin.licence}, {origin.kind} {origin.address} {origin.revision}"
    return Text.assemble((pulled.name, "bold"), ": ", facts)


def show_pulled(console: Console, ships: tuple[str, int], catalogue: Iterable[Entry], pulled: Sequence[Pulled]) -> None:
    """What ships and what the catalogue holds, with sizes; then what was pulled, each with its path."""
    name, size = ships
    console.print(Text("ships with the package", style="dim"))
    line = Text.assemble("  ", (name, "bold"), f": 8 million parameters, English and Korean ({megabytes(size)}, MIT)")
    console.print(line, soft_wrap=True)
    console.print(Text("\ncan be pulled by name; every other hub id (org/name) can be, too", style="dim"))
    for entry in catalogue:
        facts = f"{entry.summary} ({megabytes(entry.packaged.size)}, {entry.licence})"
        console.print(Text.assemble("  ", (entry.name, "bold"), ": ", facts), soft_wrap=True)
    console.print(Text("\npulled", style="dim"))
    for model in pulled:
        console.print(Text("  ").append_text(pulled_line(model)), soft_wrap=True)
        console.print(Text(f"    {model.model}"), soft_wrap=True)
    if not pulled:
        console.print(Text("  nothing yet"))
    elif len(pulled) > 1:
        console.print(Text(f"  together {megabytes(sum(model.size for model in pulled))}"))
    if pulled:
        console.print(Text("  nextword pull --remove NAME takes one off the disk", style="dim"))


def megabytes(size: int) -> str:
    """A number of bytes to read."""
    return f"{size / 1e6:,.1f} MB"
