"""`nextword figure`: the lesson's picture of a text on its way into the model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextword.cli.options import Device, Model, Text, read_text
from nextword.language_model import load


def figure(
    text: Text,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("figure.png"),
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Draw token embedding, position and their sum as three aligned heatmaps.

    Args:
        text: The text.
        out: The file to write: .png, .svg or .pdf.
        model: A model directory, a .gguf file, a pulled name or a hub id.
        device: Where to run.
    """
    from nextword.inspection.figures import embedding_figure, save_figure

    lm = load(model, device=device)
    save_figure(embedding_figure(lm.model, lm.tokenizer, read_text(text)), out)
    sys.stdout.write(f"{out}\n")
