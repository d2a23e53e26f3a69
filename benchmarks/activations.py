"""What rounding activations costs: int16 and int8 beside float32 activations of the same weights, file by file.

The model writes text greedily with float32 activations; with the others it reads that text. So every position tells
how far logits move and whether the same token would have been written, and a text that no position would have changed
would have been written alike. Figures are kept as they come: a file that was measured is not measured again.

    python benchmarks/activations.py model-Q4_1.gguf model-Q4_K_M.gguf ...

See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nextword
from nextword.engine.backend import NativeBackend
from nextword.engine.weights import FORMATS
from nextword.files import read_model
from nextword.files.precision import computable
from nextword.generation.sampling import log_softmax
from nextword.settings import Activations
from record import record

OPENINGS = (
    *("The quick brown fox", "Once upon a time", "In 1969, the first", "The capital of France is", "Water boils when"),
    *("My favourite recipe", "def fibonacci(n):", "Dear Sir or Madam,", "The theory of evolution", "A good teacher"),
    *(
        "목이 말라서 물을",
        "옛날 옛적에",
        "Es war einmal",
        "La révolution française",
        "Question: Why is the sky blue?\nAnswer:",
    ),
    *("The stock market", "import numpy as np", "To be, or not to be", "She opened the door", "Chapter 1\n\n"),
)
"""How each text begins; all of them are written together."""
ROUNDED: tuple[Activations, ...] = ("int16", "int8")


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    kept: dict[str, Any] = json.loads(options.keep.read_text(encoding="utf-8")) if options.keep.exists() else {}
    for path in options.models:
        if path.stem not in kept:
            kept[path.stem] = measure(path, options.tokens, options.threads)
            options.keep.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    measured = {path.stem: kept[path.stem] for path in options.models}
    print(record(table(measured), measured) if options.json else table(measured))
    return 0


def measure(path: Path, tokens: int, threads: int | None) -> dict[str, Any]:
    """The errors of each kind of activations, over all positions of all texts."""
    bundle = read_model(path)
    tensors = computable(bundle.tensors, FORMATS)
    exact, *others = (
        NativeBackend(bundle.config, tensors, threads=threads, activations=activations)
        for activations in ("float32", *ROUNDED)
    )
    openings = [bundle.tokenizer.encode_start(text) for text in OPENINGS]
    texts = write_greedily(exact, openings, tokens // len(OPENINGS))
    real = bundle.tokenizer.encode_start(real_text())[: min(bundle.config.context_length, 2048)]
    found: dict[str, Any] = {"positions": sum(map(len, texts)), "perplexity": perplexity(exact, real)}
    for activations, rounded in zip(ROUNDED, others, strict=True):
        rows = [compare(exact, rounded, text, len(opening)) for text, opening in zip(texts, openings, strict=True)]
        errors = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        found[activations] = {
            "largest": float(errors["largest"].max()),
            "mean": float(errors["mean"].mean()),
            "divergence": float(errors["divergence"].mean()),
            "top1": float(errors["same"].mean()),
            "identical": sum(bool(row["same"].all()) for row in rows) / len(rows),
            "perplexity": perplexity(rounded, real),
        }
    return found


def write_greedily(backend: NativeBackend, openings: Sequence[list[int]], count: int) -> list[list[int]]:
    """Each opening and `count` tokens more, the most probable ones."""
    texts, news = [list(opening) for opening in openings], [list(opening) for opening in openings]
    caches = [backend.new_cache(len(opening) + count) for opening in openings]
    for _ in range(count):
        rows = backend.forward(news, caches)
        news = [[int(row.argmax())] for row in rows]
        for text, new in zip(texts, news, strict=True):
            text.extend(new)
    return texts


def compare(
    exact: NativeBackend, rounded: NativeBackend, text: list[int], opening: int
) -> dict[str, NDArray[np.generic]]:
    """Of each position whose next token was written: the errors of its logits, and whether the best is the same."""
    ours, theirs = (logits(backend, text)[opening - 1 : -1] for backend in (exact, rounded))
    error = np.abs(ours - theirs)
    expected, found = log_softmax(ours), log_softmax(theirs)
    divergence = (np.exp(expected) * (expected - found)).sum(-1)
    same = ours.argmax(-1) == theirs.argmax(-1)
    return {"largest": error.max(-1), "mean": error.mean(-1), "divergence": divergence, "same": same}


def logits(backend: NativeBackend, ids: list[int]) -> NDArray[np.float32]:
    """Of every position."""
    (rows,) = backend.forward([ids], [backend.new_cache(len(ids))], "all")
    return rows


def perplexity(backend: NativeBackend, ids: list[int]) -> float:
    """On text that people wrote."""
    chosen = log_softmax(logits(backend, ids)[:-1])[np.arange(len(ids) - 1), ids[1:]]
    return float(np.exp(-chosen.mean()))


def real_text() -> str:
    """English prose: the pages of the documentation."""
    pages = sorted((Path(nextword.__file__).parents[2] / "docs").glob("*.md"))
    return "\n".join(page.read_text(encoding="utf-8") for page in pages if not page.name.endswith(".ko.md"))


def table(measured: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| file | activations | largest error | mean | KL divergence | top-1 equal | texts identical | perplexity |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, figures in measured.items():
        lines.append(f"| {name} | float32 | | | | | | {figures['perplexity']:.3f} |")
        for activations in ROUNDED:
            row = figures[activations]
            lines.append(
                f"| | {activations} | {row['largest']:.2g} | {row['mean']:.1e} | {row['divergence']:.1e} | "
                f"{row['top1']:.2%} | {row['identical']:.0%} | {row['perplexity']:.3f} |"
            )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, help="quantised files")
    parser.add_argument("--tokens", type=int, default=10_000, help="written in all")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--keep", type=Path, default=Path("activations.json"), help="where figures are kept")
    parser.add_argument("--json", action="store_true", help="with every figure, and where they were measured")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
