"""A run that was broken off: what it leaves, how it goes on, and when it does not."""

from __future__ import annotations

import shutil
import signal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import nextword
from nextword.errors import ConfigError, ModelFileError, NextwordError
from nextword.training import Event, Sampled, Started, Stepped, Validated, train
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.events import Interrupted, Preparing, Resumed
from nextword.training.events.journal import METRICS, read_metrics
from nextword.training.planning.baselines import Baselines
from nextword.training.planning.forecast import Forecast
from nextword.training.planning.verdict import Verdict
from nextword.training.run_directory import checkpoint_path
from tests.training.sample_text import FEW_STEPS, TEXT, write_text

pytestmark = pytest.mark.usefixtures("undrawn")


class BrokenOffError(Exception):
    """Ends a run between two steps."""


@pytest.fixture
def broken_off(tmp_path: Path) -> Path:
    """The text of a run to `tmp_path/out` that was broken off in its third step of four."""

    def end(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            raise BrokenOffError

    text = write_text(tmp_path)
    with pytest.raises(BrokenOffError):
        train(text, tmp_path / "out", watch=end, checkpoint_seconds=0, **FEW_STEPS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.checkpoint", "text.txt"]
    kept = sorted(path.name for path in (tmp_path / "out.checkpoint").iterdir())
    assert kept == ["data", "metrics.jsonl", "run.json", "step-00000001", "step-00000002"]
    return text


@pytest.mark.parametrize("paths", [[], ["text.txt"]], ids=["no path", "the same path"])
def test_a_run_goes_on_with_the_settings_it_began_with(
    broken_off: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    monkeypatch.chdir(broken_off.parent)
    whole_log, log = list[Event](), list[Event]()
    whole = train(broken_off, "whole", watch=whole_log.append, **FEW_STEPS)
    resumed = train(paths, "out", resume=True, watch=log.append)
    weights = [(run.out / "model.safetensors").read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]
    assert (resumed.plan, resumed.steps, resumed.state) == (whole.plan, 4, whole.state)
    assert not broken_off.with_name("out.checkpoint").exists()
    kinds = [kind for kind, _ in groupby(map(type, log))]
    assert kinds[:5] == [Resumed, Started, Baselines, Forecast, Stepped]  # the text is not prepared again
    resumed_event, started = log[0], log[1]
    assert isinstance(resumed_event, Resumed)
    assert isinstance(started, Started)
    assert (resumed_event.step, started.step) == (2, 2)
    steps, whole_steps = ([(e.step, e.loss) for e in one if isinstance(e, Stepped)] for one in (log, whole_log))
    assert steps == whole_steps[2:]
    for row in ("text", "seed", "parameters", "best_step", "baselines"):
        assert resumed.model.provenance[row] == whole.model.provenance[row]
    rows = read_metrics(resumed.out / METRICS)
    assert [row["step"] for row in rows if row["event"] == "validated"] == [look["step"] for look in whole.validations]


def test_a_run_goes_on_with_the_same_settings_given_again(broken_off: Path) -> None:
    assert train(broken_off, broken_off.with_name("out"), resume=True, **FEW_STEPS).steps == 4


def test_an_unfinished_run_is_neither_overwritten_nor_forgotten(broken_off: Path) -> None:
    out = broken_off.with_name("out")
    with pytest.raises(
        ConfigError, match=r"out\.checkpoint holds a run that was stopped after 2 steps(?m:$)"
    ) as caught:
        train(broken_off, out, **FEW_STEPS)
    assert caught.value.hint == "resume=True goes on with it, restart=True throws it away"
    assert Checkpoints(checkpoint_path(out)).steps() == [1, 2]
    run = train(broken_off, out, restart=True, seed=3, **FEW_STEPS)
    assert (run.model.provenance["seed"], run.steps) == (3, 4)
    assert read_metrics(out / METRICS)[0]["event"] == "started"
    assert sum(row["event"] == "started" for row in read_metrics(out / METRICS)) == 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["out", "text.txt"]


def test_a_run_that_was_killed_before_its_first_saved_step_begins_again_from_its_data_and_says_so(
    broken_off: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in broken_off.with_name("out.checkpoint").glob("step-*"):
        shutil.rmtree(step)
    log = list[Event]()
    resumed = train([], broken_off.with_name("out"), resume=True, watch=log.append)
    whole = train(broken_off, broken_off.with_name("whole"), **FEW_STEPS)
    assert not [event for event in log if isinstance(event, Preparing | Resumed)]
    assert [event.step for event in log if isinstance(event, Stepped)] == [1, 2, 3, 4]
    assert [record.message for record in caplog.records if record.name.startswith("nextword")] == [
        "the run was ended before its first checkpoint: it begins again at step 0, with its text"
    ]
    assert resumed.state == whole.state
    assert (resumed.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()


def test_fewer_tokens_than_asked_for_are_no_other_setting(tmp_path: Path) -> None:
    def end(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            raise BrokenOffError

    text, settings = write_text(tmp_path), {**FEW_STEPS, "vocab_size": 5000}  # the text has not so many
    with pytest.raises(BrokenOffError):
        train(text, tmp_path / "out", watch=end, checkpoint_seconds=0, **settings)
    run = train(text, tmp_path / "out", resume=True, **settings)
    assert run.plan.vocab_size < 1000
    with pytest.raises(BrokenOffError):
        train(text, tmp_path / "out", watch=end, checkpoint_seconds=0, **settings)
    with pytest.raises(ConfigError, match=r"^vocab_size is 4000, the run that goes on has "):
        train(text, tmp_path / "out", resume=True, **{**settings, "vocab_size": 4000})


def test_two_runs_saved_at_every_step_and_at_none_have_the_same_state(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    runs = [train(text, tmp_path / str(n), dropout=0.1, checkpoint_seconds=n, **FEW_STEPS) for n in (0, 1000)]
    assert runs[0].state == runs[1].state


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("preset", "small"),
        ("steps", 9),
        ("context_length", 8),
        ("batch_size", 1),
        ("learning_rate", 0.1),
        ("dropout", 0.5),
        ("weight_decay", 0.5),
        ("accumulation", 2),
        ("evaluate_every", 1),
        ("precision", "bfloat16"),
        ("vocab_size", 301),
        ("from_model", "gpt2"),
    ],
)
def test_a_run_does_not_go_on_with_another_setting(broken_off: Path, setting: str, value: Any) -> None:
    settings = {setting: value} if setting == "from_model" else {**FEW_STEPS, setting: value}
    with pytest.raises(ConfigError, match=f"^{setting} is {value}, the run that goes on has ") as caught:
        train(broken_off, broken_off.with_name("out"), resume=True, **settings)
    assert caught.value.hint == "leave it out, or begin anew with restart=True"
    assert broken_off.with_name("out.checkpoint").exists()


def test_a_run_does_not_go_on_with_another_text(broken_off: Path) -> None:
    broken_off.write_text(TEXT + "One more sentence, and then another one.", encoding="utf-8")
    with pytest.raises(NextwordError, match=r"^the text is not the one the run began with(?m:$)") as caught:
        train(broken_off, broken_off.with_name("out"), resume=True)
    assert caught.value.hint == "leave it out, or begin anew with restart=True"
    assert train([], broken_off.with_name("out"), resume=True).steps == 4  # its tokens are on disk


DAMAGED = ["run.json", "data/data.json", "data/tokenizer.json", "step-*/state.json", "step-*/model.safetensors"]


@pytest.mark.parametrize("file", DAMAGED)
def test_a_run_does_not_go_on_from_a_damaged_directory(broken_off: Path, file: str) -> None:
    for path in broken_off.with_name("out.checkpoint").glob(file):
        path.write_bytes(b"{}")
    with pytest.raises(ModelFileError) as caught:
        train(broken_off, broken_off.with_name("out"), resume=True)
    assert Path(file).name in caught.value.message
    assert not broken_off.with_name("out").exists()
    assert broken_off.with_name("out.checkpoint").exists()


def test_ctrl_c_in_process_saves_the_model_and_keeps_the_run(tmp_path: Path) -> None:
    log = list[Event]()

    def press(event: Event) -> None:
        log.append(event)
        if isinstance(event, Stepped) and event.step == 2:
            signal.raise_signal(signal.SIGINT)

    text = write_text(tmp_path)
    settings = {**FEW_STEPS, "evaluate_every": 3}
    run = train(text, tmp_path / "out", watch=press, **settings)
    assert (run.stopped, run.steps) == (True, 2)
    assert [type(event) for event in log[-4:]] == [Interrupted, Validated, Sampled, Verdict]
    assert log[-4] == Interrupted(2, run.state)
    assert nextword.load(run.out).provenance["stopped_early"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.checkpoint", "text.txt"]
    again = train([], tmp_path / "out", resume=True)
    whole = train(text, tmp_path / "whole", **settings)
    assert (again.state, again.stopped) == (whole.state, False)
    assert [look["step"] for look in again.validations] == [3, 4]
    assert nextword.load(run.out).provenance["stopped_early"] is False
