"""What looking into the very blocks of a file costs: a trace, one value of many texts, a sweep of patches, memory.

The engine beside its own plain pass, and beside TransformerLens on the same weights unpacked to float32; they take
turns in one process, ratios are ratios of medians. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import nextword
from nextword import LanguageModel
from nextword.inspection.hook_names import hook_shapes
from nextword.inspection.sweep import patch_map
from record import record

PEER = "TransformerLens 4.3"
TEXT = "The children are playing in the garden while the old man next door reads his newspaper and drinks black coffee"
PROMPTS, PATCHED = 192, 20
LENS_NAMES = ["resid_pre", "resid_post", "logits"]

MEMORY = """
import sys
import nextword
import nextword.inspection.trace, nextword.engine.backend
nextword.load
def resident():
    with open("/proc/self/status") as file:
        rows = dict(line.split(":", 1) for line in file)
    return int(rows["VmRSS"].split()[0]) * 1024
before = resident()
lm = nextword.load(sys.argv[1])
trace = lm.trace(sys.argv[2])
trace.lens()
print(resident() - before, "torch" in sys.modules)
"""


def main() -> int:
    """Runs the benchmark; the exit code is 0, or 2 if the peer is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2", help="a model file, or a pulled model (smollm2)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is run (5)")
    parser.add_argument("--alone", action="store_true", help="leave TransformerLens out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("rounds are at least 1")
    small, lm = nextword.load(), nextword.load(options.model)
    rounded = nextword.load(options.model, activations="int8")
    ids = lm.tokenizer.encode_start(TEXT)[:PATCHED]
    layer = lm.config.num_layers // 2
    prompts = random_prompts(lm)
    other = [ids[0], (ids[1] + 1) % lm.config.vocab_size, *ids[2:]]
    runs: dict[str, Callable[[], Any]] = {
        "default model, plain pass of 20 tokens": lambda: plain_pass(small),
        "default model, trace of all values": lambda: small.trace(words(small), names=all_names(small)),
        f"{options.model}, plain pass": lambda: plain_pass(lm),
        f"{options.model}, trace of all values": lambda: lm.trace(ids, names=all_names(lm)),
        f"{options.model}, trace to the lens": lambda: lm.trace(ids, names=LENS_NAMES).lens(),
        f"{options.model}, resid_post of layer {layer} of {PROMPTS} prompts": lambda: lm.trace(
            prompts, names="resid_post", layers=layer
        ),
        f"{options.model}, {lm.config.num_layers} x {len(ids)} patches of resid_pre": lambda: sweep(lm, ids, other),
        f"{options.model}, int8 activations, resid_post of layer {layer} of {PROMPTS} prompts": lambda: rounded.trace(
            prompts, names="resid_post", layers=layer
        ),
    }
    if not options.alone:
        with tempfile.TemporaryDirectory() as directory:
            peer = load_peer(lm, directory)
        if peer is None:
            print(f"error: {PEER} is not installed beside nextword", file=sys.stderr)
            print(
                "hint: pip install 'transformer-lens==4.3.*' in an environment of its own, or --alone", file=sys.stderr
            )
            return 2
        runs |= {
            f"{PEER}, run_with_cache": lambda: peer_cache(peer, ids),
            f"{PEER}, resid_post of layer {layer} of {PROMPTS} prompts": lambda: peer_prompts(peer, prompts, layer),
            f"{PEER}, {lm.config.num_layers} x {len(ids)} patches of resid_pre": lambda: peer_sweep(peer, ids, other),
        }
    seconds = alternate(runs, options.rounds)
    memory = {name: looked_into(name) for name in ("", options.model)}
    report = {
        "seconds": seconds,
        "memory": memory,
        "file bytes": {"": small.nbytes, options.model: lm.nbytes},
        "activations": lm.backend.reason,
        "prompt tokens": sum(map(len, prompts)),
    }
    print(record(table(report), report, [getattr(lm.backend, "kernels", "torch")]) if options.json else table(report))
    return 0


def all_names(lm: LanguageModel) -> list[str]:
    """Everything that TransformerLens's cache holds as it comes: each head's result is left out."""
    return [name for name in hook_shapes(lm.config, 1) if not name.endswith("hook_result")]


def words(lm: LanguageModel) -> list[int]:
    """Twenty tokens."""
    ids = lm.tokenizer.encode_start(TEXT)
    return (ids * 2)[:PATCHED]


def random_prompts(lm: LanguageModel) -> list[list[int]]:
    """192 texts of 8 to 24 random tokens, of unequal length as people's are."""
    rng = np.random.default_rng(0)
    top = min(lm.tokenizer.vocab_size, lm.config.vocab_size)
    return [[int(token) for token in rng.integers(10, top, rng.integers(8, 25))] for _ in range(PROMPTS)]


def plain_pass(lm: LanguageModel) -> Any:
    """All logits of twenty tokens."""
    ids = words(lm)
    return lm.backend.forward([ids], [lm.backend.new_cache(len(ids))], "all")


def sweep(lm: LanguageModel, clean: list[int], corrupted: list[int]) -> Any:
    """Every place of every layer."""
    return patch_map(lm, clean, corrupted, lambda logits_V: float(logits_V[1]) - float(logits_V[2]))


def load_peer(lm: LanguageModel, directory: str) -> Any:
    """TransformerLens's model with the same weights in float32, unfolded; None if it is not installed."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        lens = importlib.import_module("transformer_lens")
        importlib.import_module("transformers").logging.disable_progress_bar()
    except ImportError:
        return None
    progress(f"giving {PEER} the same weights")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lm.export(directory, precision="float32")
        bridge = lens.TransformerBridge.boot_transformers(directory, device="cpu")
        bridge.enable_compatibility_mode(no_processing=True, disable_warnings=True)
    return bridge.eval()


def peer_cache(peer: Any, ids: list[int]) -> Any:
    """All values of one text."""
    torch = importlib.import_module("torch")
    with torch.inference_mode():
        return peer.run_with_cache(torch.tensor([ids]))


def peer_prompts(peer: Any, prompts: list[list[int]], layer: int) -> Any:
    """One value of each text: batches of 32 texts of about the same length, padded, which ends behind the layer."""
    torch = importlib.import_module("torch")
    name, found = f"blocks.{layer}.hook_resid_post", []
    with torch.inference_mode():
        ordered = sorted(prompts, key=len)
        for start in range(0, len(ordered), 32):
            batch = ordered[start : start + 32]
            longest = max(map(len, batch))
            ids = torch.tensor(
                [[*one, *[0] * (longest - len(one))] for one in batch]
            )  # causal: padding behind is unseen
            _, cache = peer.run_with_cache(ids, names_filter=[name], stop_at_layer=layer + 1)
            found.append(cache[name])
    return found


def peer_sweep(peer: Any, clean: list[int], corrupted: list[int]) -> Any:
    """Patches of a layer's places as one batch; a pass each, which begins at the first layer."""
    torch = importlib.import_module("torch")
    results = []
    with torch.inference_mode():
        _, cache = peer.run_with_cache(torch.tensor([clean]), names_filter=lambda name: name.endswith("hook_resid_pre"))
        ids = torch.tensor([corrupted] * len(corrupted))
        places = torch.arange(len(corrupted))
        for layer in range(peer.cfg.n_layers):
            name = f"blocks.{layer}.hook_resid_pre"

            def put(value: Any, hook: Any, name: str = name) -> Any:  # noqa: ARG001  what it calls with
                value = value.clone()
                value[places, places] = cache[name][0, places]
                return value

            logits = peer.run_with_hooks(ids, fwd_hooks=[(name, put)])
            results.append(logits[:, -1, 1] - logits[:, -1, 2])
    return results


def alternate(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, one after the other in every round (the first, unmeasured, warms up)."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        progress(f"round {turn} of {rounds}")
        for name, run in runs.items():
            start = time.perf_counter()
            result = run()
            seconds = time.perf_counter() - start
            del result
            if turn:
                times[name].append(seconds)
    return times


def looked_into(model: str) -> dict[str, Any]:
    """Bytes that a process holds which has traced a text and read its lens, above one that imported nextword."""
    progress(f"memory of looking into {model or 'the default model'}")
    code = MEMORY if model else MEMORY.replace("sys.argv[1]", "")
    command = [sys.executable, "-c", code, model, TEXT]
    grown, torch = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return {"bytes": int(grown), "torch": torch == "True"}


def table(report: dict[str, Any]) -> str:
    """The report for reading."""
    medians = {name: statistics.median(times) for name, times in report["seconds"].items()}
    lines = ["| | ms |", "|---|---:|", *(f"| {name} | {value * 1e3:.1f} |" for name, value in medians.items()), ""]
    plain, traced, *_ = medians.values()
    lines.append(f"trace of all values of the default model / its plain pass: {traced / plain:.2f}")
    rows = list(medians.items())
    if len(rows) > 8:
        for (name, ours), (_, theirs) in zip(rows[5:8], [rows[9], rows[10], rows[9]], strict=True):
            lines.append(f"{name.split(', ', 1)[1]}: {theirs / ours:.2f} times as fast as {PEER}")
    lines += ["", "| | weights | looked into | times the weights |", "|---|---:|---:|---:|"]
    for name, one in report["memory"].items():
        size = report["file bytes"][name]
        ratio = one["bytes"] / size
        lines.append(f"| {name or 'default model'} | {size / 1e6:.0f} MB | {one['bytes'] / 1e6:.0f} MB | {ratio:.2f} |")
    return "\n".join(lines)


def progress(text: str) -> None:
    """Says on standard error what is going on."""
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
