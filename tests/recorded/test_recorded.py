"""What earlier code wrote opens, goes on and comes to the same numbers; and what is written today is what it wrote.

How the files came about: write.py. No final weights are compared bit by bit with recorded ones: another processor adds
in another order. What is read is compared to the bit, what is computed from it to float32's rounding.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import nextword
from nextword.cli import run as run_command
from nextword.training import Event, Stepped, TrainingRun, Validated, train
from tests.recorded.runs import BROKEN_OFF, FILES, PROMPT, RUNS

pytestmark = pytest.mark.usefixtures("undrawn")

EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
ROUNDING = 2e-5
"""How far processors may lie apart, as a share."""
EACH_RUN = pytest.mark.parametrize("name", RUNS)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that was recorded, to work in."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class BrokenOffError(Exception):
    """Ends a run between two steps."""


def break_off_after(step: int) -> Callable[[Event], None]:
    def end(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step + 1:
            raise BrokenOffError

    return end


def go_on(name: str, paths: Sequence[str] = ()) -> TrainingRun:
    """Resumes a recorded run, and holds what it reads and computes against what the earlier code did."""
    told: list[Event] = []
    run = train(list(paths), name, resume=True, watch=told.append)
    expected = EXPECTED[name]
    losses = {str(event.step): event.loss for event in told if isinstance(event, Stepped)}
    assert losses == pytest.approx(expected["losses"], rel=ROUNDING)
    looks = {str(event.step): event.nats_per_token for event in told if isinstance(event, Validated)}
    assert looks == pytest.approx(expected["held_out"], rel=ROUNDING)
    # Weights and optimizer are those that were written: a hash of what was read, before anything is computed.
    resumed = [row for row in rows_of(run.out / "metrics.jsonl") if row["event"] == "resumed"]
    was_read = {"event": "resumed", "step": BROKEN_OFF, "state": expected["resumed"], "skipped": []}
    assert resumed == ([was_read] if expected["resumed"] else [])
    return run


def rows_of(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").split("\n") if line]


def without_steps(journal: Path) -> list[dict[str, Any]]:
    """A journal's rows but for later steps, of which a second leaves one."""
    return [row for row in rows_of(journal) if row["event"] != "stepped" or row["step"] == 1]


def content(file: Path) -> str | bytes:
    """Of a text without its line ends, which are others on Windows."""
    texts = (".json", ".jsonl", ".md")
    return file.read_text(encoding="utf-8") if file.suffix in texts else file.read_bytes()


def shape_of(value: Any) -> Any:
    """A JSON value with its names and types, without its numbers."""
    if isinstance(value, dict):
        return {name: shape_of(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return type(value).__name__


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


@EACH_RUN
def test_an_unfinished_run_goes_on(name: str) -> None:
    run = go_on(name)
    assert (run.steps, run.stopped, run.plan.base) == (4, False, "base")
    assert run.plan.lora_rank == RUNS[name][1].get("lora_rank")
    assert [look["step"] for look in run.validations] == [0, 2, 4]  # the first two were looked at by the earlier code
    assert not Path(f"{name}.checkpoint").exists()


@EACH_RUN
def test_it_also_goes_on_with_its_text_and_settings_given_again(name: str) -> None:
    text, settings = RUNS[name]
    assert train(text, name, resume=True, **settings).steps == 4


@EACH_RUN
def test_a_checkpoint_written_after_it_holds_all_that_the_recorded_one_did(name: str) -> None:
    shutil.copytree(f"{name}.checkpoint", "twice.checkpoint")
    with pytest.raises(BrokenOffError):
        train([], "twice", resume=True, watch=break_off_after(BROKEN_OFF + 1), checkpoint_seconds=0)
    twice = train([], "twice", resume=True)
    once = go_on(name)
    assert twice.state == once.state
    assert (twice.out / "model.safetensors").read_bytes() == (once.out / "model.safetensors").read_bytes()


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again() -> None:
    run = go_on("scratch")
    assert (run.steps, run.plan.preset, run.plan.vocab_size) == (3, "tiny", 300)


def lack_in_plan(run: Path, names: Sequence[str]) -> None:
    def change(document: dict[str, Any]) -> None:
        for name in names:
            del document["settings"]["plan"][name]

    rewrite(run / "run.json", change)


def lack_in_state(run: Path, field: str | None = None, setting: str | None = None) -> None:
    def change(document: dict[str, Any]) -> None:
        state = document["state"]
        if field:
            del state[field]
        if setting:
            del state["settings"]["plan"][setting]
        content = {"state": state, "files": document["files"]}
        document["checksum"] = f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"

    [step] = run.glob("step-*")
    rewrite(step / "state.json", change)


def test_older_records_lack_settings_of_today() -> None:
    newer = ["optimizer", "compile", "strategy", "activation_checkpointing", "accumulation", "evaluate_every"]
    lack_in_plan(
        Path("talks.checkpoint"), ["optimizer", "compile", "strategy", "activation_checkpointing", "lora_rank"]
    )
    go_on("talks")
    lack_in_plan(Path("scratch.checkpoint"), [*newer, "base", "lora_rank", "bpe_dropout", "precision"])
    go_on("scratch")


@EACH_RUN
def test_older_checkpoints_lack_parts_of_the_state_of_today(name: str) -> None:
    lack_in_state(Path(f"{name}.checkpoint"), field="looking", setting="optimizer")
    go_on(name)


@EACH_RUN
def test_a_run_begun_today_is_written_as_it_was(name: str) -> None:
    text, settings = RUNS[name]
    with pytest.raises(BrokenOffError):
        train(text, "today", watch=break_off_after(BROKEN_OFF), checkpoint_seconds=0, **settings)
    shutil.rmtree("today.checkpoint/step-00000001")
    recorded, today = Path(f"{name}.checkpoint"), Path("today.checkpoint")
    files = [sorted(str(file.relative_to(run)) for file in run.rglob("*")) for run in (recorded, today)]
    assert files[0] == files[1]
    for file in files[0]:
        if file == "run.json" or file.endswith((".tokens", ".weights")):
            assert content(recorded / file) == content(today / file), file
        if file.endswith(".json"):
            assert shape_of(json.loads(content(recorded / file))) == shape_of(json.loads(content(today / file))), file
    journals = [[shape_of(row) for row in without_steps(run / "metrics.jsonl")] for run in (recorded, today)]
    assert journals[0] == journals[1]


def test_a_finished_model_opens_and_is_written_again_as_it_was() -> None:
    lm = nextword.load("finished")
    found = {row.token_id: row.probability for row in lm.predict(PROMPT, top=5)}
    assert found == pytest.approx(dict(EXPECTED["finished"]), rel=1e-4)
    assert (lm.provenance["steps"], lm.provenance["plan"]["base"]) == (3, "base")
    lm.save("again", files={"metrics.jsonl": Path("finished/metrics.jsonl").read_bytes()})
    names = {file.name for file in Path("finished").iterdir()}
    assert {file.name for file in Path("again").iterdir()} == names - {"verification.json"}
    for file in Path("again").iterdir():
        assert content(file) == content(Path("finished", file.name)), file.name


def test_a_model_finished_today_says_of_itself_what_it_said() -> None:
    train("text.txt", "today", from_model="base", steps=3, context_length=16, batch_size=2, snapshots=True)
    recorded, today = (json.loads(content(Path(model, "nextword.json"))) for model in ("finished", "today"))
    assert shape_of(today) == shape_of(recorded)
    assert today["provenance"]["plan"] == recorded["provenance"]["plan"]
    places = [path / "step-00000002" for path in (Path("finished.steps"), Path("today.steps"))]
    for file in places[0].iterdir():
        if file.name not in ("model.safetensors", "nextword.json"):
            assert content(file) == content(places[1] / file.name), file.name
    assert nextword.load(str(places[0])).provenance == {"run": "finished", "step": 2}
    assert nextword.load(str(places[1])).provenance == {"run": "today", "step": 2}


def test_a_kept_verification_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads(Path("finished/verification.json").read_text(encoding="utf-8"))
    fingerprint = kept.pop("fingerprint")
    assert len(fingerprint) == 64
    words = {"bf16": "bfloat16", "q8": "q8_0", "q4": "q4_1"}  # precisions had names of their own then
    for row in kept["roundings"]:
        row["precision"] = words[row["precision"]]
    assert run_command(["info", "finished", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verification"] == {**kept, "bits": None}  # no hash was kept then


def test_a_trace_opens_and_is_written_again_as_it_was() -> None:
    lm = nextword.load("base", backend="torch")
    trace = nextword.Trace.load("trace", lm.reference, lm.tokenizer)
    assert [row.token_id for row in trace.top()] == EXPECTED["trace"]
    again = lm.edit(nextword.ablate_head(1, 0)).trace(PROMPT, names=["*.hook_resid_post", "logits"])
    for name in ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "logits"):
        assert again[name] == pytest.approx(trace[name], rel=1e-4, abs=1e-5)
    trace.save("again")
    for file in Path("again").iterdir():
        assert content(file) == content(Path("trace", file.name)), file.name
