"""What `nextword cloze` measured, as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.formatting import pluralize
from nextword.measuring.cloze import Cloze
from nextword.terminal.console import bar, percent
from nextword.tokens.visible import visible


def show_cloze(console: Console, measured: Cloze, asked: int, *, misses: bool) -> None:
    """A row for each kind of openings, and for each group of them; then what was missed.

    Args:
        console: Where to.
        measured: The answers.
        asked: How many openings there are: more than answers where Ctrl-C came.
        misses: Whether the misses are shown.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for column in ("openings", "first word", "first five", "probability", "unexplored"):
        table.add_column(column, justify="right")
    for group, kinds in measured.tallies().items():
        for kind, tally in kinds.items():
            table.add_row(
                Text(f"  {kind}" if kind else group, style="" if kind else "bold"),
                f"{tally.openings:,}",
                f"{tally.first:.0%}",
                f"{tally.first_five:.0%}",
                f"{tally.probability:.1%}",
                f"{tally.unexplored:.1%}",
                style="dim" if kind else "",
            )
    console.print(table)
    if len(measured.answers) < asked:
        console.print(Text(f"{len(measured.answers):,} of {asked:,} openings were read", style="yellow"))
    if cut := sum(answer.dropped_tokens > 0 for answer in measured.answers):
        console.print(Text(f"of {pluralize(cut, 'openings')} the model did not see the beginning", style="dim"))
    missed = measured.misses()
    if not misses:
        count = len(missed)
        said = f"{count:,} of {len(measured.answers):,} have no right word among the first five"
        said += "; --misses shows them" if count else ""
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
