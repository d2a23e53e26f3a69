"""What `--json` prints of a benchmark: its tables, every figure, and where and when they were measured.

`python benchmarks/NAME.py --json > benchmarks/results/NAME.json` is what the site's page of benchmarks is made from.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

PACKAGES = ("nextword", "torch", "transformers", "transformer-lens", "llama-cpp-python", "ctranslate2")


def record(
    table: str, figures: Any, kernels: Sequence[str] = (), peers: Mapping[str, str] = MappingProxyType({})
) -> str:
    """One JSON document.

    Args:
        table: What is printed without `--json`; the Markdown tables in it are kept.
        figures: Everything that was measured.
        kernels: The instruction sets that all engines were held to; the processor's widest vectors if left out.
        peers: Version of what took part and is no Python package.
    """
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:] if word != "--json"]
    script = Path(sys.argv[0])
    found = {
        "benchmark": script.stem,
        "command": shlex.join(["python", f"benchmarks/{script.name}", *words]),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": machine(kernels),
        "versions": {**versions(), **peers},
        "tables": tables(table),
        "figures": figures,
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def machine(kernels: Sequence[str] = ()) -> str:
    """The processor, how many of its threads there are, and its widest vectors, or those that were used."""
    facts = Path("/proc/cpuinfo")
    text = facts.read_text(encoding="utf-8") if facts.is_file() else ""
    name = re.search(r"model name\s*: (.*)", text)
    widest = next((width for flag, width in (("avx512f", ", AVX-512"), ("avx2", ", AVX2")) if flag in text), "")
    vectors = f", held to {' and '.join(kernels)}" if kernels else widest
    processor = name[1].strip() if name else platform.processor() or platform.machine()
    return f"{os.cpu_count()} x {processor}{vectors}"


def versions() -> dict[str, str]:
    """Of what may have taken part and is installed."""
    installed = {distribution.name.lower().replace("_", "-") for distribution in metadata.distributions()}
    found = {name: metadata.version(name) for name in PACKAGES if name in installed}
    return {"Python": platform.python_version(), **found}


def tables(markdown: str) -> list[dict[str, Any]]:
    """The tables of a Markdown text: columns, their alignment, rows of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", markdown, flags=re.MULTILINE):
        columns, align, *rows = (
            [cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()
        )
        found.append({"columns": columns, "align": align, "rows": rows})
    return found
