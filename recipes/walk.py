"""A newcomer's walk, recorded: from a clone to one's own model in llama.cpp, each command with its output and time.

    python recipes/walk.py --lang en > walk.txt

Everything happens in a temporary folder with a home of its own, 80 columns wide and without colour. A command that
fails ends the walk. llama-cpp-python is compiled unless pip finds it built, which takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAYS = {
    "en": {
        "pages": "training inspection models serving engine",
        "known": "The children are playing in the",
        "own": "The model",
    },
    "ko": {
        "pages": "training.ko inspection.ko models.ko serving.ko engine.ko",
        "known": "배가 고파서 밥을",
        "own": "모델을 ",
    },
}
LLAMA = """
from llama_cpp import Llama
model = Llama("my-model.gguf", n_ctx=128, seed=1, verbose=False)
print(model({text!r}, max_tokens=24, temperature=0)["choices"][0]["text"])
"""


def main() -> int:
    """Walks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lang", choices=SAYS, default="en")
    says = SAYS[parser.parse_args().lang]
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(Path(folder))
        walk.go(f"git clone -q {ROOT} nextword")
        walk.place /= "nextword"
        walk.go("make run")
        walk.go("make help")
        walk.path = f"{walk.place / '.venv' / 'bin'}{os.pathsep}{walk.path}"
        walk.go("pip install -q -c constraints.txt -e '.[train,serve,figures]'")
        walk.go("nextword --help")
        walk.go("nextword doctor --no-speed")
        walk.go(f"nextword '{says['known']}' --words")
        walk.go(f"cat {' '.join(f'docs/{page}.md' for page in says['pages'].split())} > my.txt")
        walk.go("nextword train my.txt --out my-model --minutes 1")
        walk.go("nextword runs")
        walk.go(f"nextword '{says['own']}' --model my-model")
        walk.go(f"nextword generate '{says['own']}' --model my-model --seed 1 --max-new-tokens 60")
        walk.go(f"nextword look '{says['own']}' --model my-model")
        walk.go(f"nextword look '{says['own']}' --model my-model --ablate 1.0 --html look.html")
        walk.go(f"nextword figure '{says['own']}' --model my-model --kind lens -o lens.png")
        walk.serve(says["own"])
        walk.go("nextword export my-model --format gguf --out my-model.gguf")
        walk.go("pip install -q llama-cpp-python")
        walk.go(f"python -c '{LLAMA.format(text=says['own']).replace(chr(39), chr(34))}'")
        walk.go(f"nextword generate '{says['own']}' --model my-model --temperature 0 --max-new-tokens 24")
        print(f"\n{walk.seconds:,.0f} s in all")
    return 0


class Walk:
    """Commands in a place, by somebody who has nothing there yet."""

    def __init__(self, folder: Path) -> None:
        self.place, self.path, self.seconds = folder, os.environ["PATH"], 0.0
        self._home = folder / "home"
        self._home.mkdir()

    def go(self, command: str) -> None:
        """Runs a command, and writes down what came of it."""
        print(f"\n$ {command.strip()}", flush=True)
        begun = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command], check=False, cwd=self.place, env=self._environment(), stderr=subprocess.STDOUT
        )
        self._took(time.monotonic() - begun)
        if done.returncode:
            sys.exit(f"the walk ended at: {command}")

    def serve(self, text: str) -> None:
        """Serves the model, asks it as OpenAI's clients do, fetches the page, and presses Ctrl-C."""
        command = ["nextword", "serve", "my-model", "--port", "0"]
        print(f"\n$ {' '.join(command)} &", flush=True)
        begun = time.monotonic()
        path = self.place / "server.log"
        with path.open("w") as log:
            server = subprocess.Popen(command, cwd=self.place, env=self._environment(), stderr=log)
        try:
            said = ""
            while "page at " not in said and server.poll() is None:
                said = path.read_text()
            self._took(time.monotonic() - begun)
            print(said.strip())
            url = said.partition("page at ")[2].split()[0]
            body = json.dumps({"prompt": text, "max_tokens": 24, "temperature": 0}, ensure_ascii=False)
            self.go(f"curl -s {url}v1/completions -H 'Content-Type: application/json' -d '{body}'")
            self.go(f"curl -sI {url}")
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "LANG", "LC_"))}
        return {**kept, "PATH": self.path, "HOME": str(self._home), "COLUMNS": "80", "NO_COLOR": "1"}

    def _took(self, seconds: float) -> None:
        self.seconds += seconds
        print(f"({seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
