"""What `nextword cloze` measured, as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.cloze import Cloze
from nextword.readable import counted
from nextword.terminal.console import bar, percent
from nextword.tokens.visible import visible


def show_cloze(console: Console, measured: Cloze, *, misses: bool) -> None:
    """A row for each kind of openings, and for each group of them; then what was missed."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for column in ("openings", "first word", "first five", "probability"):
        table.add_column(column, justify="right")
    for group, kinds in measured.tallies().items():
        for kind, tally in kinds.items():
            table.add_row(
                Text(f"  {kind}" if kind else group, style="" if kind else "bold"),
                f"{tally.openings:,}",
                f"{tally.first:.0%}",
                f"{tally.first_five:.0%}",
                f"{tally.probability:.1%}",
                style="dim" if kind else "",
            )
    console.print(table)
    unexplored = sum(answer.unexplored for answer in measured.answers) / len(measured.answers)
    console.print(Text(f"probability: at least; the search left {unexplored:.1%} unexplored", style="dim"))
    if cut := sum(answer.dropped_tokens > 0 for answer in measured.answers):
        console.print(Text(f"of {counted(cut, 'openings')} the model did not see the beginning", style="dim"))
    missed = measured.misses()
    if not misses:
        count = len(missed)
        said = f"{count:,} of {len(measured.answers):,} have no right word among the first five; --misses shows them"
        console.print(Text(said, style="dim"))
        return
    for answer in missed:
        console.print()
        console.print(Text.assemble(answer.opening.text, " → ", ("|".join(answer.opening.accepted), "dim")))
        rows = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for word in answer.words:
            text = visible(word.text) or "(end of the text)"
            rows.add_row("", text, Text(percent(word.probability), style="dim"), bar(word.probability))
        console.print(rows)
