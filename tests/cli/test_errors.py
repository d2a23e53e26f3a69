"""Whatever is typed wrongly gives one `error:` line that names it, a hint where there is one, and exit code 2."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.errors import TextError
from tests.cli.conftest import Call
from tests.conftest import Trained

MODEL = "MODEL"  # stands for the trained model's path
TEXT = "TEXT"  # stands for its text's path

WRONG = [
    (["", "-m", MODEL], "the prompt is empty", "at least one word"),
    (["predict"], "no text was given", 'nextword predict "The children are playing in the"'),
    (["generate", "", "-m", MODEL], "the prompt is empty", "at least one word"),
    (["hi", "-m", "nowhere"], "there is no model at nowhere", "nextword train"),
    (["info", "nowhere"], "there is no model at nowhere", "nextword pull"),
    (["tokenize", "hi", "-m", "nowhere"], "there is no model at nowhere", "org/name"),
    (["hi", "-m", TEXT], "text.txt is no model file", "config.json"),
    (["hi", "-m", "m" * 300], "too long|there is no model", ""),
    (["hi " * 50, "-m", MODEL, "--overflow", "stop"], "the model's context holds 32", "shorten"),
    (["generate", "hi " * 50, "-m", MODEL, "--overflow", "stop"], "the model's context holds 32", "shorten"),
    (["hi", "-m", MODEL, "--overflow", "sideways"], "overflow is 'sideways', it must be slide or stop", ""),
    (["hi", "-m", MODEL, "--tpo", "3"], "unknown option --tpo", "did you mean --top?"),
    (["--tpo"], "unknown option --tpo", "did you mean --top?"),
    (["hi", "-m", MODEL, "--top", "abc"], "--top is 'abc', it must be a whole number", "nextword predict --help"),
    (["hi", "-m", MODEL, "--top", "0"], "top is 0, it must be at least 1", ""),
    (["hi", "-m", MODEL, "--top", "0", "--steps", "2"], "top is 0, it must be at least 1", ""),
    (["hi", "-m", MODEL, "--steps", "-1"], "steps is -1, it must be 0 or more", ""),
    (["hi", "-m", MODEL, "--words", "--top-k", "3"], "sampling flags show single tokens only", "leave out"),
    (["hi", "-m", MODEL, "--temperature", "-1"], "temperature is -1.0, it must be 0 or more", ""),
    (["hi", "-m", MODEL, "--top-p", "0"], "--top-p is 0.0, it must be above 0 and at most 1", ""),
    (["hi", "-m", MODEL, "--top-k", "0"], "--top-k is 0, it must be", ""),
    (["hi", "-m", MODEL, "--min-p", "2"], "--min-p is 2.0, it must be between 0 and 1", ""),
    (["generate", "hi", "-m", MODEL, "--temperature", "nan"], "temperature is nan", ""),
    (["generate", "hi", "-m", MODEL, "--seed", "-1"], "seed is -1, it must be 0 or more", ""),
    (["generate", "hi", "-m", MODEL, "-n", "-1"], "--max-new-tokens is -1, it must be 0 or more", ""),
    (["generate", "hi", "-m", MODEL, "--stop", ""], "a stop string is empty", ""),
    (["generate", "hi", "-m", MODEL, "--logprobs", "2"], "--logprobs is shown with --json only", "add --json"),
    (["hi", "-m", MODEL, "--device", "abacus"], "device 'abacus' is not available here", "available: cpu"),
    (["trian", "my.txt", "--out", "x"], "there is no command trian", 'did you mean "nextword train"?'),
    (["train"], "train needs --out", "nextword train my.txt --out my-model"),
    (["train", "--out", "x"], "no text was given", "nextword train my.txt --out my-model"),
    (["train", TEXT, "--out", "x", "--preset", "huge"], "there is no preset 'huge'", "tiny, small, medium, large"),
    (["train", TEXT, "--out", "x", "--minutes", "0"], "minutes is 0.0, it must be above 0 and finite", ""),
    (["train", TEXT, "--out", "x", "--minutes", "-1"], "minutes is -1.0", ""),
    (["train", TEXT, "--out", "x", "--minutes", "nan"], "minutes is nan", ""),
    (["train", TEXT, "--out", "x", "--validation", "1.5"], "validation is 1.5, a share lies", "0.1 holds out a tenth"),
    (["train", TEXT, "--out", "x", "--validation", "abc"], "abc does not exist", ""),
    (["train", "missing.txt", "--out", "x"], "missing.txt does not exist", ""),
    (["train", "a text, not a path " * 20, "--out", "x"], "a text was given where the name", "write it to a file"),
    (
        ["train", TEXT, "--out", "x", "--preset", "tiny", "--from", MODEL],
        "preset cannot be chosen with --from",
        "leave",
    ),
    (["train", TEXT, "--out", "x", "--minute", "3"], "unknown option --minute", "did you mean --minutes?"),
    (["train", TEXT, "--out", "x", "--lora", "4"], "LoRA adapts a model that is there", "name it with --from"),
    (["train", TEXT, "--out", "x", "--log", "wandb"], "log is 'wandb', it must be tensorboard", ""),
    (
        ["train", TEXT, "--out", "x", "--resume", "--restart"],
        "--resume goes on with a run, --restart begins anew: not both",
        "",
    ),
    (["train", TEXT, "--out", MODEL, "--from", MODEL], "the model that the run starts from", "another directory"),
    (["train", TEXT, "--out", TEXT], "text.txt exists and is not a model", "choose another directory"),
    (
        ["train", TEXT, "--out", "x", "--resume"],
        "there is no checkpoint at x.checkpoint",
        "leave out --resume",
    ),
    (["figure", "hi", "-m", MODEL, "--out", "x.bmp"], "unknown suffix '.bmp'", ".png, .svg, .pdf"),
    (["figure", "", "-m", MODEL], "the text is empty", ""),
    ([os.fsdecode(b"hi \xff"), "-m", MODEL], "the text holds a lone surrogate, U+DCFF, at character 3", "encoding"),
    (["tokenize", os.fsdecode(b"\xea\xb0"), "-m", MODEL], "a lone surrogate, U+DCEA, at character 0", "encoding"),
]


@pytest.mark.parametrize(
    ("arguments", "named", "hint"), WRONG, ids=[ascii(" ".join(arguments))[1:60] for arguments, _, _ in WRONG]
)
def test_one_line_says_what_is_wrong(
    call: Call,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    named: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*({MODEL: trained.path, TEXT: str(trained.text)}.get(word, word) for word in arguments))
    assert result.code == 2
    assert result.out == ""
    lines = result.err.splitlines()
    assert lines[0].startswith("error: ")
    assert any(part in lines[0] for part in (named.split("|") if "too long" in named else [named]))
    assert len(lines) == (2 if hint else 1)
    assert not hint or (lines[1].startswith("hint: ") and hint in lines[1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "damage", "named"),
    [
        ("model.safetensors", lambda data: data[:100_000], "model.safetensors"),
        ("model.safetensors", lambda data: b"", "model.safetensors"),
        ("config.json", lambda data: data[:50], "config.json cannot be read"),
        ("config.json", lambda data: b"[]", "config.json should hold a JSON object, found list"),
        ("nextword.json", lambda data: b'{"format_version": 99}', "format_version is 99"),
        ("tokenizer.json", lambda data: data[:-9], "tokenizer.json is no valid tokenizer"),
        ("README.md", lambda data: b"\xff", "README.md cannot be read"),
    ],
)
def test_a_damaged_model_is_one_line_too(
    call: Call, trained: Trained, tmp_path: Path, file: str, damage, named: str
) -> None:
    model = shutil.copytree(trained.path, tmp_path / "model")
    (model / file).write_bytes(damage((model / file).read_bytes()))
    for arguments in (["hi", "-m", model], ["info", model]):
        result = call(*arguments)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("error: ")
        assert named in result.err.splitlines()[0]
        assert len(result.err.splitlines()) == 1 + ("hint: " in result.err)


def test_a_missing_file_of_a_model_is_named(call: Call, trained: Trained, tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        model = shutil.copytree(trained.path, tmp_path / file)
        (model / file).unlink()
        result = call("hi", "-m", model)
        assert (result.code, len(result.errors)) == (2, len(result.err.splitlines()))
        assert re.search(f" {re.escape(str(model))}[ /].*{file}", result.errors[0])


def test_newlines_in_a_message_stay_on_its_line(call: Call, tmp_path: Path) -> None:
    result = call("info", tmp_path / "two\nlines")
    assert result.err.splitlines()[0] == f"error: there is no model at {tmp_path}/two lines"


def test_debug_shows_where_an_error_came_from(call: Call, trained: Trained) -> None:
    with pytest.raises(TextError, match="the prompt is empty"):
        run(["", "--debug", "-m", trained.path])
    assert call("hi", "--debug", "-m", trained.path, "--top", "1").code == 0
