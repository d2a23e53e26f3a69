"""`nextword lens-fit`: a tuned or a Jacobian lens for a model, saved beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

from cyclopts import Parameter

from nextword.cli.options import DEFAULT_LOADING, Json, LoadingFlags, ModelArgument, print_json
from nextword.errors import ConfigError, ModelFileError, TextError, require_packages

if TYPE_CHECKING:
    from nextword.inspection.fitted_lens import FittedLens, LensKind


def lens_fit(
    model: ModelArgument = None,
    *,
    text: Annotated[tuple[Path, ...], Parameter(negative="", show_default=False)] = (),
    kind: str = "tuned",
    steps: int | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    half: Annotated[bool, Parameter(negative="")] = False,
    loading: LoadingFlags = DEFAULT_LOADING,
    as_json: Json = False,
) -> None:
    """Fit a lens, which shows what each layer would say better than the final norm and head alone.

    Ctrl-C ends the fit; what was fitted so far is measured and saved.

    Args:
        model: The model.
        text: A text file to fit on and to measure on; may be given several times.
        kind: tuned (an affine map for each layer, trained towards the model's own prediction) or jacobian (the mean
            derivative of the last layer's output).
        steps: Batches of about 512 tokens; 250 for tuned, 8 for jacobian if left out.
        out: The file to write; beside the model if left out.
        half: Store it in float16, half as large.
        loading: Where to run, and what weights are rounded to.
        as_json: Print JSON.
    """
    from nextword.inspection.fitted_lens import LensKind

    if kind not in get_args(LensKind):
        raise ConfigError(f"there is no lens {kind!r}", hint=f"kinds: {', '.join(get_args(LensKind))}")
    if not text:
        raise TextError("there is no text to fit on", hint="--text FILE")
    require_packages("fitting a lens", "torch", "torch")
    from nextword.cli.serve import named
    from nextword.inspection.fitted_lens import default_lens_path
    from nextword.inspection.lens_fitting import fit_lens
    from nextword.loading import load
    from nextword.terminal.console import make_console

    chosen = cast("LensKind", kind)
    path = default_lens_path(named(model).path, chosen) if out is None else out
    if path.is_dir():
        raise ModelFileError(f"cannot write {path}: it is a directory")
    texts = [_read(file) for file in text]
    with make_console(stderr=True).status("reading the model") as status:
        lm = load(model, **loading)
        status.update("fitting")
        lens = fit_lens(
            lm, texts, chosen, steps=steps, progress=lambda done, total: status.update(f"fitting: {done} of {total}")
        )
    lens.save(path, half=half)
    if as_json:
        print_json({"path": str(path), **lens.to_json()})
        return
    _show(lens)
    sys.stdout.write(f"{path}\n")


def read_lens(spelling: str, model: str | None) -> FittedLens | None:
    """The lens that `--lens` names: logit (None), the one of a kind that lies beside the model, or a file.

    Raises:
        ModelFileError: There is none.
    """
    from nextword.cli.serve import named
    from nextword.inspection.fitted_lens import FittedLens, LensKind, default_lens_path

    if spelling == "logit":
        return None
    path = Path(spelling)
    if spelling in get_args(LensKind):
        path = default_lens_path(named(model).path, cast("LensKind", spelling))
        if not path.exists():
            given = "" if model is None else f" {model}"
            raise ModelFileError(
                f"this model has no {spelling} lens: there is no {path}",
                hint=f"nextword lens-fit{given} --text FILE --kind {spelling} fits one",
            )
    elif not path.exists():
        raise ConfigError(f"there is no lens {spelling}", hint="logit, tuned, jacobian, or a file of nextword lens-fit")
    return FittedLens.load(path)


def _read(path: Path) -> str:
    from nextword.text_file import read_text

    return read_text(path)


def _show(lens: FittedLens) -> None:
    lines = [
        f"{lens.kind} lens, fitted on {lens.tokens:,} tokens{'' if lens.complete else ' (stopped early)'}",
        f"mean KL(final || row) in nats on {lens.held_out_tokens:,} tokens that it has not seen:",
        f"  {'row':>3} {'logit lens':>11} {'this lens':>11}",
    ]
    rows = ["in", *(str(layer) for layer in range(lens.config.num_layers - 1))]
    for row, before, after in zip(rows, lens.kl_before, lens.kl_after, strict=True):
        lines.append(f"  {row:>3} {before:11.3f} {after:11.3f}")
    sys.stdout.write("\n".join(lines) + "\n")
