"""How fast the native engine reads and writes, beside what pip installs: transformers, CTranslate2, llama-cpp-python.

The engines take turns in one process; figures are medians, ratios are ratios of medians. Whole calls are timed,
sampling included, and ours does not guess ahead. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nextword import GPTConfig, Tokenizer
from nextword.engine.limits import multiply_speed, read_speed
from nextword.files import Bundle, RawTensor, read_model, write_bundle
from nextword.files.gguf import write_gguf
from nextword.measuring.bench import batched_decode_speed, bytes_per_token, flops_per_token, seconds
from nextword.measuring.peers import LlamaCpp, NativeEngine, Transformers
from nextword.tokens import END_OF_TEXT
from record import record

CONFIGS = {
    "gpt2": GPTConfig.gpt2(),
    "baby": GPTConfig.gpt2(4096, 1024, d_model=384, num_heads=6, num_layers=6),
}
FORMATS = ("f32", "q8_0")


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for model in options.models:
            for kind in FORMATS:
                progress(f"{model} {kind}: the engines start")
                found[f"{model} {kind}"] = measure(model, kind, Path(scratch), options)
    shown = table(found, options)
    print(record(shown, found) if options.json else shown)
    return 0


def measure(model: str, kind: str, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every engine's figures for one model in one format, and the machine's limits."""
    directory, file = files(model, kind, scratch)
    bundle = read_model(file)
    engines = start(directory, file, kind, bundle.config, options)
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in engines}
    rng = np.random.default_rng(0)
    long = min(512, bundle.config.context_length - options.tokens)
    for round_ in range(options.rounds + 1):
        ids = rng.integers(3, min(4000, bundle.tokenizer.vocab_size), size=long).tolist()
        for name, engine in engines.items():
            progress(f"{model} {kind}: {name}, round {round_} of {options.rounds}")
            figures = turn(engine, ids, options.tokens)
            for figure, value in figures.items() if round_ else ():
                samples[name].setdefault(figure, []).append(value)
    ours = engines["nextword"].lm.backend
    size = bytes_per_token(bundle.config, bundle.tensors)
    result: dict[str, Any] = {
        "engines": {n: {f: statistics.median(v) for f, v in figures.items()} for n, figures in samples.items()},
        "weight_bytes": size,
        "read_speed": read_speed(options.threads, size),
        "multiply_speed": multiply_speed(options.threads),
        "operations": flops_per_token(bundle.config, long),
        "streams": {n: batched_decode_speed(ours, n, options.tokens) for n in (1, 4, 8)},
    }
    if bundle.config.context_length >= 1024:
        result["token_seconds"] = {n: token_seconds(ours, n, options.rounds) for n in (10, 1000)}
    return result


def turn(engine: Any, ids: list[int], count: int) -> dict[str, float]:
    """One engine's figures of a round, tokens a second."""
    short = ids[:16]
    return {
        "write": count / seconds(lambda: engine.write(short, count)),
        "write_512": count / seconds(lambda: engine.write(ids, count)),
        "read_16": len(short) / seconds(lambda: engine.read(short)),
        "read_512": len(ids) / seconds(lambda: engine.read(ids)),
    }


# -- the same weights for every engine ---------------------------------------------------------------------------------


def files(model: str, kind: str, scratch: Path) -> tuple[Path, Path]:
    """A directory that transformers and CTranslate2 read, and a GGUF file."""
    directory, file = scratch / model, scratch / f"{model}-{kind}.gguf"
    bundle = read_model(directory) if directory.exists() else random_bundle(CONFIGS[model])
    if not directory.exists():
        write_bundle(directory, bundle)
    write_gguf(file, bundle, kind)
    return directory, file


def random_bundle(config: GPTConfig) -> Bundle:
    """Random weights, and a tokenizer with as many entries: only ids are measured."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in config.parameter_shapes().items():
        drawn = (
            rng.standard_normal(shape, np.float32) * np.float32(0.02) if len(shape) > 1 else np.zeros(shape, np.float32)
        )
        if len(shape) == 1 and name.endswith("weight"):
            drawn += 1
        tensors[name] = RawTensor.from_bits(name, "F32", drawn)
    marks = [END_OF_TEXT, *(f"<|{i}|>" for i in range(config.vocab_size - 258))]
    tokenizer = Tokenizer.train_bpe(["aa"], config.vocab_size, special_tokens=marks)
    return Bundle(config, tensors, tokenizer)


def start(directory: Path, file: Path, kind: str, config: GPTConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Name -> engine, ours first; those that are not installed are left out."""
    engines: dict[str, Any] = {"nextword": NativeEngine(file, options.threads)}
    wanted = options.peers
    if "llama-cpp-python" in wanted and find_spec("llama_cpp"):
        engines["llama-cpp-python"] = LlamaCpp(file, config.context_length, options.threads)
    if "ctranslate2" in wanted and find_spec("ctranslate2"):
        engines["CTranslate2"] = CTranslate2(directory, "int8" if kind == "q8_0" else None, options.threads)
    if "transformers" in wanted and find_spec("transformers") and kind == "f32":
        engines["transformers"] = Transformers(directory, options.threads)
    return engines


class CTranslate2:
    """CTranslate2's generator."""

    def __init__(self, directory: Path, quantization: str | None, threads: int) -> None:
        import ctranslate2  # noqa: PLC0415

        out = directory.with_name(f"{directory.name}-ct2-{quantization}")
        ctranslate2.converters.TransformersConverter(str(directory)).convert(str(out), quantization=quantization)
        settings = out / "config.json"
        values = json.loads(settings.read_text(encoding="utf-8"))
        for name, value in values.items():  # it does not open a model without an unknown token
            if name.endswith("_token") and value is None:
                values[name] = END_OF_TEXT
        settings.write_text(json.dumps(values), encoding="utf-8")
        self._generator = ctranslate2.Generator(
            str(out), intra_threads=threads, inter_threads=1, compute_type=quantization or "float32"
        )
        self._tokens = json.loads((out / "vocabulary.json").read_text(encoding="utf-8"))

    def _run(self, ids: Sequence[int], count: int) -> None:
        prompt = [self._tokens[i] for i in ids]
        self._generator.generate_batch(
            [prompt], max_length=count, min_length=count, sampling_topk=0, sampling_topp=0.95, sampling_temperature=0.8,
            include_prompt_in_result=False,
        )  # fmt: skip

    def read(self, ids: Sequence[int]) -> None:
        """Reads and writes one token."""
        self._run(ids, 1)

    def write(self, ids: Sequence[int], count: int) -> int:
        """Also past an end token."""
        self._run(ids, count)
        return count


# -- measuring ---------------------------------------------------------------------------------------------------------


def token_seconds(backend: Any, context: int, rounds: int) -> float:
    """Seconds a token with so many tokens in the cache; the median of a few runs of eight."""
    cache = backend.new_cache(context + 8)
    backend.forward([[i % 4000 for i in range(context)]], [cache])
    times = []
    for _ in range(rounds):
        cache.truncate(context)
        times.append(seconds(lambda: [backend.forward([[5]], [cache]) for _ in range(8)]) / 8)
    return statistics.median(times)


def table(found: dict[str, Any], options: argparse.Namespace) -> str:
    """Markdown."""
    names = {"write": "writes", "write_512": "writes behind 512", "read_16": "reads 16", "read_512": "reads 512"}
    lines = [f"{options.threads} threads, tokens a second, medians of {options.rounds} rounds", ""]
    lines += [f"| model | engine | {' | '.join(names.values())} |", "|---|---|---:|---:|---:|---:|"]
    for model, result in found.items():
        ours = result["engines"]["nextword"]
        for engine, figures in result["engines"].items():
            cells = [
                f"{figures[name]:,.1f}" + ("" if engine == "nextword" else f" ({ours[name] / figures[name]:.2f}x)")
                for name in names
            ]
            lines.append(f"| {model} | {engine} | {' | '.join(cells)} |")
    lines.append("")
    for model, result in found.items():
        ours, size = result["engines"]["nextword"], result["weight_bytes"]
        reading, speed = ours["write"] * size, result["read_speed"]
        work, peak = ours["read_512"] * result["operations"], result["multiply_speed"]
        streams = ", ".join(f"{n}: {value:,.0f}" for n, value in result["streams"].items())
        lines.append(
            f"- {model}: {size / 1e6:,.1f} MB a token, {reading / 1e9:.1f} of {speed / 1e9:.1f} GB/s "
            f"({reading / speed:.0%}); prompt {work / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s "
            f"({work / peak:.0%}); at once {streams} tok/s"
        )
        if grown := result.get("token_seconds"):
            lines.append(
                f"  a token at context 10: {1000 * grown[10]:.2f} ms, at 1,000: {1000 * grown[1000]:.2f} ms "
                f"({grown[1000] / grown[10]:.2f}x)"
            )
    return "\n".join(lines)


def progress(text: str) -> None:
    """A line for people."""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--peers", nargs="*", default=["llama-cpp-python", "ctranslate2", "transformers"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
