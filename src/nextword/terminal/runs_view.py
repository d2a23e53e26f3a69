"""Runs of training as a list, and what sets them apart."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nextword.terminal.console import shorten
from nextword.terminal.sparkline import sparkline
from nextword.tokens.visible import visible
from nextword.training.runs import Run, differing_settings

_CURVE = 10  # cells
_UNDER_WAY_SECONDS = 120  # after so long a silence a run is not called under way any more


def show_runs(console: Console, runs: Sequence[Run]) -> None:
    """A few lines a run: figures and the curve of the held-out loss; below, its text and what to make of it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True, overflow="ellipsis", min_width=8, ratio=1)
    for name in ("preset", "parameters", "steps", "minutes", "bits/byte"):
        table.add_column(name, justify="left" if name == "preset" else "right", no_wrap=True)
    table.add_column("held out", width=_CURVE, no_wrap=True)
    for run in runs:
        best = run.best
        table.add_row(
            Text(_plain(run.name), style="bold"),
            _plain(run.preset) or "-",
            "-" if run.parameters is None else _short(run.parameters),
            f"{run.steps:,}",
            f"{run.seconds / 60:,.1f}",
            "-" if best is None else f"{best['bits_per_byte']:.3f}",
            Text(sparkline([look["nats_per_character"] for look in run.looks], _CURVE), style="cyan"),
        )
    header, *rows = console.render_lines(table, console.options, pad=False)  # one line a row: nothing wraps
    console.print(Text("".join(segment.text for segment in header).rstrip(), style="dim"))
    for run, row in zip(runs, rows, strict=True):
        console.print(Text.assemble(*((segment.text, segment.style or "") for segment in row)))
        below = "; ".join(part for part in (_state(run), _plain(run.text)) if part)
        if below:
            console.print(
                Padding(shorten(Text(below, style="dim"), max(1, console.width - 2)), (0, 0, 0, 2), expand=False)
            )
        console.print(Padding(Text(_plain(run.verdict.words)), (0, 0, 0, 2), expand=False))


def show_differences(console: Console, runs: Sequence[Run]) -> None:
    """A table of the settings that are not the same in all runs; one column a run."""
    differing = differing_settings(runs)
    if not differing:
        console.print("all settings are the same", style="dim")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", no_wrap=True)
    for run in runs:
        table.add_column(Text(_plain(run.name), style="bold"), overflow="fold")
    for name, values in differing.items():
        table.add_row(Text(_plain(name), style="dim"), *(Text(_value(value)) for value in values))
    console.print(table)


def _state(run: Run) -> str:
    if run.finished:
        return ""
    silent = time.time() - run.heard
    return "under way" if silent < _UNDER_WAY_SECONDS else "not finished (nextword train --resume goes on)"


def _short(count: int) -> str:
    """`870 K`, `1.05 M`: three digits."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def _value(value: object) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _plain(str(value))


def _plain(text: str) -> str:
    """What a file says, without anything that moves the cursor."""
    return visible(text).replace("␣", " ")
