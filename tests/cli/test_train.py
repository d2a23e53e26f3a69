"""`nextword train` in surroundings that people have: little memory, Jupyter's variables, any name."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nextword.cli.train import TrainingFlags
from nextword.settings import TrainingSettings
from tests.training.sample_text import FEW_STEPS, write_text

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs Linux: any bytes as names, limits")

FLAGS = [word for name, value in FEW_STEPS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
NOT_UTF_8 = os.fsdecode("모델".encode("cp949"))
# As where Jupyter's package is not installed: matplotlib then refuses to be imported.
JUPYTER = {"MPLBACKEND": "module://no_such_package.backend_inline"}


def train(place: Path, *arguments: str, memory: int | None = None, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""

    def limited() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    done = subprocess.run(
        [sys.executable, "-m", "nextword", "train", *arguments],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
        preexec_fn=limited,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("megabytes", [300, 640, 745])
def test_too_little_memory_is_one_line(tmp_path: Path, megabytes: int) -> None:
    write_text(tmp_path)
    code, out, err = train(tmp_path, "text.txt", "--out", "m", *FLAGS, memory=megabytes * 1_000_000)
    assert (code, out) == (2, "")
    assert err == (
        f"error: this process may take {megabytes} MB of addresses, training needs 750\nhint: ulimit -v unlimited\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_what_another_run_left_in_the_environment_is_one_line(tmp_path: Path) -> None:
    write_text(tmp_path)
    code, _, err = train(tmp_path, "text.txt", "--out", "m", *FLAGS, RANK="3")
    assert code == 2
    assert err.startswith("error: RANK is 3, but WORLD_SIZE is not set\nhint: ")


def test_any_name_may_be_learned_from_and_written_to_where_jupyter_calls(tmp_path: Path) -> None:
    from nextword.training.events.recorded_runs import read_run

    odd = "base [v2] [/old]"
    write_text(tmp_path, name=f"{NOT_UTF_8}[x].txt")
    (tmp_path / "empty [bold].txt").write_text("", encoding="utf-8")
    (tmp_path / "odd").mkdir()  # a name that ends in a directory: [/old] is one
    out = os.path.join("odd", "base [v2] [", "old]")  # noqa: PTH118  as it is typed
    code, printed, err = train(tmp_path, ".", "--out", out, *FLAGS, **JUPYTER)
    assert code == 0, err
    assert "not read: empty [bold].txt (is empty); odd" not in err
    assert "empty [bold].txt (is empty)" in err
    assert printed.endswith("try: nextword \"...\" --model 'odd/base [v2] [/old]'\n")
    run = read_run(tmp_path / out)
    assert run is not None
    assert run.text == "\\xb8\\xf0\\xb5\\xa8[x].txt"
    assert (tmp_path / out / "loss.png").read_bytes().startswith(b"\x89PNG")  # drawn all the same
    code, printed, err = train(
        tmp_path,
        f"{NOT_UTF_8}[x].txt",
        "--from",
        os.path.join("odd", odd),  # noqa: PTH118
        "--out",
        NOT_UTF_8,
        "--steps",
        "2",
        "--context-length",
        "16",
        "--json",
    )
    assert code == 0, err
    assert err.startswith("odd/base [v2] [/old]: ")
    assert json.loads(printed)["out"] == "\\xb8\\xf0\\xb5\\xa8"


def test_what_is_typed_are_the_settings_that_python_takes() -> None:
    assert TrainingFlags().settings(snapshots=False) == TrainingSettings()
    typed = TrainingFlags(validation="none", from_model="모형", lora_rank=4, exclude=("a", "*.csv"), compile=True)
    wanted = TrainingSettings(
        validation=None, from_model="모형", lora_rank=4, exclude=["a", "*.csv"], compile=True, snapshots=True
    )
    assert typed.settings(snapshots=True) == wanted
    assert replace(typed, snapshots=True).settings(snapshots=False) == wanted
    held_out = [TrainingFlags(validation=typed).settings(snapshots=False).validation for typed in ("0.25", "held.txt")]
    assert held_out == [0.25, "held.txt"]
