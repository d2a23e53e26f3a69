"""How many threads run the native backend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nextword.errors import ConfigError
from nextword.machine.processors import default_threads, performance_cores, physical_cores


def make_cpus(devices: Path, cores: list[str], **files: list[int]) -> Path:
    """What Linux says of processors: the processors of each one's core, and further files, such as its capacity."""
    for cpu, siblings in enumerate(cores):
        place = devices / f"system/cpu/cpu{cpu}"
        for name in ("topology", "cpufreq"):
            (place / name).mkdir(parents=True)
        (place / "topology/core_cpus_list").write_text(f"{siblings}\n")
        for name, values in files.items():
            (place / name.replace("__", "/")).write_text(f"{values[cpu]}\n")
    return devices


def may_use(cpus: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cpus, raising=False)


def test_two_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_use({0, 1, 2, 3}, monkeypatch)
    assert physical_cores(make_cpus(tmp_path, ["0,2", "1,3", "0,2", "1,3"])) == 2
    may_use({1}, monkeypatch)
    assert physical_cores(tmp_path) == performance_cores(tmp_path) == 1
    assert physical_cores(tmp_path / "nowhere") == performance_cores(tmp_path / "nowhere") == 1


def test_efficiency_cores_of_intel_compute_only_where_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two cores of two threads, and four efficiency cores with a clock that is nearly as fast.
    cores = ["0-1", "0-1", "2-3", "2-3", "4", "5", "6", "7"]
    make_cpus(tmp_path, cores, cpufreq__cpuinfo_max_freq=[5_500_000] * 4 + [4_600_000] * 4)
    (tmp_path / "cpu_core").mkdir()
    (tmp_path / "cpu_core/cpus").write_text("0-3\n")
    may_use(set(range(8)), monkeypatch)
    assert physical_cores(tmp_path) == 6
    assert performance_cores(tmp_path) == 2
    may_use({2, 3, 6, 7}, monkeypatch)
    assert performance_cores(tmp_path) == 1
    may_use({5, 6, 7}, monkeypatch)
    assert performance_cores(tmp_path) == 3


def test_small_cores_of_arm_do_not_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capacities = [414, 414, 414, 414, 1024, 1024, 1024, 1024]  # of an RK3588
    make_cpus(tmp_path, [str(cpu) for cpu in range(8)], cpu_capacity=capacities)
    may_use(set(range(8)), monkeypatch)
    assert performance_cores(tmp_path) == 4
    may_use({0, 1}, monkeypatch)
    assert performance_cores(tmp_path) == 2


def test_cores_with_a_much_slower_clock_do_not_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = [5_157_000, 5_157_000, 5_080_000, 3_300_000, 3_300_000, 3_300_000]
    make_cpus(tmp_path, [str(cpu) for cpu in range(6)], cpufreq__cpuinfo_max_freq=clocks)
    may_use(set(range(6)), monkeypatch)
    assert performance_cores(tmp_path) == 3


def test_the_environment_may_say_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTWORD_THREADS", "5")
    assert default_threads() == 5
    monkeypatch.delenv("NEXTWORD_THREADS")
    assert 1 <= default_threads() <= (os.cpu_count() or 1)
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("NEXTWORD_THREADS", wrong)
        with pytest.raises(ConfigError, match="NEXTWORD_THREADS"):
            default_threads()
