"""How many tokens the server writes for several clients at once, beside llama-cpp-python's server on the same weights.

Both run in processes of their own, one after the other in every round; clients read streams. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np

from nextword.files import read_model, resolve_model
from nextword.files.gguf import write_gguf
from nextword.loading import DEFAULT_MODEL
from record import record

COMPLETIONS = "/v1/completions"


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    if options.soak:
        print(json.dumps(asyncio.run(soak(options)), indent=2))
        return 0
    found: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for model in options.models:
            file = model_file(model, Path(scratch))
            samples: dict[str, dict[int, list[dict[str, float]]]] = {}
            for _ in range(options.rounds):
                for name, command in servers(file, options).items():
                    with running(command) as url:
                        for streams in options.streams:
                            figures = asyncio.run(together(url, streams, options.tokens))
                            samples.setdefault(name, {}).setdefault(streams, []).append(figures)
                            sys.stderr.write(f"{model}, {name}, {streams} streams: {figures['tokens']:,.0f} tokens/s\n")
            found[model] = {
                name: {
                    streams: {figure: statistics.median(row[figure] for row in rows) for figure in rows[0]}
                    for streams, rows in by_streams.items()
                }
                for name, by_streams in samples.items()
            }
    print(record(table(found), found) if options.json else table(found))
    return 0


# -- servers -----------------------------------------------------------------------------------------------------------


def model_file(model: str, scratch: Path) -> Path:
    """A GGUF file."""
    if model == "smollm2":
        path = resolve_model("smollm2")
        return path if path.is_file() else next(path.glob("*.gguf"))
    file = scratch / "default.gguf"
    write_gguf(file, read_model(DEFAULT_MODEL), "f16")
    return file


def servers(file: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> command, ours first; PORT stands for the port."""
    threads = str(options.threads)
    found = {"nextword": [sys.executable, "-m", "nextword", "serve", str(file), "--port", "PORT", "--threads", threads]}
    if find_spec("llama_cpp") and not options.no_peers:
        found["llama-cpp-python"] = [
            *(sys.executable, "-m", "llama_cpp.server", "--model", str(file), "--port", "PORT"),
            *("--n_threads", threads, "--n_threads_batch", threads, "--n_ctx", "2048", "--interrupt_requests", "False"),
        ]
    return found


@contextmanager
def running(command: list[str]) -> Iterator[str]:
    """A server's address, once it answers."""
    port = 18_000 + os.getpid() % 1000
    command = [str(port) if part == "PORT" else part for part in command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx.get(f"{url}/v1/models", timeout=5)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# -- clients -----------------------------------------------------------------------------------------------------------


def prompt(index: int) -> str:
    """About sixteen tokens, other ones for every client."""
    words = ["king", "sea", "night", "good", "my", "lord", "the", "of", "and", "love"]
    return " ".join(np.random.default_rng(index).choice(words, 14))


def request(index: int, tokens: int) -> dict[str, Any]:
    """A client's request."""
    return {"prompt": prompt(index), "max_tokens": tokens, "seed": index, "temperature": 0.8, "top_p": 0.95}


async def together(url: str, streams: int, tokens: int) -> dict[str, float]:
    """Tokens a second of all streams, and seconds to their first pieces."""
    firsts, written = [], 0

    async def read(client: aiohttp.ClientSession, index: int) -> None:
        start, first = time.perf_counter(), None
        async with client.post(url + COMPLETIONS, json={**request(index, tokens), "stream": True}) as answer:
            async for data in answer.content.iter_any():
                if first is None and b"data: {" in data:
                    first = time.perf_counter() - start
        firsts.append(first or 0.0)

    # The clients share the two cores with the server: they do no more than receive.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(600)) as client:
        async with client.post(url + COMPLETIONS, json={"prompt": "warm", "max_tokens": 4}) as answer:
            await answer.read()
        start = time.perf_counter()
        await asyncio.gather(*(read(client, index) for index in range(streams)))
        seconds = time.perf_counter() - start
        for index in range(streams):  # how much was written: the same requests again, not streamed, count their tokens
            async with client.post(url + COMPLETIONS, json=request(index, tokens)) as answer:
                written += (await answer.json())["usage"]["completion_tokens"]
    ordered = sorted(firsts)
    return {
        "tokens": written / seconds,
        "first_p50": statistics.median(ordered),
        "first_p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
    }


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Mixed load for so many minutes: requests, errors, and memory over time."""
    counts: dict[str, int] = {}
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        file = model_file(options.models[0], Path(scratch))
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


def table(found: dict[str, dict[str, dict[int, dict[str, float]]]]) -> str:
    """Markdown."""
    lines = ["| model | streams | server | tokens/s | first token p50 | p99 |", "|---|---:|---|---:|---:|---:|"]
    for model, by_server in found.items():
        ours = by_server["nextword"]
        for streams in ours:
            for name, by_streams in by_server.items():
                row = by_streams[streams]
                ratio = "" if name == "nextword" else f" ({ours[streams]['tokens'] / row['tokens']:.2f}x)"
                lines.append(
                    f"| {model} | {streams} | {name} | {row['tokens']:,.0f}{ratio} | {1000 * row['first_p50']:,.0f} ms "
                    f"| {1000 * row['first_p99']:,.0f} ms |"
                )
        lines += [
            f"- {model}: {n} streams {ours[n]['tokens'] / ours[min(ours)]['tokens']:.2f} times one" for n in ours
        ][1:]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=["smollm2", "default"], default=["smollm2", "default"])
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--soak", type=float, default=0, help="instead: minutes of mixed load on the first model")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
