"""`--precision`, `--activations`, `--cache`, `--device` on commands that load: they reach it, or nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nextword.loading
import nextword.measuring.peers
from nextword import LanguageModel
from nextword.measuring.cloze import read_openings
from nextword.settings import LoadingSettings
from tests.cli.conftest import Call

TEXT = "To be, or not to"
LOADERS = [
    (nextword.loading, ["predict", TEXT]),
    (nextword.loading, ["generate", TEXT, "-n", "2", "--seed", "0"]),
    (nextword.loading, ["chat", "--message", TEXT]),
    (nextword.loading, ["look", TEXT]),
    (nextword.loading, ["look", TEXT, "--open"]),
    (nextword.loading, ["figure", TEXT, "--kind", "next"]),
    (nextword.loading, ["cloze"]),
    (nextword.loading, ["serve"]),
    (nextword.measuring.peers, ["bench"]),
]


class LoadedError(Exception):
    """That the model was loaded is all that is asked."""


@pytest.fixture(params=LOADERS, ids=lambda one: " ".join(one[1]).replace(TEXT, "TEXT"))
def loaded(request: pytest.FixtureRequest, call: Call, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command, called with more words, asks `load` for."""
    module, words = request.param

    def load(source: Any, **settings: Any) -> LanguageModel:
        asked.append(LoadingSettings(**settings))
        raise LoadedError

    asked: list[LoadingSettings] = []
    monkeypatch.setattr(module, "load", load)

    def called(*flags: str) -> LoadingSettings:
        with pytest.raises(LoadedError):
            call(*words, *flags)
        return asked.pop()

    return called


def test_both_reach_the_model(loaded: Any) -> None:
    assert (loaded().precision, loaded().device) == ("auto", "auto")
    assert loaded("--precision", "q8_0").precision == loaded("--precision=Q8_0").precision == "q8_0"
    assert loaded("--device", "cpu", "--precision", "bfloat16").precision == "bfloat16"


def test_activations_reach_the_model(loaded: Any) -> None:
    assert loaded().activations is None
    assert loaded("--activations", "int8").activations == loaded("--activations=int8").activations == "int8"


def test_a_cache_reaches_the_model(loaded: Any) -> None:
    assert loaded().cache is None
    assert loaded("--cache", "float16").cache == loaded("--cache=float16").cache == "float16"


def test_a_device_reaches_the_model(loaded: Any, request: pytest.FixtureRequest) -> None:
    if "bench" not in request.node.name:  # the native engine alone, below
        assert loaded("--device", "cuda:1").device == "cuda:1"


@pytest.mark.parametrize(("old", "new"), [("f32", "float32"), ("bf16", "bfloat16"), ("q8", "q8_0"), ("Q4", "q4_1")])
def test_an_old_word_is_answered_with_a_note_and_the_same_numbers(call: Call, old: str, new: str) -> None:
    found = call("predict", TEXT, "--json", "--precision", old)
    assert (found.code, found.err) == (0, f"note: --precision {old} is --precision {new} now\n")
    assert found.out == call("predict", TEXT, "--json", "--precision", new).out


def test_rounding_changes_what_is_measured(call: Call, tmp_path: Path) -> None:
    openings = tmp_path / "mine.tsv"
    openings.write_text(f"play\t{TEXT}\tbe\n", encoding="utf-8")
    assert len(read_openings(openings)) == 1
    whole, rounded = (
        call("cloze", "nextword", openings, "--json", *flags).json for flags in ([], ["--precision", "q4_1"])
    )
    assert whole["groups"] != rounded["groups"]


def test_bench_runs_on_the_cpu_and_leaves_out_who_has_other_weights(call: Call) -> None:
    refused = call("bench", "--device", "cuda")
    assert refused.errors == [
        "error: --device is cuda, bench measures the native backend, which runs on the CPU",
        "hint: leave out --device",
    ]
    words = ["bench", "--rounds", "1", "-n", "2", "--prompt", "8", "--device", "cpu", "--json"]
    found = call(*words, "--precision", "q8_0").json
    assert [speed["engine"] for speed in found["speeds"]] == ["nextword"]
    assert found["left_out"] == [
        f"{name}: has the file's weights, not those in q8_0" for name in ("transformers", "llama.cpp")
    ]
    as_they_are = call(*words, "--no-peers").json
    assert as_they_are["left_out"] == []
    assert found["weight_bytes"] < 0.6 * as_they_are["weight_bytes"]  # 34 bytes a block of 32, where there were 64


def test_verify_says_why_it_takes_neither(call: Call) -> None:
    assert "takes no --precision" in " ".join(call("verify", "--help").out.split())
