"""What the program around a run has set in torch changes nothing; what the machine lacks is told in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from nextword.errors import ConfigError
from nextword.training import train
from nextword.training.run.ranks import init_process_group
from nextword.training.run.surroundings import translate_oom
from tests.training.sample_text import FEW_STEPS, write_text


@contextmanager
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("plain")
    return train(write_text(place), place / "out", **FEW_STEPS).state


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        doubles,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
    ],
    ids=["no_grad", "inference_mode", "float64", "autocast", "device"],
)
def test_a_run_inside_one_of_torchs_modes_is_the_same_run(
    tmp_path: Path, plain: str, mode: Callable[[], AbstractContextManager[None]]
) -> None:
    with mode():
        around = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype())
        run = train(write_text(tmp_path), tmp_path / "out", **FEW_STEPS)
        assert around == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype())
    assert run.state == plain
    assert not any(weight.is_inference() for weight in run.model.model.parameters())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "3"}, "RANK is 3, but WORLD_SIZE is not set"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK is 1, but WORLD_SIZE is 1"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', it must be a whole number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', it must be a whole number"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', it must be a whole number"),
        ({"RANK": "-1"}, "RANK is '-1', it must be a whole number"),
        (
            {"WORLD_SIZE": "2", "RANK": "5", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "RANK is 5, but WORLD_SIZE is 2",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "tcp://1"},
            "MASTER_PORT is 'tcp://1', it must be a whole number",
        ),
    ],
)
def test_what_is_left_of_another_run_in_the_environment_is_told(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught, init_process_group("cpu", variables):
        pass
    assert caught.value.message == message
    assert "torchrun" in caught.value.hint
    # Kubernetes sets MASTER_PORT for a service called master, other launchers LOCAL_RANK: one process asks for neither.
    with init_process_group("cpu", {"RANK": "0", "LOCAL_RANK": "-1", "MASTER_PORT": "tcp://10.0.0.1:443"}) as ranks:
        assert (ranks.rank, ranks.world_size) == (0, 1)


@pytest.mark.parametrize(
    "settings", [{"vocab_size": 10**9}, {"batch_size": 10**9}, {"accumulation": 10**9}, {"lora_rank": 10**9}]
)
def test_a_number_with_digits_too_many_is_told_before_memory_is_asked_for(
    tmp_path: Path, settings: dict[str, int]
) -> None:
    name = next(iter(settings))
    with pytest.raises(ConfigError, match=rf"^{name} is 1000000000, it must be at most [\d,]+$"):
        train(write_text(tmp_path), tmp_path / "out", from_model=None if name != "lora_rank" else "x", **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_memory_that_is_short_is_one_error_and_other_errors_are_left_alone() -> None:
    with pytest.raises(ConfigError, match="not enough memory for this run"), translate_oom():
        torch.empty(1 << 60)
    with pytest.raises(ConfigError, match="not enough memory"), translate_oom():
        raise MemoryError
    with pytest.raises(RuntimeError, match="mat1 and mat2"), translate_oom():
        torch.ones(2, 3) @ torch.ones(2, 3)
