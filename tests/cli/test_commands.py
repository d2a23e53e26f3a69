"""`nextword tokenize`, `info`, `figure` and `train`."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import pytest

import nextword
from tests.cli.conftest import Call
from tests.conftest import Trained
from tests.training.sample_text import FEW_STEPS, TEXT, write_text

FLAGS = [word for name, value in FEW_STEPS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    "text", ["한국의 수도", "뷁뷁", "\U0001f600!", FAMILY, "The [bold]cat[/bold] :smile:", "a\tb\nc"]
)
def test_tokenize_shows_every_token_with_its_bytes(call: Call, trained: Trained, text: str) -> None:
    tokenizer = trained.lm.tokenizer
    ids = tokenizer.encode(text)
    values = call("tokenize", text, "-m", trained.path, "--json").json
    assert [item["id"] for item in values] == ids
    assert b"".join(bytes.fromhex(item["bytes"]) for item in values).decode() == text
    assert "".join(item["text"] for item in values if item["part"] == 1) == text
    lines = call("tokenize", text, "-m", trained.path).out.splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == [str(token) for token in ids]
    assert lines[-1] == f"{len(ids)} tokens, {len(text)} characters"


def test_the_tokens_of_one_syllable_are_numbered(call: Call, trained: Trained) -> None:
    out = call("tokenize", "뷁", "-m", trained.path).out
    assert [line.split()[2:4] for line in out.splitlines()[1:4]] == [["뷁", "1/3"], ["뷁", "2/3"], ["뷁", "3/3"]]
    assert [line.split()[4] for line in out.splitlines()[1:4]] == ["eb", "b7", "81"]


def test_markup_in_a_tokenized_text_is_text(call: Call, trained: Trained) -> None:
    out = call("tokenize", "[b]\\[/b]", "-m", trained.path).out
    assert "".join(line.split()[2] for line in out.splitlines()[1:-1]) == "[b]\\[/b]"


def test_tokenize_reads_standard_input(call: Call, trained: Trained) -> None:
    values = call("tokenize", "-", "-m", trained.path, "--json", stdin="한국".encode()).json
    assert values == call("tokenize", "한국", "-m", trained.path, "--json").json


def test_info_shows_every_weight_and_the_total(call: Call, trained: Trained) -> None:
    config = trained.lm.config
    out = call("info", trained.path).out
    total = 0
    for name, shape in config.parameter_shapes().items():
        if name.startswith("blocks.") and not name.startswith("blocks.0."):
            continue
        times = config.num_layers if name.startswith("blocks.") else 1
        row = re.search(
            rf"^{re.escape(name.replace('blocks.0.', 'blocks.*.'))} +([\d, x]+?)  +(\d+) +([\d,]+)", out, re.M
        )
        assert row is not None, name
        assert row[1].replace(",", "") == " x ".join(map(str, shape))
        assert (int(row[2]), int(row[3].replace(",", ""))) == (times, times * math.prod(shape))
        total += int(row[3].replace(",", ""))
    assert total == config.num_parameters
    assert re.search(rf"^all +{config.num_parameters:,}", out, re.M)
    assert re.search(r"^parameters +878,464", out, re.M)
    assert "bits per byte" in out  # the model card
    assert out.splitlines()[0] == "four sentences"


def test_info_as_json(call: Call, trained: Trained) -> None:
    values = call("info", trained.path, "--json").json
    config = trained.lm.config
    assert values["parameters"] == config.num_parameters
    assert values["config"] == config.to_dict()
    assert {name: tuple(shape) for name, shape in values["weights"].items()} == config.parameter_shapes()
    assert values["provenance"] == trained.lm.provenance


def test_markup_in_paths_is_text(call: Call, tmp_path: Path) -> None:
    write_text(tmp_path, name="[red]text.txt")
    out = tmp_path / "[bold]model :smile:"
    result = call("train", tmp_path / "[red]text.txt", "--out", out, *FLAGS)
    assert result.code == 0
    assert result.out == f'{out}\ntry: nextword "..." --model {shlex.quote(str(out))}\n'
    assert call("info", out).out.splitlines()[0] == "[bold]model :smile:"
    result = call("train", tmp_path / "[nothing]", "--out", out)
    assert result.err == f"error: no file is called {tmp_path}/[nothing]\n"


def test_a_model_is_trained_asked_and_drawn(call: Call, tmp_path: Path) -> None:
    text, model = write_text(tmp_path), tmp_path / "model"
    result = call("train", text, "-o", model, *FLAGS, "--seed", "4")
    assert result.code == 0
    lines = result.err.splitlines()
    assert lines[0] == "tiny: 864,640 parameters, 4 layers x 128, context 16, 300 tokens"
    assert lines[1].startswith(f"text: {int(len(TEXT) * 0.9):,} characters (")
    assert lines[1].endswith(f"{len(TEXT) - int(len(TEXT) * 0.9):,} held out")
    assert lines[2] == "batch 2, learning rate 0.004; Ctrl-C stops and keeps the best"
    about = nextword.load(model).provenance
    looks = about["validations"]
    best = min(looks, key=lambda look: look["nats_per_token"])
    assert lines[-1] == f"state {about['state']} after step 4"
    assert about["verdict"]["words"] in " ".join(result.err.split())
    assert lines[-2] == (
        f"held-out: {best['nats_per_character']:.4f} nats/character, {best['bits_per_byte']:.4f} bits/byte "
        f"(step {best['step']} of 4)"
    )
    assert sum(f"{look['bits_per_byte']:.4f} bits/byte, " in result.err for look in looks) == len(looks)
    assert "\x1b" not in result.err
    assert "" not in lines
    assert call("The cat", "-m", model).code == 0
    picture = tmp_path / "picture.png"
    assert call("figure", "나는 오늘", "-m", model, "--out", picture).out == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_training_as_json_is_the_provenance(call: Call, tmp_path: Path) -> None:
    result = call("train", write_text(tmp_path), "--out", tmp_path / "model", "--json", *FLAGS)
    values = json.loads(result.out)
    assert values == {"out": str(tmp_path / "model"), **nextword.load(tmp_path / "model").provenance}
    assert values["plan"]["seconds"] is None


def test_a_tenth_of_a_minute_is_a_bound_for_everything(call: Call, tmp_path: Path) -> None:
    small = ["--preset", "tiny", "--context-length", "16", "--batch-size", "2"]
    result = call("train", write_text(tmp_path), "--out", tmp_path / "model", "--minutes", "0.1", "--json", *small)
    values = json.loads(result.out)
    assert 1.0 <= values["plan"]["seconds"] < 6.0
    assert values["plan"]["steps"] is None
    assert nextword.load(tmp_path / "model").config.context_length == 16


def test_held_out_text_is_none_a_share_or_a_file(call: Call, tmp_path: Path) -> None:
    text, other = write_text(tmp_path), write_text(tmp_path, TEXT[:250], "other.txt")
    for value, characters in (("none", 0), ("0.25", len(TEXT) - int(len(TEXT) * 0.75)), (str(other), 250)):
        call("train", text, "--out", tmp_path / "model", "--validation", value, *FLAGS)
        assert nextword.load(tmp_path / "model").provenance["validation_characters"] == characters


def test_encoding_is_given_by_name(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "korean.txt"
    path.write_bytes(TEXT.encode("cp949"))
    result = call("train", path, "--out", tmp_path / "model", *FLAGS)
    assert result.code == 2
    assert result.errors[1] == "hint: it looks like cp949: --encoding cp949"
    assert call("train", path, "--out", tmp_path / "model", "--encoding", "cp949", *FLAGS).code == 0


def test_an_unfinished_run_goes_on_or_is_thrown_away_as_it_is_told(call: Call, tmp_path: Path) -> None:
    text, out = write_text(tmp_path), tmp_path / "model"
    (tmp_path / "model.checkpoint" / "step-00000002").mkdir(parents=True)
    result = call("train", text, "--out", out, *FLAGS)
    assert result.code == 2
    assert result.errors == [
        f"error: {out}.checkpoint holds a run that was stopped after 2 steps",
        "hint: --resume goes on with it, --restart throws it away",
    ]
    assert call("train", text, "--out", out, "--restart", *FLAGS).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]
    assert call("train", "--out", out, "--resume").errors == [
        f"error: there is no checkpoint at {out}.checkpoint: the model in {out} is finished",
        f"hint: to train it further: --from {out} and another --out; to begin anew, no --resume",
    ]


def test_a_model_is_tuned_with_an_adapter(call: Call, trained: Trained, tmp_path: Path) -> None:
    flags = ["--steps", "2", "--evaluate-every", "1", "--log", "tensorboard"]
    result = call(
        "train", trained.text, "-o", tmp_path / "model", "--from", trained.path, "--lora", "2", *flags, "--json"
    )
    plan = json.loads(result.out)["plan"]
    assert (plan["base"], plan["lora_rank"], plan["preset"]) == (trained.path, 2, "from")
    assert [look["step"] for look in json.loads(result.out)["validations"]] == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.adapter", "model.logs"]
