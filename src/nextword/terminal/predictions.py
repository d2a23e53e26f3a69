"""Predictions as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.formatting import pluralize
from nextword.terminal.console import BAR_WIDTH, bar, percent, shorten, styled, token_line
from nextword.tokens.visible import part_note, visible

if TYPE_CHECKING:
    from nextword.generation import Prediction, Stages, WordPrediction

_WIDE = 60  # columns, from which on all numbers have room


def show_prediction(console: Console, prediction: Prediction, stages: Stages | None = None) -> None:
    """The prompt's tokens, then the ranked next tokens; with `stages`, what sampling makes of their probabilities."""
    _show_prompt(console, prediction.prompt, prediction.dropped_tokens)
    console.print(Text("tokens  ", style="dim") + token_line(prediction.pieces))
    console.print()
    wide = console.width >= _WIDE
    names = [shorten(word_text(candidate.text), console.width // 3) for candidate in prediction]
    room = _bar_width(console, len(prediction), names, (15 if wide else 0) + (0 if stages is None else 15))
    table = _table("next token", *(["id", "logit"] if wide else []), "probability", *([""] if room else []))
    if stages is not None:
        table.add_column("sampled from", justify="right")
    for rank, (candidate, name) in enumerate(zip(prediction, names, strict=True), start=1):
        row: list[str | Text] = [
            str(rank),
            name,
            *([str(candidate.token_id), f"{candidate.logit:.2f}"] if wide else []),
            percent(candidate.probability),
            *([bar(candidate.probability, room)] if room else []),
        ]
        if stages is not None:
            share = float(stages.distribution[candidate.token_id])
            row.append(percent(share) if stages.kept[candidate.token_id] else Text("cut", style="dim"))
        table.add_row(*row)
    console.print(table)
    rest = 1 - sum(candidate.probability for candidate in prediction)
    if stages is not None:
        console.print(
            styled(
                f"[dim]kept {pluralize(int(stages.kept.sum()), 'tokens')}, "
                f"cut away {percent(stages.discarded_mass)}[/dim]"
            )
        )
    console.print(styled(f"[dim]all other tokens together: {percent(max(0.0, rest))}[/dim]"))
    show_part_note(console, [candidate.text for candidate in prediction])


def show_words(console: Console, prediction: WordPrediction) -> None:
    """The ranked next words, and how much of the probability was not explored."""
    _show_prompt(console, prediction.prompt, prediction.dropped_tokens)
    console.print()
    names = [
        shorten(word_text(word.text), console.width // 3) if word.text else Text("(end of the text)", style="dim")
        for word in prediction
    ]
    room = _bar_width(console, len(prediction), names, 0)
    table = _table("next word", "probability", *([""] if room else []))
    for rank, (candidate, name) in enumerate(zip(prediction, names, strict=True), start=1):
        bars = [bar(candidate.probability, room)] if room else []
        table.add_row(str(rank), name, percent(candidate.probability), *bars)
    console.print(table)
    console.print(
        styled(
            f"[dim]each probability is a lower bound: {percent(prediction.unexplored)} lies in token paths not "
            f"followed to a word's end ({prediction.expansions} forward passes)[/dim]"
        )
    )
    if prediction.broken:
        console.print(
            styled(f"[dim]{percent(prediction.broken)} goes to bytes that are no character, and so no word[/dim]")
        )


def show_steps(console: Console, prompt: str, predictions: Sequence[Prediction | WordPrediction]) -> None:
    """One line a step: the most probable continuation, its probability, and what came next after it."""
    console.print(Text(prompt, style="bold"))
    console.print()
    table = _table("taken", "probability", "", "instead")
    widest = max([5, *(word_text(prediction[0].text).cell_len for prediction in predictions)])
    room = console.width - len(str(len(predictions))) - widest - 31  # for the probability, the bar and the gaps
    for number, prediction in enumerate(predictions, start=1):
        first = prediction[0]
        others = Text("  ").join(
            word_text(candidate.text).append(f" {percent(candidate.probability)}", style="dim")
            for candidate in prediction[1:4]
        )
        others.truncate(max(10, room), overflow="ellipsis")
        table.add_row(
            str(number), word_text(first.text), percent(first.probability), bar(first.probability, 10), others
        )
    console.print(table)
    show_part_note(console, [candidate.text for prediction in predictions for candidate in prediction[:4]])


def show_part_note(console: Console, texts: Iterable[str]) -> None:
    """What the sign for a part of a character means, where one of these texts has it."""
    if note := part_note(texts):
        console.print(Text(note, style="dim"))


def _show_prompt(console: Console, prompt: str, dropped: int) -> None:
    console.print(Text(prompt, style="bold"))
    if dropped:
        console.print(
            Text(
                f"the model did not see the oldest {pluralize(dropped, 'tokens')}: its context is shorter",
                style="yellow",
            )
        )


def _bar_width(console: Console, count: int, names: Sequence[Text], others: int) -> int:
    """Cells of the longest bar beside rank, name, probability and `others` cells; 0 where there is no room for one."""
    longest = max([10, *(name.cell_len for name in names)])
    room = console.width - (len(str(count)) + 2) - (longest + 2) - 13 - others - 2
    return min(BAR_WIDTH, room) if room >= 4 else 0


def _table(name: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column(name, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="left" if column in ("", "instead") else "right", no_wrap=True)
    return table


def word_text(text: str) -> Text:
    """A word or token with its white space visible, dimmed."""
    shown = Text()
    for character in visible(text):
        shown.append(character, style="dim" if character in "␣↵⇥␍" else "bold")
    return shown
