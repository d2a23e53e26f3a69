"""Training steps on 1, 2 and 4 processes of this machine: tokens a second and memory, DDP beside FSDP.

The batch of a step is the same in every row, as is the loss that comes out (the run ends with an error if it is not).
Each process has one thread, but for the row that gives one process all of them. See docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from nextword.config import TRAINING_PRESETS, GPTConfig
from nextword.model import GPTModel
from nextword.training.run.parallel import Parallel
from nextword.training.run.ranks import init_process_group
from record import record

VOCABULARY = 4096
TOLERANCE = 1e-5  # relative, of the last step's loss


def main() -> int:
    """Runs the benchmark; the exit code is 0, or 1 if the losses differ."""
    options = arguments()
    if options.child:
        work(options)
        sys.stdout.flush()
        os._exit(0)  # as the command line ends: threads of the processes' talk would abort at Python's very end
    rows = [(1, 1, "alone"), (1, options.threads, "alone")]
    rows = list(dict.fromkeys(rows))
    rows += [(world, 1, strategy) for world in options.processes for strategy in ("ddp", "fsdp")]
    report = []
    for world, threads, strategy in rows:
        print(f"{world} processes, {threads} threads, {strategy}", file=sys.stderr)
        report.append({"processes": world, "threads": threads, "strategy": strategy} | launch(world, threads, strategy))
    print(record(table(report), report) if options.json else table(report))
    losses = [row["loss"] for row in report]
    if max(losses) - min(losses) > TOLERANCE * max(losses):
        print(f"error: the losses differ: {losses}", file=sys.stderr)
        return 1
    return 0


def arguments() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(TRAINING_PRESETS), default="small", help="size of the model (small)")
    parser.add_argument("--context", type=int, default=256, help="tokens of a row (256)")
    parser.add_argument("--batch", type=int, default=16, help="rows of a step, over all processes (16)")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed, after two that are not (10)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of one process that has all")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], help="numbers of processes (2 4)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def launch(world: int, threads: int, strategy: str) -> dict[str, Any]:
    """One row, in processes of its own."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
        arguments = [__file__, *sys.argv[1:], "--child", strategy, str(threads), str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run([*command, *arguments], check=True, env=environment)
        row: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return row


def work(options: argparse.Namespace) -> None:
    """What each process does: the same steps, its own rows."""
    strategy, threads, out = options.child
    torch.set_num_threads(int(threads))
    with init_process_group("cpu") as ranks:
        start = memory()
        torch.manual_seed(0)
        config = GPTConfig.preset(options.preset, VOCABULARY, options.context, tie_embeddings=False)
        parallel = Parallel(GPTModel.from_config(config), ranks, strategy="fsdp" if strategy == "fsdp" else "ddp")
        optimizer = torch.optim.AdamW(parallel.model.parameters(), lr=1e-3, fused=True)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(VOCABULARY, (options.batch, options.context + 1), generator=generator)
        (rows,) = ranks.rows(options.batch)
        tokens = options.batch * options.context
        seconds = []
        for _ in range(options.steps + 2):
            began = time.perf_counter()
            nats = parallel.backward(ids[rows], None, tokens).item()
            parallel.clip_grad_norm(1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss = ranks.sum(nats) / tokens
            seconds.append(time.perf_counter() - began)
        if ranks.is_main:
            rate = tokens / statistics.median(seconds[2:])
            row = {"tokens per second": rate, "MB more at the peak": memory() - start, "loss": loss}
            Path(out).write_text(json.dumps(row), encoding="utf-8")


def memory() -> float:
    """The most memory this process has held so far, in MB."""
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # bytes there, kibibytes here
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def table(report: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; the speed-up is against one process with one thread."""
    lines = [
        "| processes x threads | strategy | tokens/s | speed-up | MB a process, at the peak, over the start |",
        "|---|---|---|---|---|",
    ]
    for row in report:
        rate = row["tokens per second"]
        lines.append(
            f"| {row['processes']} x {row['threads']} | {row['strategy']} | {rate:,.0f}"
            f" | {rate / report[0]['tokens per second']:.2f} | {row['MB more at the peak']:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
