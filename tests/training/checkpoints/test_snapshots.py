"""The model of some steps is kept beside a run: few of them, whole ones, and none that the run has gone back behind."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import nextword
from nextword.config import GPTConfig
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from nextword.training import Event, Stepped
from nextword.training.adapters.lora import add_lora, merge_lora
from nextword.training.checkpoints.snapshots import Snapshots, delete_later_steps
from nextword.training.run_directory import steps_in
from tests.conftest import Trained
from tests.training.sample_text import FEW_STEPS, TEXT, write_text


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.characters(TEXT)


@pytest.fixture
def model(tokenizer: Tokenizer) -> GPTModel:
    torch.manual_seed(0)
    return GPTModel.from_config(
        GPTConfig.qwen3(tokenizer.vocab_size, 16, d_model=16, num_heads=2, num_layers=1)
    ).train()


def test_powers_of_two_stay_and_the_newest(tmp_path: Path, tokenizer: Tokenizer, model: GPTModel) -> None:
    snapshots = Snapshots(tmp_path / "m.steps", tokenizer)
    for step in range(14):
        snapshots.save(model, step)
    assert steps_in(tmp_path / "m.steps") == [0, 1, 2, 4, 8, 13]
    assert [step for step in range(100) if snapshots.is_due(step)] == [0, 1, 2, 4, 8, 16, 32, 64]
    assert model.training


def test_a_run_that_goes_back_forgets_later_steps(tmp_path: Path, tokenizer: Tokenizer, model: GPTModel) -> None:
    place = tmp_path / "m.steps"
    for step in (0, 1, 2, 4, 5):
        Snapshots(place, tokenizer).save(model, step)
    (place / "mine.txt").write_text("kept", encoding="utf-8")
    (place / ".step-00000008.abcdefgh.tmp").mkdir()  # a killed run's
    delete_later_steps(place, 2)
    assert steps_in(place) == [0, 1, 2]
    delete_later_steps(place, -1)
    assert [path.name for path in place.iterdir()] == ["mine.txt"]
    delete_later_steps(tmp_path / "nowhere", -1)


def test_adapters_are_merged_in_the_copy_alone(tmp_path: Path, tokenizer: Tokenizer, model: GPTModel) -> None:
    add_lora(model, 2)
    for name, weight in model.named_parameters():
        if name.endswith("lora_B"):
            torch.nn.init.normal_(weight)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    Snapshots(tmp_path / "m.steps", tokenizer).save(model, 1)
    assert {name: weight.tolist() for name, weight in model.state_dict().items()} == {
        name: weight.tolist() for name, weight in before.items()
    }
    merge_lora(model)
    saved = nextword.load(tmp_path / "m.steps" / "step-00000001", dtype="float32").model
    for name, weight in model.weights().items():
        np.testing.assert_array_equal(saved.weights()[name].detach(), weight.detach(), err_msg=name)


def test_a_stopped_run_goes_on_with_the_steps_of_one_that_was_not(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    settings = {**FEW_STEPS, "steps": 9, "validation": None, "snapshots": True}

    def stop(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 5:
            signal.raise_signal(signal.SIGINT)

    whole = nextword.train(text, tmp_path / "whole", **settings)
    assert nextword.train(text, tmp_path / "half", watch=stop, **settings).stopped
    assert steps_in(tmp_path / "half.steps") == [0, 1, 2, 4, 5]
    resumed = nextword.train([], tmp_path / "half", resume=True, steps=9, snapshots=True)
    assert resumed.state == whole.state
    assert steps_in(tmp_path / "half.steps") == steps_in(tmp_path / "whole.steps") == [0, 1, 2, 4, 8, 9]
    for step in (0, 4, 8, 9):
        same = [
            nextword.load(tmp_path / f"{name}.steps" / f"step-{step:08}").predict("The cat", 5).probabilities
            for name in ("half", "whole")
        ]
        np.testing.assert_array_equal(*same)
    last = nextword.load(tmp_path / "whole.steps" / "step-00000009").predict("The cat", 5).probabilities
    np.testing.assert_array_equal(last, nextword.load(tmp_path / "whole").predict("The cat", 5).probabilities)


def test_a_run_without_them_takes_those_of_the_one_before_it_away(tmp_path: Path, trained: Trained) -> None:
    kept = tmp_path / "m.steps"
    Snapshots(kept, trained.lm.tokenizer).save(trained.run.model.model, 2)
    nextword.train(write_text(tmp_path), tmp_path / "m", validation=None, **FEW_STEPS)
    assert steps_in(kept) == []
