"""What `nextword bench` measured, as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.measuring.bench import Bench
from nextword.terminal.console import size as in_bytes


def show_bench(console: Console, measured: Bench) -> None:
    """One row an engine, then how near the machine's limits ours comes."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("engine")
    for column in ("load", "first token", f"prompt of {measured.prompt_tokens:,}", "writing", ""):
        table.add_column(column, justify="right", no_wrap=True)
    ours = measured.speeds[0].medians()
    for speed in measured.speeds:
        figures = speed.medians()
        table.add_row(
            Text(speed.engine, style="bold" if speed is measured.speeds[0] else ""),
            f"{figures['load_seconds']:.2f} s",
            f"{1000 * figures['first_token']:.1f} ms",
            f"{figures['prompt']:,.0f} tok/s",
            f"{figures['writing']:,.1f} tok/s",
            "" if speed is measured.speeds[0] else f"{ours['writing'] / figures['writing']:.2f}x",
        )
    console.print(table)
    for line in measured.left_out:
        console.print(Text(f"not measured: {line}", style="dim"))
    console.print()
    limits = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    limits.add_column(style="dim")
    limits.add_column()
    limits.add_row("kernels", f"{measured.kernels}, {measured.threads} threads")
    limits.add_row(
        "writing",
        f"{ours['writing'] * measured.weight_bytes / 1e9:.1f} GB/s of weights, {measured.memory_share:.0%} of the "
        f"{measured.read_speed / 1e9:.1f} GB/s at which {in_bytes(measured.weight_bytes)} are read",
    )
    limits.add_row(
        "prompt",
        f"{ours['prompt'] * measured.prompt_operations / 1e9:.0f} GFLOP/s, {measured.arithmetic_share:.0%} of the "
        f"{measured.multiply_speed / 1e9:.0f} GFLOP/s that the processor reaches",
    )
    (_, alone), *several = measured.streams.items()
    for streams, together in several:
        gain = f"{together / alone:.1f} times one ({alone:,.0f} tok/s)"
        limits.add_row(f"{streams} at once", f"{together:,.0f} tok/s together, {gain}")
    console.print(limits)
