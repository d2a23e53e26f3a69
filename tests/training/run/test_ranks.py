"""Two and four processes of torchrun give the losses, gradients and weights of one, in every way of sharing out."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nextword.errors import ConfigError, ModelFileError
from nextword.model import GPTModel
from nextword.training.checkpoints.sharded import read_shards, write_shards
from nextword.training.run.ranks import Ranks, init_process_group
from tests.training.ranks import (
    CLIP,
    CONFIG,
    ROWS,
    SAVED_AT,
    STEPS,
    TIED,
    Run,
    batch,
    held_out,
    new_model,
    new_optimizer,
)

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="torchrun's gloo needs a POSIX system here")


def torchrun(processes: int, task: str, directory: Path, *options: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        *options,
    ]
    subprocess.run(
        [*command, "-m", "tests.training.ranks", task, str(directory)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    reports: dict[str, Any] = json.loads((directory / f"{task}.json").read_text(encoding="utf-8"))
    return reports


def plain_run(model: GPTModel) -> dict[str, Any]:
    """The same training with nothing of ours but the model: one process, PyTorch's own loss."""
    optimizer = new_optimizer(model)
    losses, norms = [], []
    for step in range(STEPS):
        ids, weights = batch(step)
        nats = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = (nats * weights[:, 1:].flatten()).sum() / weights[:, 1:].sum()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    with torch.no_grad():
        held = [
            F.cross_entropy(model(w[:, :-1]).flatten(0, 1), w[:, 1:].flatten(), reduction="sum") for w in held_out()
        ]
    weights = {name: weight.tolist() for name, weight in model.weights().items()}
    return {"losses": losses, "norms": norms, "held_out": sum(held).item(), "weights": weights}


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    report = plain_run(new_model())
    assert report["losses"][-1] < report["losses"][0] - 0.2
    return report


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(directory: Path) -> dict[str, Any]:
    return torchrun(2, "first", directory)


@pytest.fixture(scope="module")
def four(two: dict[str, Any], directory: Path) -> dict[str, Any]:
    assert two
    return torchrun(4, "second", directory)


def assert_same(report: dict[str, Any], expected: dict[str, Any], first_step: int = 0) -> None:
    np.testing.assert_allclose(report["losses"], expected["losses"][first_step:], rtol=1e-6)
    np.testing.assert_allclose(report["norms"], expected["norms"][first_step:], rtol=2e-5)
    np.testing.assert_allclose(report["held_out"], expected["held_out"], rtol=1e-6)
    assert report["weights"].keys() == expected["weights"].keys()
    for name, weight in expected["weights"].items():
        np.testing.assert_allclose(report["weights"][name], weight, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("way", ["ddp", "ddp, all means", "fsdp", "fsdp, all means"])
def test_two_processes_learn_what_one_learns(two: dict[str, Any], plain: dict[str, Any], way: str) -> None:
    """`all means`: two micro-batches each, activations computed again."""
    assert_same(two[way], plain)


def test_bfloat16_shards_learn_nearly_the_same(two: dict[str, Any], plain: dict[str, Any]) -> None:
    """bfloat16 has 8 bits: relative steps of 0.4 %, some hundred of which average out."""
    np.testing.assert_allclose(two["fsdp, bfloat16"]["losses"], plain["losses"], rtol=3e-3)
    assert two["fsdp, bfloat16"]["losses"] != pytest.approx(plain["losses"], rel=1e-6)


def test_shards_together_are_the_model_once(two: dict[str, Any]) -> None:
    assert two["numbers of one process"] == CONFIG.num_parameters


def test_processes_agree(two: dict[str, Any]) -> None:
    assert two["any"] == [False, True]
    assert two["agree"] == 10.5
    assert two["sums"] == [2.0, 1.0]


@pytest.mark.parametrize("way", ["ddp", "fsdp", "fsdp, from whole"])
def test_four_processes_go_on_from_what_two_saved(four: dict[str, Any], plain: dict[str, Any], way: str) -> None:
    assert_same(four[way], plain, first_step=SAVED_AT)


def test_tied_embeddings_are_one_tensor_in_shards_too(four: dict[str, Any]) -> None:
    assert_same(four["tied"], plain_run(new_model(TIED)))


def test_one_process_goes_on_from_what_two_saved(two: dict[str, Any], plain: dict[str, Any], directory: Path) -> None:
    assert two
    with init_process_group("cpu", {}) as ranks:
        assert_same(Run(ranks, 2).load(directory, SAVED_AT).take(STEPS).report(), plain, first_step=SAVED_AT)


def test_a_checkpoint_of_shards_that_lost_a_part_is_refused(
    two: dict[str, Any], directory: Path, tmp_path: Path
) -> None:
    assert two
    copy = tmp_path / "step"
    for damage in (lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-9])):
        for number in (1, 2):
            shutil.copytree(directory / f"step-{SAVED_AT:08}", copy, dirs_exist_ok=True)
            damage(copy / f"shard-0000{number}-model-00001-of-00001.safetensors")
            with pytest.raises(ModelFileError, match="is damaged"):
                read_shards(copy, {})


def test_shards_hold_no_pickle(two: dict[str, Any], directory: Path) -> None:
    assert two
    files = sorted(path.name for path in (directory / f"step-{SAVED_AT:08}").iterdir())
    assert files == [*(f"shard-0000{number}-model-00001-of-00001.safetensors" for number in (1, 2)), "shards.json"]


def test_shards_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"cannot write .*\.shards: Not a directory"):
        write_shards(tmp_path / "file", {"model": {"w": torch.zeros(2)}}, Ranks("cpu"))


def test_a_killed_process_is_started_again_and_the_run_goes_on(plain: dict[str, Any], tmp_path: Path) -> None:
    report = torchrun(2, "killed", tmp_path, "--max-restarts", "1")
    assert report["restarted"] is True
    assert report["steps there"] == [1, 2, 3]
    assert_same(report, plain, first_step=SAVED_AT)


def test_one_process_needs_no_torchrun(plain: dict[str, Any]) -> None:
    with init_process_group("cpu", {}) as ranks:
        assert ranks == Ranks("cpu", rank=0, world_size=1, restarted=False)
        assert not torch.distributed.is_initialized()
        assert_same(Run(ranks, 4, strategy="fsdp", checkpointing=True).take(STEPS).report(), plain)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_every_row_is_computed_once(world: int, accumulation: int) -> None:
    rows = [
        row
        for r in range(world)
        for part in Ranks("cpu", r, world).rows(ROWS, accumulation)
        for row in range(ROWS)[part]
    ]
    assert sorted(rows) == list(range(ROWS))


def test_rows_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 10, not divisible by 2 processes x 2 micro-batches") as error:
        Ranks("cpu", 0, 2).rows(10, 2)
    assert error.value.hint == "for example 8"


@pytest.mark.parametrize("count", [0, 1, 4, 5, 7])
def test_dealing_counts_each_item_once_and_gives_all_equally_many(count: int) -> None:
    hands = [list(Ranks("cpu", rank, 4).shard(range(count))) for rank in range(4)]
    assert {len(hand) for hand in hands} == {math.ceil(count / 4)}
    assert sorted(item for hand in hands for item, counted in hand if counted) == list(range(count))


def test_what_is_drawn_in_a_step_differs_between_processes_and_steps() -> None:
    seeds = {Ranks("cpu", rank, 4).seed(7, step) for rank in range(4) for step in range(100)}
    assert len(seeds) == 400
    assert Ranks("cpu", 1, 4).seed(7, 3) in seeds


def test_a_world_without_torchrun_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="WORLD_SIZE is 2, but RANK and LOCAL_RANK") as error,
        init_process_group("cpu", {"WORLD_SIZE": "2"}),
    ):
        pass
    assert error.value.hint.startswith("start with: torchrun")
