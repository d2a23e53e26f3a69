"""A run of training is watched while it goes on: every number is the journal's or the saved model's."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import nextword
from nextword.errors import ConfigError, ModelFileError
from nextword.inspection.frames import Facts, look_frame, shown_names
from nextword.server.errors import ApiError
from nextword.server.look.schemas import LookRequest
from nextword.server.look.traces import TraceStore
from nextword.server.process.training_page import TrainingPage
from nextword.server.training_models import MAX_LOADED, TrainingModels
from nextword.server.workers import CancelToken
from nextword.settings import ServerSettings
from nextword.training import Event, Stepped, TrainingRun
from nextword.training.events.followed_run import MAX_POINTS, DownsampledRows, FollowedRun
from nextword.training.events.journal import read_metrics
from tests.inspection.test_frames import read
from tests.server.api.test_requests import refusal
from tests.server.conftest import serving
from tests.training.sample_text import write_text

TEXT = "나는 The cat"
STEPS = 6
ROUNDING = 2e-6
"""Other threads add the same numbers in another order."""
SETTINGS: dict[str, Any] = {
    "preset": "tiny",
    "steps": STEPS,
    "context_length": 16,
    "batch_size": 2,
    "vocab_size": 300,
    "evaluate_every": 2,
    "dropout": 0.1,
}


@dataclass
class Watched:
    """A run, and what its page answered meanwhile."""

    run: TrainingRun
    out: Path
    then: signal.Signals | None = None
    """What is pressed when the page says that it stays."""
    said: list[str] = field(default_factory=list)
    told: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By the step after which it was asked."""
    looked: dict[int, Any] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    finished: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str) -> None:
        self.said.append(text)
        if self.then is not None:
            signal.raise_signal(self.then)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, _one_thread: None) -> Watched:
    """The page is asked after every step, by the thread that trains."""
    folder = tmp_path_factory.mktemp("run")
    text, out = write_text(folder), folder / "모형"
    seen = Watched(None, out)  # type: ignore[arg-type]

    def ask(event: Event) -> None:
        if not isinstance(event, Stepped):
            return
        url = seen.said[0].rpartition(" ")[2]
        with httpx.Client(base_url=url, timeout=120) as client:
            seen.told[event.step] = client.get("/look/run").json()
            seen.looked[event.step] = read(client.post("/look", json={"text": TEXT}).content)
            seen.models = [model["id"] for model in client.get("/v1/models").json()["data"]]

    with TrainingPage(out, ServerSettings(port=0), seen.say) as page:
        seen.run = nextword.train(text, out, snapshots=True, watch=[page.watch, ask], **SETTINGS)
        seen.finished = httpx.get(f"{seen.said[0].rpartition(' ')[2]}look/run").json()
        for number in (signal.SIGINT, signal.SIGTERM):
            seen.then = number
            page.wait_for_interrupt()
    return seen


# -- while it goes on --------------------------------------------------------------------------------------------------


def test_the_page_tells_what_the_journal_says(watched: Watched) -> None:
    rows = read_metrics(watched.out / "metrics.jsonl")
    wanted: dict[int, dict[str, Any]] = {}
    names = {"stepped": ("loss", "loss"), "validated": ("nats_per_token", "validation"), "sampled": ("text", "sample")}
    for row in rows:
        if row["event"] in names:
            source, name = names[row["event"]]
            event = wanted.setdefault(row["step"], {"step": row["step"]})
            event[name] = row[source]
            if "seconds" in row:
                event["seconds"] = row["seconds"]
    finished = watched.finished
    assert finished["events"] == [wanted[step] for step in sorted(wanted)]
    assert [event["step"] for event in finished["events"] if "validation" in event] == [2, 4, 6]
    assert (finished["name"], finished["model"], finished["out"]) == ("모형", "모형", str(watched.out))
    assert not finished["running"]


def test_it_tells_them_as_they_come(watched: Watched) -> None:
    for step, told in watched.told.items():
        assert (told["running"], told["model"]) == (True, None)
        assert [event["step"] for event in told["events"] if "validation" in event] == list(range(2, step, 2))
        known = [event for event in watched.finished["events"] if event["step"] <= step]
        *before, last = told["events"]
        assert before == known[: len(before)]
        assert last.items() <= known[len(before)].items()  # a look at the held-out text may follow in the same step
        assert told["steps"] == [kept for kept in (0, 1, 2, 4) if kept < step]  # a step is kept after it was told


def test_the_newest_model_is_looked_at_while_it_learns(watched: Watched) -> None:
    for step, (about, tensors) in watched.looked.items():
        newest = max(kept for kept in (0, 1, 2, 4) if kept < step)
        lm = nextword.load(watched.out.parent / "모형.steps" / f"step-{newest:08}")
        trace = lm.trace(TEXT, names=shown_names(lm.config))
        wanted_about, wanted = read(look_frame(trace, Facts()))
        assert about["model"]["name"] == f"run@{newest}"
        assert about["tokens"] == wanted_about["tokens"]
        for name in ("logits", "lens_probability", "lens_ids", "lens_rank", "lens_kl", "embed"):
            np.testing.assert_allclose(tensors[name], wanted[name], atol=ROUNDING, err_msg=name)
    losses = [-np.log(_softmax(tensors["logits"]).max()) for _, tensors in watched.looked.values()]
    assert losses[-1] < losses[0]  # it grows surer of itself


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def test_the_steps_are_models_beside_each_other(watched: Watched) -> None:
    assert watched.models == ["run@4", "run@2", "run@1", "run@0"]
    assert watched.finished["steps"] == [0, 1, 2, 4, 6]


def test_a_run_that_is_watched_comes_to_the_same(watched: Watched, tmp_path: Path) -> None:
    alone = nextword.train(write_text(tmp_path), tmp_path / "alone", watch=lambda _: None, **SETTINGS)
    assert watched.run.state == alone.state
    assert not (tmp_path / "alone.steps").exists()


def test_it_stays_until_a_signal_comes(watched: Watched) -> None:
    url = watched.said[0].rpartition(" ")[2]
    assert watched.said[1:] == [f"the page stays at {url} until Ctrl-C"] * 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_port_is_free_again(watched: Watched) -> None:
    port = int(watched.said[0].rpartition(":")[2].strip("/"))
    with socket.socket() as asked:
        assert asked.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen"):
        TrainingPage(tmp_path / "m", ServerSettings(port=taken.getsockname()[1]), lambda _: None)


# -- afterwards, by another process ------------------------------------------------------------------------------------


def test_a_finished_run_is_served_from_its_directory(watched: Watched, tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--run", watched.out) as server:
        client = server.client
        assert client.get("/look/run").json() == watched.finished
        names = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert names == ["모형", "run@6", "run@4", "run@2", "run@1", "run@0"]
        about, tensors = read(client.post("/look", json={"text": TEXT}).content)
        assert about["model"]["name"] == "모형"
        trace = nextword.load(watched.out).trace(TEXT)
        np.testing.assert_allclose(tensors["logits"], trace["logits"][-1], atol=ROUNDING)
        lm = nextword.load(watched.out.parent / "모형.steps" / "step-00000002")
        asked = client.post("/look/predict", json={"model": "run@2", "text": TEXT, "top": 5}).json()
        wanted = lm.predict(TEXT, 5)
        assert asked["model"] == {"name": "run@2", "backend": lm.backend.name}
        assert [(c["id"], c["logit"]) for c in asked["candidates"]] == [(c.token_id, c.logit) for c in wanted]
        told = client.get("/look/about", params={"model": "run@2"}).json()
        assert (told["name"], told["parameters"]) == ("run@2", lm.config.num_parameters)
        assert nextword.load(told["file"]).predict(TEXT, 1)[0].logit == wanted[0].logit
        assert client.post("/v1/completions", json={"model": "run@0", "prompt": "The", "max_tokens": 2}).is_success
        refusal(client.post("/look/predict", json={"model": "run@3", "text": TEXT}), 404)


@pytest.mark.parametrize("suffix", ["", ".steps"])
def test_any_directory_of_the_run_names_it(watched: Watched, suffix: str) -> None:
    run = FollowedRun(watched.out.with_name(watched.out.name + suffix))
    assert {**run.to_json(), "out": ""} == {**watched.finished, "out": ""}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no run of training"):
        FollowedRun(tmp_path)


def test_other_models_are_served_beside_it(watched: Watched) -> None:
    run = FollowedRun(watched.out)
    models = TrainingModels(run, {"other": watched.out})
    assert models.names[:2] == ["other", "모형"]
    assert models.name_of(None) == "other"
    steps = [models.get(f"run@{step}") for step in run.steps()]
    assert len({id(lm) for lm in steps}) == 5
    assert models.get("run@6") is steps[-1]
    assert [models.loaded(f"run@{step}") is not None for step in run.steps()] == [False] * (5 - MAX_LOADED) + [
        True
    ] * MAX_LOADED
    models.close()


def test_another_model_in_the_place_of_a_step_is_seen(watched: Watched, tmp_path: Path) -> None:
    out = tmp_path / "m"
    nextword.load(watched.out).save(out, files={"metrics.jsonl": (watched.out / "metrics.jsonl").read_bytes()})
    place = tmp_path / "m.steps" / "step-00000001"
    steps = watched.out.with_name("모형.steps")
    nextword.load(steps / "step-00000001").save(place)
    models, traces = TrainingModels(FollowedRun(out)), TraceStore(16, 1 << 30)
    asked = LookRequest(model="run@1", text=TEXT)
    _, first = read(traces.look("run@1", models.get("run@1"), "", asked, CancelToken()))
    nextword.load(steps / "step-00000004").save(place)
    _, second = read(traces.look("run@1", models.get("run@1"), "", asked, CancelToken()))
    assert np.abs(first["logits"] - second["logits"]).max() > 1e-3
    traces.close()
    models.close()


def test_before_its_first_model_there_is_none(tmp_path: Path) -> None:
    kept = tmp_path / "m.checkpoint"
    kept.mkdir()
    (kept / "run.json").write_text('{"format_version": 1, "settings": {"plan": {}}}', encoding="utf-8")
    run = FollowedRun(kept)
    assert run.to_json() == {
        "name": "m",
        "out": str(tmp_path / "m"),
        "running": True,
        "model": None,
        "steps": [],
        "events": [],
    }
    with pytest.raises(ApiError, match="not saved yet"):
        TrainingModels(run).name_of(None)


# -- how much is told --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 9, 10, 11, 40, 12_345])
def test_of_many_points_every_nth_is_told_and_the_last(count: int) -> None:
    points = DownsampledRows(10)
    for step in range(count):
        points.add({"step": step})
    steps = [row["step"] for row in points.rows]
    assert len(steps) <= 11
    assert (steps[0], steps[-1]) == (0, count - 1)
    apart = {after - before for before, after in pairwise(steps[:-1])}
    assert len(apart) <= 1
    assert len(steps) >= min(count, 5)


def test_a_long_journal_is_read_in_parts_and_told_in_bounds(tmp_path: Path) -> None:
    kept = tmp_path / "m.checkpoint"
    kept.mkdir()
    (kept / "run.json").write_text('{"format_version": 1, "settings": {}}', encoding="utf-8")
    rows = [{"event": "stepped", "step": step, "loss": 1 / (1 + step), "seconds": step / 1} for step in range(5000)]
    lines = [json.dumps(row) + "\n" for row in rows]
    run = FollowedRun(kept)
    with (kept / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for start in range(0, 5000, 500):
            whole = "".join(lines[start : start + 500])
            file.write(whole[:-7])
            file.flush()
            assert run.to_json()["events"][-1]["step"] == start + 498  # the line is not whole
            file.write(whole[-7:])
            file.flush()
            assert run.to_json()["events"][-1] == {
                "step": start + 499,
                "loss": 1 / (start + 500),
                "seconds": start + 499.0,
            }
    told = run.to_json()["events"]
    assert MAX_POINTS / 4 < len(told) <= MAX_POINTS + 3
    by_step = {row["step"]: row["loss"] for row in rows}
    assert all(event["loss"] == by_step[event["step"]] for event in told)
    (kept / "metrics.jsonl").write_text(lines[3], encoding="utf-8")  # the run went on from an earlier step
    assert [event["step"] for event in run.to_json()["events"]] == [3]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_shows_the_result_until_it_is_told_to_end(tmp_path: Path) -> None:
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "nextword", "train", str(write_text(tmp_path)), "--out", str(tmp_path / "m")]
    with subprocess.Popen(
        [*command, *settings, "--serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stderr is not None
        try:
            said = next((line for line in process.stderr if "the page stays" in line), "")
            told = httpx.get(f"{said.split(' at ')[1].split()[0]}look/run").json()
            assert (told["running"], told["model"], told["steps"]) == (False, "m", [0, 1, 2, 4, 6])
            process.send_signal(signal.SIGTERM)
            out, rest = process.communicate(timeout=120)
            assert (process.returncode, rest) == (0, "")
            assert json.loads(out)["steps"] == STEPS
        finally:
            process.kill()


def test_a_port_without_a_page_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nextword.cli import run

    assert run(["train", str(write_text(tmp_path)), "--out", str(tmp_path / "m"), "--port", "9"]) == 2
    assert "--serve" in capsys.readouterr().err
