"""`nextword figure`: pictures of a text on its way through the model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextword.cli.options import DEFAULT_LOADING, LoadingFlags, Model, Text, note_dropped_tokens, read_text
from nextword.errors import ConfigError, require_packages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nextword.language_model import LanguageModel

KINDS = ("embedding", "attention", "lens", "norms", "next", "attribution", "logits", "ablation")


def figure(
    text: Text,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("figure.png"),
    kind: str = "embedding",
    model: Model = None,
    layer: int | None = None,
    head: int | None = None,
    colour: str | None = None,
    lens: str | None = None,
    target: str | None = None,
    top: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    loading: LoadingFlags = DEFAULT_LOADING,
) -> None:
    """Draw a text on its way through the model.

    Args:
        text: The text.
        out: The file to write: .png, .svg or .pdf.
        kind: embedding (token embedding, position and their sum), attention (dots as large as the weights), lens
            (what each layer would say), norms (of the residual stream), next (next tokens through every stage of
            sampling), attribution (which tokens speak for the next one), logits (which heads and MLPs made its logit)
            or ablation (what switching off each head does to it).
        model: A model directory, a .gguf file, a pulled name or a hub id.
        layer: For attention: which block; the last if left out.
        head: For attention: which head; all if left out.
        colour: For lens: probability (if left out), rank, kl or entropy.
        lens: For lens: logit (if left out), tuned or jacobian, which `lens-fit` fitted; or its file.
        target: For attribution and logits: the next token; the most probable one if left out.
        top: For next: how many tokens; 12 if left out.
        temperature: For next: the distribution that is drawn from at this temperature.
        top_k: For next: only the k most probable tokens.
        top_p: For next: only the most probable tokens up to this probability.
        min_p: For next: only tokens at least this share as probable as the best.
        loading: Where to run, and what weights are rounded to.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no figure {kind!r}", hint=f"kinds: {', '.join(KINDS)}")
    if top is not None and top < 1:
        raise ConfigError(f"top is {top}, it must be at least 1")
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    sampled = {name: value for name, value in given.items() if value is not None}
    owned: dict[str, dict[str, object]] = {
        "next": {**given, "top": top},
        "attention": {"layer": layer, "head": head},
        "lens": {"colour": colour, "lens": lens},
    }
    for owner, flags in owned.items():
        if kind != owner and (odd := next((name for name, value in flags.items() if value is not None), None)):
            raise ConfigError(f"--{odd.replace('_', '-')} is for --kind {owner}, not for {kind}")
    if target is not None and kind not in ("attribution", "logits"):
        raise ConfigError(f"--target is for --kind attribution or logits, not for {kind}")
    from nextword.figures.canvas import drawable_suffix
    from nextword.generation.context import fit_to_context
    from nextword.generation.sampling import Sampling

    drawable_suffix(out)  # before what takes seconds is imported
    sampling = Sampling(**sampled) if sampled else None  # type: ignore[arg-type]
    if kind == "attribution":  # gradients
        require_packages("drawing gradients", "torch,figures", "torch", "matplotlib", "seaborn")
    else:
        require_packages("drawing figures", "figures", "matplotlib", "seaborn")
    prompt = read_text(text)
    from nextword.terminal.console import make_console

    with make_console(stderr=True).status("reading the model") as status:  # matplotlib takes a second to load
        from nextword.figures import save_figure
        from nextword.loading import load

        lm = load(model, **loading)
        status.update("drawing")
        if kind == "next":
            from nextword.figures import next_token_figure

            count = 12 if top is None else top
            drawn = next_token_figure(lm.predict(prompt, count), sampling, top=count)
        elif kind == "lens":
            from nextword.cli.lens_fit import read_lens
            from nextword.figures import lens_figure

            fitted = read_lens(lens or "logit", model)
            drawn = lens_figure(lm.trace(prompt), colour or "probability", lens=fitted)  # type: ignore[arg-type]
        elif kind == "attention":
            from nextword.figures import attention_figure

            drawn = attention_figure(lm.trace(prompt), lm.config.num_layers - 1 if layer is None else layer, head)
        else:
            drawn = _draw(lm, prompt, kind, target, status.update)
        save_figure(drawn, out)
    note_dropped_tokens(fit_to_context(lm.tokenizer, prompt, lm.config.context_length, "slide")[1])
    sys.stdout.write(f"{out}\n")


def _draw(lm: LanguageModel, prompt: str, kind: str, target: str | None, tell: Callable[[str], None]) -> Figure:
    from nextword import figures

    match kind:
        case "embedding":
            return figures.embedding_figure(lm, lm.tokenizer, prompt)
        case "norms":
            return figures.residual_norms_figure(lm.trace(prompt))
        case "attribution":
            return figures.attribution_figure(lm.attribute(prompt, target))
        case "logits":
            return figures.logit_attribution_figure(lm.trace(prompt).attribution(target))
        case _:
            return _ablation(lm, prompt, tell)


def _ablation(lm: LanguageModel, prompt: str, tell: Callable[[str], None]) -> Figure:
    from nextword.figures import ablation_figure
    from nextword.inspection.heads import ablation_map
    from nextword.tokens.visible import visible

    first = lm.predict(prompt, 1)[0]
    layers = lm.config.num_layers
    effects = ablation_map(
        lm,
        lm.trace(prompt, names="logits").token_ids,
        watch=lambda layer: tell(f"switching off heads: layer {layer + 1} of {layers}"),
    )
    said = f"Each head off: what becomes of {visible(first.text)} ({first.probability:.1%})"
    return ablation_figure(effects, title=said)
