"""The loop: it learns, keeps the best, stops at nonsense, and goes on where it was broken off, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nextword import Tokenizer
from nextword.errors import ModelFileError, NextwordError
from nextword.model import GPTModel
from nextword.training import Event, Plan, Sampled, Started, Stepped, Validated, loop
from nextword.training.checkpoint import load_checkpoint
from nextword.training.data import TokenizedText
from nextword.training.evaluate import evaluate
from nextword.training.loop import Trainer
from nextword.training.optimizer import prepare
from nextword.training.text import Document
from tests.training.corpus import TEXT

TOKENIZER = Tokenizer.train_bpe(TEXT, 300)
LEARNED = TokenizedText.from_documents([Document("a", TEXT[:-100])], TOKENIZER)
HELD_OUT = TokenizedText.from_documents([Document("a", TEXT[-100:])], TOKENIZER)
PLAN = Plan("tiny", 300, context_length=16, batch_size=2, learning_rate=4e-3, dropout=0.1, steps=12)


class KilledError(Exception):
    """Stands for whatever ends a process between two steps."""


def make_trainer(
    plan: Plan = PLAN,
    watch: Callable[[Event], None] | None = None,
    checkpoint: Path | None = None,
    *,
    learned: TokenizedText = LEARNED,
    held_out: TokenizedText | None = HELD_OUT,
    seed: int = 0,
) -> Trainer:
    torch.manual_seed(seed)
    model = GPTModel.from_config(plan.config(TOKENIZER.vocab_size))
    return Trainer(model, TOKENIZER, learned, held_out, plan, seed=seed, checkpoint=checkpoint, watch=watch)


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in trainer.model.weights().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def looks(trainer: Trainer) -> list[tuple[int, float, bool]]:
    return [(look["step"], look["nats_per_token"], look["best"]) for look in trainer.state.validations]


def broken_off(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, after: int = 7) -> None:
    """A run of PLAN that ended in the middle of a step, its last checkpoint `after` steps old."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def kill(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == after + 1:
            raise KilledError

    with pytest.raises(KilledError):
        make_trainer(watch=kill, checkpoint=checkpoint).run()


def test_two_runs_give_the_same_weights_and_the_same_log() -> None:
    logs: list[list[Any]] = [[], []]
    trainers = []
    for log in logs:
        trainers.append(make_trainer(watch=log.append))
        trainers[-1].run()
    assert_same(weights_of(trainers[0]), weights_of(trainers[1]))
    steps = [[(e.step, e.loss, e.progress) for e in log if isinstance(e, Stepped)] for log in logs]
    assert steps[0] == steps[1]
    assert looks(trainers[0]) == looks(trainers[1])
    assert len(looks(trainers[0])) >= 3


def test_another_seed_gives_another_order() -> None:
    one, other = make_trainer(), make_trainer()
    other._batches = make_trainer(seed=1)._batches
    one.run()
    other.run()
    assert looks(one) != looks(other)


def test_a_run_that_was_broken_off_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_trainer()
    whole.run()
    broken_off(tmp_path / "run", monkeypatch)
    steps: list[Event] = []
    torch.manual_seed(99)  # a new process has another random state
    resumed = make_trainer(watch=steps.append)
    resumed.resume(tmp_path / "run")
    assert resumed.state.step == 7
    resumed.run()
    assert [event.step for event in steps if isinstance(event, Stepped)] == [8, 9, 10, 11, 12]
    assert_same(weights_of(resumed), weights_of(whole))
    assert looks(resumed) == looks(whole)
    assert resumed.state.best_step == whole.state.best_step


def test_a_checkpoint_holds_weights_moments_and_random_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(tmp_path / "run", monkeypatch)
    state, tensors, tokenizer_json = load_checkpoint(tmp_path / "run")
    assert state.step == 7
    assert state.settings["plan"]["steps"] == 12
    assert Tokenizer.from_json(tokenizer_json).encode(TEXT) == TOKENIZER.encode(TEXT)
    assert set(tensors["model"]) == set(tensors["best"]) == set(make_trainer().model.weights())
    assert {name.partition(".")[2] for name in tensors["optimizer"]} == {"", "step", "exp_avg", "exp_avg_sq"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # nothing half written beside it


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"plan": Plan("tiny", 300, 16, 2, 1e-3, 0.1, steps=12)}, "another plan$"),
        ({"learned": HELD_OUT}, "another text$"),
        ({"held_out": LEARNED}, "another held-out text$"),
        ({"held_out": None}, "another held-out text$"),
        ({"seed": 5}, "another seed$"),
        ({"seed": 5, "learned": HELD_OUT}, "another seed and text$"),
    ],
    ids=["plan", "text", "held-out", "no held-out", "seed", "two"],
)
def test_a_run_with_something_else_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], named: str
) -> None:
    broken_off(tmp_path / "run", monkeypatch, after=1)
    with pytest.raises(NextwordError, match=named) as caught:
        make_trainer(**changes).resume(tmp_path / "run")
    assert caught.value.hint == "start without --resume"


@pytest.mark.parametrize("file", ["model.safetensors", "best.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: str) -> None:
    broken_off(tmp_path / "run", monkeypatch, after=1)
    path = tmp_path / "run" / file
    data = path.read_bytes()
    path.unlink()
    if damage == "other":  # sound, but not what belongs here
        shutil.copy(tmp_path / "run" / ("optimizer.safetensors" if file[0] in "mb" else "model.safetensors"), path)
        if file == "state.json":
            path.write_text(json.dumps({"stepp": 1}))
    elif damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    trainer = make_trainer()
    with pytest.raises(ModelFileError, match=r"the checkpoint .*run is damaged: ") as caught:
        trainer.resume(tmp_path / "run")
    assert caught.value.hint == "start without --resume"
    assert trainer.state.step == 0


def test_without_a_checkpoint_nothing_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no checkpoint at") as caught:
        make_trainer().resume(tmp_path / "none")
    assert caught.value.hint == "start without --resume"


def test_the_best_weights_are_kept_not_the_last() -> None:
    # Learned is Korean, held out is English: the longer it learns, the worse it gets.
    learned = TokenizedText.from_documents([Document("a", TEXT[67:103] * 40)], TOKENIZER)
    other = TokenizedText.from_documents([Document("b", TEXT[:60])], TOKENIZER)
    trainer = make_trainer(Plan("tiny", 300, 16, 4, 4e-3, 0.0, steps=30), learned=learned, held_out=other)
    trainer.run()
    nats = [value for _, value, _ in looks(trainer)]
    assert min(nats) < nats[-1] - 0.2
    assert [best for _, _, best in looks(trainer)] == [value == min(nats[: i + 1]) for i, value in enumerate(nats)]
    best_step = next(step for step, value, _ in looks(trainer) if value == min(nats))
    assert trainer.state.best_step == best_step < 30
    assert evaluate(trainer.model, other).nats_per_token == min(nats)
    assert not trainer.model.training


def test_without_held_out_text_the_last_weights_are_kept() -> None:
    log: list[Event] = []
    trainer = make_trainer(watch=log.append, held_out=None)
    trainer.run()
    assert not any(isinstance(event, Validated) for event in log)
    assert (trainer.state.validations, trainer.state.best_nats, trainer.state.step) == ([], None, 12)
    assert_same(weights_of(trainer), trainer._best)


def test_events_come_in_order() -> None:
    log: list[Event] = []
    trainer = make_trainer(watch=log.append)
    trainer._sample = lambda step: log.append(Sampled(step, "x"))
    trainer.run()
    assert log[0] == Started(PLAN, trainer.model.config, len(LEARNED.tokens), LEARNED.characters, HELD_OUT.characters)
    assert sum(isinstance(event, Started) for event in log) == 1
    steps = [event for event in log if isinstance(event, Stepped)]
    assert [event.step for event in steps] == list(range(1, 13))
    assert [event.progress for event in steps] == [step / 12 for step in range(1, 13)]
    assert all(event.tokens_per_second > 0 and event.seconds_left >= 0 for event in steps)
    for place, event in enumerate(log):
        if isinstance(event, Validated):
            assert isinstance(before := log[place - 1], Stepped)
            assert isinstance(after := log[place + 1], Sampled)
            assert before.step == event.step == after.step
    assert isinstance(log[-2], Validated)
    assert log[-2].step == 12


def test_looks_that_cost_much_are_few_and_do_not_depend_on_the_clock() -> None:
    # 12 steps learn 384 tokens; to score these 13,000 costs more than the whole run: only the first and the last look.
    trainer = make_trainer(held_out=LEARNED)
    trainer.run()
    assert len(LEARNED.tokens) > 10 * 12 * 32
    assert [step for step, _, _ in looks(trainer)] == [2, 12]


def test_the_learning_rate_of_the_plan_is_the_optimizers() -> None:
    rates: list[float] = []
    trainer = make_trainer(
        watch=lambda e: rates.append(optimizer.param_groups[0]["lr"]) if isinstance(e, Stepped) else None
    )
    optimizer = trainer._optimizer
    trainer.run()
    assert rates == [PLAN.learning_rate_at(step / 12) for step in range(12)]


def test_gradients_are_clipped_to_the_plans_length() -> None:
    def change(clip: float) -> float:
        trainer = make_trainer(dataclasses.replace(PLAN, clip=clip, weight_decay=0.0, steps=3), held_out=None)
        before = weights_of(trainer)
        trainer.run()
        return max(float((weight - before[name]).abs().max()) for name, weight in weights_of(trainer).items())

    assert change(1.0) > 1e-3
    assert change(1e-12) < 1e-5  # far below what AdamW takes for zero


def test_only_matrices_are_decayed() -> None:
    trainer = make_trainer()
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    decayed, kept = ([names[id(w)] for w in group["params"]] for group in trainer._optimizer.param_groups)
    assert [group["weight_decay"] for group in trainer._optimizer.param_groups] == [0.1, 0.0]
    assert all(name.endswith(("proj.weight", "output_layer.weight")) or ".ffn." in name for name in decayed)
    assert len(decayed) == 4 * 7 + 1
    assert {name for name in kept if "norm" not in name and "ln" not in name} == {"token_embedding.weight"}


def test_every_block_begins_as_the_identity() -> None:
    model = make_trainer().model
    prepare(model)
    ids = torch.arange(10)[None]
    expected = model.output_layer(model.ln_final(model.token_embedding(ids)))
    assert torch.equal(model(ids), expected)


def test_tokens_begin_far_apart_unless_the_head_shares_their_matrix() -> None:
    model = make_trainer().model
    prepare(model)
    assert not model.config.tie_embeddings
    assert model.token_embedding.weight.std().item() == pytest.approx(1.0, abs=0.02)
    tied = GPTModel.from_config(model.config.replace(tie_embeddings=True))
    prepare(tied)
    assert tied.token_embedding.weight.std().item() == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dropout_and_bfloat16_learn_too(precision: str) -> None:
    plan = Plan("tiny", 300, 16, 8, 4e-3, dropout=0.2, precision=precision, steps=25)
    trainer = make_trainer(plan)
    trainer.run()
    assert {weight.dtype for weight in trainer.model.weights().values()} == {torch.float32}
    assert looks(trainer)[-1][1] < 3.5 < math.log(300)


def test_a_loss_that_is_no_number_stops_the_run_and_says_where() -> None:
    with pytest.raises(NextwordError, match=r"^the loss became nan at step \d+$") as caught:
        make_trainer(Plan("tiny", 300, 16, 2, learning_rate=1e9, dropout=0.0, steps=50)).run()
    assert caught.value.hint == "try a smaller --learning-rate"


def test_a_held_out_loss_that_is_no_number_is_never_the_best() -> None:
    def poison(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 12:
            with torch.no_grad():
                trainer.model.token_embedding.weight[0, 0] = math.nan

    trainer = make_trainer(watch=poison)
    with pytest.raises(NextwordError, match=r"^the held-out loss became nan at step 12$"):
        trainer.run()
    assert trainer.state.best_step < 12
