"""How fast GGUF files are read and written here, in llama.cpp and in ik_llama.cpp: same file, threads, instruction set.

`make peers` builds the two. All take turns in every round; figures are medians, ratios are ratios of medians. Ours is
timed as llama-bench times theirs: passes of the model, nothing drawn or spelled out. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nextword import LanguageModel, load
from nextword.engine.limits import read_speed
from nextword.files import read_model
from nextword.generation import Memory
from nextword.measuring.bench import bytes_per_token, flops_per_token, seconds
from peers import Peer, add_builds, add_files, gguf_file, use_arch
from record import record

FLOATS = ("F32", "F16", "BF16")
SHORT_PROMPT = 16
LARGE_FILE = 256_000_000
"""From so many bytes on a quarter of the tokens is written, in two rounds at most: a token takes so much longer."""


@dataclass
class Row:
    """Everything that was measured of one file on so many threads, with one instruction set."""

    file: str
    kernels: str
    threads: int
    prompt: int
    count: int
    weight_bytes: int
    """That are read for every token."""
    multiplications: float
    """For one token of the prompt."""
    read_speed: list[float] = field(default_factory=list)
    """Bytes a second that this machine reads of as many, in every round."""
    speeds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Engine -> `read` and `write` -> tokens a second in every round."""
    whole_calls: dict[str, list[float]] = field(default_factory=dict)
    """`passes`, `greedy` and `sampled` -> tokens a second of our `lm.generate` in every round, and of what it runs."""

    def median(self, engine: str, work: str) -> float:
        """Of an engine's tokens a second."""
        return statistics.median(self.speeds[engine][work])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        medians = {engine: {work: self.median(engine, work) for work in works} for engine, works in self.speeds.items()}
        return {**vars(self), "medians": medians}


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    rows, versions = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for arch in options.arch:
            peers = use_arch(arch, options.peers)
            versions.update({peer.name: peer.version for peer in peers})
            for name in options.files:
                file = gguf_file(name, Path(scratch))
                for threads in options.threads:
                    if threads == max(options.threads) or file.stat().st_size >= LARGE_FILE:
                        rows.append(measure(file, threads, peers, options))
    shown = table(rows)
    kernels = list(dict.fromkeys(row.kernels for row in rows))
    print(record(shown, [row.to_json() for row in rows], kernels, versions) if options.json else shown)
    return 0


def measure(file: Path, threads: int, peers: Sequence[Peer], options: argparse.Namespace) -> Row:
    """Every engine's figures of one file."""
    tensors, size = read_model(file).tensors, file.stat().st_size
    settings: dict[str, dict[str, Any]] = {"nextword": {}}
    if not all(tensor.dtype in FLOATS for tensor in tensors.values()):  # others round no activations
        settings |= {f"nextword, {kind}": {"activations": kind} for kind in options.activations}
    models = {name: load(file, backend="native", threads=threads, **chosen) for name, chosen in settings.items()}
    lm = models["nextword"]
    backend: Any = lm.backend
    config = lm.config
    prompt = min(options.prompt, config.context_length)
    count = min(options.tokens // (4 if size >= LARGE_FILE else 1), config.context_length - SHORT_PROMPT)
    weight_bytes = bytes_per_token(config, tensors)
    row = Row(file.stem, backend.kernels, threads, prompt, count, weight_bytes, flops_per_token(config, prompt) / 2)
    engines: dict[str, Callable[[list[int]], dict[str, float]]] = {}
    for name, model in models.items():
        engines[name] = lambda ids, model=model: turn(model, ids, count)  # type: ignore[misc]
    for peer in peers:
        engines[peer.name] = lambda ids, peer=peer: peer.bench(file, threads, len(ids), count)  # type: ignore[misc]
    rng = np.random.default_rng(0)
    turn(lm, [1] * SHORT_PROMPT, 4)
    for round_ in range(min(options.rounds, 2) if size >= LARGE_FILE else options.rounds):
        ids = rng.integers(3, min(4000, config.vocab_size), size=prompt).tolist()
        for name, engine in engines.items():
            sys.stderr.write(f"{row.file}, {row.kernels}, {threads} threads, round {round_ + 1}: {name}\n")
            for work, speed in engine(ids).items():
                row.speeds.setdefault(name, {}).setdefault(work, []).append(speed)
        for work, speed in whole_calls(lm, ids, count).items():
            row.whole_calls.setdefault(work, []).append(speed)
        row.read_speed.append(read_speed(threads, weight_bytes, backend.kernels))
    return row


def turn(lm: LanguageModel, ids: list[int], count: int) -> dict[str, float]:
    """Our engine's figures of a round, tokens a second."""
    backend, short = lm.backend, ids[:SHORT_PROMPT]
    cache = backend.new_cache(SHORT_PROMPT + count)
    rows = backend.forward([short], [cache])

    def write() -> None:
        token = int(rows[0].argmax())
        for _ in range(count):
            token = int(backend.forward([[token]], [cache])[0].argmax())

    return {
        "read": len(ids) / seconds(lambda: backend.forward([ids], [backend.new_cache(len(ids))])),
        "write": count / seconds(write),
    }


def whole_calls(lm: LanguageModel, ids: list[int], count: int) -> dict[str, float]:
    """Tokens a second of `lm.generate`: the most probable ones, and drawn ones. And of the passes that it makes alone.

    All of them read a short prompt into a new cache, and the last token is not read.
    """
    short = ids[:SHORT_PROMPT]

    def passes() -> int:
        cache, pending = lm.backend.new_cache(SHORT_PROMPT + count), short
        for _ in range(count):
            pending = [int(lm.backend.forward([pending], [cache])[0].argmax())]
        return count

    def written(temperature: float) -> int:
        settings: dict[str, Any] = {"temperature": temperature, "seed": 0, "speculative": False, "memory": Memory()}
        return len(lm.generate(short, count, **settings).token_ids)

    found = {}
    for name, run in (("passes", passes), ("greedy", lambda: written(0)), ("sampled", lambda: written(0.8))):
        start = time.perf_counter()
        found[name] = run() / (time.perf_counter() - start)
    return found


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = ["file", "instructions", "threads", "engine", "reads", "GMAC/s", "writes", "GB/s", "of the memory's"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---:|---|---:|---:|---:|---:|---:|"]
    for row in rows:
        limit = max(*row.read_speed, *(max(s["write"]) * row.weight_bytes for s in row.speeds.values()))
        for engine in row.speeds:
            reads, writes = row.median(engine, "read"), row.median(engine, "write")
            rate = writes * row.weight_bytes
            cells = [row.file, row.kernels, str(row.threads), engine]
            cells += [
                f"{reads:,.0f}{ratios(row, engine, 'read')}",
                f"{reads * row.multiplications / 1e9:,.0f}",
                f"{writes:,.1f}{ratios(row, engine, 'write')}",
                f"{rate / 1e9:.1f}",
                f"{rate / limit:.0%}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for row in rows:
        calls = {name: statistics.median(found) for name, found in row.whole_calls.items()}
        passes = calls.pop("passes")
        whole = [f"{name} {speed / passes:.0%}" for name, speed in calls.items()]
        lines.append(
            f"- {row.file}, {row.kernels}, {row.threads} threads: {row.weight_bytes / 1e6:,.1f} MB a token, "
            f"memory read at {max(row.read_speed) / 1e9:.1f} GB/s; reads {row.prompt}, writes {row.count}; "
            f"lm.generate, of the passes' speed: {', '.join(whole)}"
        )
    return "\n".join(lines)


def ratios(row: Row, engine: str, work: str) -> str:
    """How many times as fast as a peer ours is, with each kind of activations."""
    names = [name for name in row.speeds if name.startswith("nextword")]
    if engine in names:
        return ""
    return f" ({', '.join(f'{row.median(name, work) / row.median(engine, work):.2f}x' for name in names)})"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_files(parser)
    add_builds(parser)
    parser.add_argument("--threads", type=int, nargs="+", default=[2], help="small files: the largest number only")
    parser.add_argument("--activations", nargs="*", default=["int8"], help="measured too, besides the default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=256, help="tokens to read")
    parser.add_argument("--tokens", type=int, default=128, help="to write; a quarter of it with large files")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
