"""torch's threads sleep while they wait, whichever of torch and nextword comes first; who chose otherwise keeps it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nextword.machine import openmp
from nextword.machine.openmp import calm_threads

# Between two sums the second thread waits. Spinning it takes milliseconds of the processor each time.
WAITS = """
import time, torch
torch.set_num_threads(2)
numbers = torch.zeros(1 << 18)
numbers.add_(1)
start = time.process_time()
for _ in range(40):
    numbers.add_(1)
    time.sleep(0.02)
print(time.process_time() - start, torch.get_num_threads())
"""


def waiting_seconds(before: str, **environment: str) -> float:
    """Seconds of processor time for forty small sums."""
    told = ("OMP_", "GOMP_", "KMP_")
    there = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    ran = subprocess.run(
        [sys.executable, "-c", before + WAITS], env={**there, **environment}, capture_output=True, text=True, check=True
    )
    seconds, threads = ran.stdout.split()
    assert threads == "2"
    return float(seconds)


def test_a_thread_that_waits_sleeps_whichever_was_imported_first() -> None:
    spinning = waiting_seconds("")
    assert waiting_seconds("import nextword\n") < spinning / 2
    assert waiting_seconds("import torch, nextword\n") < spinning / 2
    assert waiting_seconds("import torch; torch.zeros(1 << 20).add_(1); import nextword\n") < spinning / 2
    chosen = {"OMP_WAIT_POLICY": "ACTIVE"}
    for order in ("import nextword\n", "import torch, nextword\n"):
        assert waiting_seconds(order, **chosen) > spinning / 2


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY"])
def test_who_has_chosen_keeps_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "processor_share", lambda: None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for other in openmp.CHOSEN:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "7")
    before = dict(os.environ)
    calm_threads()
    assert dict(os.environ) == before
    monkeypatch.delenv(name)
    calm_threads()
    assert {other: os.environ.get(other) for other in openmp.CHOSEN} == {**openmp.WAITING, "OMP_WAIT_POLICY": None}
    for other in openmp.WAITING:
        monkeypatch.delenv(other)


def test_a_library_is_known_by_its_files_name(tmp_path: Path) -> None:
    """Others lack the function that is asked for: `import nextword` would end with an error, or never."""
    code, maps = "7f0a1000-7f0a2000 r-xp 00000000 08:01 4711    ", tmp_path / "maps"
    paths = (
        "/opt/libgomp/lib/libother.so.1",
        "/usr/lib/openmpi/libompitrace.so.40",
        "/usr/lib/libgomp.so.1 (deleted)",
        "/home/a b/torch.libs/libgomp-a34b3233.so.1",
        "/usr/lib/libomp.so.5",
        "/home/\x85/libomp-140.so",
    )
    mapped = [f"{code}{path}\n" for path in (*paths, *paths)]
    maps.write_text("".join(["7ffc1000-7ffc2000 rw-p 00000000 00:00 0 \n", *mapped]), encoding="utf-8")
    assert openmp._loaded("libgomp", maps) == ["/home/a b/torch.libs/libgomp-a34b3233.so.1"]
    assert openmp._loaded("libomp", maps) == ["/home/\x85/libomp-140.so", "/usr/lib/libomp.so.5"]
    assert openmp._loaded("libgomp", tmp_path / "none") == []


def test_a_containers_share_bounds_torchs_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = sys.modules["torch"]
    monkeypatch.setattr(openmp, "usable_processors", lambda: {0, 1, 2, 3})
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    for share, wanted in ((0.5, 1), (1.5, 1), (2.5, 2), (3.9, 3), (4.0, 4), (None, 4)):
        monkeypatch.setattr(openmp, "processor_share", lambda share=share: share)
        torch.set_num_threads(4)
        calm_threads()
        assert torch.get_num_threads() == wanted
        monkeypatch.delitem(sys.modules, "torch")
        calm_threads()
        assert os.environ.pop("OMP_NUM_THREADS", None) == (None if wanted == 4 else str(wanted))
        monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(openmp, "processor_share", lambda: 1.5)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # who says a number means it
    torch.set_num_threads(3)
    calm_threads()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)
