"""A training run as it goes: what to expect, a bar with loss, speed and time left, each look at the held-out text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import regex
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.status import Status
from rich.text import Text

from nextword.formatting import escape_surrogates, pluralize
from nextword.terminal.console import size, styled
from nextword.terminal.sparkline import sparkline
from nextword.tokens.byte_level import MAX_WORD_LENGTH
from nextword.tokens.visible import escape_invisible
from nextword.training.events import (
    Event,
    Interrupted,
    Preparing,
    Resumed,
    Sampled,
    Started,
    Stepped,
    Validated,
    clock,
)
from nextword.training.planning.baselines import Baselines
from nextword.training.planning.forecast import Forecast
from nextword.training.planning.verdict import Verdict, yardsticks

_CURVE = 40  # cells
_NOTABLE = 0.01  # of the held-out text
_INDENT = 9  # of samples, below the time
_WHOLE = regex.compile(r"⟨[0-9A-F·]+⟩|U\+[0-9A-F]{4,6}|\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})|\X")
_NAMES = 5  # of files for one reason
_SECONDS_BETWEEN_LINES = 30.0
_LINES = 40  # a line for each 40th of the time that has passed, once that is longer


class _Bar(Progress):
    """The bar, and below it the curve of the held-out loss."""

    below: Text = Text()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below:
            yield self.below


class _TimeLeft(ProgressColumn):
    """A text that is asked for whenever the bar is drawn."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:  # noqa: ARG002  what rich calls
        return Text(self._text())


class TrainingView:
    """Draws the events of a run; use it as a context and hand `watch` to `train`."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console, self._now = console, now
        self._began = self._last_line = now()
        self._ends: float | None = None
        self._progress = _Bar(
            TextColumn("[dim]step[/dim] {task.fields[step]:,}"),
            BarColumn(bar_width=24),
            TextColumn("[dim]loss[/dim] {task.fields[loss]}"),
            TextColumn("{task.fields[rate]:,.0f} [dim]tokens/s[/dim]"),
            _TimeLeft(self._left),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._preparing: Status | None = None
        self._held_out: list[float] = []
        self._bigrams: float | None = None

    def _left(self) -> str:
        """The time left, which goes on while a step, a look or the end of the run takes its time."""
        if self._ends is None:
            return ""
        left = self._ends - self._now()
        return f"{clock(left)} left" if left >= 1 else "ending"

    def __enter__(self) -> TrainingView:
        return self

    def __exit__(self, *_: object) -> None:
        if self._preparing is not None:
            self._preparing.stop()
        if self._console.is_interactive:  # elsewhere no bar is drawn, and `stop` would print an empty line
            self._progress.stop()

    def watch(self, event: Event) -> None:
        """Draws one event."""
        match event:
            case Preparing():
                self._prepare(event)
            case Started():
                self._start(event)
            case Resumed():
                for line in event.skipped:
                    self._console.print(Text(line, style="yellow"))
                self._console.print(styled(f"goes on after step {event.step:,} [dim](state {event.state})[/dim]"))
            case Interrupted():
                self._progress.console.print(
                    styled(f"[dim]saved after step {event.step:,} (state {event.state})[/dim]")
                )
            case Baselines():
                self._baselines(event)
            case Forecast():
                self._forecast(event)
            case Stepped():
                self._step(event)
            case Validated():
                self._validated(event)
            case Sampled():
                sample = Text(
                    "\n".join(folded(event.text, self._console)), style="dim", no_wrap=True, overflow="ignore"
                )
                self._progress.console.print(Padding(sample, (0, 0, 0, _INDENT), expand=False))
            case Verdict():
                self._progress.console.print(Text(event.words, style="bold"))

    def _prepare(self, event: Preparing) -> None:
        if not self._console.is_interactive:
            if self._line_is_due():
                self._console.print(prepared_text(event), style="dim")
            return
        if self._preparing is None:
            self._preparing = self._console.status("reading text")
            self._preparing.start()
        self._preparing.update(prepared_text(event))

    def _start(self, event: Started) -> None:
        if self._preparing is not None:
            self._preparing.stop()
            self._preparing = None
        config, plan = event.config, event.plan
        about = (
            f": {pluralize(config.num_parameters, 'parameters')}, "
            f"{pluralize(config.num_layers, 'layers')} x {config.d_model}, context {plan.context_length}, "
            f"{pluralize(config.vocab_size, 'tokens')}"
        )
        self._console.print(Text.assemble((_name(plan.base or plan.preset), "bold"), about))
        for line in _sources(event):
            self._console.print(Text(line, style="dim"))
        held_out = f"{event.validation_characters:,} held out" if event.validation_characters else "none held out"
        documents = f" in {event.documents:,} documents" if event.documents > 1 else ""
        processes = f" on {event.processes} processes" if event.processes > 1 else ""
        self._console.print(
            styled(
                f"[dim]text: {pluralize(event.train_characters, 'characters')}{documents} "
                f"({pluralize(event.train_tokens, 'tokens')}), {held_out}\n"
                f"batch {plan.batch_size}{processes}, learning rate {plan.learning_rate:g}; "
                "Ctrl-C stops and keeps the best[/dim]"
            )
        )
        for note in _notes(event):
            self._console.print(Text.assemble(("note:", "yellow"), f" {note}"))
        if self._console.is_interactive:
            self._progress.start()
        self._task = self._progress.add_task("", total=1.0, step=0, loss="-", rate=0.0)

    def _baselines(self, event: Baselines) -> None:
        beaten = yardsticks(asdict(event))
        self._bigrams = beaten.get("bigrams")
        if beaten:
            scores = ", ".join(f"{name} {score:.3f}" for name, score in beaten.items())
            self._progress.console.print(styled(f"[dim]to beat, in bits/byte: {scores}[/dim]"))

    def _forecast(self, event: Forecast) -> None:
        read = f"{event.epochs:.2g}" if event.epochs < 10 else f"{event.epochs:,.0f}"
        often = "once" if read == "1" else f"{read} times"
        speed = f"{event.tokens_per_second:,.0f} tokens/s"
        lines = [f"expected: {speed}, {pluralize(event.steps, 'steps')} in {clock(event.seconds)}, text read {often}"]
        if event.bits_per_byte is not None:
            guess = " (beyond what was measured)" if event.beyond else ""
            lines.append(f"held-out {event.bits_per_byte:.2f} bits/byte, {event.low:.2f} to {event.high:.2f}{guess}")
        self._progress.console.print("\n          ".join(lines), style="cyan")

    def _line_is_due(self) -> bool:
        """Whether it is time for a line again, where no bar is drawn: seldomer, the longer it goes on."""
        now = self._now()
        due = now - self._last_line >= max(_SECONDS_BETWEEN_LINES, (now - self._began) / _LINES)
        if due:
            self._last_line = now
        return due

    def _step(self, event: Stepped) -> None:
        if not self._console.is_interactive:
            if self._line_is_due():
                self._console.print(
                    styled(
                        f"[dim]{clock(event.seconds):>7}  step {event.step:,}[/dim]  loss {event.loss:.3f}, "
                        f"{event.tokens_per_second:,.0f} tokens/s, {clock(event.seconds_left)} left"
                    )
                )
            return
        if self._task is not None:
            self._ends = self._now() + event.seconds_left
            self._progress.update(
                self._task,
                completed=event.progress,
                step=event.step,
                loss=f"{event.loss:.3f}",
                rate=event.tokens_per_second,
            )

    def _validated(self, event: Validated) -> None:
        mark = "[green]best[/green]" if event.best else "[yellow]worse[/yellow]"
        self._progress.console.print(
            styled(
                f"[dim]{clock(event.seconds):>7}  step {event.step:,}[/dim]  held-out "
                f"[bold]{event.bits_per_byte:.4f}[/bold] bits/byte, "
                f"{event.nats_per_character:.4f} nats/character  {mark}"
            )
        )
        self._held_out.append(event.bits_per_byte)
        curve = sparkline(self._held_out, _CURVE)
        against = "" if self._bigrams is None else f", bigrams {self._bigrams:.2f}"
        self._progress.below = Text.assemble(
            ("held-out ", "dim"), (curve, "cyan"), (f" {min(self._held_out):.2f} bits/byte{against}", "dim")
        )


def _sources(event: Started) -> list[str]:
    """Which files were read and which were not, where there was a choice."""
    lines = []
    if event.file_count > 1 or event.skipped:
        lines.append(f"read: {_some(event.files, event.file_count)}")
    if event.skipped:
        reasons: dict[str, list[str]] = {}
        for name, why in event.skipped:
            reasons.setdefault(why, []).append(name)
        parts = [f"{_some(names, len(names))} ({_name(why)})" for why, names in reasons.items()]
        more = event.skipped_count - len(event.skipped)
        lines.append("not read: " + "; ".join([*parts, *([f"and {more:,} more"] if more else [])]))
    return lines


def _some(names: Sequence[str], count: int) -> str:
    shown = ", ".join(map(_name, names[:_NAMES]))
    return shown + (f" and {count - _NAMES:,} more" if count > _NAMES else "")


def _name(name: str) -> str:
    """A name as it can be printed, with nothing in it that moves the cursor."""
    return escape_invisible(escape_surrogates(name))


def folded(text: str, console: Console) -> list[str]:
    """A sample in lines that fit; none ends within a character, or within what stands for one."""
    file, width, lines = console.file, console.width - _INDENT, [""]
    shown = (
        escape_invisible(text)
        .encode(console.encoding, getattr(file, "errors", None) or "replace")
        .decode(console.encoding)
    )
    for word in regex.findall(r"\s*\S+", shown):
        parts = [word] if cell_len(word.strip()) <= width else _WHOLE.findall(word)
        for part in parts:
            if cell_len(lines[-1] + part) <= width:
                lines[-1] += part
            else:
                lines.append(part.lstrip())
    return [line.rstrip() for line in lines]


def prepared_text(event: Preparing) -> str:
    """How far the text is read, in a unit in which it is more than 0."""
    done = f": {size(event.bytes_done)}" if event.bytes_done else ""
    if event.stage == "read":
        return f"reading text{done}"
    of = f" of {size(event.bytes_in_all)}" if done and event.bytes_in_all else ""
    return f"turning text into tokens{done}{of}"


def _notes(event: Started) -> list[str]:
    """What one should know about the text."""
    notes = []
    if event.only_beginning:
        notes.append("only the beginning of the text was read: more than the time can teach")
    if event.long_words:
        notes.append(
            f"some words have more than {MAX_WORD_LENGTH} characters: the vocabulary is learned from parts of them"
        )
    if event.repeated >= _NOTABLE:
        notes.append(
            f"{event.repeated:.0%} of the held-out text stands word for word in the training text too: "
            "the held-out loss flatters"
        )
    if event.decomposed:
        notes.append(
            f"{event.decomposed:,} Hangul syllables are spelled as letters (as macOS writes them): --compose joins them"
        )
    return notes
