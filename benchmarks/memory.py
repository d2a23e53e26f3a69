"""What a model takes of memory above a process that has only imported nextword, with its own and mapped files apart.

The system's figures (/proc/PID/smaps_rollup: Linux), looked at every few milliseconds while a process loads a file,
reads a short prompt and writes. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from peers import add_files, gguf_file
from record import record

IMPORT = """
import sys
import nextword.engine.backend
nextword.load  # imports NumPy and everything else that loading needs
print(0, flush=True)
sys.stdin.read()
"""
WRITE = """
import sys
import nextword
lm = nextword.load(sys.argv[1], backend="native", threads=int(sys.argv[2]))
cache = lm.backend.new_cache(16 + int(sys.argv[3]))
[row] = lm.backend.forward([[1] * 16], [cache])
for _ in range(int(sys.argv[3])):
    [row] = lm.backend.forward([[int(row.argmax())]], [cache])
print(cache.nbytes, flush=True)
sys.stdin.read()
"""
SECONDS_BETWEEN_LOOKS = 0.005


@dataclass(frozen=True)
class Resident:
    """Bytes of memory that a process holds."""

    total: int
    anonymous: int

    @property
    def of_files(self) -> int:
        """What maps files, so that the system can take it back."""
        return self.total - self.anonymous

    def above(self, other: Resident) -> Resident:
        """What it holds more than another one."""
        return Resident(self.total - other.total, self.anonymous - other.anonymous)

    @classmethod
    def of(cls, pid: int) -> Resident:
        """Now."""
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
        kilobytes = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
        return cls(1024 * kilobytes["Rss"], 1024 * kilobytes["Anonymous"])


@dataclass(frozen=True)
class Use:
    """What one file takes above the import."""

    file: str
    threads: int
    file_bytes: int
    cache_bytes: int
    peak: Resident
    """At the moment when the total was largest."""
    end: Resident
    """When everything was written."""


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        uses = [measure(gguf_file(name, Path(scratch)), options) for name in options.files]
    shown = table(uses)
    print(record(shown, [asdict(use) for use in uses]) if options.json else shown)
    return 0


def measure(file: Path, options: argparse.Namespace) -> Use:
    """One file's."""
    _, _, imported = watch(IMPORT)
    cache_bytes, peak, end = watch(WRITE, str(file), str(options.threads), str(options.tokens))
    above = {"peak": peak.above(imported), "end": end.above(imported)}
    return Use(file.stem, options.threads, file.stat().st_size, cache_bytes, **above)


def watch(program: str, *words: str) -> tuple[int, Resident, Resident]:
    """The number that a program prints at its end, what it held at the most, and what it holds then."""
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout  # noqa: S101
        peak = Resident(0, 0)
        while not select.select([process.stdout], [], [], SECONDS_BETWEEN_LOOKS)[0]:
            peak = max(peak, Resident.of(process.pid), key=lambda look: look.total)
        number = int(process.stdout.readline())
        end = Resident.of(process.pid)
        process.communicate()
    return number, max(peak, end, key=lambda look: look.total), end


def table(uses: Sequence[Use]) -> str:
    """Markdown."""
    head = ["file", "its MB", "cache, MB", "peak, MB", "own", "of files", "x file and cache", "at the end, MB", "own"]
    head += ["of files", "x file and cache"]
    lines = [f"| {' | '.join(head)} |", f"|---{'|---:' * (len(head) - 1)}|"]
    for use in uses:
        needed = use.file_bytes + use.cache_bytes
        cells = [use.file, f"{use.file_bytes / 1e6:,.1f}", f"{use.cache_bytes / 1e6:,.1f}"]
        for held in (use.peak, use.end):
            cells += [f"{number / 1e6:,.1f}" for number in (held.total, held.anonymous, held.of_files)]
            cells.append(f"{held.total / needed:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_files(parser)
    parser.add_argument("--tokens", type=int, default=64, help="to write")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
