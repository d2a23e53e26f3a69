"""What looking inside costs: a full trace against the plain forward pass, and against TransformerLens.

Both libraries get the same random weights of GPT-2 small's shape and take turns in one process, so that what else the
machine does hits both alike. Ratios are ratios of medians. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextword import LanguageModel
from nextword.config import GPTConfig
from nextword.inspection.capture import capture
from nextword.inspection.hooks import run_with_cache
from nextword.inspection.trace import Trace
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from record import record

PEER = "TransformerLens 4.3"
MEMORY_TOKENS = 1024
TOLERANCE = 1e-4  # float32; the largest difference of any value between the two libraries


def main() -> int:
    """Runs the benchmark; the exit code is 0, or 2 if the peer is missing."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(memory(options.child)))
        return 0
    model, ids = gpt2_small(), token_ids(options.tokens)
    progress(f"{options.tokens} tokens, {options.threads} threads, {options.rounds} rounds")
    runs: dict[str, Callable[[], Any]] = {
        "nextword, forward": lambda: model(torch.tensor([ids])),
        "nextword, full trace": lambda: full_trace(model, ids),
        "nextword, each head's result too": lambda: full_trace(model, ids, results=True),
        "nextword, scores and patterns put off": lambda: capture(model, None, "", ids),
        "nextword, run_with_cache": lambda: run_with_cache(model, [ids]),
    }
    report: dict[str, Any] = {"tokens": options.tokens, "threads": options.threads, "rounds": options.rounds}
    if not options.alone:
        peer = load_peer(model)
        if peer is None:
            print(f"error: {PEER} is not installed beside nextword", file=sys.stderr)
            print(
                "hint: pip install 'transformer-lens==4.3.*' in an environment of its own, or --alone", file=sys.stderr
            )
            return 2
        runs[f"{PEER}, forward"] = lambda: peer(torch.tensor([ids]))
        runs[f"{PEER}, run_with_cache"] = lambda: peer.run_with_cache(torch.tensor([ids]))
        report["values compared"], report["largest difference"] = compare(model, peer, ids)
    with torch.inference_mode():
        report["seconds"] = alternate(runs, options.rounds)
    report |= limit(full_trace(model, ids), options.rounds)
    if sys.platform == "linux":
        report["memory"] = [
            measure_memory(who, options.threads) for who in ["trace", *([] if options.alone else ["peer"])]
        ]
    print(record(table(report), report) if options.json else table(report))
    return 0


def arguments() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=128, help="length of the text (128)")
    parser.add_argument("--rounds", type=int, default=15, help="times that each is run (15)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--alone", action="store_true", help="leave TransformerLens out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", choices=["trace", "peer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1 or not 1 <= options.tokens <= MEMORY_TOKENS or options.threads < 1:
        parser.error(f"rounds and threads are at least 1, tokens 1 to {MEMORY_TOKENS}")
    return options


def gpt2_small() -> GPTModel:
    """12 layers x 768, 12 heads, 50,257 tokens: 124 million random weights, the same in every process."""
    torch.manual_seed(0)
    return GPTModel.from_config(GPTConfig.gpt2(50_257, MEMORY_TOKENS)).requires_grad_(False).eval()


def token_ids(count: int) -> list[int]:
    """Random token ids, the same in every process."""
    return [int(token) for token in np.random.default_rng(0).integers(0, 50_257, count)]


def full_trace(model: GPTModel, ids: list[int], results: bool = False) -> Trace:
    """A trace with every value there as a NumPy array, scores and patterns of all layers too.

    Each head's part of attention's output (`hook_result`), which TransformerLens leaves out as well, only on demand.
    """
    trace = capture(model, None, "", ids, max_bytes=1 << 34)
    for name in trace:
        if results or not str(name).endswith("hook_result"):
            trace[name]
    return trace


def load_peer(model: GPTModel) -> Any:
    """TransformerLens's model with our weights under its classic names, unfolded; None if it is not installed."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model lies in a directory
    try:
        peer = importlib.import_module("transformer_lens")
        importlib.import_module("transformers").logging.disable_progress_bar()
    except ImportError:
        return None
    progress(f"giving {PEER} the same weights")
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        LanguageModel.from_model(model, Tokenizer.train_bpe(["any text will do"], 270)).export(directory)
        bridge = peer.TransformerBridge.boot_transformers(directory, device="cpu")
    bridge.enable_compatibility_mode(no_processing=True, disable_warnings=True)
    return bridge.eval()


def compare(model: GPTModel, peer: Any, ids: list[int]) -> tuple[int, float]:
    """How many values both libraries name alike, and the largest difference of any number among them."""
    with torch.inference_mode():
        logits, ours = run_with_cache(model, [ids])
        other_logits, cache = peer.run_with_cache(torch.tensor([ids]))
    theirs = dict(cache.items())
    shared = [name for name in ours if name in theirs]
    pairs = [(logits, other_logits), *((ours[name], theirs[name]) for name in shared)]
    for value, other in pairs:
        assert value.shape == other.shape, "a value has another shape"  # noqa: S101  a check is what this is
    # -inf stands where a token may not look; there both must have it, and the difference is no number.
    largest = max(float((a - b).masked_fill(a == b, 0).abs().max()) for a, b in pairs)
    if not largest < TOLERANCE:
        raise SystemExit(f"error: the two libraries differ by {largest:.2g}: nothing to compare")
    return len(pairs), largest


def alternate(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, one after the other in every round (the first round, unmeasured, warms up)."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        progress(f"round {turn} of {rounds}")
        for name, run in runs.items():
            gc.collect()
            start = time.perf_counter()
            result = run()
            seconds = time.perf_counter() - start
            del result  # giving memory back is not timed
            if turn:
                times[name].append(seconds)
    return times


def limit(trace: Trace, rounds: int) -> dict[str, Any]:
    """What memory itself asks for: the bytes of the trace, and the time to copy as many into new memory."""
    source = np.ones(trace.nbytes, np.uint8)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        copy = source.copy()
        seconds.append(time.perf_counter() - start)
        del copy
    return {"trace bytes": trace.nbytes, "copy seconds": seconds}


def measure_memory(who: str, threads: int) -> dict[str, Any]:
    """Bytes and peak memory of one look at 1,024 tokens, in a process of its own."""
    progress(f"memory of {who} at {MEMORY_TOKENS} tokens")
    command = [sys.executable, __file__, "--child", who, "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def memory(who: str) -> dict[str, Any]:
    """Runs one look and says how far the process grew (Linux: peak and present memory from /proc)."""
    model, ids = gpt2_small(), token_ids(MEMORY_TOKENS)
    peer = load_peer(model) if who == "peer" else None
    with torch.inference_mode():
        (peer or model)(torch.tensor([ids[:1]]))  # what any forward pass leaves behind is no part of the growth
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed, and would be used again, counts as growth
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before = memory_of_this_process("VmRSS")
        if peer is None:
            trace = full_trace(model, ids)
            held = trace.nbytes
        else:
            _, cache = peer.run_with_cache(torch.tensor([ids]))
            storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in cache.values()}
            held = sum(storage.nbytes() for storage in storages.values())
    return {"who": who, "tokens": MEMORY_TOKENS, "bytes": held, "growth": memory_of_this_process("VmHWM") - before}


def memory_of_this_process(field: str) -> int:
    """Bytes, from /proc/self/status."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) * 1024


def table(report: dict[str, Any]) -> str:
    """The report for reading."""
    medians = {name: statistics.median(times) for name, times in report["seconds"].items()}
    plain = medians["nextword, forward"]
    lines = ["| | ms | fastest | x our forward |", "|---|---:|---:|---:|"]
    for name, median in medians.items():
        fastest = min(report["seconds"][name])
        lines.append(f"| {name} | {median * 1e3:.1f} | {fastest * 1e3:.1f} | {median / plain:.2f} |")
    copied, size = statistics.median(report["copy seconds"]), report["trace bytes"]
    lines.append(f"| copying {size / 1e6:,.1f} MB into new memory | {copied * 1e3:.1f} | | {copied / plain:.2f} |")
    lines.append("")
    if "largest difference" in report:
        theirs = medians[f"{PEER}, run_with_cache"]
        lines.append(
            f"full trace / {PEER} run_with_cache: {medians['nextword, full trace'] / theirs:.2f}; "
            f"run_with_cache / run_with_cache: {medians['nextword, run_with_cache'] / theirs:.2f}"
        )
        lines.append(f"{report['values compared']} values agree, largest difference {report['largest difference']:.1e}")
    if memory_rows := report.get("memory"):
        lines += ["", "| | tokens | held | growth at the peak |", "|---|---:|---:|---:|"]
    for row in memory_rows or ():
        who = "nextword, full trace" if row["who"] == "trace" else f"{PEER}, run_with_cache"
        lines.append(f"| {who} | {row['tokens']:,} | {row['bytes'] / 1e6:,.0f} MB | {row['growth'] / 1e6:,.0f} MB |")
    return "\n".join(lines)


def progress(text: str) -> None:
    """Says on standard error what is going on."""
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
