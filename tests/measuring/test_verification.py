"""`nextword verify`: the same weights here and in transformers, from a directory and from a GGUF file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llama import modeling_llama

from nextword.engine import is_built
from nextword.errors import ConfigError, ModelFileError
from nextword.files import read_bundle, write_bundle
from nextword.files.gguf import write_gguf
from nextword.measuring.verification import PROMPTS, verify
from nextword.measuring.verification_file import (
    TOLERANCE,
    Comparison,
    Rounding,
    Verification,
    read_verification,
    verification_file,
    write_verification,
)
from tests.files.making import CONFIGS, change_json, open_safetensors, put_safetensors, random_bundle
from tests.oracle.numpy_gpt import rotary_frequencies

ROUNDED = Rounding("q8_0", 2000, 0.53, 1e-4, 0.99)
EQUAL = Comparison("transformers", "float32", "Korean", 9, True, (1e-6,), (2.0,), 1e-6, 1e-7, 20.0, 1.0)


@pytest.mark.parametrize("name", ["qwen3", "llama, scaled", "mistral", "qwen2, sliding above", "smollm3", "gpt2"])
def test_a_directory_is_equal_in_both_precisions(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS[name]))
    said: list[str] = []
    measured = verify(tmp_path / "model", watch=said.append)
    assert measured.equal
    passes = [f"transformers: {name}, {kind}" for kind in ("float32", "float64") for name in (*PROMPTS, "long")]
    assert said[: 1 + len(passes)] == ["transformers", *passes]
    rows = [row for row in measured.comparisons if row.against == "transformers"]
    here = ("float32", "native") if is_built() else ("float32",)
    assert sorted((row.precision, row.prompt) for row in rows) == sorted(
        (precision, prompt) for precision in (*here, "float64") for prompt in (*PROMPTS, "long")
    )
    assert {row.tokens for row in rows if row.prompt == "long"} == {64}  # the whole context
    for row in rows:
        assert row.same_tokens
        assert row.logits_mean <= row.logits_max < 5e-5
        assert row.largest_logit > 0.5
        assert row.top1 == 1.0
        if row.precision == "native":  # it shows no residual stream
            continue
        assert len(row.residual) == len(row.largest_residual) == CONFIGS[name].num_layers + 1
        # transformers rounds norms and angles to float32 in both: the next test has the proof, and what is left of it.
        assert all(error < 1e-5 * size for error, size in zip(row.residual, row.largest_residual, strict=True))
    assert measured.worst.precision == "float32"


def test_what_the_residual_stream_differs_by_is_transformers_rounding_of_norms_and_angles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream that differed most, by 5.1e-6 of its size: with these two in float64 nothing is left of it."""
    config = CONFIGS["llama, scaled"]
    frequencies = torch.tensor(rotary_frequencies(config))

    def normalized(self: Any, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * scaled

    def turned(_: Any, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = (position_ids[..., None].double() * frequencies).repeat(1, 1, 2)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    monkeypatch.setattr(modeling_llama.LlamaRMSNorm, "forward", normalized)
    monkeypatch.setattr(modeling_llama.LlamaRotaryEmbedding, "forward", turned)
    write_bundle(tmp_path / "model", random_bundle(config))
    rows = [row for row in verify(tmp_path / "model").comparisons if row.precision == "float64"]
    assert len(rows) == len(PROMPTS) + 1
    for row in rows:
        assert row.against == "transformers"
        assert all(error < 1e-13 * size for error, size in zip(row.residual, row.largest_residual, strict=True))
        assert row.logits_max < 1e-12


@pytest.mark.parametrize(("name", "dtype"), [("llama", "q8_0"), ("qwen3", "f16"), ("gpt2", "f32")])
def test_a_gguf_file_is_equal_to_what_transformers_reads_from_it(tmp_path: Path, name: str, dtype: str) -> None:
    write_gguf(tmp_path / "model.gguf", random_bundle(CONFIGS[name]), dtype)
    measured = verify(tmp_path / "model.gguf")
    assert measured.equal
    assert measured.worst.logits_max < 5e-5


def test_a_file_that_transformers_cannot_read_is_refused_with_the_way_round(tmp_path: Path) -> None:
    write_gguf(
        tmp_path / "model.gguf", random_bundle(CONFIGS["smollm3"].replace(num_layers=4, no_rope_layers=(3,))), "f32"
    )
    with pytest.raises(ConfigError, match=r"transformers cannot read .*smollm3") as caught:
        verify(tmp_path / "model.gguf")
    assert "nextword convert" in caught.value.hint


def test_weights_that_transformers_would_draw_at_random_are_no_yardstick(tmp_path: Path) -> None:
    """torch.compile puts `_orig_mod.` before every name: it opens here, and transformers finds nothing."""
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["llama"]))
    header, data = open_safetensors(tmp_path / "model/model.safetensors")
    wrapped = {name if name == "__metadata__" else f"_orig_mod.{name}": entry for name, entry in header.items()}
    put_safetensors(tmp_path / "model/model.safetensors", wrapped, data)
    with pytest.raises(ConfigError, match=r"it does not find lm_head\.weight and would draw it at random") as caught:
        verify(tmp_path / "model")
    assert "nextword convert" in caught.value.hint
    write_bundle(tmp_path / "converted", read_bundle(tmp_path / "model"))
    assert verify(tmp_path / "converted").equal


def test_a_model_that_transformers_does_not_know_is_refused_with_the_field(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["lesson"]))
    with pytest.raises(ConfigError, match=r"no architecture with GPTConfig\.residual = 'normalized'"):
        verify(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        ({}, True),
        ({"logits_max": TOLERANCE * 20.0}, True),
        ({"logits_max": TOLERANCE * 20.1}, False),
        ({"logits_max": TOLERANCE * 1.1, "largest_logit": 0.1}, False),
        ({"same_tokens": False}, False),
        ({"precision": "float64", "logits_max": 1.0}, False),
        ({"against": "llama.cpp", "logits_max": 1.0, "same_tokens": False}, True),
    ],
)
def test_equal_means_the_same_tokens_and_logits_up_to_rounding(change: dict[str, object], equal: bool) -> None:
    row = replace(EQUAL, **change)  # type: ignore[arg-type]
    assert Verification({}, (EQUAL, row)).equal is equal


def test_the_worst_is_the_one_that_is_furthest_apart_for_its_size() -> None:
    large, small = replace(EQUAL, logits_max=1e-4), replace(EQUAL, logits_max=2e-5, largest_logit=2.0, prompt="code")
    assert Verification({}, (large, small)).worst is small


def test_what_was_measured_is_kept_beside_the_model_until_its_weights_change(tmp_path: Path) -> None:
    directory, file = tmp_path / "model", tmp_path / "model.gguf"
    write_bundle(directory, random_bundle(CONFIGS["llama"]))
    write_gguf(file, random_bundle(CONFIGS["llama"]), "f32")
    assert verification_file(directory) == directory / "verification.json"
    assert verification_file(file) == tmp_path / "model.gguf.verification.json"
    for model in (directory, file):
        assert read_verification(model) is None
        write_verification(model, Verification({"a": "1"}, (EQUAL,), "why"))
        assert read_verification(model) == Verification({"a": "1"}, (EQUAL,), "why")
    write_bundle(tmp_path / "other", random_bundle(CONFIGS["llama"], seed=2))
    (tmp_path / "other/model.safetensors").replace(directory / "model.safetensors")
    assert read_verification(directory) is None
    write_gguf(file, random_bundle(CONFIGS["llama"], seed=2), "f32")
    assert read_verification(file) is None


def test_a_verified_model_can_be_written_over(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["llama"]))
    write_verification(tmp_path / "model", Verification({}, ()))
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["llama"]))
    assert not verification_file(tmp_path / "model").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"comparisons": None},
        {"comparisons": [5]},
        {"comparisons": [{}]},
        {"comparisons": [{**EQUAL.__dict__, "logits_max": "x"}]},
        {"comparisons": [{**EQUAL.__dict__, "residual": []}]},
        {"comparisons": [{**EQUAL.__dict__, "tokens": 1e400}]},
        {"versions": []},
        {"left_out": ...},
    ],
)
def test_a_measurement_that_is_damaged_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["llama"]))
    write_verification(tmp_path / "model", Verification({"a": "1"}, (EQUAL,)))
    change_json(verification_file(tmp_path / "model"), **change)
    with pytest.raises(ModelFileError, match=r"verification\.json is damaged") as caught:
        read_verification(tmp_path / "model")
    assert "nextword verify" in caught.value.hint


def test_roundings_are_kept_with_the_rest() -> None:
    measured = Verification({"torch": "2"}, (EQUAL,), "", (ROUNDED,))
    assert Verification.from_json(measured.to_json(), "here") == measured


def test_roundings_that_were_kept_under_old_words_have_those_of_now() -> None:
    measured = Verification({"torch": "2"}, (EQUAL,), "", (ROUNDED,))
    for old, new in (("auto", "auto"), ("f32", "float32"), ("bf16", "bfloat16"), ("q8", "q8_0"), ("q4", "q4_1")):
        values = measured.to_json()
        values["roundings"][0]["precision"] = old
        assert Verification.from_json(values, "here").roundings == (replace(ROUNDED, precision=new),)
