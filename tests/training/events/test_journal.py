"""Every event is on disk at once, a resumed run goes on where it was, and TensorBoard reads its own format."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nextword.config import GPTConfig
from nextword.errors import ModelFileError
from nextword.training.events import Sampled, Started, Stepped, Validated, fan_out
from nextword.training.events.journal import MetricsLog, MetricsTail, read_metrics
from nextword.training.events.tensorboard import TensorBoard
from nextword.training.planning.plan import Plan

PLAN = Plan("tiny", 300, 16, 2, 1e-3, 0.0, steps=4)
STARTED = Started(
    PLAN, GPTConfig.preset("tiny", 300, 16), train_tokens=500, train_characters=1000, validation_characters=9
)


def stepped(step: int, loss: float = 2.0, left: float = 1.0) -> Stepped:
    return Stepped(
        step=step, progress=0.5, loss=loss, tokens_per_second=100.0, seconds_left=left, nats_per_character=loss / 2
    )


def validated(step: int) -> Validated:
    return Validated(step=step, seconds=1.0, nats_per_token=4.0, nats_per_character=2.0, bits_per_byte=2.5, best=True)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_there_before_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as journal:
        journal(STARTED)
        journal(stepped(1, left=math.inf))
        journal(validated(1))
        journal(Sampled(1, "나는 🙂\n"))
        rows = [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]
    assert [row["event"] for row in rows] == ["started", "stepped", "validated", "sampled"]
    assert (rows[0]["plan"]["preset"], rows[0]["config"]["num_layers"], rows[0]["train_tokens"]) == ("tiny", 4, 500)
    assert (rows[1]["loss"], rows[1]["nats_per_character"], rows[1]["seconds_left"]) == (2.0, 1.0, None)
    assert rows[2]["bits_per_byte"] == 2.5
    assert rows[3]["text"] == "나는 🙂\n"
    assert read_metrics(path) == rows


def test_a_line_separator_in_a_text_ends_no_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as journal:
        for step, text in enumerate(("a\u2028b", "c\x85d", "e")):
            journal(Sampled(step, text))
    assert [row["text"] for row in read_metrics(path)] == ["a\u2028b", "c\x85d", "e"]
    assert MetricsTail().read_new(path) == (True, read_metrics(path))


def test_a_tail_tells_what_is_new_and_when_it_is_another_journal(tmp_path: Path) -> None:
    path, tail = tmp_path / "metrics.jsonl", MetricsTail()
    assert tail.read_new(path) == (False, [])
    with MetricsLog(path) as journal:
        journal(validated(1))
        assert [row["step"] for row in tail.read_new(path)[1]] == [1]
        journal(validated(2))
        journal(validated(3))
        assert [row["step"] for row in tail.read_new(path)[1]] == [2, 3]
        assert tail.read_new(path) == (False, [])
    with MetricsLog(path, after=2) as journal:  # the run goes on from step 2
        for step in (3, 4, 5):
            journal(validated(step))
        anew, rows = tail.read_new(path)
    assert (anew, [row["step"] for row in rows]) == (True, [1, 2, 3, 4, 5])


def test_steps_are_thinned_to_one_a_second_and_further_as_the_run_gets_long(tmp_path: Path) -> None:
    clock = Clock()
    with MetricsLog(tmp_path / "m", clock=clock) as journal:
        for step in range(1, 101):
            journal(stepped(step))
            clock.now += 0.25
        journal(validated(100))
        clock.now += 100_000
        for step in range(101, 1101):
            journal(stepped(step))
            clock.now += 1
    steps = [row["step"] for row in read_metrics(tmp_path / "m") if row["event"] == "stepped"]
    assert steps[:25] == list(range(1, 101, 4))
    assert 8 <= len(steps[25:]) <= 10  # 1,000 s, one about every 100 s
    assert [row["step"] for row in read_metrics(tmp_path / "m") if row["event"] == "validated"] == [100]


def test_a_resumed_run_drops_what_came_after_its_step_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "m"
    clock = Clock()
    with MetricsLog(path, clock=clock) as journal:
        journal(STARTED)
        for step in (1, 2, 3):
            journal(stepped(step))
            journal(validated(step))
            clock.now += 2
    with path.open("ab") as file:
        file.write(b'{"event": "stepped", "step": 2, "loss": 1.\xed\x95')
    with MetricsLog(path, after=2, clock=clock) as journal:
        journal(stepped(3, loss=9.0))
    rows = read_metrics(path)
    assert [row.get("step") for row in rows] == [0, 1, 1, 2, 2, 3]
    assert rows[-1]["loss"] == 9.0
    with MetricsLog(path) as journal:
        journal(validated(7))
    assert [row["step"] for row in read_metrics(path)] == [7]  # a new run
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_no_file_is_no_line_and_no_directory_is_an_error(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none") == []
    with pytest.raises(ModelFileError, match=r"cannot write .*missing"):
        MetricsLog(tmp_path / "missing" / "m")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_metrics(tmp_path)
    (tmp_path / "odd").write_bytes(b'[1]\n{"step": "x"}\n{"step": 1}\n\xff\n{"step": 2}\n')
    assert read_metrics(tmp_path / "odd") == [{"step": 1}]


def test_several_watchers_are_told_in_order_and_none_is_none() -> None:
    told: list[object] = []
    watch = fan_out([told.append, lambda event: told.append((event, len(told)))])
    watch("a")
    assert told == ["a", ("a", 1)]
    assert fan_out(told.append) == told.append
    fan_out(None)(STARTED)
    fan_out([])(STARTED)

    def fails(_: object) -> None:
        raise ValueError("mine")

    failing = fan_out([fails, told.append])
    with pytest.raises(ValueError, match="mine"):
        failing("b")
    assert len(told) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own imports
def test_tensorboard_reads_the_losses_and_forgets_what_a_resumed_run_does_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoard(tmp_path / "logs") as board:
        board(STARTED)
        for step in (1, 2, 3):
            board(stepped(step, loss=float(step)))
        board(validated(3))
        board(Sampled(3, "한국의"))
    with TensorBoard(tmp_path / "logs", after=2) as board:
        board(STARTED)
        board(stepped(3, loss=7.0))
    read = EventAccumulator(str(tmp_path / "logs"))
    read.Reload()
    losses = read.Scalars("loss/training, nats per character")
    assert [(event.step, event.value) for event in losses] == [(1, 0.5), (2, 1.0), (3, 3.5)]
    assert [event.value for event in read.Scalars("speed/tokens per second")] == [100.0, 100.0, 100.0]


def test_tensorboards_directory_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from nextword.errors import ConfigError

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot write"):
        TensorBoard(tmp_path / "file")
