"""How many tokens the server writes for several clients at once, beside llama.cpp's llama-server.

`make peers` builds that one. It has the same file, threads and instruction set, a slot for every stream, and batches
what they write as ours does. Both run in processes of their own, one after the other in every round; clients read
streams. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np

from nextword.engine.kernels import select_kernels
from nextword.files import read_model
from peers import Peer, add_builds, add_files, gguf_file, use_arch
from record import record

COMPLETIONS = "/v1/completions"
SHORT_PROMPT = 14
LONG_PROMPT = 512
"""Prompts from so many tokens on take long enough to be measured in one round."""


@dataclass
class Row:
    """A load, and what came of it."""

    file: str
    kernels: str
    prompt: int
    """Tokens of each prompt, about."""
    streams: int
    figures: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """Server -> a round each: `tokens` a second of all, and seconds to the first piece (`first_p50`, `first_p99`)."""

    def median(self, server: str, figure: str) -> float:
        """Of all rounds."""
        return statistics.median(row[figure] for row in self.figures[server])


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    if options.soak:
        print(json.dumps(asyncio.run(soak(options)), indent=2))
        return 0
    rows: list[Row] = []
    versions = {}
    with tempfile.TemporaryDirectory() as scratch:
        for arch in options.arch:
            peer = use_arch(arch, options.peers)[0]
            versions[peer.name] = peer.version
            for name in options.files:
                rows += measure(gguf_file(name, Path(scratch)), peer, options)
    shown = table(rows)
    kernels = list(dict.fromkeys(row.kernels for row in rows))
    print(record(shown, [asdict(row) for row in rows], kernels, versions) if options.json else shown)
    return 0


def measure(file: Path, peer: Peer, options: argparse.Namespace) -> list[Row]:
    """Both servers under every load, in turns."""
    context = read_model(file).config.context_length
    lengths = [tokens for tokens in options.prompts if tokens + options.tokens <= context]
    rows = [Row(file.stem, select_kernels(), tokens, streams) for tokens in lengths for streams in options.streams]
    for round_ in range(options.rounds):
        for server, command in servers(file, peer, options).items():
            with running(command) as url:
                for row in rows if round_ == 0 else [row for row in rows if row.prompt < LONG_PROMPT]:
                    figures = asyncio.run(together(url, row, options.tokens, round_))
                    row.figures.setdefault(server, []).append(figures)
                    sys.stderr.write(f"{row.file}, {server}, {row.streams} x {row.prompt}: {figures}\n")
    return rows


# -- servers -----------------------------------------------------------------------------------------------------------


def servers(file: Path, peer: Peer, options: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> command, ours first; PORT stands for the port."""
    common, threads, slots = ["--port", "PORT", "--threads"], str(options.threads), max(options.streams)
    ours = [sys.executable, "-m", "nextword", "serve", str(file), *common, threads]
    context = slots * (max(options.prompts) + options.tokens + 256)
    theirs = [str(peer.program("llama-server")), "--model", str(file), *common, threads, "--threads-batch", threads]
    return {"nextword": ours, "llama-server": [*theirs, "--parallel", str(slots), "--ctx-size", str(context)]}


@contextmanager
def running(command: list[str]) -> Iterator[str]:
    """A server's address, once it has loaded its model.

    Raises:
        SystemExit: It has not after a minute.
    """
    port = 18_000 + os.getpid() % 1000
    command = [str(port) if part == "PORT" else part for part in command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while not healthy(url):
            if time.monotonic() > end or process.poll() is not None:
                raise SystemExit(f"does not serve: {shlex.join(command)}")
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def healthy(url: str) -> bool:
    """Whether a server says that it is ready; while it loads, it cannot be reached or says 503."""
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


# -- clients -----------------------------------------------------------------------------------------------------------


def prompt(seed: int, tokens: int = SHORT_PROMPT) -> str:
    """Words that are about a token each, other ones for every seed."""
    words = ["king", "sea", "night", "good", "my", "lord", "the", "of", "and", "love"]
    return " ".join(np.random.default_rng(seed).choice(words, tokens))


async def together(url: str, row: Row, tokens: int, round_: int) -> dict[str, float]:
    """Tokens a second of all streams, and seconds to their first pieces."""
    firsts, ends = [], []

    async def read(client: aiohttp.ClientSession, index: int) -> None:
        seed = 1000 * round_ + 100 * row.streams + index  # no prompt comes twice: caches of prompts are of no use
        asked = {"prompt": prompt(seed, row.prompt), "max_tokens": tokens, "seed": seed}
        asked |= {"temperature": 0.8, "top_p": 0.95, "stream": True, "stream_options": {"include_usage": True}}
        start, first, pieces = time.perf_counter(), None, []
        async with client.post(url + COMPLETIONS, json=asked, raise_for_status=True) as answer:
            async for data in answer.content.iter_any():
                pieces.append(data)
                if first is None and b"data: {" in data:
                    first = time.perf_counter() - start
        firsts.append(first or 0.0)
        ends.append(b"".join(pieces))

    # The clients share the cores with the server: they do no more than receive.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(600)) as client:
        async with client.post(url + COMPLETIONS, json={"prompt": "warm", "max_tokens": 4}) as answer:
            await answer.read()
        start = time.perf_counter()
        await asyncio.gather(*(read(client, index) for index in range(row.streams)))
        seconds = time.perf_counter() - start
    ordered = sorted(firsts)
    return {
        "tokens": sum(written(end) for end in ends) / seconds,
        "first_p50": statistics.median(ordered),
        "first_p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
    }


def written(stream: bytes) -> int:
    """The tokens that a stream counts at its end."""
    return int(re.findall(rb'"completion_tokens": *(\d+)', stream)[-1])


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Mixed load for so many minutes: requests, errors, and memory over time."""
    counts: dict[str, int] = {}
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        file = gguf_file(options.files[0], Path(scratch))
        port = 18_000 + os.getpid() % 1000
        command = [sys.executable, "-m", "nextword", "serve", str(file), "--port", str(port)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        url, end = f"http://127.0.0.1:{port}", 0.0

        async def client(index: int) -> None:
            rng = np.random.default_rng(index)
            async with httpx.AsyncClient(timeout=300) as http:
                while time.monotonic() < end:
                    kind = rng.choice(["whole", "stream", "many", "echo", "wrong", "away"])
                    outcome = await one(http, url, str(kind), rng)
                    counts[outcome] = counts.get(outcome, 0) + 1

        try:
            async with httpx.AsyncClient() as http:
                for _ in range(600):
                    try:
                        await http.get(f"{url}/health")
                        break
                    except httpx.HTTPError:
                        await asyncio.sleep(0.1)
            end = time.monotonic() + 60 * options.soak
            clients = [asyncio.create_task(client(index)) for index in range(12)]
            while time.monotonic() < end:
                await asyncio.sleep(min(30, max(1, end - time.monotonic())))
                memory.append(resident(process.pid))
                sys.stderr.write(f"{memory[-1]:.0f} MB, {counts}\n")
            await asyncio.gather(*clients)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    return {"minutes": options.soak, "outcomes": counts, "megabytes": memory, "exit": code}


async def one(http: httpx.AsyncClient, url: str, kind: str, rng: np.random.Generator) -> str:
    """A request of some kind, and whether it went as it should."""
    body: dict[str, Any] = {"prompt": prompt(int(rng.integers(1000))), "max_tokens": int(rng.integers(1, 64))}
    if kind == "wrong":
        answer = await http.post(url + COMPLETIONS, json={**body, "temperature": -1})
        return "wrong: 400" if answer.status_code == 400 else f"ERROR wrong: {answer.status_code}"
    if kind == "away":
        try:
            await http.post(url + COMPLETIONS, json={**body, "max_tokens": 1000}, timeout=0.05)
        except httpx.TimeoutException:
            return "away: given up"
        return "away: done before"
    if kind == "stream":
        async with http.stream("POST", url + COMPLETIONS, json={**body, "stream": True}) as answer:
            lines = [line async for line in answer.aiter_lines() if line]
        return "stream: done" if lines[-1] == "data: [DONE]" else f"ERROR stream: {lines[-1][:200]}"
    extra = {"whole": {}, "many": {"n": 3}, "echo": {"echo": True, "logprobs": 2}}[kind]
    answer = await http.post(url + COMPLETIONS, json={**body, **extra})
    return f"{kind}: 200" if answer.status_code == 200 else f"ERROR {kind}: {answer.status_code} {answer.text[:200]}"


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else 0.0


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = ["file", "instructions", "prompt", "streams", "server", "tokens/s", "first token p50", "p99"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---:|---:|---|---:|---:|---:|"]
    for row in rows:
        for server in row.figures:
            rate = row.median(server, "tokens")
            ratio = "" if server == "nextword" else f" ({row.median('nextword', 'tokens') / rate:.2f}x)"
            first = [f"{1000 * row.median(server, name):,.0f} ms" for name in ("first_p50", "first_p99")]
            cells = [row.file, row.kernels, f"{row.prompt:,}", str(row.streams), server, f"{rate:,.1f}{ratio}", *first]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_files(parser)
    add_builds(parser)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--prompts", nargs="+", type=int, default=[SHORT_PROMPT, 1200], help="tokens of the prompts")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--soak", type=float, default=0, help="instead: minutes of mixed load on the first model")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
