"""`nextword look`: the whole path from the tokens of a text to the next word, and what changes it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from nextword.cli.options import DEFAULT_LOADING, Json, LoadingFlags, Model, Overflow, Text, print_json, read_text
from nextword.cli.serve import SERVING, named, show_page
from nextword.errors import ConfigError, TextError, require_packages

if TYPE_CHECKING:
    from nextword.inspection.edits import Edit
    from nextword.inspection.fitted_lens import FittedLens
    from nextword.inspection.trace import Trace
    from nextword.language_model import LanguageModel

_ABLATE = Parameter(
    negative="",
    show_default=False,
    help="Switch off head H of layer L (`L.H`), its MLP (`L.mlp`), or all of it (`L`).",
)


def look(
    text: Text,
    *,
    model: Model = None,
    top: Annotated[int, Parameter(name=["--top", "-n"])] = 10,
    position: int = -1,
    layer: int | None = None,
    head: int | None = None,
    ablate: Annotated[tuple[str, ...], _ABLATE] = (),
    patch_from: str | None = None,
    patch_at: int | None = None,
    patch_positions: str | None = None,
    lens: str = "logit",
    html: Path | None = None,
    open_page: Annotated[bool, Parameter(name="--open", negative="")] = False,
    overflow: Overflow = "slide",
    loading: LoadingFlags = DEFAULT_LOADING,
    as_json: Json = False,
) -> None:
    """Show the whole path from the tokens of a text to the next word, and what a change to it does.

    Args:
        text: The text to continue.
        model: A model directory, a .gguf file, a pulled name or a hub id.
        top: How many candidates at the end.
        position: The token to predict from, counted from 0; -1 is the last.
        layer: Open this layer: every head, what it looks at and what it adds.
        head: With --layer, this head's attention as a grid.
        ablate: What to switch off; may be given several times.
        patch_from: Another text with as many tokens, to take values from.
        patch_at: With --patch-from, the layer before which the other text's residual stream is put in.
        patch_positions: With --patch-from, where: all, or numbers with commas; the position looked at if left out.
        lens: What the layers are read through: logit, or tuned or jacobian, which `lens-fit` fitted; or its file.
        html: Write the page that shows all of it into this file instead; it needs no network.
        open_page: Serve the page on this machine and open it in the browser instead, until Ctrl-C.
        overflow: What to do with a text longer than the context.
        loading: Where to run, and what weights are rounded to.
        as_json: Print JSON.
    """
    if top < 1:
        raise ConfigError(f"top is {top}, it must be at least 1")
    if head is not None and layer is None:
        raise ConfigError("--head shows a head of one layer", hint="add --layer")
    if (patch_from is None) != (patch_at is None) or (patch_positions is not None and patch_from is None):
        raise ConfigError("--patch-from takes the values of a text, --patch-at says where", hint="give both")
    fitted = _fitted(lens, model, page=open_page or html is not None)
    off = [_parse_ablation(spelling) for spelling in ablate]
    prompt = read_text(text)
    if open_page:
        if ablate or patch_from is not None or html is not None or as_json:
            raise ConfigError("--open shows the page, which has switches of its own", hint="leave out the other flags")
        require_packages("the page", "serve", *SERVING)
        _open_page(prompt, model, loading)
        return
    if html is not None and as_json:
        raise ConfigError("--html writes the page, --json prints values", hint="ask for one after the other")
    from nextword.loading import load
    from nextword.terminal.console import make_console

    with make_console(stderr=True).status("looking inside"):
        lm = load(model, **loading)
        changes = [change for part in off for change in _ablation(part, lm)]
        before = _trace(lm, prompt, overflow)
        dropped = before.dropped_tokens
        place = position if position >= 0 else len(before.token_ids) + position
        if patch_from is not None and patch_at is not None:
            changes.append(_patch(lm, before, patch_from, patch_at, _positions(patch_positions, place, before)))
        trace = _trace(lm.edit(*[edit for _, edit in changes]), prompt, overflow) if changes else before
        labels = list(dict.fromkeys(label for label, _ in changes))
        if html is not None:
            _write_page(html, lm, model, trace, before if changes else None, dropped)
    if html is not None:
        sys.stdout.write(f"{html}\n")
        return

    from nextword.terminal.path_values import comparison, read_path
    from nextword.terminal.path_view import TOKEN_ROWS, show_change, show_path, strip_cells

    change = comparison(before, trace, place, top) if changes else None
    if as_json:
        values = read_path(trace, position, top, layer=layer, head=head, lens=fitted).to_json()
        values |= {"dropped_tokens": dropped} if fitted is None else {"dropped_tokens": dropped, "lens": fitted.kind}
        print_json(values if change is None else {**values, "edits": labels, **change.to_json()})
        return
    console = make_console()
    cells = strip_cells(console.width, lm.config)
    path = read_path(trace, position, top, layer=layer, head=head, cells=cells, rows=TOKEN_ROWS, lens=fitted)
    if fitted is not None:
        console.print(f"read through the {fitted.kind} lens")
    show_path(console, path, dropped=dropped, edits=labels, candidates=change is None)
    if change is not None:
        console.print()
        show_change(console, change)


def _fitted(lens: str, model: str | None, page: bool) -> FittedLens | None:
    """What `--lens` names; None is the logit lens, the only one of the page."""
    from nextword.cli.lens_fit import read_lens

    if page and lens != "logit":
        raise ConfigError("--lens is for what is printed: the page shows the logit lens", hint="leave it out")
    return read_lens(lens, model)


def _write_page(
    path: Path, lm: LanguageModel, model: str | None, trace: Trace, plain: Trace | None, dropped: int
) -> None:
    from nextword.inspection.frames import Facts

    given = named(model)
    about = {"name": given.name, "file": given.source, "bytes": lm.nbytes}
    trace.to_html(path, plain=plain, facts=Facts(model=about, dropped=dropped))


def _open_page(text: str, model: str | None, loading: LoadingFlags) -> None:
    """Serves the page with this text, until Ctrl-C."""
    import logging
    from functools import partial
    from urllib.parse import quote

    from nextword.loading import load
    from nextword.server.models import Models
    from nextword.server.process.logs import log_to_stderr
    from nextword.server.process.serve import serve
    from nextword.settings import ServerSettings

    name, source, path = named(model)
    served = Models({name: path}, partial(load, **loading), {name: source})
    served.get(name)  # what cannot be read is told before the browser opens
    log_to_stderr(logging.WARNING)

    def ready(url: str) -> None:
        page = f"{url}/#text={quote(text, safe='')}"
        sys.stderr.write(f"{name} at {page} (Ctrl-C ends)\n")
        sys.stderr.flush()
        show_page(page)

    serve(served, ServerSettings(port=0), ready=ready)


def _trace(lm: LanguageModel, text: str, overflow: str) -> Trace:
    from nextword.inspection.frames import shown_names

    return lm.trace(text, names=shown_names(lm.config), overflow=cast(Any, overflow))


def _parse_ablation(spelling: str) -> tuple[int, str | None]:
    """The layer of one `--ablate`, and the part of it: a head's number, `mlp`, or all."""
    match = re.fullmatch(r"(\d+)(?:\.(\d+|mlp))?", spelling)
    if match is None:
        raise ConfigError(
            f"--ablate {spelling} is neither a head nor a layer", hint="3.1 is head 1 of layer 3; 3.mlp; 3"
        )
    return int(match[1]), match[2]


def _ablation(spelled: tuple[int, str | None], lm: LanguageModel) -> list[tuple[str, Edit]]:
    """The edits of one `--ablate`, each with what is said about it."""
    from nextword.inspection.edits import ablate_head, ablate_layer, ablate_mlp

    layer, part = spelled
    if layer >= lm.config.num_layers:
        raise ConfigError(f"there is no layer {layer}", hint=f"layers are 0 to {lm.config.num_layers - 1}")
    if part is None:
        return [(f"layer {layer} is off", edit) for edit in ablate_layer(layer)]
    if part == "mlp":
        return [(f"the MLP of layer {layer} is off", ablate_mlp(layer))]
    if int(part) >= lm.config.num_heads:
        raise ConfigError(f"there is no head {part} in layer {layer}", hint=f"heads are 0 to {lm.config.num_heads - 1}")
    return [(f"head {part} of layer {layer} is off", ablate_head(layer, int(part)))]


def _positions(spelling: str | None, place: int, trace: Trace) -> list[int]:
    """Where to patch."""
    count = len(trace.token_ids)
    if spelling is None:
        return [place]
    if spelling == "all":
        return list(range(count))
    if re.fullmatch(r"\d+(,\d+)*", spelling) is None:
        raise ConfigError(f"--patch-positions {spelling} are no positions", hint="all, or numbers: 0,3")
    positions = [int(number) for number in spelling.split(",")]
    if max(positions) >= count:
        raise ConfigError(f"there is no position {max(positions)}", hint=f"positions are 0 to {count - 1}")
    return positions


def _patch(lm: LanguageModel, trace: Trace, text: str, layer: int, positions: list[int]) -> tuple[str, Edit]:
    from nextword.inspection.patching import patch

    if not 0 <= layer < lm.config.num_layers:
        raise ConfigError(f"there is no layer {layer}", hint=f"layers are 0 to {lm.config.num_layers - 1}")
    other = _trace(lm, read_text(text), "stop")
    ours, theirs = len(trace.token_ids), len(other.token_ids)
    if ours != theirs:
        raise TextError(
            f"the text has {ours} tokens, the one to patch from {theirs}: they must be as many",
            hint="nextword tokenize shows a text's tokens",
        )
    all_of_them = len(positions) == ours > 1
    where = "every position" if all_of_them else f"position {', '.join(map(str, positions))}"
    label = f'layer {layer} reads "{other.text}" at {where}'
    return label, patch(("resid_pre", layer), other, positions)
