"""What rounding activations costs: int16 and int8 beside float32 activations of the same weights, file by file.

The model writes text greedily with float32 activations; with the others it reads that text. So every position tells
how far logits move and whether the same token would have been written, and a text that no position would have changed
would have been written alike. Figures are kept as they come: a file that was measured is not measured again. Perplexity
is shown as float32 activations have it, and how far the others are off.

    python benchmarks/activations.py model-Q4_1.gguf model-Q4_K_M.gguf ...

See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nextword
from nextword.engine.backend import UBATCH_TOKENS, NativeBackend
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
STEPS = 12
"""Tokens of every text that are written before they are read: with all texts about one batch of the engine."""
REAL_TOKENS = 2048

Errors = dict[str, NDArray[Any]]


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
    rounded = dict(zip(ROUNDED, others, strict=True))
    openings = [bundle.tokenizer.encode_start(text) for text in OPENINGS]
    real = bundle.tokenizer.encode_start(real_text())[: min(bundle.config.context_length, REAL_TOKENS)]
    found: dict[str, Any] = {"perplexity": perplexity(exact, real)}
    for activations, texts in write_and_read(exact, rounded, openings, tokens // len(OPENINGS)).items():
        errors = {name: np.concatenate([text[name] for text in texts]) for name in texts[0]}
        found["tokens"] = len(errors["same"])
        found[activations] = {
            "largest": float(errors["largest"].max()),
            "mean": float(errors["mean"].mean()),
            "divergence": float(errors["divergence"].mean()),
            "top1": float(errors["same"].mean()),
            "identical": sum(bool(text["same"].all()) for text in texts) / len(texts),
            "perplexity": perplexity(rounded[activations], real),
        }
    return found


def write_and_read(
    exact: NativeBackend, rounded: Mapping[Activations, NativeBackend], openings: Sequence[list[int]], count: int
) -> dict[Activations, list[Errors]]:
    """Of each text the errors at every position whose next token was written.

    `exact` writes `count` tokens behind each opening, the most probable ones, all texts together. After every STEPS
    tokens the others read what was written: the logits of one block are all that is kept.
    """
    room = [len(opening) + count for opening in openings]
    caches = [exact.new_cache(size) for size in room]
    readers = {name: [backend.new_cache(size) for size in room] for name, backend in rounded.items()}
    blocks: dict[Activations, list[list[Errors]]] = {name: [[] for _ in openings] for name in rounded}
    news = [list(opening) for opening in openings]
    for start in range(0, count, STEPS):
        chunks: list[list[int]] = [[] for _ in openings]
        written: list[list[NDArray[np.float32]]] = [[] for _ in openings]
        for _ in range(min(STEPS, count - start)):
            for chunk, new in zip(chunks, news, strict=True):
                chunk.extend(new)
            rows = exact.forward(news, caches)
            for kept, row in zip(written, rows, strict=True):
                kept.append(row)
            news = [[int(row.argmax())] for row in rows]
        read = {name: backend.forward(chunks, readers[name], "all") for name, backend in rounded.items()}
        for text, kept in enumerate(written):
            ours = np.stack(kept)
            expected = log_softmax(ours)
            for name, texts in read.items():  # the first chunk has the opening's positions too
                blocks[name][text].append(compare(ours, expected, texts[text][-len(ours) :]))
    return {
        name: [{key: np.concatenate([block[key] for block in parts]) for key in parts[0]} for parts in texts]
        for name, texts in blocks.items()
    }


def compare(ours: NDArray[np.float32], expected: NDArray[np.float64], theirs: NDArray[np.float32]) -> Errors:
    """The errors of logits, position by position, and whether the best is the same; `expected` is ours normalised."""
    error = np.abs(ours - theirs)
    divergence = (np.exp(expected) * (expected - log_softmax(theirs))).sum(-1)
    same = ours.argmax(-1) == theirs.argmax(-1)
    return {"largest": error.max(-1), "mean": error.mean(-1), "divergence": divergence, "same": same}


def perplexity(backend: NativeBackend, ids: list[int]) -> float:
    """On text that people wrote."""
    cache, loss = backend.new_cache(len(ids)), 0.0
    for start in range(0, len(ids) - 1, UBATCH_TOKENS):
        following = ids[start + 1 : start + UBATCH_TOKENS + 1]
        [rows] = backend.forward([ids[start : start + len(following)]], [cache], "all")
        loss -= float(log_softmax(rows)[np.arange(len(following)), following].sum())
    return float(np.exp(loss / (len(ids) - 1)))


def real_text() -> str:
    """English prose: the pages of the documentation."""
    pages = sorted((Path(nextword.__file__).parents[2] / "docs").glob("*.md"))
    return "\n".join(page.read_text(encoding="utf-8") for page in pages if not page.name.endswith(".ko.md"))


def table(measured: dict[str, Any]) -> str:
    """Markdown."""
    columns = ["file", "tokens", "activations", "largest error", "mean", "KL divergence", "top-1 equal"]
    columns += ["texts identical", "perplexity"]
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---|---:|---:|---:|---:|---:|---:|"]
    for name, figures in measured.items():
        exact = figures["perplexity"]
        lines.append(f"| {name} | {figures['tokens']:,} | float32 | | | | | | {exact:.3f} |")
        for activations in ROUNDED:
            row = figures[activations]
            lines.append(
                f"| | | {activations} | {row['largest']:.2g} | {row['mean']:.1e} | {row['divergence']:.1e} | "
                f"{row['top1']:.2%} | {row['identical']:.0%} | {row['perplexity'] - exact:+.4f} |"
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
