"""What `nextword doctor` found, as three short tables and a list of what to do."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nextword.doctor import Disk, Gap, Native, Report
from nextword.machine.user import abbreviate_home
from nextword.terminal.console import size as in_bytes
from nextword.terminal.console import styled

_GOOD, _ABSENT, _BROKEN = ("✓", "green"), ("·", "dim"), ("✗", "red")


def show_report(console: Console, report: Report) -> None:
    """The installation and the machine, the extras, the speed, and one entry a gap."""
    broken = [gap for gap in report.gaps if gap.broken]
    about = _table()
    base = "" if report.base.complete else ", which lacks packages"
    _row(about, _BROKEN if base else _GOOD, "nextword", f"{report.nextword}{base}")
    _row(about, _GOOD, "Python", f"{report.python} on {report.system}")
    native = report.native
    mark = _GOOD if not native.reason else _BROKEN if any(native.reason in gap.what for gap in broken) else _ABSENT
    _row(about, mark, "engine", native.reason or f"native code: {_kernels(native)}")
    _row(about, _GOOD, "processors", _processors(report))
    if report.memory_total is not None:
        free = "" if report.memory_free is None else f"{in_bytes(report.memory_free)} free of "
        _row(about, _low("memory", report.gaps), "memory", f"{free}{in_bytes(report.memory_total)}")
    for place in report.disks:
        _row(about, _low(place.purpose, report.gaps), "disk", _disk(place))
    if report.gpus is not None:
        _row(about, _GOOD if report.gpus else _ABSENT, "GPU", "; ".join(map(_gpu, report.gpus)) or "none")
    if report.korean_font is not None:
        _row(about, _GOOD if report.korean_font else _ABSENT, "Korean font", report.korean_font or "none")
    console.print(about)

    shown = [extra for extra in report.extras if extra.purpose]
    if shown:
        console.print(styled("\n[dim]extras[/dim]"))
        extras = _table()
        for extra in shown:
            _row(
                extras,
                _GOOD if extra.complete else _ABSENT,
                extra.name,
                f"to {extra.purpose}" if extra.complete else extra.lacking,
            )
        console.print(extras)

    if report.speed:
        measured = report.speed
        console.print(styled("\n[dim]speed[/dim]"))
        speeds = _table()
        read = f"{in_bytes(measured.read_bytes)} of the default model"
        _row(speeds, _GOOD, "memory", f"{measured.read_speed / 1e9:,.1f} GB/s, over the {read}")
        _row(speeds, _GOOD, "arithmetic", f"{measured.multiply_speed / 1e9:,.0f} GFLOP/s in float32")
        _row(speeds, _GOOD, "writing", f"{measured.tokens_a_second:,.0f} tokens a second with the default model")
        console.print(speeds)

    console.print()
    for gap in report.gaps:
        sign, style = _BROKEN if gap.broken else _ABSENT
        console.print(Text.assemble((f"{sign} ", style), (gap.what, "bold")))
        console.print(Padding(Text(gap.todo), (0, 0, 0, 4)))
    if not report.gaps:
        console.print(styled("[green]Nothing is missing.[/green]"))
    elif not broken:
        console.print(styled("[dim]All that is installed works; the lines above say what could be added.[/dim]"))


def _table() -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=12)
    table.add_column()
    return table


def _row(table: Table, mark: tuple[str, str], name: str, value: str) -> None:
    table.add_row(Text(*mark), Text(name, style="bold"), Text(value))


def _low(purpose: str, gaps: list[Gap]) -> tuple[str, str]:
    return _ABSENT if any(gap.what.startswith("little") and purpose in gap.what for gap in gaps) else _GOOD


def _kernels(native: Native) -> str:
    """The instruction set in use, why it is no better one, and what else there is."""
    best, *_ = native.usable
    lacking = {"avx2": ", as the processor has no AVX-512", "portable": ", as the processor has no AVX2 or NEON"}
    why = lacking.get(best, "") if native.kernels == best else ", as NEXTWORD_KERNELS says"
    others = [name for name in native.usable if name != native.kernels]
    also = f" (also {', '.join(others)})" if others else ""
    return f"{native.kernels}{why}{also}"


def _processors(report: Report) -> str:
    """Processors, cores, what a container allows of them, and threads."""
    share = "" if report.processor_share is None else f", of which {report.processor_share:g} may be used"
    threads = "1 thread is" if report.threads == 1 else f"{report.threads} threads are"
    return f"{report.processors}, on {report.cores} cores{share}; {threads} used"


def _disk(place: Disk) -> str:
    where = f" in {abbreviate_home(Path(place.path))}" if place.purpose != "the current directory" else ""
    return f"{in_bytes(place.free)} free for {place.purpose}{where}"


def _gpu(found: dict[str, object]) -> str:
    memory = found["memory"]
    return f"{found['name']} ({found['device']}{f', {in_bytes(memory)}' if isinstance(memory, int) else ''})"
