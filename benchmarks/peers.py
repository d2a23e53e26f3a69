"""llama.cpp and ik_llama.cpp as `make peers` builds them for an instruction set, and the files that they and we read.

Used by the other benchmarks; nothing is measured here.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nextword.files import read_model
from nextword.files.gguf import write_gguf
from nextword.loading import DEFAULT_MODEL

BUILDS = Path(__file__).parents[1] / "build" / "peers"
NAMES = ("llama.cpp", "ik_llama.cpp")
TEST = re.compile(r'"n_gen": (\d+),.*?"avg_ts": ([\d.]+)', re.DOTALL)
"""Of a test in llama-bench's JSON, among whose lines ik_llama.cpp prints others."""


@dataclass(frozen=True)
class Peer:
    """A build of llama.cpp or of ik_llama.cpp."""

    name: str
    folder: Path

    @property
    def version(self) -> str:
        """The commit or the release that it was built from."""
        return (self.folder / "version").read_text(encoding="utf-8").strip()

    def program(self, name: str) -> Path:
        """One of its programs.

        Raises:
            SystemExit: It was not built.
        """
        path = self.folder / "bin" / name
        if not path.is_file():
            raise SystemExit(f"{path} is missing: make peers ARCH={self.folder.parent.name}")
        return path

    def bench(self, file: Path, threads: int, prompt: int, count: int) -> dict[str, float]:
        """Tokens a second of reading a prompt and of writing, as llama-bench measures them after a run to warm up."""
        command: list[str | Path] = [self.program("llama-bench"), "--model", file, "--output", "json"]
        command += ["--threads", str(threads), "--n-prompt", str(prompt), "--n-gen", str(count), "--repetitions", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = dict(TEST.findall(done.stdout))
        return {"read": float(found["0"]), "write": float(found[str(count)])}


def gguf_file(name: str, scratch: Path) -> Path:
    """A file as it is; `default` is the model that ships with the package, in half precision."""
    if name != "default":
        return Path(name)
    file = scratch / "default.gguf"
    write_gguf(file, read_model(DEFAULT_MODEL), "f16")
    return file


def add_files(parser: argparse.ArgumentParser) -> None:
    """The GGUF files to measure."""
    parser.add_argument("files", nargs="+", help="GGUF files; `default` is the model that ships with the package")


def add_builds(parser: argparse.ArgumentParser) -> None:
    """The options that choose the builds."""
    parser.add_argument("--peers", type=Path, default=BUILDS, help="where `make peers` built them")
    parser.add_argument(
        "--arch",
        nargs="+",
        choices=["avx2", "native"],
        default=["native"],
        help="instruction sets of every engine, ours too",
    )


def use_arch(arch: str, builds: Path = BUILDS) -> list[Peer]:
    """Holds our engine to an instruction set, in this process and in those it starts; the peers built for it.

    Raises:
        SystemExit: None was built.
    """
    if arch == "native":
        os.environ.pop("NEXTWORD_KERNELS", None)
    else:
        os.environ["NEXTWORD_KERNELS"] = arch
    found = [Peer(name, builds / arch / name) for name in NAMES if (builds / arch / name / "version").is_file()]
    if not found:
        raise SystemExit(f"no peer was built for {arch}: make peers ARCH={arch}")
    return found
