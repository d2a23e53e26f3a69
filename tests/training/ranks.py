"""What the processes of the tests in test_ranks.py do: a small model trained in every way, told in one file.

torchrun --nproc-per-node 2 -m tests.training.ranks first  DIRECTORY
torchrun --nproc-per-node 4 -m tests.training.ranks second DIRECTORY
torchrun --nproc-per-node 2 --max-restarts 1 -m tests.training.ranks killed DIRECTORY
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextword.config import GPTConfig
from nextword.model import GPTModel
from nextword.training.checkpoints.optimizer_state import optimizer_tensors, restore_optimizers
from nextword.training.checkpoints.sharded import numbered_parameters, read_shards, shard_like, write_shards
from nextword.training.run.batches import evaluation_windows
from nextword.training.run.parallel import Parallel
from nextword.training.run.ranks import Ranks, init_process_group

# A width of 30 and 301 tokens: neither can be cut into four equal shards.
CONFIG = GPTConfig(
    vocab_size=301,
    d_model=30,
    num_heads=5,
    num_layers=2,
    dropout=0.0,
    context_length=12,
    position="rotary",
    norm="rmsnorm",
    qk_norm=True,
)
TIED = replace(CONFIG, tie_embeddings=True, output_bias=False)
ROWS, STEPS, SAVED_AT, CLIP = 8, 6, 3, 0.5


def new_model(config: GPTConfig = CONFIG) -> GPTModel:
    torch.manual_seed(1)
    return GPTModel.from_config(config)


def new_optimizer(model: GPTModel) -> torch.optim.AdamW:
    # Adam divides a gradient by its own size: with an eps of 1e-8 the rounding of the smallest would be what shows.
    return torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1, fused=True)


def batch(step: int) -> tuple[Tensor, Tensor]:
    """The rows of a step [B, T + 1], and which tokens count: in some rows few, so that the processes' shares differ."""
    rng = np.random.default_rng(step % 2)
    ids = rng.integers(0, CONFIG.vocab_size, (ROWS, CONFIG.context_length + 1))
    counts = rng.random(ids.shape) < np.linspace(0.05, 1, ROWS)[:, None]
    return torch.from_numpy(ids), torch.from_numpy(counts.astype(np.uint8))


def held_out() -> list[Tensor]:
    """Five batches of windows, one shorter: they do not come out even on 2 or 4 processes."""
    tokens = np.random.default_rng(99).integers(0, CONFIG.vocab_size, 100)
    return [torch.from_numpy(windows) for windows in evaluation_windows(tokens, CONFIG.context_length, 2)]


class Run:
    """Some steps of training, as the loop takes them."""

    def __init__(self, ranks: Ranks, accumulation: int = 1, config: GPTConfig = CONFIG, **settings: Any) -> None:
        self.ranks = ranks
        self.parallel = Parallel(new_model(config), ranks, **settings)
        self.model = self.parallel.model
        self.optimizer = new_optimizer(self.model)
        self.rows = ranks.rows(ROWS, accumulation)
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.step = 0

    def take(self, until: int) -> Run:
        while self.step < until:
            ids, weights = batch(self.step)
            total = float(weights[:, 1:].sum())
            nats = 0.0
            for rows in self.rows:
                nats += self.parallel.backward(ids[rows], weights[rows], total, last=rows == self.rows[-1]).item()
            self.norms.append(self.parallel.clip_grad_norm(CLIP).item())
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.losses.append(self.ranks.sum(nats) / total)
            self.step += 1
        return self

    def held_out_nats(self) -> float:
        nats = 0.0
        for ids, counted in self.ranks.shard(held_out()):
            share = self.parallel.nats(ids).item()
            nats += share if counted else 0.0
        return self.ranks.sum(nats)

    def report(self) -> dict[str, Any]:
        whole = self.parallel.full_tensors(self.model.weights())
        return {
            "losses": self.losses,
            "norms": self.norms,
            "held_out": self.held_out_nats(),
            "weights": {name: weight.tolist() for name, weight in whole.items()},
        }

    def save(self, directory: Path) -> None:
        weights = self.model.weights()
        best = {name: weight.clone() for name, weight in weights.items()}
        kinds = {"model": weights, "best": best, "optimizer": optimizer_tensors([self.optimizer])}
        shards = write_shards(directory, kinds, self.ranks)
        if self.ranks.is_main:
            shards.rename(directory / f"step-{self.step:08}")
        self.ranks.barrier()

    def load(self, directory: Path, step: int, *, whole: bool = False) -> Run:
        weights = self.model.weights()
        targets = {"model": weights, "best": weights, "optimizer": numbered_parameters([self.optimizer])}
        kinds = read_shards(directory / f"step-{step:08}", {} if whole else targets)
        kinds = shard_like(kinds, targets) if whole else kinds
        self.model.load_weights(kinds["best"])
        self.model.load_weights(kinds["model"])
        restore_optimizers([self.optimizer], kinds["optimizer"])
        self.step = step
        return self


def first(ranks: Ranks, directory: Path) -> dict[str, Any]:
    reports: dict[str, Any] = {
        "device": ranks.device,
        "any": [ranks.any(False), ranks.any(ranks.rank == 1)],
        "agree": ranks.broadcast(10.5 + ranks.rank),
        "sums": ranks.all_reduce_sum([1.0, float(ranks.rank)]),
    }
    reports["ddp"] = Run(ranks).take(STEPS).report()
    reports["ddp, all means"] = Run(ranks, 2, checkpointing=True).take(STEPS).report()
    reports["fsdp, all means"] = Run(ranks, 2, strategy="fsdp", checkpointing=True).take(STEPS).report()
    reports["fsdp, bfloat16"] = Run(ranks, strategy="fsdp", precision="bfloat16").take(STEPS).report()
    run = Run(ranks, strategy="fsdp").take(SAVED_AT)
    run.held_out_nats()  # a look at the text between two steps, after which weights must be shards again
    run.save(directory)
    reports["numbers of one process"] = ranks.sum(sum(own(weight).numel() for weight in run.model.weights().values()))
    reports["fsdp"] = run.take(STEPS).report()
    return reports


def own(tensor: Tensor) -> Tensor:
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def second(ranks: Ranks, directory: Path) -> dict[str, Any]:
    reports: dict[str, Any] = {}
    for strategy in ("ddp", "fsdp"):
        run = Run(ranks, 2, strategy=strategy).load(directory, SAVED_AT)
        reports[strategy] = run.take(STEPS).report()
    reports["fsdp, from whole"] = Run(ranks, strategy="fsdp").load(directory, SAVED_AT, whole=True).take(STEPS).report()
    reports["tied"] = Run(ranks, config=TIED, strategy="fsdp").take(STEPS).report()
    return reports


def killed(ranks: Ranks, directory: Path) -> dict[str, Any]:
    """Saves after every step; in its first life, rank 1 is killed in the middle of the run."""
    run = Run(ranks, strategy="fsdp")
    steps = sorted(int(path.name.removeprefix("step-")) for path in directory.glob("step-*"))
    if ranks.restarted:
        run.load(directory, steps[-1])
    for step in range(run.step, STEPS):
        if step == SAVED_AT and ranks.rank == 1 and not ranks.restarted:
            os.kill(os.getpid(), signal.SIGKILL)
        run.take(step + 1).save(directory)
    return {"restarted": ranks.restarted, "steps there": steps, **run.report()}


def main() -> None:
    task, directory = {"first": first, "second": second, "killed": killed}[sys.argv[1]], Path(sys.argv[2])
    torch.set_num_threads(1)
    with init_process_group("cpu") as ranks:
        reports = task(ranks, directory)
        if ranks.is_main:
            (directory / f"{sys.argv[1]}.json").write_text(json.dumps(reports), encoding="utf-8")


if __name__ == "__main__":
    main()
    os._exit(0)  # as the command line ends: threads of the processes' talk would abort at Python's very end
