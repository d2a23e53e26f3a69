"""`nextword convert`: a model file of one kind into another."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextword.cli.options import Json, OldDtype, PrecisionFlag, model_path, print_json


def convert(
    source: Annotated[str, Parameter(help="The model to convert.")],
    out: Annotated[Path, Parameter(help="Where to write: a directory, or a file that ends in .gguf.")],
    *,
    precision: PrecisionFlag = "auto",
    dtype: OldDtype = None,
    as_json: Json = False,
) -> None:
    """Turn a GGUF file or a hub model into a nextword model directory, or any model into a GGUF file.

    Args:
        source: A model directory, a .gguf file, a pulled name or a hub id.
        out: A directory for nextword (and transformers, where the architecture is known there), or a .gguf file.
        precision: float32, float16, bfloat16; for a .gguf file also the blocks, q8_0 to q4_0. If left out, a directory
            keeps what the source has, quantised blocks become float32; a .gguf file is float32.
        dtype: The old name of --precision.
        as_json: Print JSON.
    """
    from nextword.files import read_model, write_bundle
    from nextword.files.export import cast_tensors, export_model, merge_dtype
    from nextword.terminal.console import make_console

    kind = merge_dtype(precision, dtype, before="--")
    with make_console(stderr=True).status("writing") as status:
        bundle = read_model(model_path(source))
        if out.suffix == ".gguf":
            export_model(bundle, out, "gguf", kind, status.update)
        else:
            write_bundle(out, replace(bundle, tensors=cast_tensors(bundle.tensors, kind)))
    if as_json:
        print_json({"source": source, "out": str(out)})
    else:
        sys.stdout.write(f'{out}\ntry: nextword "..." --model {out}\n')
