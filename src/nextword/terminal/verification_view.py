"""The errors that `nextword verify` measured, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table


def show_verification(console: Console, measured: Mapping[str, Any]) -> None:
    """One row a prompt, precision and program; errors are largest absolute differences."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("largest error of")
    for column in ("tokens", "residual", "logits", "(mean)", "of up to", "same top"):
        table.add_column(column, justify="right")
    for program, rows in groupby(measured["comparisons"], lambda row: (row["against"], row["precision"])):
        table.add_row(f"[bold]{', '.join(program)}[/bold]")
        for row in rows:
            table.add_row(
                f"  {row['prompt']}",
                f"{row['tokens']}" if row["same_tokens"] else f"[red]{row['tokens']}, other[/red]",
                _residual(row),
                f"{row['logits_max']:.1e}",
                f"{row['logits_mean']:.1e}",
                f"{row['largest_logit']:.1f}",
                f"{row['top1']:.1%}".replace("%", " %"),
            )
    console.print(table)
    for row in measured["comparisons"]:
        if row["prompt"] == "long" and row["residual"]:
            layers = " ".join(f"{share:.0e}" for share in _shares(row))
            console.print(f"[dim]residual by layer ({row['precision']}, long):[/dim] {layers}")
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    verdict = "[green]equal up to rounding[/green]" if measured["equal"] else "[red]not equal[/red]"
    console.print(f"{verdict} [dim]({versions})[/dim]")
    console.print("[dim]residual: share of the largest value there; the table has the worst layer[/dim]")


def _residual(row: Mapping[str, Any]) -> str:
    shares = _shares(row)
    return f"{max(shares):.1e}" if shares else "-"


def _shares(row: Mapping[str, Any]) -> list[float]:
    """Before each block, then behind the final norm: the largest error over the largest value."""
    return [error / size for error, size in zip(row["residual"], row["largest_residual"], strict=True) if size]
