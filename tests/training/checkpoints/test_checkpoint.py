"""Steps on disk: what is saved comes back bit for bit, and what is not whole does not count."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nextword.errors import ModelFileError
from nextword.machine.signals import defer_interrupts
from nextword.training.checkpoints.checkpoint import Checkpoints, RunState
from nextword.training.checkpoints.optimizer_state import (
    optimizer_tensors,
    restore_optimizers,
    state_hash,
    weights_hash,
)
from nextword.training.run_directory import read_run, write_run
from tests.full_disk import files_of_at_most

Kinds = dict[str, dict[str, Tensor]]


def kinds(seed: int, size: int = 40) -> Kinds:
    """Tensors of every sort that a run has: matrices, a 16-bit one, one that is a view, one without dimensions."""
    draw = torch.Generator().manual_seed(seed)
    weights = {
        "blocks.0.w": torch.randn(size, size, generator=draw),
        "half": torch.randn(6, generator=draw).bfloat16(),
        "view": torch.randn(4, 6, generator=draw).T,
    }
    moments = {"0.0.step": torch.tensor(float(seed)), "0.0.exp_avg": torch.randn(size, generator=draw)}
    return {"model": weights, "best": {"w": weights["blocks.0.w"] * 2}, "optimizer": moments, "adapter": {}}


def filled(directory: Path, *steps: int, keep: int = 2) -> Checkpoints:
    checkpoints = Checkpoints(directory, keep)
    for step in steps:
        checkpoints.save(RunState(step=step, seconds=step / 7, validations=[{"text": "한국어 🙂"}]), kinds(step))
    return checkpoints


def holds(checkpoints: Checkpoints, step: int, size: int = 40) -> bool:
    """Whether the newest good step is this one, every bit of it."""
    loaded, expected = checkpoints.load(), kinds(step, size)
    return (
        loaded.state.step == step
        and {kind: list(values) for kind, values in loaded.tensors.items()}.keys() == expected.keys()
        and all(
            loaded.tensors[kind].keys() == values.keys()
            and all(
                torch.equal(loaded.tensors[kind][name], value) and loaded.tensors[kind][name].dtype == value.dtype
                for name, value in values.items()
            )
            for kind, values in expected.items()
        )
    )


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- saving and loading ----------------------------------------------------------------------------------------------


def test_a_step_comes_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "run", 120)
    assert names(tmp_path / "run") == ["step-00000120"]
    assert names(tmp_path / "run/step-00000120") == sorted(
        ["model.safetensors", "best.safetensors", "optimizer.safetensors", "adapter.safetensors", "state.json"]
    )
    assert holds(checkpoints, 120)
    loaded = checkpoints.load()
    assert loaded.state == RunState(step=120, seconds=120 / 7, validations=[{"text": "한국어 🙂"}])
    assert loaded.skipped == ()


def test_the_newest_steps_stay(tmp_path: Path) -> None:
    assert filled(tmp_path / "run", 1, 2, 3, 4).steps() == [3, 4]
    assert filled(tmp_path / "more", 9, 10, 100_000_000, keep=3).steps() == [9, 10, 100_000_000]
    assert names(tmp_path / "run") == ["step-00000003", "step-00000004"]


def test_a_step_saved_again_is_the_later_one(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "run", 1, 2)
    checkpoints.save(RunState(step=2, seconds=99.0), kinds(5))
    assert checkpoints.load().state.seconds == 99.0
    assert torch.equal(checkpoints.load().tensors["best"]["w"], kinds(5)["best"]["w"])
    assert names(tmp_path / "run") == ["step-00000001", "step-00000002"]


def test_without_a_step_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for place in (tmp_path / "none", tmp_path, tmp_path / "file"):
        assert Checkpoints(place).steps() == []
        with pytest.raises(ModelFileError, match="there is no checkpoint at") as caught:
            Checkpoints(place).load()
        assert caught.value.hint == "begin anew with restart=True"


# -- damage ----------------------------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    """One bit of the last number: in a tensor's bytes, or in a digit of JSON."""
    content = bytearray(file.read_bytes())
    place = len(content) - 5
    if file.suffix == ".json":
        place = content.index(b'"seconds": ') + len(b'"seconds": ')
    content[place] ^= 1
    file.write_bytes(content)


def swap(file: Path) -> None:
    """The file of another step: well-formed, but not what was written here."""
    shutil.copy(file.parent.with_name("step-00000001") / file.name, file)


DAMAGES: list[Callable[[Path], None]] = [cut, flip, swap, Path.unlink, lambda file: file.write_bytes(b"")]


@pytest.mark.parametrize("damage", DAMAGES, ids=["cut", "flip", "swap", "missing", "empty"])
@pytest.mark.parametrize("file", ["model.safetensors", "best.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_step_is_passed_over_and_told(tmp_path: Path, damage: Callable[[Path], None], file: str) -> None:
    checkpoints = filled(tmp_path / "run", 1, 2)
    damage(tmp_path / "run/step-00000002" / file)
    assert holds(checkpoints, 1)
    (line,) = checkpoints.load().skipped
    assert line.startswith(f"the checkpoint {tmp_path / 'run/step-00000002'} is damaged: ")
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("content", [b"[]", b"{}", b"{half", b"\xff", b"[" * 100_000, b'{"state": {"step": 2}}'])
def test_a_state_that_is_none_is_passed_over(tmp_path: Path, content: bytes) -> None:
    checkpoints = filled(tmp_path / "run", 1, 2)
    (tmp_path / "run/step-00000002/state.json").write_bytes(content)
    assert holds(checkpoints, 1)


def test_a_damaged_step_does_not_hide_the_steps_after_it(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "run", 10, 20)
    cut(tmp_path / "run/step-00000020/model.safetensors")
    assert checkpoints.load().state.step == 10
    checkpoints.save(RunState(step=15), kinds(15))
    assert checkpoints.steps() == [10, 15]
    assert holds(checkpoints, 15)
    assert checkpoints.load().skipped == ()


def test_when_every_step_is_damaged_the_newest_is_named(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "run", 1, 2)
    for step in (1, 2):
        cut(tmp_path / f"run/step-0000000{step}/best.safetensors")
    with pytest.raises(ModelFileError, match=r"run.step-00000002 is damaged: best\.safetensors is not what") as caught:
        checkpoints.load()
    assert caught.value.hint == "begin anew with restart=True"


@dataclasses.dataclass
class LaterState(RunState):
    """What a later version may write."""

    loss_scale: float = 1.0


def test_a_field_of_a_newer_version_is_no_damage(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "run", 1)
    checkpoints.save(LaterState(step=2), kinds(2))
    with pytest.raises(ModelFileError, match=r"state\.json has the field loss_scale, which this version") as caught:
        checkpoints.load()
    assert caught.value.hint == "update nextword"


def test_a_newer_format_is_no_damage(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    write_run(tmp_path, {"seed": 3})
    for file, reading in (
        (tmp_path / "step-00000001/state.json", Checkpoints(tmp_path).load),
        (tmp_path / "run.json", lambda: read_run(tmp_path)),
    ):
        document = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**document, "format_version": 2}), encoding="utf-8")
        with pytest.raises(ModelFileError, match="has format version 2, which this version does not know"):
            reading()


def test_settings_are_kept_beside_the_steps(tmp_path: Path) -> None:
    settings = {"seed": 7, "paths": ["글.txt"], "minutes": None}
    write_run(tmp_path / "run", settings)
    assert read_run(tmp_path / "run") == settings
    assert "글.txt" in (tmp_path / "run/run.json").read_text(encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"there is no checkpoint at .*none"):
        read_run(tmp_path / "none")
    (tmp_path / "run/run.json").write_text('{"settings": []}', encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"run\.json is damaged"):
        read_run(tmp_path / "run")


# -- places that cannot be written -----------------------------------------------------------------------------------


def refused(checkpoints: Checkpoints, size: int, reason: str) -> None:
    with pytest.raises(ModelFileError, match=rf"^cannot write .*{reason}") as caught:
        checkpoints.save(RunState(step=9), kinds(9, size))
    assert len(caught.value.message.splitlines()) == 1


def mounted(directory: Path, options: str) -> bool:
    """Mounts a small disk in memory; False where only root may."""
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("limit", [200_000, 7_000, 100])  # in the first file, after it, before anything
def test_a_file_that_cannot_grow_leaves_the_earlier_steps(tmp_path: Path, limit: int) -> None:
    checkpoints = filled(tmp_path / "run", 1, 2)
    with files_of_at_most(limit):
        refused(checkpoints, 300, "[Ff]ile too large")
    assert holds(checkpoints, 2)
    assert names(tmp_path / "run") == ["step-00000001", "step-00000002"]


def test_a_disk_that_is_full_leaves_the_earlier_steps(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    is_mounted = mounted(disk, "size=600k")
    try:
        checkpoints = filled(disk / "run", 1, 2)
        with files_of_at_most(600_000 if is_mounted else 150_000):
            refused(checkpoints, 300, "[Nn]o space left" if is_mounted else "[Ff]ile too large")
        assert names(disk / "run") == ["step-00000001", "step-00000002"]
        assert holds(checkpoints, 2)
        checkpoints.save(RunState(step=3), kinds(3))  # a smaller step still fits
        assert holds(checkpoints, 3)
    finally:
        if is_mounted:
            subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_place_leaves_the_earlier_steps() -> None:
    directory = Path(tempfile.mkdtemp())  # one that others may look into, other than pytest's
    checkpoints = filled(directory, 1, 2)
    directory.chmod(0o555)
    root = os.geteuid() == 0
    if root:  # who may write anywhere
        os.seteuid(65534)
    try:
        refused(checkpoints, 40, "Permission denied")
        assert holds(checkpoints, 2)
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o755)
        shutil.rmtree(directory)


def test_a_place_that_cannot_be_read_is_told() -> None:
    directory = Path(tempfile.mkdtemp())
    filled(directory, 1)
    directory.chmod(0o000)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(ModelFileError, match=r"^cannot read .*: Permission denied"):
            Checkpoints(directory).load()
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o755)
        shutil.rmtree(directory)


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine", encoding="utf-8")
    refused(Checkpoints(tmp_path / "run"), 40, "(File exists|Not a directory)")
    with pytest.raises(ModelFileError, match=r"^cannot write .*run\.json"):
        write_run(tmp_path / "run", {})
    assert (tmp_path / "run").read_text(encoding="utf-8") == "mine"


# -- killed while writing --------------------------------------------------------------------------------------------

KILLED_EVERYWHERE = """
import json, os, signal, sys, tempfile
from pathlib import Path
from nextword.training.checkpoints.checkpoint import Checkpoints, RunState
from tests.training.checkpoints.test_checkpoint import filled, holds, kinds

WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.listdir", "os.scandir"}
left = -1

def count(event, _arguments):
    # Every call that touches the disk: the process dies right before it.
    global left
    if left >= 0 and event in WATCHED:
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

sys.addaudithook(count)

def survivors(action):
    # The steps that are left after a kill at the first call, the second, and so on until it gets through.
    point, alive = 0, False
    while not alive:
        directory = Path(tempfile.mkdtemp(dir=sys.argv[1])) / "run"
        checkpoints = filled(directory, 1, 2)
        child = os.fork()
        if child == 0:
            global left
            left = point
            action(checkpoints)
            os._exit(0)
        alive = os.waitpid(child, 0)[1] == 0
        checkpoints.sweep()
        stray = [path for path in (*directory.parent.iterdir(), *directory.glob("*")) if path.name[0] == "."]
        assert not stray, stray
        steps = checkpoints.steps()
        if steps:
            assert checkpoints.load().skipped == ()
            assert holds(checkpoints, steps[-1])
        yield steps
        point += 1

print(json.dumps({
    "the next step": list(survivors(lambda checkpoints: checkpoints.save(RunState(step=3), kinds(3)))),
    "the same step again": list(survivors(lambda checkpoints: checkpoints.save(RunState(step=2), kinds(2)))),
    "removing": list(survivors(lambda checkpoints: checkpoints.remove())),
}))
"""


def test_a_kill_at_any_call_to_the_disk_leaves_whole_steps(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLED_EVERYWHERE, str(tmp_path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    states: dict[str, list[list[int]]] = json.loads(result.stdout)
    in_order = {action: [steps for steps, _ in itertools.groupby(found)] for action, found in states.items()}
    assert in_order == {  # never back, and nothing in between
        "the next step": [[1, 2], [1, 2, 3], [2, 3]],
        "the same step again": [[1, 2]],
        "removing": [[1, 2], []],
    }
    assert [len(found) >= least for found, least in zip(states.values(), (25, 20, 3), strict=True)] == [True] * 3


@pytest.mark.parametrize("name", [".step-00000003.ab_d1234.tmp", ".data.abcd1234.old", ".run.json.abcd1234.tmp"])
def test_what_killed_runs_left_is_swept(tmp_path: Path, name: str) -> None:
    checkpoints = filled(tmp_path / "run", 1, 2)
    (tmp_path / "run/data").mkdir()
    (tmp_path / ".run.abcd1234.tmp").mkdir()
    (tmp_path / ".other.abcd1234.tmp").mkdir()  # somebody else's
    (tmp_path / "run" / name).mkdir()
    (tmp_path / "run" / name / "model.safetensors").write_bytes(b"half")
    (tmp_path / "run/.hidden").write_text("not ours", encoding="utf-8")
    checkpoints.sweep()
    assert names(tmp_path) == [".other.abcd1234.tmp", "run"]
    assert names(tmp_path / "run") == [".hidden", "data", "step-00000001", "step-00000002"]


def test_a_step_that_had_been_moved_away_is_put_back(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "run", 1, 2)
    (tmp_path / "run/step-00000002").rename(tmp_path / "run/.step-00000002.abcd1234.old")
    checkpoints.sweep()
    assert holds(checkpoints, 2)


# -- Ctrl-C ----------------------------------------------------------------------------------------------------------


class PressesCtrlC(dict[str, Tensor]):
    """Tensors during whose writing Ctrl-C is pressed, twice."""

    def items(self):  # type: ignore[no-untyped-def]
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return super().items()


def test_ctrl_c_waits_until_the_step_is_on_disk(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "run", 1)
    tensors = kinds(2)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(RunState(step=2), {**tensors, "best": PressesCtrlC(tensors["best"])})
    assert names(tmp_path / "run") == ["step-00000001", "step-00000002"]
    assert holds(checkpoints, 2)
    with pytest.raises(KeyboardInterrupt):  # and the handler is the ordinary one again
        signal.raise_signal(signal.SIGINT)


def test_a_thread_saves_too(tmp_path: Path) -> None:
    def work() -> None:
        with defer_interrupts():
            filled(tmp_path / "run", 4)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert holds(Checkpoints(tmp_path / "run"), 4)


# -- optimizers, random generators, hashes ---------------------------------------------------------------------------


class Counting(torch.optim.Optimizer):
    """Gradient descent with momentum that counts its steps in plain numbers, as some optimizers do."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__(weights, {"lr": 0.1})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                state["count"] = state.get("count", 0) + 1
                state["decay"] = state.get("decay", 1.0) * 0.9
                state["momentum"] = 0.9 * state.get("momentum", 0.0) + weight.grad
                weight.sub_(group["lr"] * state["decay"] / state["count"] * state["momentum"])


class Pair:
    """Three weights, two optimizers, and in each step noise that its number decides, as dropout in the loop."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.weights = [torch.randn(3, 4, generator=draw, requires_grad=True) for _ in range(3)]
        groups = [{"params": self.weights[:1], "weight_decay": 0.1}, {"params": self.weights[1:2]}]
        self.taken = 0
        self.optimizers = [torch.optim.AdamW(groups, lr=0.1, fused=True), Counting(self.weights[2:])]

    def train(self, steps: int) -> None:
        for _ in range(steps):
            torch.manual_seed(self.taken)
            self.taken += 1
            loss = sum(((weight - torch.rand(())) ** 2).sum() for weight in self.weights)
            assert isinstance(loss, Tensor)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()

    def model(self) -> dict[str, Tensor]:
        return {str(number): weight.detach() for number, weight in enumerate(self.weights)}

    def rest(self) -> dict[str, Tensor]:
        return optimizer_tensors(self.optimizers)

    def hash(self, step: int) -> str:
        return state_hash(step, self.model(), self.rest())


def test_two_optimizers_go_on_where_they_stood(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        whole = Pair()
        whole.train(3)
        checkpoints = Checkpoints(tmp_path / "run")
        checkpoints.save(RunState(step=3), {"model": whole.model(), "optimizer": whole.rest()})
        at_three = whole.hash(3)
        whole.train(4)

        torch.manual_seed(6)
        resumed, loaded = Pair(), checkpoints.load()
        for name, weight in resumed.model().items():
            weight.copy_(loaded.tensors["model"][name])
        resumed.taken = loaded.state.step
        restore_optimizers(resumed.optimizers, loaded.tensors["optimizer"])
        assert resumed.hash(3) == at_three
        resumed_at_seven = (resumed.train(4), resumed.hash(7))[1]
        assert resumed.optimizers[1].state[resumed.weights[2]]["count"] == 7
        torch.manual_seed(5)
        again = Pair()
        again.train(7)
        assert again.hash(7) == resumed_at_seven
        assert resumed_at_seven != at_three
    assert [torch.equal(a, b) for a, b in zip(whole.weights, resumed.weights, strict=True)] == [True] * 3


def test_the_state_of_optimizers_has_plain_names() -> None:
    pair = Pair()
    pair.train(2)
    tensors = optimizer_tensors(pair.optimizers)
    moments = [f"0.{number}.{name}" for number in (0, 1) for name in ("exp_avg", "exp_avg_sq", "step")]
    assert sorted(tensors) == [*moments, "1.0.count:int", "1.0.decay:float", "1.0.momentum"]
    assert tensors["0.1.step"].item() == 2
    assert tensors["1.0.count:int"].item() == 2
    assert tensors["1.0.decay:float"].item() == 1.0 * 0.9 * 0.9


def test_the_state_of_other_optimizers_is_refused() -> None:
    pair = Pair()
    pair.train(1)
    tensors = optimizer_tensors(pair.optimizers)
    with pytest.raises(ValueError, match=r"^1\.0\.\w+:?\w* belongs to an optimizer or a parameter"):
        restore_optimizers(pair.optimizers[:1], tensors)
    with pytest.raises(ValueError, match=r"^0\.1\.\w+ belongs to an optimizer or a parameter"):
        restore_optimizers([torch.optim.AdamW(pair.weights[:1]), pair.optimizers[1]], tensors)
    pair.optimizers[1].state[pair.weights[2]]["name"] = "x"
    with pytest.raises(TypeError, match="Counting keeps name, a str"):
        optimizer_tensors(pair.optimizers)


def test_the_hash_is_sha_256_over_names_types_shapes_and_bytes() -> None:
    tensors = {"나": torch.tensor([1.5, -2.0]).bfloat16(), "a": torch.tensor(3, dtype=torch.int32)}
    oracle = hashlib.sha256(
        b"a\0torch.int32\0()\0" + b"\x03\0\0\0" + "나\0torch.bfloat16\0(2,)\0".encode() + b"\xc0\x3f\x00\xc0"
    )
    assert weights_hash(tensors) == oracle.hexdigest()[:16]
    assert weights_hash(dict(reversed(tensors.items()))) == weights_hash(tensors)
    for other in (
        {**tensors, "a": torch.tensor(4, dtype=torch.int32)},
        {**tensors, "a": torch.tensor([3], dtype=torch.int32)},
        {**tensors, "나": tensors["나"].view(torch.float16)},
        {"나": tensors["나"], "b": tensors["a"]},
    ):
        assert weights_hash(other) != weights_hash(tensors)
    moments = {"0.0.step": torch.tensor(1.0)}
    assert state_hash(1, tensors, moments) != state_hash(2, tensors, moments)
    assert state_hash(1, tensors, moments) != state_hash(1, tensors, {"0.0.step": torch.tensor(2.0)})
