"""How long a person waits for the first prediction: whole processes, from the command to its end, in turns.

nextword's commands beside what they cannot do without, the import of three libraries, and beside llama-cpp-python and
transformers on the same model, where those are installed; and how long a vocabulary of 152,000 tokens takes to build.
See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer as RawTokenizer

from nextword.files import read_model
from nextword.files.gguf import write_gguf
from nextword.loading import DEFAULT_MODEL
from nextword.tokens import Tokenizer
from nextword.tokens.byte_level import UNICODE_TO_BYTE
from nextword.tokens.published import add_tokens, byte_level_tokenizer, pre_tokenizer_named
from record import record

TEXT = "The children are playing in the"
LIBRARIES = "import numpy, tokenizers, safetensors"
"""What no prediction can do without."""
MERGED_TOKENS, SPECIAL_TOKENS = 151_643, 293
"""As many as Qwen3 has."""
LLAMA_CPP = """
import sys, llama_cpp
llama = llama_cpp.Llama(sys.argv[1], n_ctx=256, verbose=False, logits_all=True)
print(llama.create_completion(sys.argv[2], max_tokens=1, logprobs=5, temperature=0))
"""
TRANSFORMERS = """
import sys, torch, transformers
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1], local_files_only=True)
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], local_files_only=True)
logits = model(**tokenizer(sys.argv[2], return_tensors="pt")).logits[0, -1]
print(tokenizer.convert_ids_to_tokens(logits.topk(5).indices))
"""


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.gguf"
        write_gguf(file, read_model(DEFAULT_MODEL), "f16")
        python, script = sys.executable, str(Path(sys.executable).with_name("nextword"))
        commands = {
            "nextword predict": [script, "predict", TEXT],
            "nextword predict, GGUF": [script, "predict", TEXT, "--model", str(file)],
            "nextword info": [script, "info"],
            "nextword tokenize": [script, "tokenize", TEXT],
            "nextword --help": [script, "--help"],
            "nextword predict --help": [script, "predict", "--help"],
            'python -c "import nextword"': [python, "-c", "import nextword"],
            f'python -c "{LIBRARIES}"': [python, "-c", LIBRARIES],
            "python -c pass": [python, "-c", "pass"],
        }
        if find_spec("llama_cpp"):
            commands["llama-cpp-python, GGUF"] = [python, "-c", LLAMA_CPP, str(file), TEXT]
        if find_spec("transformers"):
            commands["transformers"] = [python, "-c", TRANSFORMERS, str(DEFAULT_MODEL), TEXT]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        processor: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(options.rounds + 1):
            for name, command in commands.items():
                wall, cpu = timed(command)
                if round_:  # the first one warms the disk's cache, and leaves bytecode behind
                    seconds[name].append(wall)
                    processor[name].append(cpu)
    vocabulary = {name: statistics.median(values) for name, values in build_times(options.rounds).items()}
    medians, cpu_medians = ({name: statistics.median(v) for name, v in all_.items()} for all_ in (seconds, processor))
    shown = f"{table(medians, cpu_medians)}\n\n{vocabulary_table(vocabulary)}"
    figures = {"medians": medians, "seconds": seconds, "cpu_medians": cpu_medians, "cpu_seconds": processor}
    print(record(shown, {**figures, "vocabulary": vocabulary}) if options.json else shown)
    return 0


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of a whole process: by the clock, and of processors' time, which other processes disturb less."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**environment, "COLUMNS": "80"})
    wall, after = time.perf_counter() - start, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent


def table(medians: dict[str, float], cpu_medians: dict[str, float]) -> str:
    """Markdown."""
    first, libraries = medians["nextword predict"], cpu_medians[f'python -c "{LIBRARIES}"']
    lines = ["| command | s | x nextword predict | CPU s | x CPU s of the libraries |", "|---|---:|---:|---:|---:|"]
    for name, value in medians.items():
        cpu = cpu_medians[name]
        lines.append(f"| {name} | {value:.2f} | {value / first:.1f} | {cpu:.2f} | {cpu / libraries:.1f} |")
    return "\n".join(lines)


def large_tokenizer() -> str:
    """A tokenizer.json of as many tokens as Qwen3 has, merged at random of bytes and of each other."""
    draw = random.Random(1)  # noqa: S311  no secret
    tokens = sorted(UNICODE_TO_BYTE)
    merges: list[tuple[str, str]] = []
    known = set(tokens)
    while len(tokens) < MERGED_TOKENS:
        pair = draw.choice(tokens), draw.choice(tokens)
        merged = "".join(pair)
        if len(merged) <= 14 and merged not in known:
            known.add(merged)
            tokens.append(merged)
            merges.append(pair)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    raw = byte_level_tokenizer(vocabulary, merges, pre_tokenizer_named("qwen2"))
    add_tokens(raw, [f"<|{i}|>" for i in range(SPECIAL_TOKENS)], special=True)
    return raw.to_str(pretty=True)


def build_times(rounds: int) -> dict[str, list[float]]:
    """Seconds of processor time to build a large tokenizer from its file's text, and its library's part of them."""
    text = large_tokenizer()
    ways: dict[str, Callable[[str], object]] = {
        "tokenizers alone": RawTokenizer.from_str,
        "json alone": json.loads,
        "nextword": Tokenizer.from_str,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, build in ways.items():
            start = time.process_time()
            build(text)
            times[name].append(time.process_time() - start)
    return times


def vocabulary_table(vocabulary: dict[str, float]) -> str:
    """Markdown."""
    lines = [f"| tokenizer.json of {MERGED_TOKENS + SPECIAL_TOKENS:,} tokens | CPU s |", "|---|---:|"]
    return "\n".join(lines + [f"| {name} | {value:.2f} |" for name, value in vocabulary.items()])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
