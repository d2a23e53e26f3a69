"""`nextword runs`: what has been trained here, and what is being trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextword.cli.options import Json, print_json
from nextword.errors import ConfigError

if TYPE_CHECKING:
    from nextword.training.events.recorded_runs import RecordedRun


def runs(
    *directories: Path,
    curve: Annotated[Path | None, Parameter(name="--curve")] = None,
    as_json: Json = False,
) -> None:
    """List trained models and runs under way, with their held-out loss and what to make of it.

    With two or more directories that each hold one run, the settings that differ are listed too.

    Args:
        directories: Where to look, also below; the current directory if left out.
        curve: Draw the losses of all of them into this file: .png, .svg or .pdf.
        as_json: Print JSON.
    """
    from nextword.training.events.recorded_runs import differing_settings, find_runs

    if curve is not None:
        from nextword.figures.canvas import drawable_suffix

        drawable_suffix(curve)
    found = [find_runs(directory) for directory in directories or (Path(),)]
    listed = [run for each in found for run in each]
    compared = len(found) > 1 and all(len(each) == 1 for each in found)
    if not listed:
        raise ConfigError(
            f"no run of training in {', '.join(map(str, directories)) or 'the current directory'}",
            hint="nextword train my.txt --out my-model",
        )
    if curve is not None:
        _draw(listed, curve)
    if as_json:
        differing = differing_settings(listed) if compared else None
        print_json({"runs": [run.to_json() for run in listed], "differing": differing})
        return
    from nextword.terminal.console import make_console
    from nextword.terminal.runs_view import show_differences, show_runs

    console = make_console()
    show_runs(console, listed)
    if compared:
        console.print()
        show_differences(console, listed)
    if curve is not None:
        sys.stdout.write(f"{curve}\n")


def _draw(listed: list[RecordedRun], path: Path) -> None:
    from nextword.figures.canvas import save_figure
    from nextword.figures.losses import Curve, training_figure

    curves = [Curve(run.name, run.points("stepped"), run.points("validated")) for run in listed]
    one = listed[0] if len(listed) == 1 else None
    figure = training_figure(
        curves,
        baselines=one.baselines if one else None,
        bytes_per_character=one.bytes_per_character if one else None,
    )
    save_figure(figure, path)
