"""`nextword doctor`: what is installed, what this machine has, and what to do about what is missing."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from nextword.cli.options import Json, print_json
from nextword.errors import NextwordError


def doctor(*, speed: Annotated[bool, Parameter(negative="--no-speed")] = True, as_json: Json = False) -> None:
    """Show what is installed, what this machine has and how fast it is, and what to do about what is missing.

    An extra that is not installed is no fault; something installed that does not work is, and the exit code is 2.

    Args:
        speed: Measure the machine's speed, which takes about a second.
        as_json: Print JSON.
    """
    from nextword.doctor import examine
    from nextword.terminal.console import make_console
    from nextword.terminal.doctor_view import show_report

    with make_console(stderr=True).status("looking around") as status:
        report = examine(speed=speed, watch=status.update)
    if as_json:
        print_json(report.to_json())
    else:
        show_report(make_console(), report)
    broken = [gap for gap in report.gaps if gap.broken]
    if broken:
        raise NextwordError(broken[0].what, hint=broken[0].todo)
