"""A run as a notebook shows it: a bar, losses, what the model writes. One more watcher, which draws HTML."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any, Self

from nextword.formatting import pluralize
from nextword.generation import html
from nextword.tokens.visible import escape_invisible
from nextword.training.events.event_types import Event, Preparing, Sampled, Started, Stepped, Validated, clock
from nextword.training.planning.baselines import Baselines
from nextword.training.planning.forecast import Forecast
from nextword.training.planning.verdict import Verdict, yardsticks

_SECONDS_BETWEEN_DRAWINGS = 0.5
_MAX_ROWS = 12
_BAR = 320  # pixels


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which can show HTML."""
    module = sys.modules.get("IPython")  # a kernel has imported it
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


class NotebookView:
    """Shows a run in the cell that began it; a context, whose end draws how it ended.

    Args:
        show: Shows HTML in place of what it showed before; None is the cell's output.
        now: Tells the time, in seconds.
    """

    def __init__(self, show: Callable[[str], None] | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._show, self._now = show or _in_cell(), now
        self._drawn = -float("inf")
        self._about = self._expected = self._to_beat = self._sample = self._words = ""
        self._doing = "reading text"
        self._step: Stepped | None = None
        self._evaluations: list[Validated] = []

    def __enter__(self) -> Self:
        self._draw()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._doing = "done" if kind is None else "broken off"
        self._draw()

    def watch(self, event: Event) -> None:
        """Takes one event, and draws it if the last drawing is old enough or this one matters."""
        match event:
            case Preparing():
                self._doing = "reading text" if event.stage == "read" else "turning text into tokens"
            case Started():
                config = event.config
                self._doing = "learning"
                self._about = (
                    f"{event.plan.base or event.plan.preset}: {pluralize(config.num_parameters, 'parameters')}, "
                    f"{pluralize(config.num_layers, 'layers')} x {config.d_model}, "
                    f"{pluralize(event.train_tokens, 'tokens')} of text"
                )
            case Baselines():
                scores = yardsticks(asdict(event)).items()
                self._to_beat = ", ".join(f"{name} {score:.3f}" for name, score in scores)
            case Forecast():
                self._expected = f"expected: {pluralize(event.steps, 'steps')} in {clock(event.seconds)}"
            case Stepped():
                self._step = event
            case Validated():
                self._evaluations.append(event)
            case Sampled():
                self._sample = event.text
            case Verdict():
                self._words = event.words
        seldom = isinstance(event, Preparing | Stepped)
        if not seldom or self._now() - self._drawn >= _SECONDS_BETWEEN_DRAWINGS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = self._now()
        self._show(html.box(self._parts()))

    def _parts(self) -> list[html.Markup]:
        step = self._step
        done = 1.0 if self._doing == "done" else 0.0 if step is None else step.progress
        parts = [html.note(self._about), html.element("div", [html.bar(done, _BAR), f" {self._state()}"])]
        if self._doing == "learning" and step is None:
            parts.append(html.note(self._expected))
        if self._evaluations:
            parts.append(evaluations_html([asdict(row) for row in self._evaluations]))
        if self._to_beat:
            parts.append(html.note(f"to beat, in bits/byte: {self._to_beat}"))
        if self._sample:
            parts.append(html.element("div", self._sample, "white-space: pre-wrap; opacity: 0.8"))
        return [*parts, html.element("b", self._words)] if self._words else parts

    def _state(self) -> str:
        step = self._step
        if step is None:
            return self._doing
        facts = f"step {step.step:,}, loss {step.loss:.3f}, {step.tokens_per_second:,.0f} tokens/s"
        if self._doing != "learning":
            return f"{facts}, {self._doing} after {clock(step.seconds)}"
        return f"{facts}, {clock(step.seconds_left)} left"


def evaluations_html(evaluations: Sequence[dict[str, Any]]) -> html.Markup:
    """The evaluations on the held-out text: their curve, and the last of them with bars."""
    losses = [row["bits_per_byte"] for row in evaluations]
    top = max(losses) or 1.0
    rows = [
        [
            f"{row['step']:,}",
            clock(row["seconds"]),
            f"{row['bits_per_byte']:.4f}",
            html.bar(row["bits_per_byte"] / top),
            "best" if row["best"] else "",
        ]
        for row in evaluations[-_MAX_ROWS:]
    ]
    shown = html.table(["step", "time", "held-out bits/byte", "", ""], rows)
    hidden = len(evaluations) - len(rows)
    return html.box([html.curve(losses), shown, html.note(f"{hidden:,} earlier ones are not shown" if hidden else "")])


def run_html(facts: str, validations: Sequence[dict[str, Any]], provenance: Mapping[str, Any]) -> html.Markup:
    """What a run came to.

    Args:
        facts: Of the run, in a line.
        validations: Its evaluations on the held-out text.
        provenance: Of the model that it left.
    """
    parts = [html.element("div", facts)]
    if validations:
        parts.append(evaluations_html(validations))
    said = provenance.get("verdict")
    if isinstance(said, dict):
        parts.append(html.element("b", escape_invisible(str(said.get("words", "")))))
    return html.box(parts)


def _in_cell() -> Callable[[str], None]:
    shown: Any = import_module("IPython.display")  # typed in part only
    handle = shown.display(shown.HTML(""), display_id=True)
    return lambda text: handle.update(shown.HTML(text))
