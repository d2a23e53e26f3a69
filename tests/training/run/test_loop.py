"""The loop: it learns, keeps the best, stops at nonsense, and goes on where it was broken off, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nextword import Tokenizer
from nextword.errors import ConfigError, ModelFileError, NextwordError
from nextword.model import GPTModel
from nextword.training import Event, Plan, Sampled, Stepped, Validated
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.events import Interrupted, Resumed
from nextword.training.run.batches import Batches
from nextword.training.run.evaluate import evaluate
from nextword.training.run.initialization import init_weights
from nextword.training.run.loop import Trainer
from nextword.training.run.optimizer import make_optimizers
from nextword.training.run.parallel import Parallel
from tests.training.sample_text import TEXT

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
    model = GPTModel.from_config(plan.config())
    checkpoints = None if checkpoint is None else Checkpoints(checkpoint)
    return Trainer(
        model, learned, held_out, plan, seed=seed, checkpoints=checkpoints, checkpoint_seconds=0.0, watch=watch
    )


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in trainer.model.weights().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def looks(trainer: Trainer) -> list[tuple[int, float, bool]]:
    return [(look["step"], look["nats_per_token"], look["best"]) for look in trainer.state.validations]


def steps_and_losses(log: list[Any]) -> list[tuple[int, float, float]]:
    return [(event.step, event.loss, event.progress) for event in log if isinstance(event, Stepped)]


def broken_off(checkpoint: Path, after: int = 7, plan: Plan = PLAN) -> None:
    """A run that ended in the middle of a step, its last checkpoint `after` steps old."""

    def kill(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == after + 1:
            raise KilledError

    with pytest.raises(KilledError):
        make_trainer(plan, watch=kill, checkpoint=checkpoint).run()


def test_two_runs_give_the_same_weights_and_the_same_log() -> None:
    logs: list[list[Any]] = [[], []]
    trainers = []
    for log in logs:
        trainers.append(make_trainer(watch=log.append))
        trainers[-1].run()
    assert_same(weights_of(trainers[0]), weights_of(trainers[1]))
    assert steps_and_losses(logs[0]) == steps_and_losses(logs[1])
    assert trainers[0].hash == trainers[1].hash != ""
    assert looks(trainers[0]) == looks(trainers[1])
    assert len(looks(trainers[0])) >= 3


def test_another_seed_gives_another_order() -> None:
    one, other = make_trainer(), make_trainer()
    other._batches = make_trainer(seed=1)._batches
    one.run()
    other.run()
    assert looks(one) != looks(other)


@pytest.mark.parametrize(
    "changes", [{}, {"accumulation": 2}, {"activation_checkpointing": True}, {"optimizer": "muon"}], ids=str
)
def test_a_run_that_was_broken_off_goes_on_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    plan = dataclasses.replace(PLAN, **changes)
    log: list[Event] = []
    whole = make_trainer(plan, watch=log.append)
    whole.run()
    broken_off(tmp_path / "run", plan=plan)
    told: list[Event] = []
    torch.manual_seed(99)  # a new process has another random state
    resumed = make_trainer(plan, watch=told.append, checkpoint=tmp_path / "run")
    resumed.resume()
    assert resumed.state.step == 7
    assert told == [Resumed(7, resumed.state_hash(), ())]
    resumed.run()
    assert [step for step, _, _ in steps_and_losses(told)] == [8, 9, 10, 11, 12]
    assert steps_and_losses(told) == steps_and_losses(log)[7:]
    assert_same(weights_of(resumed), weights_of(whole))
    assert looks(resumed) == looks(whole)
    learned = [[look["train_bits_per_byte"] for look in run.state.validations] for run in (resumed, whole)]
    assert learned[0] == learned[1]
    assert resumed.state.best_step == whole.state.best_step
    assert resumed.hash == whole.hash


def test_a_checkpoint_holds_weights_moments_and_where_the_run_stands(tmp_path: Path) -> None:
    broken_off(tmp_path / "run")
    loaded = Checkpoints(tmp_path / "run").load()
    assert loaded.state.step == 7
    assert loaded.state.settings["plan"]["steps"] == 12
    assert loaded.state.loss is not None
    names = set(make_trainer().model.weights())
    assert set(loaded.tensors["model"]) == set(loaded.tensors["best"]) == names
    assert {name.split(".", 2)[2] for name in loaded.tensors["optimizer"]} == {"step", "exp_avg", "exp_avg_sq"}
    assert len(loaded.tensors["optimizer"]) == 3 * len(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # nothing half written beside it
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["step-00000006", "step-00000007"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"plan": Plan("tiny", 300, 16, 2, 1e-3, 0.1, steps=12)}, "another plan(?m:$)"),
        ({"learned": HELD_OUT}, "another text(?m:$)"),
        ({"held_out": LEARNED}, "another held-out text(?m:$)"),
        ({"held_out": None}, "another held-out text(?m:$)"),
        ({"seed": 5}, "another seed(?m:$)"),
        ({"seed": 5, "learned": HELD_OUT}, "another seed and text(?m:$)"),
    ],
    ids=["plan", "text", "held-out", "no held-out", "seed", "two"],
)
def test_a_run_with_something_else_does_not_go_on(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    broken_off(tmp_path / "run", after=1)
    with pytest.raises(NextwordError, match=named) as caught:
        make_trainer(**changes, checkpoint=tmp_path / "run").resume()
    assert caught.value.hint == "start with restart=True instead of resume=True"


FILES = ["model.safetensors", "best.safetensors", "optimizer.safetensors", "state.json"]


def damage(step: Path, file: str, how: str) -> None:
    path = step / file
    data = path.read_bytes()
    path.unlink()
    if how == "other":  # sound, but not what belongs here
        shutil.copy(step / ("optimizer.safetensors" if file[0] in "mb" else "model.safetensors"), path)
        if file == "state.json":
            path.write_text(json.dumps({"stepp": 1}))
    elif how != "missing":
        path.write_bytes(data[: len(data) // 2] if how == "cut" else b"")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "other"])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, file: str, how: str) -> None:
    broken_off(tmp_path / "run", after=1)
    damage(tmp_path / "run" / "step-00000001", file, how)
    trainer = make_trainer(checkpoint=tmp_path / "run")
    with pytest.raises(ModelFileError, match=r"^the checkpoint .*run.step-00000001 is damaged: ") as caught:
        trainer.resume()
    assert caught.value.hint == "begin anew with restart=True"
    assert trainer.state.step == 0


def test_a_run_goes_on_from_the_step_before_one_that_is_damaged(tmp_path: Path) -> None:
    whole = make_trainer()
    whole.run()
    broken_off(tmp_path / "run")
    damage(tmp_path / "run" / "step-00000007", "optimizer.safetensors", "cut")
    told: list[Event] = []
    resumed = make_trainer(watch=told.append, checkpoint=tmp_path / "run")
    resumed.resume()
    assert isinstance(event := told[0], Resumed)
    assert (event.step, len(event.skipped)) == (6, 1)
    assert event.skipped[0].endswith("step-00000007 is damaged: optimizer.safetensors is not what was written")
    resumed.run()
    assert resumed.hash == whole.hash


def test_without_a_checkpoint_nothing_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no checkpoint at") as caught:
        make_trainer(checkpoint=tmp_path / "none").resume()
    assert caught.value.hint == "begin anew with restart=True"
    with pytest.raises(ModelFileError, match="this run keeps no checkpoints"):
        make_trainer().resume()


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
    assert_same(weights_of(trainer), trainer._train_state.best)


def test_events_come_in_order() -> None:
    log: list[Event] = []
    trainer = make_trainer(watch=log.append)
    trainer._sample = lambda step: log.append(Sampled(step, "x"))
    trainer.run()
    assert {type(event) for event in log} == {Stepped, Validated, Sampled}
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


def test_looks_come_every_so_many_steps_and_one_at_the_end_that_is_not_repeated() -> None:
    for every, expected in ((5, [5, 10, 12]), (4, [4, 8, 12]), (12, [12]), (100, [12]), (1, list(range(1, 13)))):
        trainer = make_trainer(dataclasses.replace(PLAN, evaluate_every=every))
        trainer.run()
        assert [step for step, _, _ in looks(trainer)] == expected


def test_a_request_to_stop_ends_the_run_after_its_step_and_the_rest_follows_bit_for_bit(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, evaluate_every=6)
    whole = make_trainer(plan)
    whole.run()
    told: list[Event] = []

    def press(event: Event) -> None:
        told.append(event)
        if isinstance(event, Stepped) and event.step == 5:
            stopped.stopped = True  # as Ctrl-C does

    stopped = make_trainer(plan, press, tmp_path / "run")
    stopped.run()
    assert (stopped.stopped, stopped.state.step) == (True, 5)
    assert [step for step, _, _ in looks(stopped)] == [5]  # an extra one, of which the run that goes on knows nothing
    assert [event for event in told if isinstance(event, Interrupted)] == [Interrupted(5, stopped.hash)]
    resumed = make_trainer(plan, checkpoint=tmp_path / "run")
    resumed.resume()
    assert resumed.state_hash() == stopped.hash
    resumed.run()
    assert (resumed.hash, looks(resumed)) == (whole.hash, looks(whole))


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    plan = dataclasses.replace(PLAN, batch_size=4, dropout=0.0)
    losses: dict[int, list[tuple[int, float, float]]] = {}
    for parts in (1, 2, 4):
        log: list[Event] = []
        make_trainer(dataclasses.replace(plan, accumulation=parts), watch=log.append).run()
        losses[parts] = steps_and_losses(log)
    for parts in (2, 4):
        assert losses[parts] == [pytest.approx(row, abs=1e-6) for row in losses[1]]
    with pytest.raises(ConfigError, match=r"^batch_size is 4, not divisible by 1 processes x 3 micro-batches"):
        make_trainer(dataclasses.replace(plan, accumulation=3))


def test_activations_that_are_computed_again_change_nothing() -> None:
    trainers = [make_trainer(dataclasses.replace(PLAN, activation_checkpointing=again)) for again in (False, True)]
    for trainer in trainers:
        trainer.run()
    assert looks(trainers[0]) == looks(trainers[1])  # with dropout, too
    assert trainers[0].hash == trainers[1].hash


def test_dropout_is_drawn_anew_in_each_step() -> None:
    log: list[Event] = []
    # With a learning rate of nothing and one and the same batch, only dropout changes the loss.
    text = TokenizedText(np.tile(LEARNED.tokens[:1], 200), 200, 200)
    make_trainer(
        dataclasses.replace(PLAN, learning_rate=1e-30, dropout=0.5, weight_decay=0.0), log.append, learned=text
    ).run()
    assert len({loss for _, loss, _ in steps_and_losses(log)}) == 12


def test_the_learning_rate_of_the_plan_is_the_optimizers() -> None:
    rates: list[float] = []
    trainer = make_trainer(
        watch=lambda e: rates.append(optimizer.param_groups[0]["lr"]) if isinstance(e, Stepped) else None
    )
    [optimizer] = trainer._optimizers
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
    [optimizer] = trainer._optimizers
    decayed, kept = ([names[id(w)] for w in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert all(name.endswith(("proj.weight", "output_layer.weight")) or ".ffn." in name for name in decayed)
    assert len(decayed) == 4 * 7 + 1
    assert {name for name in kept if "norm" not in name and "ln" not in name} == {"token_embedding.weight"}


def orthogonalised(gradient: torch.Tensor) -> torch.Tensor:
    """Five steps of Newton and Schulz with Jordan's coefficients, in float64."""
    x = gradient.double() / gradient.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def test_muon_steps_along_the_orthogonalised_gradient_and_leaves_the_rest_to_adamw() -> None:
    plan = dataclasses.replace(PLAN, warmup=0.0, decay=0.0, weight_decay=0.0, dropout=0.0, clip=0.0)
    muon, adamw, still = (
        make_trainer(dataclasses.replace(plan, optimizer=name)) for name in ("muon", "adamw", "adamw")
    )
    before = weights_of(still)
    ids = torch.from_numpy(still._batches.batch(0))
    still._parallel.backward(ids, None, ids[:, 1:].numel())
    muon._step(0.0, ids, None)
    adamw._step(0.0, ids, None)
    expected = weights_of(adamw)
    turned = 0
    for name, weight in muon.model.named_parameters():
        if not name.startswith("blocks.") or weight.dim() < 2:
            assert torch.equal(weight, expected[name]), name
            continue
        gradient = still.model.get_parameter(name).grad
        step = plan.learning_rate * 0.2 * max(weight.shape) ** 0.5 * orthogonalised(gradient)
        change = (before[name] - weight.detach()).double()
        # Muon computes in bfloat16, and five steps carry its roundings on.
        assert torch.cosine_similarity(change.flatten(), step.flatten(), dim=0) > 0.93, name
        assert 0.8 < change.norm() / step.norm() < 1.2, name
        turned += 1
    assert turned == 4 * 7


def test_an_optimizer_that_is_not_known_and_muon_on_shards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="optimizer is 'Muon', it must be adamw or muon"):
        make_trainer(dataclasses.replace(PLAN, optimizer="Muon"))
    monkeypatch.setattr(Parallel, "sharded", True, raising=False)
    monkeypatch.setattr(Parallel, "__init__", lambda self, *_, **__: None)
    with pytest.raises(ConfigError, match="Muon needs whole matrices"):
        make_trainer(dataclasses.replace(PLAN, optimizer="muon"))


def test_muon_learns_where_nothing_else_does() -> None:
    trainer = make_trainer(held_out=None)
    for name, weight in trainer.model.named_parameters():
        weight.requires_grad_(name.endswith("q_proj.weight"))
    [muon] = make_optimizers(trainer.model, dataclasses.replace(PLAN, optimizer="muon", weight_decay=0.3))
    assert isinstance(muon, torch.optim.Muon)
    assert [(len(group["params"]), group["weight_decay"]) for group in muon.param_groups] == [(4, 0.3)]


def test_a_checkpoint_from_before_there_was_a_choice_of_optimizers_goes_on(tmp_path: Path) -> None:
    broken_off(tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run")
    old = checkpoints.load()
    assert old.state.settings["plan"].pop("optimizer") == "adamw"
    checkpoints.save(old.state, old.tensors)
    resumed = make_trainer(checkpoint=tmp_path / "run")
    resumed.resume()
    assert resumed.state.step == 7


def test_every_block_begins_as_the_identity() -> None:
    model = make_trainer().model
    init_weights(model)
    ids = torch.arange(10)[None]
    expected = model.output_layer(model.ln_final(model.token_embedding(ids)))
    assert torch.equal(model(ids), expected)


def test_tokens_begin_far_apart_unless_the_head_shares_their_matrix() -> None:
    model = make_trainer().model
    init_weights(model)
    assert not model.config.tie_embeddings
    assert model.token_embedding.weight.std().item() == pytest.approx(1.0, abs=0.02)
    tied = GPTModel.from_config(model.config.replace(tie_embeddings=True))
    init_weights(tied)
    assert tied.token_embedding.weight.std().item() == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dropout_and_bfloat16_learn_too(precision: str) -> None:
    plan = Plan("tiny", 300, 16, 8, 4e-3, dropout=0.2, precision=precision, steps=25)
    trainer = make_trainer(plan)
    trainer.run()
    assert {weight.dtype for weight in trainer.model.weights().values()} == {torch.float32}
    assert looks(trainer)[-1][1] < 3.5 < math.log(300)


def test_a_loss_that_is_no_number_stops_the_run_and_says_where() -> None:
    with pytest.raises(NextwordError, match=r"^the loss became nan at step \d+(?m:$)") as caught:
        make_trainer(Plan("tiny", 300, 16, 2, learning_rate=1e9, dropout=0.0, steps=50)).run()
    assert caught.value.hint == "the steps were too large, at a peak of 1e+09: try learning_rate=1e+08"


def test_a_held_out_loss_that_is_no_number_is_never_the_best() -> None:
    def poison(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 12:
            with torch.no_grad():
                trainer.model.token_embedding.weight[0, 0] = math.nan

    trainer = make_trainer(watch=poison)
    trainer.run()
    with pytest.raises(NextwordError, match=r"^the held-out loss became nan at step 12(?m:$)"):
        trainer.deferred.release()
    assert 0 < trainer.state.best_step < 12
    assert trainer.stopped
    assert all(weight.isfinite().all() for weight in trainer.model.weights().values())  # the best ones


def test_of_a_run_that_ends_in_no_number_the_last_good_step_is_kept(tmp_path: Path) -> None:
    def poison(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 5:
            with torch.no_grad():
                trainer.model.token_embedding.weight[:, 0] = math.nan

    trainer = make_trainer(dataclasses.replace(PLAN, evaluate_every=12), poison, tmp_path / "run")
    with pytest.raises(NextwordError, match=r"^the loss became nan at step 5; the checkpoint of step 4 is kept(?m:$)"):
        trainer.run()
    assert Checkpoints(tmp_path / "run").steps() == [4]  # not 5: that one's weights gave the loss
    whole, resumed = make_trainer(trainer.plan), make_trainer(trainer.plan, checkpoint=tmp_path / "run")
    whole.run()
    resumed.resume()
    resumed.run()
    assert resumed.hash == whole.hash


def test_the_loss_that_is_told_is_smoothed_over_twenty_steps() -> None:
    plan = dataclasses.replace(PLAN, dropout=0.0, steps=8)
    batches = Batches(LEARNED.tokens, plan.context_length, plan.batch_size, seed=0)
    raw, told = list[float](), list[float]()

    def next_loss(step: int) -> float:
        ids = torch.from_numpy(batches.batch(step))
        with torch.no_grad():
            logits = trainer.model(ids[:, :-1]).double()
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))

    def watch(event: Event) -> None:
        if isinstance(event, Stepped):
            told.append(event.loss)
            raw.append(next_loss(event.step))

    trainer = make_trainer(plan, watch, held_out=None)
    raw.append(next_loss(0))
    trainer.run()
    expected = [raw[0]]
    for loss in raw[1:-1]:
        expected.append(expected[-1] + (loss - expected[-1]) / 20)
    assert told == pytest.approx(expected, rel=1e-5)
    assert max(raw) - min(raw) > 0.5  # else nothing could be told apart


class Clock:
    """A second passes with each step, ten with each look at the held-out text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 500.0

        def look(*arguments: Any) -> Any:
            self.now += 10
            return evaluate(*arguments)

        clock = SimpleNamespace(monotonic=lambda: self.now, perf_counter=time.perf_counter)
        for module in ("loop", "evaluate"):
            monkeypatch.setattr(f"nextword.training.run.{module}.time", clock)
        monkeypatch.setattr("nextword.training.run.evaluate.evaluate", look)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self.now += 1


def test_seconds_of_looking_are_no_seconds_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(dataclasses.replace(PLAN, steps=6, evaluate_every=2), Clock(monkeypatch))
    trainer.run()
    looks = trainer.state.validations
    assert [look["seconds"] for look in looks] == [1, 13, 25]
    assert [look["training_seconds"] for look in looks] == [1, 3, 5]
    assert trainer.state.looking == 30


def test_the_last_look_is_within_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dataclasses.replace(PLAN, steps=None, seconds=40.0, evaluate_every=2)
    trainer = make_trainer(plan, clock := Clock(monkeypatch))
    trainer.run()
    assert trainer.state.step == 7  # at 36 seconds: ten more would be too many
    assert trainer.state.validations[-1]["step"] == 7
    assert clock.now == 500 + 7 + 40
