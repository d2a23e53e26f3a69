"""Whatever takes an extra that is not installed says so in one line, with what to type; everything else works.

Each environment is real: an interpreter that cannot import what is not in it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import nextword
from nextword.cli import COMMANDS
from nextword.doctor.parts import PURPOSES
from nextword.engine import is_built
from nextword.errors import MissingPackageError, install_command, missing_extra
from tests.conftest import Trained
from tests.environments import make_environment

TRAIN = "train text.txt --steps 1 --preset tiny --context-length 16 --batch-size 2 --vocab-size 300"
TORCH = ["GPTModel", "TransformerBlock", "fit_lens"]
TRAINING = ["TrainingRun", "train"]
DRAWN = ["embedding", "attention", "lens", "norms", "logits", "ablation"]
BRINGS = {
    "torch": {"torch"},
    "train": {"torch"},
    "verify": {"torch", "transformers"},
    "figures": {"matplotlib", "seaborn"},
    "serve": {"fastapi"},
}
"""Packages that are asked for below."""


@dataclass(frozen=True)
class Case:
    """A command or an expression, with the extras that it takes and what is said where they are missing."""

    typed: str
    extras: tuple[str, ...] = ()
    says: str = ""
    """Up to the packages."""
    needs: tuple[str, ...] = ()
    runs: bool = True
    """Whether it is run where it can be; others test what takes long, or does not end."""


COMMANDS_TRIED = [
    Case("predict 안녕 --words --top 2"),
    Case("generate hi -n 2"),
    Case("tokenize 안녕"),
    Case("info"),
    Case("bench --rounds 1 -n 2 --prompt 4 --no-peers"),
    Case("cloze nextword openings.tsv"),
    Case("doctor --no-speed"),
    Case("pull"),
    Case("export --out exported"),
    Case("convert exported exported.gguf"),
    Case("runs ."),
    Case("look hi"),
    Case("look hi --ablate 1.1"),
    Case("look hi --html look.html"),
    Case("look hi --open", ("serve",), "the page", ("fastapi",), runs=False),
    Case("figure hi --kind next", ("figures",), "drawing figures", ("matplotlib", "seaborn")),
    *(Case(f"figure hi --kind {kind}", ("figures",), "drawing figures", ("matplotlib",)) for kind in DRAWN),
    Case("figure hi --kind attribution", ("torch", "figures"), "drawing gradients", ("torch", "matplotlib")),
    Case("runs . --curve curve.svg", ("figures",), "drawing figures", ("matplotlib",)),
    Case(f"{TRAIN} --out m", ("train",), "training", ("torch",)),
    Case(f"{TRAIN} --out m --serve", ("train", "serve"), "training with a page", ("torch", "fastapi"), runs=False),
    Case("lens-fit --text text.txt", ("torch",), "fitting a lens", ("torch",), runs=False),
    Case("verify", ("verify",), "verifying a model", ("torch", "transformers"), runs=False),
    Case("serve", ("serve",), "serving", ("fastapi",), runs=False),
    Case("predict hi --device cuda", ("torch",), "running a model without the native backend", ("torch",), runs=False),
]
PYTHON_TRIED = [
    Case("lm.predict('안녕')"),
    Case("lm.trace('안녕').lens()"),
    Case("lm.trace('안녕').attribution()"),
    Case("lm.trace('안녕').to_html()"),
    Case("lm.trace(['안녕', 'hi'])[1]['result', 0]"),
    Case("lm.edit(nextword.ablate_head(1, 1)).predict('안녕')"),
    Case("lm.record(['안녕'], 'acts', 'resid_post')"),
    Case("nextword.patch_map(lm, 'a boy', 'a girl', max, layers=[0])"),
    Case("lm.attribute('hi')", ("torch",), "following gradients", ("torch",)),
    Case("lm.reference", ("torch",), "a GPTModel", ("torch",)),
    Case("lm.model", ("torch",), "a GPTModel", ("torch",)),
    Case("nextword.load(backend='torch')", ("torch",), "running a model without the native backend", ("torch",)),
    Case("importlib.import_module('nextword.training').train", ("train",), "training", ("torch",)),
    *(Case(f"nextword.{name}", ("torch",), f"nextword.{name}", ("torch",)) for name in TORCH),
    *(Case(f"nextword.{name}", ("train",), f"nextword.{name}", ("torch",)) for name in TRAINING),
]

WALK = """
import contextlib, importlib, io, json, pydoc, shlex, sys
import nextword
from nextword.cli import run

commands, expressions = json.load(sys.stdin)
told = {"dir": dir(nextword), "help": pydoc.plain(pydoc.render_doc(nextword)), "commands": [], "expressions": []}
for typed in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(shlex.split(typed))
    told["commands"].append([code, out.getvalue(), err.getvalue()])
lm = nextword.load()
for expression in expressions:
    try:
        eval(expression)
        told["expressions"].append(None)
    except nextword.ConfigError as error:
        told["expressions"].append([str(error), error.__notes__, isinstance(error, ImportError)])
names = {}
exec("from nextword import *", names)
told["star"] = sorted(set(names) - {"__builtins__"})
try:
    exec("from nextword import GPTModel")
    told["imported"] = None
except ImportError as error:
    told["imported"] = str(error)
json.dump(told, sys.__stdout__)
"""


@pytest.mark.skipif(not is_built(), reason="the base installation runs models in native code")
@pytest.mark.parametrize("extra", ["", *PURPOSES], ids=["base", *PURPOSES])
def test_what_is_missing_is_said_and_the_rest_works(extra: str, trained: Trained, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "environment", [extra] if extra else [])
    there = BRINGS.get(extra, set())
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "text.txt").write_bytes(trained.text.read_bytes())
    (folder / "openings.tsv").write_text("phrase\tTo be, or not to\tbe\n", encoding="utf-8")
    shutil.copytree(trained.path, folder / "a run")
    able = [set(case.needs) <= there for case in COMMANDS_TRIED]
    commands = [case for case, can in zip(COMMANDS_TRIED, able, strict=True) if case.runs or not can]
    done = subprocess.run(
        [python, "-X", "utf8", "-c", WALK],
        input=json.dumps([[case.typed for case in commands], [case.typed for case in PYTHON_TRIED]]),
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "NEXTWORD_CACHE": str(tmp_path / "cache"),
            "HOME": str(tmp_path),
            "COLUMNS": "80",
        },
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    for case, (code, out, err) in zip(commands, told["commands"], strict=True):
        if set(case.needs) <= there:
            assert (code, "error" in err) == (0, False), (case.typed, err)
            continue
        assert (code, out) == (2, ""), (case.typed, out)
        error, hint = err.splitlines()
        assert error.startswith(f"error: {case.says} needs "), case.typed
        named = {package for package in case.needs if package in error.partition(" needs ")[2]}
        assert named == set(case.needs) - there, (case.typed, error)
        assert hint == f"hint: {python} -m pip install 'nextword[{','.join(case.extras)}]'"
    for case, said in zip(PYTHON_TRIED, told["expressions"], strict=True):
        if set(case.needs) <= there:
            assert said is None, (case.typed, said)
        else:
            hint = f"hint: {python} -m pip install 'nextword[{','.join(case.extras)}]'"
            assert said == [f"{case.says} needs torch", [hint], True]
    has_torch = "torch" in there
    assert told["imported"] == (None if has_torch else "nextword.GPTModel needs torch")
    there_are = sorted(set(nextword.__all__) - (set() if has_torch else {*TORCH, *TRAINING}))
    assert told["dir"] == told["star"] == there_are
    assert "class LanguageModel" in told["help"]
    assert ("class GPTModel" in told["help"]) == has_torch


def test_every_command_is_tried() -> None:
    tried = {case.typed.split()[0] for case in COMMANDS_TRIED}
    assert set(COMMANDS) - tried == {"chat"}  # which the default model, that knows no conversations, cannot do
    assert {*TORCH, *TRAINING} < set(nextword.__all__)


def test_training_names_the_extra_of_what_it_is_given(trained: Trained, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "environment", ["train"])
    for arguments, error, extra in (
        (["rows.parquet"], "reading rows.parquet needs pyarrow", "data"),
        (["text.txt.zst"], "reading text.txt.zst needs zstandard", "data"),
        (["hf:owner/name"], "reading hf:owner/name needs datasets", "data"),
        ([str(trained.text), "--log", "tensorboard"], "logging for TensorBoard needs tensorboard", "tensorboard"),
    ):
        (tmp_path / "rows.parquet").write_bytes(b"PAR1")
        (tmp_path / "text.txt.zst").write_bytes(b"\x28\xb5\x2f\xfd")
        done = subprocess.run(
            [python, "-m", "nextword", *f"{TRAIN} --out m".replace("text.txt", "").split(), *arguments],
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            check=False,
            timeout=120,
        )
        assert done.returncode == 2
        lines = [line for line in done.stderr.splitlines() if line.startswith(("error", "hint"))]
        assert lines == [f"error: {error}", f"hint: {python.relative_to(tmp_path)} -m pip install 'nextword[{extra}]'"]


def test_the_command_to_type_is_pip_where_pip_is_this_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tmp_path / "내 환경" / "bin"
    scripts.mkdir(parents=True)
    monkeypatch.setattr("sys.executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", str(scripts))
    monkeypatch.chdir(tmp_path)
    assert install_command("x") == "'내 환경/bin/python' -m pip install x"
    (scripts / "pip").touch(mode=0o755)
    assert install_command("x") == "pip install x"
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(scripts)
    assert install_command("x") == f"'{scripts}/python' -m pip install x"
    monkeypatch.setattr("sys.executable", "/opt/my python/bin/python3")
    assert install_command("x") == "'/opt/my python/bin/python3' -m pip install x"
    monkeypatch.chdir("/")
    assert install_command("x") == "'/opt/my python/bin/python3' -m pip install x"
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert install_command("x") == "'/opt/my python/bin/python3' -m pip install x"


def test_a_missing_package_is_a_setting_that_is_wrong_and_an_import_that_failed() -> None:
    error = missing_extra("torch", "torch", "this")
    assert isinstance(error, MissingPackageError)
    assert isinstance(error, nextword.ConfigError)
    assert isinstance(error, ImportError)
    assert str(error) == "this needs torch"
