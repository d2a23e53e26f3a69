"""torch's threads sleep while they wait where others are busy; who chose otherwise keeps it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextword.machine import openmp, processors
from nextword.machine.openmp import limit_openmp_threads
from nextword.machine.processors import busy_seconds, usable_processors

# Between two sums the second thread waits. Spinning it takes milliseconds of the processor each time.
WAITS = """
import json, sys, time
from nextword.machine import openmp
order, steps = json.loads(sys.argv[1])
openmp.POLL_SECONDS = 0.05
openmp.IDLE_POLLS = 2
openmp.busy_seconds = lambda processors: None if others is None else time.process_time() + others * time.monotonic()
others = steps[0]
exec(order)
torch.set_num_threads(2)
numbers = torch.zeros(1 << 18)
numbers.add_(1)
found = []
for others in steps:
    time.sleep(0.6)
    start = time.process_time()
    for _ in range(30):
        numbers.add_(1)
        time.sleep(0.02)
    found.append(time.process_time() - start)
assert torch.get_num_threads() == 2
print(json.dumps(found))
"""


def waiting_seconds(order: str, others: list[float | None], **environment: str) -> list[float]:
    """Seconds of processor time for thirty small sums, while others take so much of the last two processors."""
    beside = len(usable_processors()) - 2
    others = [None if share is None else beside + share for share in others]
    ours = {"OMP_NUM_THREADS": "2"}
    there = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    ran = subprocess.run(
        [sys.executable, "-c", WAITS, json.dumps([order, others])],
        env={**there, **ours, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(ran.stdout))


SEVERAL = pytest.mark.skipif(
    sys.platform != "linux" or len(usable_processors()) < 2, reason="threads wait for each other on two processors"
)


@SEVERAL
def test_waiting_threads_sleep_where_others_are_busy_and_spin_where_none_is() -> None:
    (spinning,) = waiting_seconds("import torch", [None])  # nothing of ours has seen torch
    others = [None, 0.0, 0.8, 0.2, 2.0, None]
    for order in (
        "import torch, nextword.model",
        "import torch; torch.zeros(1 << 20).add_(1); openmp.limit_openmp_threads()",
    ):
        asleep = [seconds < spinning / 2 for seconds in waiting_seconds(order, others)]
        assert asleep == [True, False, True, False, True, True], order


@SEVERAL
def test_who_has_chosen_how_to_wait_keeps_it() -> None:
    order = "import torch, nextword.model"
    (asleep,) = waiting_seconds(order, [None])
    for name, value in (("GOMP_SPINCOUNT", "300000"), ("KMP_BLOCKTIME", "200"), ("OMP_WAIT_POLICY", "ACTIVE")):
        (seconds,) = waiting_seconds(order, [None], **{name: value})
        assert seconds > 2 * asleep, name


def test_what_others_take_is_what_the_system_says_less_what_this_process_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "stat"
    monkeypatch.setattr(processors, "STATISTICS", told)
    assert busy_seconds({0, 2}) is None
    second = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    told.write_text(
        f"cpu 1 2 3 4 5 6 7 8 9 9\ncpu0 {second} 0 {second} 900 77 0 {second} {second} 5 5\n"
        f"cpu1 {second} 0 0 0 0 0 0 0 0 0\ncpu2 0 {2 * second} 0 4 0 0 0 0 0 0\n"
        f"cpu20 {second} 0 0 0 0 0 0 0 0 0\nctxt 5\n"
    )
    assert busy_seconds({0, 2}) == 6.0
    told.write_text("cpu 0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")  # what some containers say
    assert busy_seconds({0, 2}) is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc/stat")
def test_the_work_of_this_process_is_among_what_the_system_says() -> None:
    everywhere = set(range(os.cpu_count() or 1))
    before, own = busy_seconds(everywhere), time.process_time()
    while time.process_time() < own + 0.3:
        pass
    after = busy_seconds(everywhere)
    told = processors.STATISTICS.read_text(encoding="ascii").split()[1:5] != ["0"] * 4
    assert (before is not None) == (after is not None) == told
    assert before is None or after is None or after - before > 0.2


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
    assert openmp._loaded_libraries("libgomp", maps) == ["/home/a b/torch.libs/libgomp-a34b3233.so.1"]
    assert openmp._loaded_libraries("libomp", maps) == ["/home/\x85/libomp-140.so", "/usr/lib/libomp.so.5"]
    assert openmp._loaded_libraries("libgomp", tmp_path / "none") == []


def test_a_containers_share_bounds_torchs_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = sys.modules["torch"]
    monkeypatch.setattr(openmp, "usable_processors", lambda: {0, 1, 2, 3})
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    for share, wanted in ((0.5, 1), (1.5, 1), (2.5, 2), (3.9, 3), (4.0, 4), (None, 4)):
        monkeypatch.setattr(openmp, "cpu_quota", lambda share=share: share)
        torch.set_num_threads(4)
        limit_openmp_threads()
        assert torch.get_num_threads() == wanted
        monkeypatch.delitem(sys.modules, "torch")
        limit_openmp_threads()
        assert os.environ.pop("OMP_NUM_THREADS", None) == (None if wanted == 4 else str(wanted))
        monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(openmp, "cpu_quota", lambda: 1.5)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # who says a number means it
    torch.set_num_threads(3)
    limit_openmp_threads()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)
