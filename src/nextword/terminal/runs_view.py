"""Runs of training as a list, and what sets them apart."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nextword.terminal.console import shorten, shorten_path
from nextword.terminal.sparkline import sparkline
from nextword.tokens.visible import escape_invisible
from nextword.training.events.recorded_runs import RecordedRun, differing_settings

_CURVE, _GAP, _MIN_NAME_WIDTH = 10, 2, 12  # cells
_UNDER_WAY_SECONDS = 120  # after so long a silence a run is not called under way any more


def show_runs(console: Console, runs: Sequence[RecordedRun]) -> None:
    """A few lines a run: figures and the curve of the held-out loss; below, its text and what to make of it."""
    columns = _columns(runs, console.width)
    room = console.width - sum(_width(name, cells) + _GAP for name, cells in columns.items())
    longest = max([len("run"), *(cell_len(_plain(run.name)) for run in runs)])
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True, width=min(longest, room - _GAP))
    for name in columns:
        table.add_column(name, justify="left" if name in ("preset", "held out") else "right", no_wrap=True)
    for run, *cells in zip(runs, *columns.values(), strict=True):
        table.add_row(_label(run, room - _GAP), *cells)
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


def _label(run: RecordedRun, width: int) -> Text:
    """A run's name; of one that lies deeper, what it ends with is worth more than what it begins with."""
    name = _plain(run.name)
    return Text(shorten_path(name, width) if "/" in name else shorten(Text(name), width).plain, style="bold")


def _columns(runs: Sequence[RecordedRun], width: int) -> dict[str, list[Text]]:
    """Heading -> a cell a run; on a narrow screen without those that one can do without."""
    columns = {
        "preset": [Text(_plain(run.preset) or "-") for run in runs],
        "parameters": [Text("-" if run.parameters is None else _short(run.parameters)) for run in runs],
        "steps": [Text(f"{run.steps:,}") for run in runs],
        "minutes": [Text(f"{run.seconds / 60:,.1f}") for run in runs],
        "bits/byte": [Text("-" if run.best is None else f"{run.best['bits_per_byte']:.3f}") for run in runs],
        "held out": [
            Text(sparkline([look["nats_per_character"] for look in run.evaluations], _CURVE), style="cyan")
            for run in runs
        ],
    }
    for name in ("preset", "parameters", "held out", "steps", "minutes"):
        if sum(_width(heading, cells) + _GAP for heading, cells in columns.items()) <= width - _MIN_NAME_WIDTH - _GAP:
            break
        del columns[name]
    return columns


def _width(name: str, cells: Sequence[Text]) -> int:
    return max([len(name), *(cell.cell_len for cell in cells)])


def show_differences(console: Console, runs: Sequence[RecordedRun]) -> None:
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


def _state(run: RecordedRun) -> str:
    if run.finished:
        return ""
    silent = time.time() - run.last_written
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
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _plain(str(value))


def _plain(text: str) -> str:
    """What a file says, without anything that moves the cursor."""
    return escape_invisible(text)
