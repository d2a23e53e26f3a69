"""What is told about a run afterwards: its provenance, the model card, the curve of its losses."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from nextword.config import GPTConfig
from nextword.formatting import escape_surrogates, pluralize
from nextword.training.events.journal import METRICS
from nextword.training.events.recorded_runs import read_run
from nextword.training.planning.verdict import yardsticks

_LOG = logging.getLogger(__name__)


def model_card(name: str, provenance: dict[str, Any], config: GPTConfig) -> str:
    """What the model is and what it was measured to do, as Markdown."""
    text, plan, baselines = provenance["text"], provenance["plan"], provenance["baselines"]
    evaluations = [row for row in provenance["validations"] if row["best"]]
    judged = "No text was held out: nothing tells how well it does on other text."
    if evaluations:
        judged = (
            f"On {provenance['validation_characters']:,} held-out characters: "
            f"{evaluations[-1]['nats_per_character']:.4f} nats per character, "
            f"{evaluations[-1]['bits_per_byte']:.4f} bits per byte (step {provenance['best_step']:,})."
        )
        if beaten := yardsticks(baselines or {}):
            reached = ", ".join(f"{name} {score:.4f}" for name, score in beaten.items())
            judged += f" To beat, in bits per byte: {reached}."
        judged += f" {provenance['verdict']['words']}"
    what = (
        f"A {plan['preset']} GPT (Qwen3 architecture)"
        if plan["base"] is None
        else f"{escape_surrogates(plan['base'])}, trained further"
    )
    documents = text["document_count"]
    trained = (
        f"Trained for {pluralize(provenance['steps'], 'steps')} ({provenance['seconds']:,.0f} s) on "
        f"{pluralize(text['characters'], 'characters')} of text "
        f"({pluralize(documents, 'documents')}), with {provenance['made_with']}."
    )
    return (
        f"# {escape_surrogates(name)}\n\n"
        f"{what}: {pluralize(config.num_parameters, 'parameters')}, "
        f"{pluralize(config.num_layers, 'layers')} x {config.d_model}, context {config.context_length}, "
        f"{pluralize(config.vocab_size, 'tokens')}.\n\n"
        f"{trained}\n\n{judged}\n\n"
        f'```python\nimport nextword\nlm = nextword.load("{escape_surrogates(name)}")\nprint(lm.predict("..."))\n```\n'
    )


def journal_of(run: Path) -> dict[str, bytes]:
    """The journal of a run, by its name in the bundle; nothing, and a note, where it is gone.

    Args:
        run: The run directory.
    """
    try:
        return {METRICS: (run / METRICS).read_bytes()}
    except OSError as error:
        _LOG.warning(
            "the record of its losses is lost: %s: %s", escape_surrogates(run / METRICS), error.strerror or error
        )
        return {}


def draw_curve(out: Path) -> None:
    """Draws the curve of a run's losses into its bundle, where matplotlib is installed; a note says why if it cannot.

    Args:
        out: The bundle.
    """
    try:
        if find_spec("matplotlib") is None or find_spec("seaborn") is None or (record := read_run(out)) is None:
            return
        from nextword.figures.canvas import save_figure
        from nextword.figures.losses import Curve, training_figure

        curve = Curve(record.name, record.points("stepped"), record.points("validated"))
        figure = training_figure([curve], baselines=record.baselines, bytes_per_character=record.bytes_per_character)
        for name in ("loss.png", "loss.svg"):
            save_figure(figure, out / name)
    except Exception as error:  # noqa: BLE001  other people's packages, which may be broken in any way: only a picture
        _LOG.warning("the curve of its losses was not drawn: %s", shorten(str(error), 200) or type(error).__name__)
