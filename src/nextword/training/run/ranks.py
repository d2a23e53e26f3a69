"""The processes of one run, as `torchrun` starts them; without torchrun, the one process there is."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from nextword.errors import ConfigError, FailedElsewhereError
from nextword.model.backend import choose_device

_TIMEOUT = datetime.timedelta(hours=6)
"""The others wait while rank 0 prepares the text. A process that died is no reason to wait: torchrun ends them all."""
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_TORCHRUN = "start with: torchrun --nproc-per-node 2 -m nextword train ..., or unset what is left of such a run"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """One process's place among those of a run.

    Every method but `rows` and `seed` is a meeting: all processes must call it, in the same order.
    """

    device: str
    """Where this process computes: `cpu`, `cuda:1`, ..."""
    rank: int = 0
    """This process's number, from 0."""
    world_size: int = 1
    """How many processes there are."""
    restarted: bool = False
    """Whether torchrun has started the processes anew because one of them died (`--max-restarts`)."""

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints and writes files."""
        return self.rank == 0

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """The sums of each value over all processes, in float64 and the same to the last bit everywhere."""
        if self.world_size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)  # in the processes' own memory (gloo), so that no GPU has to finish first
        return [float(value) for value in total]

    def sum(self, value: float) -> float:
        """The sum of a value over all processes."""
        return self.all_reduce_sum([value])[0]

    def any(self, flag: bool) -> bool:
        """Whether any process says yes: a request to stop that reached one is then seen by all at once."""
        return self.sum(float(flag)) > 0

    def broadcast(self, value: float) -> float:
        """Rank 0's value, for all: no two clocks show the same."""
        return self.sum(value if self.is_main else 0.0)

    def barrier(self) -> None:
        """Returns once all processes have called it."""
        self.sum(0.0)

    def rows(self, batch_size: int, accumulation: int = 1) -> list[slice]:
        """The rows of the step's batch that this process computes, one slice for each of its micro-batches.

        Together the processes compute every row once; which rows a batch has does not depend on their number.

        Raises:
            ConfigError: The rows cannot be shared out equally.
        """
        parts = self.world_size * accumulation
        if batch_size % parts:
            raise ConfigError(
                f"batch_size is {batch_size}, "
                f"not divisible by {self.world_size} processes x {accumulation} micro-batches",
                hint=f"for example {parts * max(1, round(batch_size / parts))}",
            )
        size = batch_size // parts
        first = self.rank * accumulation
        return [slice(part * size, (part + 1) * size) for part in range(first, first + accumulation)]

    def shard(self, items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
        """Deals items out in turn, to every process equally many: those left over come with False, not to be counted.

        Equally many, because each pass through a sharded model is a meeting of all processes.
        """
        hand: list[Item] = []
        for item in items:
            hand.append(item)
            if len(hand) == self.world_size:
                yield hand[self.rank], True
                hand.clear()
        if hand:
            yield hand[min(self.rank, len(hand) - 1)], self.rank < len(hand)

    def seed(self, seed: int, step: int) -> int:
        """A seed for what a step draws (dropout): each process draws its own, and a resumed run the same again."""
        return int(np.random.SeedSequence((seed, step, self.rank)).generate_state(1, np.uint64)[0])


@contextmanager
def init_process_group(device: str = "auto", environment: Mapping[str, str] = os.environ) -> Iterator[Ranks]:
    """Joins the processes that torchrun started; in a single process there is nobody to join.

    CPU processes talk through gloo; CUDA processes through NCCL, and through gloo about what lies in ordinary memory.
    An error inside, whether all meet it or one, is raised by the first process that meets it; where one process left,
    the others only find their connections closed.

    Args:
        device: `auto`, `cpu` or `cuda`; each process takes the CUDA device of its place on its machine.
        environment: Where torchrun's variables are read.

    Raises:
        ConfigError: There is no such device, fewer GPUs than processes, the others cannot be reached, or torchrun's
            variables make no sense.
        FailedElsewhereError: Another process met an error first.
    """
    place = choose_device(device)
    numbers = {name: _number(environment, name) for name in ("RANK", "WORLD_SIZE") if name in environment}
    if numbers.get("WORLD_SIZE", 1) == 1:
        if numbers.get("RANK", 0) != 0:
            said = "1" if "WORLD_SIZE" in numbers else "not set"
            raise ConfigError(f"RANK is {numbers['RANK']}, but WORLD_SIZE is {said}", hint=_TORCHRUN)
        yield Ranks(place, restarted=environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0")
        return
    missing = [name for name in _VARIABLES if name not in environment]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but {' and '.join(missing)} is not set",
            hint=_TORCHRUN,
        )
    rank, world = numbers["RANK"], numbers["WORLD_SIZE"]
    numbers |= {name: _number(environment, name) for name in ("LOCAL_RANK", "MASTER_PORT")}
    if rank >= world:
        raise ConfigError(f"RANK is {rank}, but WORLD_SIZE is {world}", hint=_TORCHRUN)
    place = _own_device(place, numbers["LOCAL_RANK"])
    if place != "cpu":
        torch.cuda.set_device(place)
    backend = "gloo" if place == "cpu" else "cpu:gloo,cuda:nccl"
    restarts = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store, _, _ = next(rendezvous("env://", rank, world, timeout=_TIMEOUT))
        if environment.get("LOCAL_WORLD_SIZE") == str(world):
            # torchrun keeps one store through all restarts, where the dead processes' addresses still stand. With
            # several machines, each of which counts its own restarts, docs/scaling.md has it make a new store.
            store = PrefixStore(restarts, store)
        # And one process may join several times: every one of its runs has keys of its own.
        store = PrefixStore(str(store.add(f"joined/{rank}", 1)), store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"rank {rank} cannot join the {world} processes: {reason}") from None
    try:
        ranks = Ranks(place, rank, world)
        yield replace(ranks, restarted=ranks.any(restarts != "0"))
    except BaseException as error:
        if store.add("failed", 1) > 1:
            raise FailedElsewhereError("another process of the run failed") from error
        raise
    finally:
        dist.destroy_process_group()


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment[name]
    if not value.isdecimal() or (name == "WORLD_SIZE" and int(value) < 1):
        raise ConfigError(f"{name} is {value!r}, it must be a whole number", hint=_TORCHRUN)
    return int(value)


def _own_device(place: str, local_rank: int) -> str:
    kind = torch.device(place).type
    if kind == "mps":
        raise ConfigError("several processes cannot share an mps device", hint="start without torchrun, or on the cpu")
    if kind == "cpu":
        return "cpu"
    there = torch.cuda.device_count()
    if local_rank >= there:
        raise ConfigError(
            f"this machine has {there} CUDA devices, process {local_rank + 1} has none",
            hint=f"torchrun --nproc-per-node {there}",
        )
    return f"cuda:{local_rank}"
