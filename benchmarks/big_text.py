"""Does the length of a text cost anything but time? Preparation, training speed and memory at 1 MB, 100 MB and 1 GB.

Each size runs in a process of its own. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from nextword.config import GPTConfig
from nextword.model import GPTModel
from nextword.training.corpus.prepare_text import prepare_text
from nextword.training.run.batches import Batches
from record import record

WINDOW, BATCH, VOCABULARY = 128, 8, 2048  # the same at every size, so that speeds can be compared
MEGABYTE = 10**6


def main() -> int:
    """Runs the benchmark; the exit code is 0."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(run(options.child, options.steps)))
        return 0
    results = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for size in options.megabytes:
            text = Path(scratch) / "text.txt"
            write_text(options.text, text, size * MEGABYTE)
            print(f"{size:,} MB", file=sys.stderr)
            command = [sys.executable, __file__, str(options.text), "--child", str(text)]
            command += ["--steps", str(options.steps), "--threads", str(options.threads)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            results.append(json.loads(done.stdout))
    print(record(table(results), results) if options.json else table(results))
    return 0


def write_text(source: Path, target: Path, size: int) -> None:
    """The lines of a text over and over, in another order each time, every one with a number of its own."""
    lines = source.read_text(encoding="utf-8").splitlines()
    rng = random.Random(0)  # noqa: S311  no secret
    written = number = 0
    with target.open("wb") as file:
        while written < size:
            rng.shuffle(lines)
            for line in lines:
                number += 1
                written += file.write(f"{number} {line}\n".encode())
                if written >= size:
                    break


def run(text: Path, steps: int) -> dict[str, Any]:
    """Prepares a text and trains a tiny model on it for some steps."""
    report: dict[str, Any] = {"bytes": text.stat().st_size}
    warm_up()
    report["start"] = memory()
    began = time.perf_counter()
    data = prepare_text(text.parent / "data", text, validation=0.1, validation_limit=MEGABYTE, vocab_size=VOCABULARY)
    report["preparation_seconds"] = time.perf_counter() - began
    report["prepared"] = memory()
    report["tokens"] = len(data.train.tokens)
    batches = Batches(data.train.tokens, WINDOW, BATCH, seed=0)
    report["tokens_per_second"] = train(batches, steps)
    report["end"] = memory()
    return report


def warm_up() -> None:
    """Trains a few steps on nothing, so that what PyTorch takes for itself is there at the start."""
    train(Batches(torch.arange(1024).numpy(), WINDOW, BATCH, seed=0), 3)


def train(batches: Batches, steps: int) -> float:
    """Tokens a second."""
    torch.manual_seed(0)
    model = GPTModel.from_config(GPTConfig.preset("tiny", VOCABULARY, WINDOW))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    began = time.perf_counter()
    for step in range(steps):
        ids = torch.from_numpy(batches.batch(step))
        logits = model(ids[:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return steps * batches.tokens_per_step / (time.perf_counter() - began)


def memory() -> dict[str, float]:
    """Megabytes: resident now, of these not backed by a file, and the most that was resident so far (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    names = {"resident": "VmRSS", "anonymous": "RssAnon", "peak": "VmHWM"}
    return {name: int(fields[field].split()[0]) * 1024 / MEGABYTE for name, field in names.items()}


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    rows = [
        "| text | preparation | training | resident at the start | prepared (peak) | trained (anonymous) |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        size = result["bytes"] / MEGABYTE
        start, prepared, end = (result[name] for name in ("start", "prepared", "end"))
        rows.append(
            f"| {size:,.0f} MB, {result['tokens']:,} tokens | {size / result['preparation_seconds']:.2f} MB/s "
            f"| {result['tokens_per_second']:,.0f} tokens/s | {start['resident']:,.0f} MB "
            f"| {prepared['resident']:,.0f} MB ({prepared['peak']:,.0f}) "
            f"| {end['resident']:,.0f} MB ({end['anonymous']:,.0f}) |"
        )
    return "\n".join(rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a text to make longer ones from")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--scratch", type=Path, help="where the texts go (twice their size is needed)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
