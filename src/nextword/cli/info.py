"""`nextword info`: what a model is made of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword.cli.options import Flag, Json, ModelArgument, model_path, print_json
from nextword.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from nextword.files import Bundle


def info(model: ModelArgument = None, *, card: Flag = False, as_json: Json = False) -> None:
    """Show a model's architecture: every weight with its shape and parameters, settings, provenance, proof.

    Args:
        model: The model.
        card: The whole model card, and nothing else.
        as_json: Print JSON.
    """
    from nextword.files.card import card_lead, card_text, languages_of
    from nextword.files.opening import read_model
    from nextword.files.sources.resolving import SHIPPED, SHIPPED_MODEL
    from nextword.loading import choose_backend
    from nextword.measuring.verification_file import read_verification

    path = model_path(model)
    bundle = read_model(path)
    backend = choose_backend().with_weights(bundle.tensors)
    config = bundle.config
    verification = read_verification(path)
    if as_json:
        print_json(
            {
                "path": str(path),
                "parameters": config.num_parameters,
                "config": config.to_dict(),
                "weights": {name: list(shape) for name, shape in config.parameter_shapes().items()},
                "element_types": _element_types(bundle),
                "backend": {"name": backend.name, "reason": backend.reason},
                "provenance": dict(bundle.provenance),
                "chat_template": bundle.chat_template,
                "recommended": dict(bundle.generation),
                "card": bundle.card,
                "languages": list(languages_of(bundle.card, bundle.provenance)),
                "notes": list(bundle.notes),
                "verification": None if verification is None else verification.to_json(),
            }
        )
        return
    from rich.text import Text

    from nextword.terminal.console import make_console
    from nextword.terminal.model_view import show_architecture, show_settings
    from nextword.terminal.verification_view import show_verification

    console = make_console()
    if card:
        _show_card(console, bundle)
        return
    name = SHIPPED if path == SHIPPED_MODEL else path.resolve().name if path == Path(str(model)) else str(model)
    console.print(Text(name, style="bold"))
    show_settings(console, config, {**_facts(bundle, verification is not None), "runs on": str(backend)})
    console.print()
    show_architecture(console, config)
    if bundle.notes:
        console.print()
        for note in bundle.notes:
            console.print(Text(f"note: {note}"))
    if verification is not None:
        console.print()
        show_verification(console, verification)
    if bundle.card:
        console.print()
        console.print(Text(card_lead(bundle.card)))
        if card_lead(bundle.card) != card_text(bundle.card):
            console.print(Text("--card shows the whole model card", style="dim"))


def _show_card(console: Console, bundle: Bundle) -> None:
    from rich.markdown import Markdown

    from nextword.files.card import card_text

    if not bundle.card:
        raise ConfigError("the model has no card")
    console.print(Markdown(card_text(bundle.card), hyperlinks=False))


def _facts(bundle: Bundle, verified: bool) -> dict[str, str]:
    from nextword.files.card import languages_of
    from nextword.terminal.console import size as in_bytes

    size = sum(len(tensor.data) for tensor in bundle.tensors.values())
    kinds = ", ".join(f"{count} tensors {kind}" for kind, count in _element_types(bundle).items())
    tokenizer = bundle.tokenizer
    facts: dict[str, str] = {
        "parameters": f"{bundle.config.num_parameters:,}",
        "weights": f"{in_bytes(size)}, {kinds}",
        "tokenizer": tokenizer.extent,
        "end of a text": ", ".join(map(str, sorted(tokenizer.end_ids))) or "no token",
        "chat template": f"{len(bundle.chat_template):,} characters" if bundle.chat_template else "none",
    }
    if languages := languages_of(bundle.card, bundle.provenance):
        facts["languages"] = ", ".join(languages)
    if bundle.generation:
        facts["recommended"] = ", ".join(f"{name} {value}" for name, value in bundle.generation.items())
    if not verified:
        facts["verified"] = "not yet: nextword verify"
    return facts


def _element_types(bundle: Bundle) -> dict[str, Any]:
    """How many tensors have each element type, the commonest first."""
    return dict(Counter(tensor.dtype for tensor in bundle.tensors.values()).most_common())
