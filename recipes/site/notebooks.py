"""A notebook, run from its first cell to its last, as a page: text, code, and what the code printed and drew."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

SECONDS_A_CELL = 600
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "nextword"
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def notebook_page(path: Path, pictures: Path) -> str:
    """Runs a notebook, and writes what it drew into a folder of its own.

    Args:
        path: The notebook; it stays as it is.
        pictures: Where the pictures go, beside the page.

    Returns:
        The page, in Markdown.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    parts = []
    for cell in executed(path).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(f"```python\n{cell.source}\n```")
            for place, output in enumerate(cell.outputs):
                parts += _output(output, pictures, f"{cell.id}-{place}")
    return "\n\n".join(parts) + "\n"


def executed(path: Path) -> Any:
    """A notebook with its outputs, run in an empty folder unless it has been run with this very package.

    The package, and the instruction set of its engine: with another one the last bits differ.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
        ValueError: It left something behind beside itself.
    """
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode("utf-8"))
    digest.update(os.environ.get("NEXTWORD_KERNELS", "").encode("utf-8"))
    for file in sorted(PACKAGE.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(file.read_bytes())
    kept = ROOT / "build" / "notebooks" / f"{digest.hexdigest()}.ipynb"
    if kept.is_file():
        return nbformat.reads(kept.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            config=Config({"KernelManager": {"transport_encryption": "required"}}),  # else it warns
            kernel_name="python3",
            timeout=SECONDS_A_CELL,
            resources={"metadata": {"path": folder}},
        ).execute(env=_environment())
        left = sorted(file.name for file in Path(folder).iterdir())
    if left:
        raise ValueError(f"{path.name} leaves behind {', '.join(left)}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(nbformat.writes(notebook), encoding="utf-8")  # type: ignore[no-untyped-call]
    return notebook


def _environment() -> dict[str, str]:
    """Without a network, and on one thread, which is faster for models of this size."""
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def _output(output: Any, pictures: Path, name: str) -> list[str]:
    """One output in the richest form that a page can show; none, if it went to standard error."""
    data = {"text/plain": output.text} if output.output_type == "stream" else output.data
    if output.output_type == "stream" and output.name != "stdout":
        return []
    for kind, suffix in (("image/svg+xml", "svg"), ("image/png", "png")):
        if kind in data:
            picture = pictures / f"{name}.{suffix}"
            pictures.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(base64.b64decode(data[kind]) if suffix == "png" else data[kind].encode("utf-8"))
            return [f"![{name}]({pictures.name}/{picture.name})"]
    if "text/html" in data:  # as it is: a blank line would end the block, and Markdown would read what is behind it
        return ['<div class="cell-output">' + re.sub(r"\n\s*\n", "\n", data["text/html"].strip()) + "</div>"]
    plain = _COLOURS.sub("", data["text/plain"]).rstrip()
    return [f'<div class="cell-output" markdown>\n\n```text\n{plain}\n```\n\n</div>'] if plain else []
