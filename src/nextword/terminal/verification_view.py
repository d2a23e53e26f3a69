"""The errors that `nextword verify` measured, as a table."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.measuring.verification_file import Comparison, Verification
from nextword.terminal.console import styled
from nextword.tokens.visible import escape_invisible, visible


def show_verification(console: Console, measured: Verification) -> None:
    """One row a prompt, precision and program; errors are largest absolute differences."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("largest error of")
    for column in ("tokens", "residual", "logits", "(mean)", "of up to", "same top"):
        table.add_column(column, justify="right")
    for program, rows in groupby(measured.comparisons, lambda row: f"{row.against}, {row.precision}"):
        table.add_row(Text(escape_invisible(program), style="bold"))
        for row in rows:
            table.add_row(
                Text(f"  {visible(row.prompt)}"),
                str(row.tokens) if row.same_tokens else styled(f"[red]{row.tokens}, other[/red]"),
                f"{max(_shares(row)):.1e}" if row.residual else "-",
                f"{row.logits_max:.1e}",
                f"{row.logits_mean:.1e}",
                f"{row.largest_logit:.1f}",
                f"{row.top1:.1%}".replace("%", " %"),
            )
    console.print(table)
    for row in measured.comparisons:
        if row.prompt == "long" and row.residual:
            layers = " ".join(f"{share:.0e}" for share in _shares(row))
            console.print(f"residual by layer ({row.precision}, long): {layers}", markup=False)
    for loss in measured.roundings:
        console.print(
            f"rounded to {loss.precision}: {loss.size:.0%} of the size, KL divergence {loss.divergence:.1e} nats a "
            f"token, same top token {loss.top1:.1%} (over {loss.tokens:,} tokens the model wrote)",
            markup=False,
        )
    if measured.bits is not None:
        tokens = f"{measured.bits.tokens:,} greedy tokens"
        console.print(f"sha256 of {tokens}: {measured.bits.text}", markup=False, soft_wrap=True)
        console.print(f"sha256 of their logits: {measured.bits.logits}", markup=False, soft_wrap=True)
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    verdict = Text("equal up to rounding", "green") if measured.equal else Text("not equal", "red")
    console.print(verdict.append(f" ({escape_invisible(versions)})", "dim"))
    if measured.left_out:
        console.print(Text(escape_invisible(measured.left_out), style="yellow"))
    console.print(styled("[dim]residual: share of the largest value there; the table has the worst layer[/dim]"))


def _shares(row: Comparison) -> list[float]:
    """Before each block, then behind the final norm: the largest error over the largest value."""
    return [error / size if size else error for error, size in zip(row.residual, row.largest_residual, strict=True)]
