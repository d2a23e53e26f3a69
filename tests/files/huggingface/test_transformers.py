"""What is written here opens in transformers unexported, and what transformers writes is read here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

import nextword
from nextword.files import read_bundle, write_bundle
from tests.files.huggingface.theirs import PROMPTS, THEIRS, greedy, saved_by_transformers, their_logits
from tests.files.making import BPE, CONFIGS, LLAMA3, TEXTS, change_json, logits_of, random_bundle

IDS = [(7 * i + 3) % 300 for i in range(40)]
TOLERANCE = 5e-5


def _difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    assert a.shape == b.shape
    assert np.std(a) > 0.1  # a model that says nothing would agree with anything
    return float(np.abs(a - b).max())


# -- ours, read there ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "lesson"])
def test_a_bundle_opens_in_transformers_with_the_same_logits(tmp_path: Path, name: str) -> None:
    bundle = random_bundle(CONFIGS[name])
    write_bundle(tmp_path / "model", bundle)
    theirs, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert sum(p.numel() for p in theirs.parameters()) == CONFIGS[name].num_parameters
    assert _difference(their_logits(theirs, IDS), logits_of(bundle, IDS)) < TOLERANCE


@pytest.mark.parametrize("name", ["qwen3", "llama", "gpt2"])
def test_a_bundles_tokenizer_opens_in_transformers_with_the_same_ids(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS[name]))
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in TEXTS:
        ids = theirs(text)["input_ids"]  # as anyone would call it, special tokens and all
        assert ids == BPE.encode(text), text
        assert theirs.decode(ids) == text
    assert (theirs.bos_token_id, theirs.eos_token_id) == (0, 0)


def test_the_element_type_is_read_from_the_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["qwen3"], torch.bfloat16))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert theirs.dtype == torch.bfloat16
    assert theirs.config.eos_token_id == 0


# -- theirs, read here ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", THEIRS)
def test_what_transformers_saves_reads_back_with_the_same_logits(tmp_path: Path, name: str) -> None:
    model = saved_by_transformers(tmp_path, name)
    ours = logits_of(read_bundle(tmp_path), IDS)
    assert _difference(ours, their_logits(model, IDS)) < TOLERANCE


@pytest.mark.parametrize("name", THEIRS)
def test_fifty_greedy_tokens_are_the_same(tmp_path: Path, name: str) -> None:
    """Fifty, or until the context of 64 is full, or a token that ends the text."""
    model = saved_by_transformers(tmp_path, name)
    lm = nextword.load(tmp_path)
    for prompt in PROMPTS:
        written = lm.generate(prompt, 50, temperature=0.0, overflow="stop")
        expected, ended = greedy(model, written.prompt_token_ids, lm.tokenizer.end_ids)
        assert list(written.token_ids) == expected, prompt
        assert (written.finish_reason == "stop") == ended


def test_weights_in_several_files_give_the_same_logits(tmp_path: Path) -> None:
    model = saved_by_transformers(tmp_path / "one", "qwen2")
    model.save_pretrained(tmp_path / "several", max_shard_size="20KB")
    (tmp_path / "several/tokenizer.json").write_text(BPE.to_str(), encoding="utf-8")
    assert len(list((tmp_path / "several").glob("model-*.safetensors"))) > 2
    assert _difference(logits_of(read_bundle(tmp_path / "several"), IDS), their_logits(model, IDS)) < TOLERANCE


@pytest.mark.parametrize("name", [name for name in THEIRS if not name.startswith("gpt2")])
@pytest.mark.parametrize("kind", ["rope_type", "type"])
def test_the_spelling_of_transformers_4_reads_back_with_the_same_logits(tmp_path: Path, name: str, kind: str) -> None:
    model = saved_by_transformers(tmp_path, name)
    values = json.loads((tmp_path / "config.json").read_text())
    rope = values["rope_parameters"]
    sliding = {"layer_types": ...} if not name.endswith(("sliding", "biased")) else {}
    scaling = {kind: rope["rope_type"], **{k: v for k, v in rope.items() if k not in ("rope_type", "rope_theta")}}
    change_json(
        tmp_path / "config.json",
        rope_parameters=...,
        rope_theta=rope["rope_theta"],
        rope_scaling=None if rope["rope_type"] == "default" else scaling,
        dtype=...,
        torch_dtype="float32",
        transformers_version="4.44.0",
        **sliding,
    )
    bundle = read_bundle(tmp_path)
    assert (bundle.config.rope_scaling is None) == (rope["rope_type"] == "default")
    assert _difference(logits_of(bundle, IDS), their_logits(model, IDS)) < TOLERANCE


def test_the_scaling_of_llama3_is_not_passed_over(tmp_path: Path) -> None:
    model = saved_by_transformers(tmp_path, "llama, scaled")
    values = json.loads((tmp_path / "config.json").read_text())
    change_json(tmp_path / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    assert _difference(logits_of(read_bundle(tmp_path), IDS), their_logits(model, IDS)) > 0.01
    change_json(tmp_path / "config.json", rope_parameters=values["rope_parameters"])
    assert dict(read_bundle(tmp_path).config.rope_scaling or {}) == LLAMA3


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_half_precision_weights_of_transformers_are_read_bit_for_bit(tmp_path: Path, name: str) -> None:
    model = saved_by_transformers(tmp_path, name, torch.bfloat16)
    bundle = read_bundle(tmp_path)
    assert {tensor.dtype for tensor in bundle.tensors.values()} == {"BF16"}
    expected = model.get_input_embeddings().weight.detach().contiguous().view(torch.uint8).numpy().tobytes()
    assert bytes(bundle.tensors["token_embedding.weight"].data) == expected


@pytest.mark.parametrize("name", THEIRS)
def test_there_and_back_again_the_weights_are_the_same(tmp_path: Path, name: str) -> None:
    saved_by_transformers(tmp_path / "theirs", name)
    write_bundle(tmp_path / "ours", read_bundle(tmp_path / "theirs"))
    kind, _ = THEIRS[name]
    before, after = (kind.from_pretrained(tmp_path / where).state_dict() for where in ("theirs", "ours"))
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert torch.equal(tensor, after[key]), key
