"""What waiting threads cost: training steps and traces alone and beside one busy process, as OpenMP's threads wait.

Every way of waiting has a process of its own; they take turns, and ratios are ratios of medians.
See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from record import record

WAYS: dict[str, dict[str, str]] = {
    "as torch comes": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"},
    "nextword": {},
    "nextword, after torch": {},
    "never spinning": {"OMP_WAIT_POLICY": "PASSIVE"},
}
WORK = ("steps", "traces")
BUSY = "while True: pass"
SETTLING = 1.0
"""Seconds until threads that look around have seen whether a neighbour is busy."""


def main() -> None:
    """Measures, or does the work of one way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way, alone and beside a busy process")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument(
        "--spins", type=int, nargs="*", default=[], help="more ways: so many looks before a GNU thread sleeps"
    )
    parser.add_argument("--json", action="store_true", help="print what benchmarks/results holds")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.work, asked.seconds)
        return
    ways = WAYS | {f"{spins} spins": {"GOMP_SPINCOUNT": str(spins)} for spins in asked.spins}
    figures = measure(ways, asked.rounds, asked.seconds)
    shown = table(figures)
    print(record(shown, figures) if asked.json else shown)


def measure(ways: dict[str, dict[str, str]], rounds: int, seconds: float) -> dict[str, Any]:
    """Pieces of work a second: by way, work, and whether a neighbour is busy; one number a turn."""
    found: dict[str, Any] = {way: {f"{kind}, {where}": [] for kind in WORK for where in PLACES} for way in ways}
    workers = {way: start(way, chosen, seconds) for way, chosen in ways.items()}
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        busy.send_signal(signal.SIGSTOP)
        for round_ in range(rounds + 1):  # the first one warms up
            for where, sent in zip(PLACES, (signal.SIGSTOP, signal.SIGCONT), strict=True):
                busy.send_signal(sent)
                time.sleep(SETTLING)
                for way, worker in workers.items():
                    for kind in WORK:
                        rate = turn(worker, kind)
                        if round_:
                            found[way][f"{kind}, {where}"].append(rate)
            busy.send_signal(signal.SIGSTOP)
    finally:
        busy.kill()
        for worker in workers.values():
            worker.kill()
    return found


PLACES = ("alone", "beside one busy process")


def start(way: str, chosen: dict[str, str], seconds: float) -> subprocess.Popen[str]:
    """The process of one way."""
    there = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    return subprocess.Popen(
        [sys.executable, __file__, "--work", way, "--seconds", str(seconds)],
        env={**there, **{name: value for name, value in chosen.items() if value}},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def turn(worker: subprocess.Popen[str], kind: str) -> float:
    """Lets a worker work; pieces a second."""
    told, said = _pipes(worker)
    told.write(f"{kind}\n")
    told.flush()
    return float(said.readline())


def _pipes(worker: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if worker.stdin is None or worker.stdout is None:
        raise ValueError("a worker without pipes")
    return worker.stdin, worker.stdout


def work(way: str, seconds: float) -> None:
    """Trains the shape of nanoGPT's settings for a CPU, and traces the default model, when told to."""
    if way == "nextword, after torch":
        import torch  # noqa: PLC0415  what a notebook has done before it imports nextword
    import torch  # noqa: PLC0415

    import nextword  # noqa: PLC0415
    from nextword.config import GPTConfig  # noqa: PLC0415
    from nextword.model import GPTModel  # noqa: PLC0415

    model = GPTModel.from_config(GPTConfig.gpt2(96, 64, d_model=128, num_heads=4, num_layers=4)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    ids_BT = torch.randint(0, 96, (12, 64), generator=torch.Generator().manual_seed(0))
    lm = nextword.load(backend="torch")

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(ids_BT).flatten(0, 1), ids_BT.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    pieces: dict[str, Callable[[], object]] = {
        "steps": step,
        "traces": lambda: lm.trace("To be, or not to be, that is the question."),
    }
    for line in sys.stdin:
        start, count = time.perf_counter(), 0
        while time.perf_counter() < start + seconds or count < 2:
            pieces[line.strip()]()
            count += 1
        print(json.dumps(count / (time.perf_counter() - start)), flush=True)


def table(figures: dict[str, Any]) -> str:
    """Medians, and how they compare with torch as it comes."""
    first, *_ = figures.values()
    lines = [f"| threads wait | {' | '.join(first)} |", "|---" + "|---:" * len(first) + "|"]
    for way, found in figures.items():
        cells = []
        for name, rates in found.items():
            median, usual = statistics.median(rates), statistics.median(first[name])
            cells.append(f"{median:,.1f}/s" + ("" if found is first else f" ({median / usual:.2f}x)"))
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
