"""How long a person waits for the first prediction: whole processes, from the command to its end, in turns.

nextword's commands beside llama-cpp-python and transformers on the same model, where those are installed. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from nextword.files import read_model
from nextword.files.gguf import write_gguf
from nextword.loading import DEFAULT_MODEL
from record import record

TEXT = "The children are playing in the"
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
            "nextword --help": [script, "--help"],
            "python -c pass": [python, "-c", "pass"],
        }
        if find_spec("llama_cpp"):
            commands["llama-cpp-python, GGUF"] = [python, "-c", LLAMA_CPP, str(file), TEXT]
        if find_spec("transformers"):
            commands["transformers"] = [python, "-c", TRANSFORMERS, str(DEFAULT_MODEL), TEXT]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(options.rounds + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True, env={**os.environ, "COLUMNS": "80"})
                if round_:  # the first one warms the disk's cache
                    seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    shown = table(medians)
    print(record(shown, {"medians": medians, "seconds": seconds}) if options.json else shown)
    return 0


def table(medians: dict[str, float]) -> str:
    """Markdown."""
    first = medians["nextword predict"]
    lines = ["| command | s | x nextword predict |", "|---|---:|---:|"]
    lines += [f"| {name} | {value:.2f} | {value / first:.1f} |" for name, value in medians.items()]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
