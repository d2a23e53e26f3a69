"""`nextword convert`, `export` and `verify`, and the commands that look at a model file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

import nextword
from nextword.engine import is_built
from nextword.files import Bundle, read_model, write_bundle
from nextword.files.gguf import write_gguf
from nextword.files.precision import PRECISIONS
from tests.cli.conftest import Call
from tests.conftest import Trained
from tests.files.making import BPE, CONFIGS, random_bundle

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A Llama in blocks of 8 bits, with a chat template."""
    bundle = random_bundle(CONFIGS["llama"])
    file = tmp_path / "모델 1.gguf"
    write_gguf(file, Bundle(bundle.config, bundle.tensors, BPE, chat_template=TEMPLATE), "q8_0")
    return file


def _logits(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    backend = nextword.load(path, activations="float32").backend  # as torch has them
    return backend.forward([[5, 6, 7]], [backend.new_cache(3)], logits="all")[0]


# -- convert -------------------------------------------------------------------------------------------------------


def test_a_gguf_file_becomes_a_directory_with_the_same_numbers(call: Call, gguf: Path, tmp_path: Path) -> None:
    result = call("convert", gguf, tmp_path / "out")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == str(tmp_path / "out")
    bundle = read_model(tmp_path / "out")
    # Blocks are unpacked; where rows of 48 were too short for blocks, the file has half precision.
    assert {tensor.dtype for tensor in bundle.tensors.values()} == {"F32", "F16"}
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "float32"
    assert bundle.chat_template == TEMPLATE
    assert _logits(tmp_path / "out").tobytes() == _logits(gguf).tobytes()
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").num_parameters() == bundle.config.num_parameters


def test_a_directory_becomes_a_gguf_file(call: Call, trained: Trained, tmp_path: Path) -> None:
    values = call("convert", trained.path, tmp_path / "out.gguf", "--json").json
    assert values == {"source": trained.path, "out": str(tmp_path / "out.gguf")}
    assert _logits(tmp_path / "out.gguf").tobytes() == _logits(Path(trained.path)).tobytes()


@pytest.mark.parametrize(("precision", "kind"), [("bfloat16", "BF16"), ("float16", "F16"), ("float32", "F32")])
def test_the_element_type_can_be_chosen(call: Call, gguf: Path, tmp_path: Path, precision: str, kind: str) -> None:
    assert call("convert", gguf, tmp_path / "out", "--precision", precision).code == 0
    assert {tensor.dtype for tensor in read_model(tmp_path / "out").tensors.values()} == {kind}


def test_bfloat16_is_rounded_to_the_nearest(call: Call, gguf: Path, tmp_path: Path) -> None:
    call("convert", gguf, tmp_path / "exact")
    call("convert", gguf, tmp_path / "half", "--precision", "bfloat16")
    exact, half = read_model(tmp_path / "exact").tensors, read_model(tmp_path / "half").tensors
    for name, tensor in exact.items():
        values, rounded = tensor.values().astype(np.float64), half[name].values().astype(np.float64)
        assert (np.abs(values - rounded) <= np.abs(values) * 2.0**-8).all()
        assert np.abs(values - rounded).max() > 0 or (values == np.round(values)).all()


def test_a_model_of_our_own_architecture_is_converted_to_a_directory_only(call: Call, tmp_path: Path) -> None:
    write_bundle(tmp_path / "lesson", random_bundle(CONFIGS["lesson"]))
    assert call("convert", tmp_path / "lesson", tmp_path / "copy").code == 0
    result = call("convert", tmp_path / "lesson", tmp_path / "out.gguf")
    assert result.code == 2
    assert "GPTConfig.residual" in result.errors[0]
    assert not (tmp_path / "out.gguf").exists()


def test_what_is_no_model_is_not_overwritten(call: Call, gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    result = call("convert", gguf, tmp_path / "mine")
    assert result.code == 2
    assert "exists and is not a model" in result.errors[0]
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


# -- export --------------------------------------------------------------------------------------------------------


def test_export_for_transformers_gives_the_same_logits(call: Call, trained: Trained, tmp_path: Path) -> None:
    import torch

    result = call("export", trained.path, "--out", tmp_path / "out")
    assert (result.code, result.out) == (0, f"{tmp_path / 'out'}\n")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor([[5, 6, 7]])).logits[0].numpy()
    assert np.abs(_logits(Path(trained.path)) - expected).max() < 5e-5


@pytest.mark.parametrize(
    ("precision", "file"), [(None, "model-f32.gguf"), ("float16", "model-f16.gguf"), ("Q4_K_M", "model-q4_k_m.gguf")]
)
def test_export_to_gguf_names_the_file_after_its_type(
    call: Call, trained: Trained, tmp_path: Path, precision: str | None, file: str
) -> None:
    flags = [] if precision is None else ["--precision", precision]
    values = call("export", trained.path, "-o", tmp_path, "--format", "gguf", *flags, "--json").json
    assert values == {"out": str(tmp_path / file), "format": "gguf"}
    assert read_model(tmp_path / file).config == trained.lm.config


def test_the_library_exports_as_the_command_does(trained: Trained, tmp_path: Path) -> None:
    lm = trained.run.model
    assert lm.export(tmp_path / "hf") == tmp_path / "hf"
    assert lm.export(tmp_path / "x.gguf", format="gguf", precision="float16") == tmp_path / "x.gguf"
    assert _logits(tmp_path / "hf").tobytes() == _logits(Path(trained.path)).tobytes()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--format", "onnx"], "format is 'onnx', it must be huggingface or gguf"),
        (
            ["--precision", "int3"],
            (
                "--precision is 'int3', it must be auto, float32, float16, bfloat16, "
                "q8_0, q6_k, q5_k_m, q5_1, q5_0, q4_k_m, q4_1 or q4_0"
            ),
        ),
        (["--precision", "q4_k_m"], "a model directory cannot hold 'q4_k_m'"),
    ],
)
def test_what_cannot_be_exported_is_said(
    call: Call, trained: Trained, tmp_path: Path, flags: list[str], reason: str
) -> None:
    result = call("export", trained.path, "--out", tmp_path / "out", *flags)
    assert (result.code, result.out) == (2, "")
    assert reason in result.errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (["export", "-o", "{out}"], ["--dtype", "float16"], "float16"),
        (["export", "-o", "{out}"], ["--precision", "bf16"], "bfloat16"),
        (["export", "-o", "{out}", "--format", "gguf"], ["--dtype", "q8_0"], "q8_0"),
        (["convert", "{model}", "{out}"], ["--dtype", "f32"], "float32"),
        (["convert", "{model}", "{out}.gguf"], ["--dtype", "F16"], "float16"),
    ],
)
def test_dtype_is_the_old_name_of_precision_and_gets_a_note(
    call: Call, trained: Trained, tmp_path: Path, words: list[str], old: list[str], new: str
) -> None:
    model = [] if words[0] == "convert" else [trained.path]
    written = []
    for flags in (old, ["--precision", new]):
        out = tmp_path / str(len(written)) / "out"
        result = call(*[word.format(out=out, model=trained.path) for word in words], *model, *flags)
        note = f"note: {' '.join(flags)} is --precision {new} now\n" if flags == old else ""
        assert (result.code, result.err) == (0, note)
        written.append({file.name: file.read_bytes() for file in out.parent.rglob("*") if file.is_file()})
    assert written[0] == written[1]
    both = call(
        *[word.format(out=tmp_path / "no", model=trained.path) for word in words],
        *model,
        "--dtype",
        "float16",
        "--precision",
        "float32",
    )
    assert both.errors == [
        "error: --precision and --dtype are both given: --dtype is its old name",
        "hint: leave out --dtype",
    ]
    assert "--dtype" not in call(words[0], "--help").out


@pytest.mark.parametrize("format", ["huggingface", "gguf"])
def test_a_field_that_no_other_tool_knows_is_named(call: Call, tmp_path: Path, format: str) -> None:  # noqa: A002
    write_bundle(tmp_path / "lesson", random_bundle(CONFIGS["lesson"]))
    result = call("export", tmp_path / "lesson", "--out", tmp_path / "out", "--format", format)
    assert result.code == 2
    assert "GPTConfig.residual" in result.errors[0]


# -- verify --------------------------------------------------------------------------------------------------------


def test_verify_prints_the_table_and_keeps_it_for_info(call: Call, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["qwen2"]))
    assert "not yet: nextword verify" in call("info", tmp_path / "model").out
    result = call("verify", tmp_path / "model")
    assert result.code == 0
    assert "equal up to rounding" in result.out
    assert "transformers, float32" in result.out
    assert "Korean" in result.out
    kept = json.loads((tmp_path / "model/verification.json").read_text(encoding="utf-8"))
    assert kept["equal"] is True
    assert len(kept["comparisons"]) == (15 if is_built() else 10)
    smaller = [precision for precision in PRECISIONS if precision != "float32"]
    assert [row["precision"] for row in kept["roundings"]] == (smaller if is_built() else [])
    shown = call("info", tmp_path / "model").out
    assert "equal up to rounding" in shown
    assert "not yet" not in shown
    assert call("info", tmp_path / "model", "--json").json["verification"]["versions"] == kept["versions"]


def test_verify_can_leave_nothing_behind(call: Call, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["llama"]))
    values = json.loads(call("verify", tmp_path / "model", "--no-keep", "--json").out)
    assert values["equal"] is True
    assert not (tmp_path / "model/verification.json").exists()


def test_figures_that_cannot_be_kept_are_shown_all_the_same(call: Call, gguf: Path) -> None:
    gguf.with_name(f"{gguf.name}.verification.json").mkdir()
    result = call("verify", gguf)
    assert result.code == 0
    assert "equal up to rounding" in result.out
    assert "not kept: cannot write" in result.err


def test_the_default_models_proof_ships_with_it(call: Call) -> None:
    assert call("info", "--json").json["verification"]["equal"] is True


# -- info, tokenize, predict ---------------------------------------------------------------------------------------


CARD = """---
license: mit
language: [en, ko]
tags:
- one
---
# A model

[What] it is.

## Limits

| a | b |
|---|---|
| 1 | 2 |
"""


def test_info_shows_the_cards_beginning_and_the_whole_card_when_asked(
    call: Call, trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(trained.path, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text(CARD, encoding="utf-8")
    lines = [line.rstrip() for line in call("info", tmp_path / "model").out.splitlines()]
    assert lines[-4:] == ["# A model", "", "[What] it is.", "--card shows the whole model card"]
    assert any(line.split() == ["languages", "English,", "Korean"] for line in lines)
    assert not any(word in "\n".join(lines) for word in ("license:", "None", "[]"))
    assert f"{trained.lm.tokenizer.vocab_size:,} byte-level tokens" in "\n".join(lines)
    card = call("info", tmp_path / "model", "--card").out
    assert "Limits" in card
    assert "license" not in card
    assert "|---|" not in card  # a table, drawn as one
    values = call("info", tmp_path / "model", "--json").json
    assert (values["card"], values["languages"]) == (CARD, ["English", "Korean"])
    (tmp_path / "model" / "README.md").unlink()
    assert call("info", tmp_path / "model", "--card").errors == ["error: the model has no card"]


def test_info_shows_what_a_gguf_file_holds(call: Call, gguf: Path) -> None:
    out = call("info", gguf).out
    assert out.splitlines()[0] == "모델 1.gguf"
    assert "Q8_0" in out
    assert f"{len(TEMPLATE)} characters" in out
    values = call("info", gguf, "--json").json
    assert values["element_types"]["Q8_0"] == 14
    assert values["chat_template"] == TEMPLATE


def test_tokenize_reads_the_tokenizer_of_a_gguf_file(call: Call, gguf: Path) -> None:
    assert [item["id"] for item in call("tokenize", "토큰", "-m", gguf, "--json").json] == BPE.encode("토큰")


def test_predict_runs_a_gguf_file(call: Call, gguf: Path) -> None:
    values = call("predict", "the quick", "-m", gguf, "--json").json
    assert [item["token_id"] for item in values["candidates"]] == [
        c.token_id for c in nextword.load(gguf).predict("the quick")
    ]


@pytest.mark.parametrize("command", [["info"], ["predict", "x", "-m"], ["tokenize", "x", "-m"], ["verify"], ["chat"]])
def test_a_model_that_is_not_there_is_said_in_one_line(call: Call, tmp_path: Path, command: list[str]) -> None:
    result = call(*command, tmp_path / "nowhere.gguf")
    assert (result.code, result.out) == (2, "")
    assert result.errors[0].startswith(f"error: there is no model at {tmp_path / 'nowhere.gguf'}")
