"""Once the last step is taken the model comes first: nothing that goes wrong then costs what was learned."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import nextword
from nextword.errors import ModelFileError
from nextword.training import Event, Sampled, Stepped, Validated, train
from nextword.training.events import Interrupted
from nextword.training.events.journal import MetricsLog
from nextword.training.events.recorded_runs import read_run
from nextword.training.planning.verdict import Verdict
from tests.training.sample_text import FEW_STEPS, write_text

NOT_UTF_8 = os.fsdecode("모델".encode("cp949"))  # as a zip of Windows is unpacked on Linux


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="nextword")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run that nothing befell."""
    place = tmp_path_factory.mktemp("plain")
    train(write_text(place), place / "out", **FEW_STEPS)
    return (place / "out" / "model.safetensors").read_bytes()


def holds(out: Path, expected: bytes) -> bool:
    """Whether the model is there, whole, and the one that was trained."""
    nextword.load(out)
    return (out / "model.safetensors").read_bytes() == expected


def test_a_package_for_figures_that_is_broken_costs_only_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: bytes
) -> None:
    (tmp_path / "seaborn.py").write_text("import numpy\nnumpy.no_such_thing\n", encoding="utf-8")
    for name in [name for name in sys.modules if name.partition(".")[0] == "seaborn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    run = train(write_text(tmp_path), tmp_path / "out", **FEW_STEPS)
    assert holds(run.out, expected)
    assert not (run.out / "loss.png").exists()
    assert (run.out / "metrics.jsonl").exists()
    assert [one.message for one in caplog.records] == [
        "the curve of its losses was not drawn: module 'numpy' has no attribute 'no_such_thing'"
    ]


def test_a_log_that_cannot_be_closed_costs_no_model(
    tmp_path: Path, undrawn: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, expected: bytes
) -> None:
    close = MetricsLog.close

    def fail(journal: MetricsLog) -> None:
        close(journal)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MetricsLog, "close", fail)
    out = tmp_path / "out"
    with pytest.raises(OSError, match="No space left on device"):
        train(write_text(tmp_path), out, **FEW_STEPS)
    assert holds(out, expected)
    assert caplog.messages == [f"the model is saved in {out}; what went wrong then:"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text.txt"]


@pytest.mark.parametrize("kind", [Validated, Sampled, Verdict])
def test_a_watcher_that_raises_after_the_last_step_does_so_when_the_model_is_there(
    tmp_path: Path, undrawn: None, caplog: pytest.LogCaptureFixture, expected: bytes, kind: type
) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, kind) and getattr(event, "step", 4) == 4:
            raise ZeroDivisionError("a bar of no length")

    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError, match="a bar of no length"):
        train(write_text(tmp_path), out, watch=fail, **FEW_STEPS)
    assert holds(out, expected)
    assert [one.message for one in caplog.records] == [f"the model is saved in {out}; what went wrong then:"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text.txt"]  # the run has ended as any other
    run = read_run(out)
    assert run is not None
    assert run.metrics[-1]["event"] == "verdict"


def test_what_a_watcher_raises_before_the_last_step_ends_the_run(tmp_path: Path, undrawn: None) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(write_text(tmp_path), tmp_path / "out", watch=fail, checkpoint_seconds=0, **FEW_STEPS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.checkpoint", "text.txt"]


def test_a_run_whose_checkpoints_are_removed_keeps_its_model_and_says_what_is_lost(
    tmp_path: Path, undrawn: None, caplog: pytest.LogCaptureFixture, expected: bytes
) -> None:
    def remove(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            shutil.rmtree(tmp_path / "out.checkpoint")

    run = train(write_text(tmp_path), tmp_path / "out", watch=remove, **FEW_STEPS)
    assert holds(run.out, expected)
    assert not (run.out / "metrics.jsonl").exists()
    assert [one.message for one in caplog.records] == [
        f"the record of its losses is lost: {tmp_path / 'out.checkpoint' / 'metrics.jsonl'}: No such file or directory"
    ]


def test_a_stop_whose_checkpoint_cannot_be_written_keeps_the_model(tmp_path: Path, undrawn: None) -> None:
    def press(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            shutil.rmtree(tmp_path / "out.checkpoint")
            (tmp_path / "out.checkpoint").write_text("in the way", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGINT)
        if isinstance(event, Interrupted):
            raise ZeroDivisionError

    with pytest.raises(ModelFileError, match=r"^cannot write .*step-00000003: (Not a directory|File exists)$"):
        train(write_text(tmp_path), tmp_path / "out", watch=press, **FEW_STEPS)  # the first error is told
    assert nextword.load(tmp_path / "out").provenance["steps"] == 3


def test_a_place_that_somebody_has_put_a_file_into_is_filled_by_resuming(
    tmp_path: Path, undrawn: None, expected: bytes
) -> None:
    text, out = write_text(tmp_path), tmp_path / "out"
    first = train(text, out, **{**FEW_STEPS, "seed": 1})

    def open_in_finder(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            (out / ".DS_Store").write_bytes(b"\0")

    with pytest.raises(ModelFileError, match=r"also holds \.DS_Store, which would be lost"):
        train(text, out, watch=open_in_finder, **FEW_STEPS)
    assert nextword.load(out).provenance["state"] == first.state  # as it was
    (out / ".DS_Store").unlink()
    resumed = train([], out, resume=True)
    assert holds(out, expected)
    assert resumed.steps == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text.txt"]


def test_an_adapter_that_cannot_be_written_costs_no_model(tmp_path: Path, undrawn: None) -> None:
    def block(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            (tmp_path / "out.adapter").mkdir()
            (tmp_path / "out.adapter" / "diary.txt").write_text("mine", encoding="utf-8")

    text = write_text(tmp_path)
    base = train(text, tmp_path / "base", **FEW_STEPS).out
    settings: dict[str, Any] = {"steps": 2, "context_length": 16, "batch_size": 2, "lora_rank": 2}
    with pytest.raises(ModelFileError, match="diary"):
        train(text, tmp_path / "out", from_model=base, watch=block, **settings)
    assert nextword.load(tmp_path / "out").provenance["steps"] == 2


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there file names are text")
def test_places_whose_names_are_not_utf_8_hold_models_that_others_start_from(tmp_path: Path, undrawn: None) -> None:
    out, text = tmp_path / NOT_UTF_8, write_text(tmp_path, name=f"{NOT_UTF_8}.txt")
    train(text, out, **FEW_STEPS)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# \\xb8\\xf0\\xb5\\xa8\n")
    assert nextword.load(out).provenance["text"]["documents"] == ["\\xb8\\xf0\\xb5\\xa8.txt"]

    def stop(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            raise ZeroDivisionError

    other = tmp_path / f"{NOT_UTF_8}2"
    settings: dict[str, Any] = {"steps": 3, "context_length": 16, "batch_size": 2}
    with pytest.raises(ZeroDivisionError):
        train(text, other, from_model=out, watch=stop, checkpoint_seconds=0, **settings)
    run = train([], other, resume=True)  # its record names the model that it started from
    assert run.steps == 3
    assert nextword.load(other).provenance["from"]["model"] == str(out)
