"""`nextword export`: carry a model off to other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import Parameter

from nextword.cli.options import Json, ModelArgument, OldDtype, PrecisionFlag, model_path, print_json


def export(
    model: ModelArgument = None,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    format: str = "huggingface",  # noqa: A002
    precision: PrecisionFlag = "auto",
    dtype: OldDtype = None,
    as_json: Json = False,
) -> None:
    """Write a model for other tools: a directory for transformers and vLLM, a GGUF file for llama.cpp and Ollama.

    Args:
        model: The model.
        out: The directory, or for gguf also a file that ends in .gguf.
        format: huggingface or gguf.
        precision: float32, float16, bfloat16; for gguf also the blocks, q8_0 to q4_0. If left out, a directory keeps
            what the model has, quantised blocks become float32; a GGUF file is float32.
        dtype: The old name of --precision.
        as_json: Print JSON.
    """
    from nextword.files import read_model
    from nextword.files.export import export_model, merge_dtype
    from nextword.terminal.console import make_console

    kind = merge_dtype(precision, dtype, before="--")
    with make_console(stderr=True).status("writing") as status:
        written = export_model(read_model(model_path(model)), out, cast(Any, format), kind, status.update)
    if as_json:
        print_json({"out": str(written), "format": format})
    else:
        sys.stdout.write(f"{written}\n")
