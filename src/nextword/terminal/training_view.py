"""A training run as it goes: a bar with loss, speed and time left; a line for each look at the held-out text."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from nextword.tokens.visible import visible
from nextword.training import Event, Sampled, Started, Stepped, Validated


class TrainingView:
    """Draws the events of a run; use it as a context and hand `watch` to `train`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[dim]step[/dim] {task.fields[step]:,}"),
            BarColumn(bar_width=24),
            TextColumn("[dim]loss[/dim] {task.fields[loss]}"),
            TextColumn("{task.fields[rate]:,.0f} [dim]tokens/s[/dim]"),
            TextColumn("{task.fields[left]} [dim]left[/dim]"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingView:
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_interactive:  # elsewhere no bar is drawn, and `stop` would print an empty line
            self._progress.stop()

    def watch(self, event: Event) -> None:
        """Draws one event."""
        match event:
            case Started():
                self._start(event)
            case Stepped():
                self._step(event)
            case Validated():
                mark = "[green]best[/green]" if event.best else "[yellow]worse[/yellow]"
                self._progress.console.print(
                    f"[dim]{clock(event.seconds):>7}  step {event.step:,}[/dim]  held-out "
                    f"[bold]{event.bits_per_byte:.4f}[/bold] bits/byte, "
                    f"{event.nats_per_character:.4f} nats/character  {mark}"
                )
            case Sampled():
                sample = Text(visible(event.text).replace("␣", " "), style="dim")
                self._progress.console.print(Padding(sample, (0, 0, 0, 9)))

    def _start(self, event: Started) -> None:
        config, plan = event.config, event.plan
        self._console.print(
            f"[bold]{plan.preset}[/bold]: {config.num_parameters:,} parameters, {config.num_layers} layers x "
            f"{config.d_model}, context {config.context_length}, {config.vocab_size:,} tokens"
        )
        held_out = f"{event.validation_characters:,} held out" if event.validation_characters else "none held out"
        self._console.print(
            f"[dim]text: {event.train_characters:,} characters ({event.train_tokens:,} tokens), {held_out}\n"
            f"batch {plan.batch_size}, learning rate {plan.learning_rate:g}; Ctrl-C stops and keeps the best[/dim]"
        )
        if self._console.is_interactive:
            self._progress.start()
        self._task = self._progress.add_task("", total=1.0, step=0, loss="-", rate=0.0, left="")

    def _step(self, event: Stepped) -> None:
        if self._task is not None:
            self._progress.update(
                self._task,
                completed=event.progress,
                step=event.step,
                loss=f"{event.loss:.3f}",
                rate=event.tokens_per_second,
                left=clock(event.seconds_left),
            )


def clock(seconds: float) -> str:
    """Seconds as `1:05` or `2:03:04`."""
    whole = int(max(0.0, min(seconds, 1e7)))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
