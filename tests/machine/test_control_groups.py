"""What containers allow, as the kernel's files say it, in both versions of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nextword.errors import ConfigError
from nextword.machine.memory import MachineMemory, machine_memory
from nextword.machine.processors import cpu_quota, default_threads

NO_LIMIT_V1 = 9223372036854771712
MiB = 1024**2


def write(folder: Path, **files: str | int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def process(root: Path, own: str, *mounts: str) -> Path:
    """What /proc says of a process: its groups, and where the hierarchies are mounted."""
    folder = root / "proc self"
    folder.mkdir()
    (folder / "cgroup").write_text(own)
    other = "22 1 0:21 / /proc rw,nosuid - proc proc rw\n"
    (folder / "mountinfo").write_text(other + "".join(f"{mount}\n" for mount in mounts))
    return folder


def version2(root: Path, own: str = "/", shown_from: str = "/") -> Path:
    escaped = str(root / "cgroup").replace(" ", "\\040")
    return process(
        root, f"0::{own}\n", f"30 23 0:26 {shown_from} {escaped} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
    )


def version1(root: Path, own: str, shown_from: str) -> Path:
    mounts = [
        f"3{i} 23 0:2{i} {shown_from} {root}/{name} ro - cgroup cgroup rw,{name}"
        for i, name in enumerate(("cpu,cpuacct", "memory", "pids"))
    ]
    return process(root, f"9:memory:{own}\n4:cpu,cpuacct:{own}\n1:name=systemd:{own}\n0::{own}\n", *mounts)


def meminfo(root: Path, total: int, free: int) -> Path:
    file = root / "meminfo"
    file.write_text(f"MemTotal: {total // 1024} kB\nMemFree: 1 kB\nMemAvailable: {free // 1024} kB\n")
    return file


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.delenv("NEXTWORD_THREADS", raising=False)


def threads(where: Path) -> int:
    return default_threads(where, devices=where / "nowhere")


@pytest.mark.parametrize(
    ("quota", "share", "count"),
    [
        ("50000 100000", 0.5, 1),
        ("150000 100000", 1.5, 1),
        ("200000 100000", 2.0, 2),
        ("25000 10000", 2.5, 2),
        ("1600000 100000", 16.0, 4),
        ("max 100000", None, 4),
    ],
)
def test_a_share_of_the_processors_is_whole_threads_in_version_2(
    quota: str, share: float | None, count: int, tmp_path: Path
) -> None:
    write(tmp_path / "cgroup", cpu__max=quota)
    where = version2(tmp_path)
    assert cpu_quota(where) == share
    assert threads(where) == count


@pytest.mark.parametrize(
    ("quota", "share", "count"),
    [(50_000, 0.5, 1), (1_000, 0.01, 1), (150_000, 1.5, 1), (300_000, 3.0, 3), (-1, None, 4)],
)
def test_a_share_of_the_processors_is_whole_threads_in_version_1(
    quota: int, share: float | None, count: int, tmp_path: Path
) -> None:
    write(tmp_path / "cpu,cpuacct", cpu__cfs_quota_us=quota, cpu__cfs_period_us=100_000)
    where = version1(tmp_path, "/docker/abc", "/docker/abc")
    assert cpu_quota(where) == share
    assert threads(where) == count


def test_the_narrowest_of_all_groups_around_counts(tmp_path: Path) -> None:
    tree = tmp_path / "a tree" / "cgroup"
    tree.parent.mkdir()
    write(tree / "user.slice/user-0.slice/job", cpu__max="max 100000", memory__max="max", memory__current=MiB)
    write(tree / "user.slice/user-0.slice", cpu__max="150000 100000", memory__max=300 * MiB, memory__current=50 * MiB)
    write(tree / "user.slice", cpu__max="300000 100000", memory__max=900 * MiB, memory__current=890 * MiB)
    where = version2(tmp_path / "a tree", "/user.slice/user-0.slice/job")
    assert cpu_quota(where) == 1.5
    assert threads(where) == 1
    memory = machine_memory(where, meminfo(tmp_path, 2000 * MiB, 1500 * MiB))
    assert memory == MachineMemory(300 * MiB, 10 * MiB)  # the outer group's neighbours left no more


def test_files_that_were_read_do_not_count_as_taken(tmp_path: Path) -> None:
    write(
        tmp_path / "cgroup",
        memory__max=512 * MiB,
        memory__current=500 * MiB,
        memory__stat=f"anon {90 * MiB}\nfile {410 * MiB}\ninactive_file {400 * MiB}",
    )
    memory = machine_memory(version2(tmp_path), meminfo(tmp_path, 2000 * MiB, 1500 * MiB))
    assert memory == MachineMemory(512 * MiB, 412 * MiB)


def test_memory_of_version_1_and_its_way_of_saying_no_limit(tmp_path: Path) -> None:
    outer, inner = tmp_path / "memory/kubepods", tmp_path / "memory/kubepods/pod/one"
    write(inner, memory__limit_in_bytes=NO_LIMIT_V1, memory__usage_in_bytes=20 * MiB)
    write(outer, memory__limit_in_bytes=NO_LIMIT_V1, memory__usage_in_bytes=20 * MiB)
    where, whole = version1(tmp_path, "/kubepods/pod/one", "/"), meminfo(tmp_path, 2000 * MiB, 1500 * MiB)
    assert machine_memory(where, whole) == MachineMemory(2000 * MiB, 1500 * MiB)
    write(outer, memory__limit_in_bytes=256 * MiB, memory__stat=f"total_inactive_file {5 * MiB}")
    assert machine_memory(where, whole) == MachineMemory(256 * MiB, 241 * MiB)


@pytest.mark.parametrize(
    ("own", "shown_from"), [("/docker/abc", "/docker/abc"), ("/", "/"), ("/../..", "/"), ("/a", "/b")]
)
def test_inside_a_container_the_mounted_directory_is_the_own_group(own: str, shown_from: str, tmp_path: Path) -> None:
    write(tmp_path / "cgroup", cpu__max="50000 100000", memory__max=100 * MiB, memory__current=0)
    where = version2(tmp_path, own, shown_from)
    assert cpu_quota(where) == 0.5
    assert machine_memory(where, meminfo(tmp_path, 2000 * MiB, 1500 * MiB)).total == 100 * MiB


def test_without_control_groups_the_machine_is_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "nothing"
    assert cpu_quota(where) is None
    assert machine_memory(where, meminfo(tmp_path, 2000 * MiB, 1500 * MiB)) == MachineMemory(2000 * MiB, 1500 * MiB)
    assert threads(where) == 4
    monkeypatch.setenv("NEXTWORD_THREADS", "3")
    write(tmp_path / "cgroup", cpu__max="100000 100000")
    assert threads(version2(tmp_path)) == 3  # who says a number means it
    monkeypatch.setenv("NEXTWORD_THREADS", "99999999999")
    with pytest.raises(ConfigError, match="NEXTWORD_THREADS is 99999999999, it must be from 1 to 1024"):
        default_threads()


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is a limit where /proc tells what is taken")
def test_a_limit_of_addresses_is_one_of_memory() -> None:
    code = (
        "import resource\n"
        "from nextword.machine.memory import machine_memory\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({800 * MiB}, resource.RLIM_INFINITY))\n"
        "print(machine_memory())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, free = (int(part.rstrip(")\n").split("=")[1]) for part in ran.stdout.split(", "))
    assert total == 800 * MiB
    assert 0 < free < total


def test_the_machine_of_the_tests_is_read_without_complaint() -> None:
    memory = machine_memory()
    if sys.platform != "linux":
        return
    assert memory.total is not None
    assert memory.free is not None
    assert 0 < memory.free <= memory.total <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 1.01
