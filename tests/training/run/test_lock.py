"""Two runs into one place: the second is refused, and told who is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextword.errors import ConfigError
from nextword.training import Event, Stepped, train
from nextword.training.run.lock import run_lock
from tests.training.sample_text import FEW_STEPS, write_text

HOLDING = """
import sys
from pathlib import Path
from nextword.training.run.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(out: Path) -> subprocess.Popen[str]:
    """Another process that holds a place until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.usefixtures("undrawn")
def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    text, out = write_text(tmp_path), tmp_path / "out"
    began, refused = time.time(), list[str]()

    def intrude(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            for how in ({}, {"restart": True}, {"resume": True}):
                with pytest.raises(ConfigError) as caught:
                    train(text, out, **how, **FEW_STEPS)
                refused.append(caught.value.message)

    whole = train(text, tmp_path / "whole", **FEW_STEPS)
    run = train(text, out, watch=intrude, checkpoint_seconds=0, **FEW_STEPS)
    assert run.state == whole.state
    assert len(refused) == 3
    start = f"another run is writing {out}: process {os.getpid()}, since "
    assert {message[: len(start)] for message in refused} == {start}
    since = time.mktime(time.strptime(refused[0][len(start) :], "%Y-%m-%d %H:%M:%S"))
    assert began - 1 <= since <= time.time()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text.txt", "whole"]  # the lock is gone


def test_the_lock_goes_with_the_process_that_holds_it(tmp_path: Path) -> None:
    process = hold(tmp_path / "out")
    with pytest.raises(ConfigError, match=rf"process {process.pid}, since \d{{4}}-"), run_lock(tmp_path / "out"):
        pass
    with process:
        process.kill()
    assert json.loads((tmp_path / ".out.lock").read_text(encoding="utf-8"))["pid"] == process.pid
    with run_lock(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_has_one_lock_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    with run_lock(Path("out")):
        for name in (tmp_path / "out", Path("link"), Path("./out/../out")):
            with pytest.raises(ConfigError, match="another run is writing"), run_lock(name):
                pass
        with run_lock(Path("other")):
            pass
