"""`nextword info`: what a model is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextword.cli.options import Json, print_json
from nextword.files import read_bundle
from nextword.language_model import DEFAULT_MODEL


def info(model: Annotated[str | None, Parameter(help="A model directory.")] = None, *, as_json: Json = False) -> None:
    """Show a model's architecture: every weight with its shape and parameters, settings, provenance.

    Args:
        model: A model directory; the default model if left out.
        as_json: Print JSON.
    """
    path = DEFAULT_MODEL if model is None else Path(model)
    bundle = read_bundle(path)
    config = bundle.config
    if as_json:
        print_json(
            {
                "path": str(path),
                "parameters": config.num_parameters,
                "config": config.to_dict(),
                "weights": {name: list(shape) for name, shape in config.parameter_shapes().items()},
                "provenance": dict(bundle.provenance),
            }
        )
        return
    from rich.text import Text

    from nextword.terminal.console import make_console
    from nextword.terminal.model_view import show_architecture, show_settings

    console = make_console()
    console.print(Text(path.resolve().name, style="bold"))
    weight = bundle.tensors["token_embedding.weight"]
    size = sum(len(tensor.data) for tensor in bundle.tensors.values())
    tokenizer = bundle.tokenizer
    show_settings(
        console,
        config,
        {
            "parameters": f"{config.num_parameters:,}",
            "weights": f"{size / 1e6:.1f} MB, {weight.dtype}",
            "tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens",
        },
    )
    console.print()
    show_architecture(console, config)
    if bundle.card:
        console.print()
        console.print(bundle.card.strip(), markup=False)
