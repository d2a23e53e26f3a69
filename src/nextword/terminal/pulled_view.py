"""Pulled models, and those that can be pulled, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from nextword.files.sources.catalogue import Entry
from nextword.files.sources.pulled import Pulled
from nextword.terminal.console import size as in_bytes


def pulled_line(pulled: Pulled) -> Text:
    """Name, size, licence and origin of a model."""
    origin = pulled.origin
    facts = f"{in_bytes(pulled.size)}, licence {origin.licence}, {origin.kind} {origin.address} {origin.revision}"
    return Text.assemble((pulled.name, "bold"), ": ", facts)


@dataclass(frozen=True)
class Shipped:
    """The model that ships with the package, as its own files describe it."""

    name: str
    parameters: int
    languages: Sequence[str]
    licence: str
    size: int
    """Bytes of all its files."""


def show_pulled(console: Console, ships: Shipped, catalogue: Iterable[Entry], pulled: Sequence[Pulled]) -> None:
    """What ships and what the catalogue holds, with sizes; then what was pulled, each with its path."""
    console.print(Text("ships with the package", style="dim"))
    facts = (
        f"{ships.parameters / 1e6:.0f} million parameters, {' and '.join(ships.languages)} "
        f"({in_bytes(ships.size)}, {ships.licence})"
    )
    console.print(Text.assemble("  ", (ships.name, "bold"), ": ", facts), soft_wrap=True)
    console.print(Text("\ncan be pulled by name; every other hub id (org/name) can be, too", style="dim"))
    for entry in catalogue:
        facts = f"{entry.summary} ({in_bytes(entry.packaged.size)}, {entry.licence})"
        console.print(Text.assemble("  ", (entry.name, "bold"), ": ", facts), soft_wrap=True)
    console.print(Text("\npulled", style="dim"))
    for model in pulled:
        console.print(Text("  ").append_text(pulled_line(model)), soft_wrap=True)
        console.print(Text(f"    {model.model}"), soft_wrap=True)
    if not pulled:
        console.print(Text("  nothing yet"))
    elif len(pulled) > 1:
        console.print(Text(f"  together {in_bytes(sum(model.size for model in pulled))}"))
    if pulled:
        console.print(Text("  nextword pull --remove NAME takes one off the disk", style="dim"))
