"""How many threads run the native backend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nextword.errors import ConfigError
from nextword.machine.processors import default_threads, physical_cores


def make_cpus(root: Path, cores: list[str]) -> Path:
    for cpu, siblings in enumerate(cores):
        place = root / f"cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / "core_cpus_list").write_text(siblings)
    return root


def test_two_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert physical_cores(make_cpus(tmp_path, ["0,2\n", "1,3\n", "0,2\n", "1,3\n"])) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1}, raising=False)
    assert physical_cores(tmp_path) == 1
    assert physical_cores(tmp_path / "nowhere") == 1


def test_the_environment_may_say_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTWORD_THREADS", "5")
    assert default_threads() == 5
    monkeypatch.delenv("NEXTWORD_THREADS")
    assert 1 <= default_threads() <= (os.cpu_count() or 1)
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("NEXTWORD_THREADS", wrong)
        with pytest.raises(ConfigError, match="NEXTWORD_THREADS"):
            default_threads()
