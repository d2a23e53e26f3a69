"""`nextword verify`: proof that a model is computed as transformers computes it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from nextword.cli.options import Json, ModelArgument, model_path, print_json
from nextword.errors import ModelFileError, NextwordError, require_packages


def verify(
    model: ModelArgument = None,
    *,
    keep: Annotated[bool, Parameter(negative="--no-keep")] = True,
    as_json: Json = False,
) -> None:
    """Hold a model against transformers (and llama.cpp, if llama-cpp-python is installed), number by number.

    The same weights run in both, on English, Korean, code and emoji, in float32 and float64. The table is kept beside
    the model, where `nextword info` shows it. The command fails if tokens differ, or logits by more than rounding.

    It runs on the CPU, and takes no --precision: what each one that saves memory costs is measured and shown. Two
    hashes, of 1,000 greedy tokens and of all their logits, tell whether another machine computes the same bits.

    Args:
        model: The model.
        keep: Keep the measurement beside the model.
        as_json: Print JSON.
    """
    require_packages("verifying a model", "verify", "torch", "transformers")
    from nextword.measuring.verification import verify as run
    from nextword.measuring.verification_file import TOLERANCE, write_verification
    from nextword.terminal.console import make_console
    from nextword.terminal.verification_view import show_verification

    path = model_path(model)
    notes = make_console(stderr=True)
    with notes.status("reading the model") as status:
        measured = run(path, watch=lambda doing: status.update(f"running {doing}"))
    if as_json:
        print_json(measured.to_json())
    else:
        show_verification(make_console(), measured)
    if keep:
        try:
            written = write_verification(path, measured)
            notes.print(f"kept in {written}", style="dim", markup=False)
        except ModelFileError as error:  # a model in a place of others: the figures stand above all the same
            notes.print(f"not kept: {error.message}", style="yellow", markup=False)
    if not measured.equal:
        worst = measured.worst
        raise NextwordError(
            f"{path} is not computed as transformers computes it: tokens differ, or logits by more than {TOLERANCE:g} "
            f"of the largest one (worst: {worst.logits_max:.1e} of {worst.largest_logit:.1f}, {worst.prompt})",
            hint="please report it, with the output of --json",
        )
