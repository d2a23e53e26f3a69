"""Weights as other programs leave them: base models, wrappers, foreign heads, an output layer that is not tied."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import nextword
from nextword.errors import ModelFileError
from nextword.files import read_bundle, read_model, write_bundle
from nextword.files.export import export_model
from tests.files.huggingface.theirs import saved_by_transformers, their_logits
from tests.files.making import BPE, change_json, logits_of, refusal

IDS = [(7 * i + 3) % 300 for i in range(40)]
TOLERANCE = 5e-5
TIED = ["gpt2", "qwen3, tied", "llama, scaled"]


def _rewrite(path: Path, change: Any) -> None:
    """Puts other tensors into a saved model."""
    file = path / "model.safetensors"
    tensors = change(load_file(file))
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})


def _renamed(path: Path, rename: Any) -> None:
    _rewrite(path, lambda tensors: {rename(name): tensor for name, tensor in tensors.items()})


def _hint(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_bundle(path)
    assert len(caught.value.hint.splitlines()) == 1
    return caught.value.hint


# -- a base model, and constants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TIED)
def test_a_base_model_saved_without_its_prefix_is_the_same_model(tmp_path: Path, name: str) -> None:
    model = saved_by_transformers(tmp_path, name)
    model.base_model.save_pretrained(tmp_path)  # as AutoModel, sentence-transformers and embedding models are saved
    assert all(not key.startswith(("model.", "transformer.")) for key in load_file(tmp_path / "model.safetensors"))
    bundle = read_bundle(tmp_path)
    assert np.abs(logits_of(bundle, IDS) - their_logits(model, IDS)).max() < TOLERANCE
    made_for = json.dumps([type(model.base_model).__name__])
    said = f"config.json: made for {made_for}; computed as transformers' {type(model).__name__}"
    assert bundle.notes == [said]


def test_a_base_model_without_an_output_layer_is_refused_as_it_predicts_nothing(tmp_path: Path) -> None:
    model = saved_by_transformers(tmp_path, "llama")
    model.base_model.save_pretrained(tmp_path)
    assert "tensor lm_head.weight, the output layer, is missing, and tie_word_embeddings is false" in refusal(tmp_path)
    assert "save a LlamaForCausalLM" in _hint(tmp_path)
    _, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == {"lm_head.weight"}  # they draw it at random
    change_json(tmp_path / "config.json", tie_word_embeddings=True)  # the hint, followed
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert np.abs(logits_of(read_bundle(tmp_path), IDS) - their_logits(theirs, IDS)).max() < TOLERANCE


@pytest.mark.parametrize("prefixed", [True, False])
def test_causal_masks_and_rotary_tables_of_old_files_are_passed_over(tmp_path: Path, prefixed: bool) -> None:
    mask = torch.tril(torch.ones(64, 64, dtype=torch.bool))[None, None]
    extra = {
        "gpt2": {
            "h.0.attn.bias": mask,
            "h.1.attn.bias": mask.to(torch.uint8),
            "h.0.attn.masked_bias": torch.tensor(-1e4),
        },
        "qwen3, tied": {
            "layers.0.self_attn.rotary_emb.inv_freq": torch.full((4,), 7.0),
            "rotary_emb.inv_freq": torch.full((4,), 7.0),
            "layers.1.self_attn.rotary_emb.cos_cached": torch.ones(1, 1, 64, 8),
        },
    }
    for name, constants in extra.items():
        model = saved_by_transformers(tmp_path / name, name)
        base = "transformer." if name == "gpt2" else "model."

        def add(tensors: dict[str, Any], base: str = base, constants: dict[str, Any] = constants) -> dict[str, Any]:
            both = {**tensors, **{base + key: tensor for key, tensor in constants.items()}}
            return both if prefixed else {key.removeprefix(base): tensor for key, tensor in both.items()}

        _rewrite(tmp_path / name, add)
        bundle = read_bundle(tmp_path / name)
        assert np.abs(logits_of(bundle, IDS) - their_logits(model, IDS)).max() < TOLERANCE
        assert bundle.notes == []


# -- wrappers ------------------------------------------------------------------------------------------------------

WRAPPED = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "blocks compiled one by one": lambda name: re.sub(r"(layers|h)\.(\d+)\.", r"\1.\2._orig_mod.", name),
    "DistributedDataParallel": lambda name: f"module.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "peft, merged": lambda name: f"base_model.model.{name}",
    "FSDP": lambda name: re.sub(r"^(\w+)\.", r"_fsdp_wrapped_module.\1._fsdp_wrapped_module.", name),
    "checkpointed blocks": lambda name: re.sub(r"(layers|h)\.(\d+)\.", r"\1.\2._checkpoint_wrapped_module.", name),
    "Lightning": lambda name: f"model.model.{name}",
    "the text part of a model of pictures": lambda name: f"language_model.{name}",
    "the same, as transformers 5 nests it": lambda name: name.replace("model.", "model.language_model."),
    "somebody's own": lambda name: f"student.net.{name}",
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_what_training_programs_put_before_names_is_taken_away(tmp_path: Path, name: str, wrapper: str) -> None:
    model = saved_by_transformers(tmp_path, name)
    _renamed(tmp_path, WRAPPED[wrapper])
    assert np.abs(logits_of(read_bundle(tmp_path), IDS) - their_logits(model, IDS)).max() < TOLERANCE


@pytest.mark.parametrize("place", ["model.safetensors", "in a file of its own"])
def test_a_value_head_beside_the_model_is_left_out_with_a_note(tmp_path: Path, place: str) -> None:
    model = saved_by_transformers(tmp_path, "gpt2")
    head = {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.ones(1)}
    if place == "model.safetensors":
        _rewrite(tmp_path, lambda tensors: {**tensors, **head})
    else:
        keys = list(load_file(tmp_path / "model.safetensors"))
        (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
        save_file(head, tmp_path / "model-00002-of-00002.safetensors")
        places = {**dict.fromkeys(keys, "model-00001-of-00002.safetensors"),
                  **dict.fromkeys(head, "model-00002-of-00002.safetensors")}  # fmt: skip
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    lm = nextword.load(tmp_path)
    assert lm.notes == ("weights: v_head.* is left out: TRL's value head, which predicts no token here",)
    assert np.abs(logits_of(read_bundle(tmp_path), IDS) - their_logits(model, IDS)).max() < TOLERANCE


def test_what_trlx_keeps_beside_its_model_is_left_out_with_a_note(tmp_path: Path) -> None:
    """`base_model.` before the model, a frozen copy of its upper layers and a value head beside it."""
    model = saved_by_transformers(tmp_path, "gpt2, untied")
    tensors = load_file(tmp_path / "model.safetensors")
    upper = {name.replace("transformer.h.1", "frozen_head.decoder_blocks.0"): -t for name, t in tensors.items()
             if name.startswith("transformer.h.1")}  # fmt: skip
    upper |= {"frozen_head.lm_head.weight": -tensors["lm_head.weight"], "base_model.v_head.0.weight": torch.ones(2, 2)}
    _rewrite(tmp_path, lambda tensors: {**{f"base_model.{name}": t for name, t in tensors.items()}, **upper})
    bundle = read_bundle(tmp_path)
    said = {note.partition(" is left out")[0] for note in bundle.notes}
    assert said == {"weights: frozen_head.*", "weights: v_head.*"}
    assert np.abs(logits_of(bundle, IDS) - their_logits(model, IDS)).max() < TOLERANCE


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", "merge_and_unload"),
        ("model.layers.0.self_attn.q_proj.lora_B.weight", "merge_and_unload"),
        ("lm_head.modules_to_save.default.weight", "merge_and_unload"),
        ("score.weight", "classification"),
        ("model.score.weight", "classification"),
        ("classifier.out_proj.weight", "classification"),
        ("vision_tower.encoder.layers.0.mlp.fc1.weight", "pictures"),
        ("model.visual.blocks.0.attn.qkv.weight", "pictures"),
        ("model.layers.0.self_attn.q_proj.scales", "quantised"),
        ("_flat_param", "FSDP"),
    ],
)
def test_what_stands_beside_the_model_is_named_with_what_to_do(tmp_path: Path, extra: str, said: str) -> None:
    saved_by_transformers(tmp_path, "llama")
    _rewrite(tmp_path, lambda tensors: {**tensors, extra: torch.ones(2, 2)})
    assert f"tensor {extra!r} is not part of this architecture" in refusal(tmp_path)
    assert said in _hint(tmp_path)


def test_two_models_in_one_file_are_refused_by_name(tmp_path: Path) -> None:
    saved_by_transformers(tmp_path, "llama")
    _rewrite(tmp_path, lambda t: {f"{who}.{name}": w for who in ("student", "teacher") for name, w in t.items()})
    assert "holds 2 models" in refusal(tmp_path)
    assert "student.model.*, teacher.model.*" in _hint(tmp_path)


def test_a_weight_under_two_wrappings_is_refused(tmp_path: Path) -> None:
    saved_by_transformers(tmp_path, "llama")
    _rewrite(tmp_path, lambda t: {**t, "model._orig_mod.norm.weight": t["model.norm.weight"]})
    assert "is model.norm.weight a second time" in refusal(tmp_path)


def test_names_of_no_such_model_are_shown(tmp_path: Path) -> None:
    saved_by_transformers(tmp_path, "llama")
    save_file({"encoder.0.w": torch.ones(2, 2), "한국어": torch.ones(1), "x": torch.ones(1), "y": torch.ones(1)},
              tmp_path / "model.safetensors")  # fmt: skip
    change_json(tmp_path / "config.json", num_hidden_layers=1)
    assert "no tensor has a name that a llama model has" in refusal(tmp_path)
    assert _hint(tmp_path) == "found: encoder.0.w, x, y, ..."
    save_file({"\x1b[2J\n": torch.ones(1), "y": torch.ones(1)}, tmp_path / "model.safetensors")
    assert _hint(tmp_path) == r"found: '\x1b[2J\n', y, ..."


# -- the output layer ----------------------------------------------------------------------------------------------


def _with_a_head(path: Path, name: str, several: bool = False) -> Any:
    """A tied model whose file holds another output layer too, and what transformers makes of it."""
    saved_by_transformers(path, name)
    generator = torch.Generator().manual_seed(5)
    head = 0.2 * torch.randn(300, 32, generator=generator)
    _rewrite(path, lambda tensors: {**tensors, "lm_head.weight": head})
    theirs = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    if several:
        tensors = load_file(path / "model.safetensors")
        (path / "model.safetensors").unlink()
        files = {key: f"model-0000{1 + (key == 'lm_head.weight')}-of-00002.safetensors" for key in tensors}
        for file in set(files.values()):
            save_file({key: tensor for key, tensor in tensors.items() if files[key] == file}, path / file)
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return theirs


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", TIED)
def test_an_output_layer_that_differs_is_taken_though_the_config_ties_it(
    tmp_path: Path, name: str, several: bool
) -> None:
    theirs = _with_a_head(tmp_path, name, several)
    bundle = read_bundle(tmp_path)
    assert bundle.config.tie_embeddings is False
    assert [note for note in bundle.notes if note.startswith("weights: lm_head.weight is the output layer")]
    assert np.abs(logits_of(bundle, IDS) - their_logits(theirs, IDS)).max() < TOLERANCE
    write_bundle(tmp_path / "again", bundle)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32)
    assert np.abs(their_logits(again, IDS) - their_logits(theirs, IDS)).max() < TOLERANCE
    gguf = read_model(export_model(bundle, tmp_path / "model.gguf", "gguf"))  # holds output.weight
    assert gguf.config.tie_embeddings is False
    assert np.abs(logits_of(gguf, IDS) - their_logits(theirs, IDS)).max() < TOLERANCE


@pytest.mark.parametrize("name", TIED)
def test_the_same_matrix_twice_stays_tied_and_nothing_is_said(tmp_path: Path, name: str) -> None:
    saved_by_transformers(tmp_path, name)
    embedding = "transformer.wte.weight" if name == "gpt2" else "model.embed_tokens.weight"
    _rewrite(tmp_path, lambda tensors: {**tensors, "lm_head.weight": tensors[embedding]})
    bundle = read_bundle(tmp_path)
    assert bundle.config.tie_embeddings is True
    assert bundle.notes == []


@pytest.mark.parametrize("name", TIED)
def test_of_a_tied_pair_either_one_is_enough(tmp_path: Path, name: str) -> None:
    model = saved_by_transformers(tmp_path, name)
    embedding = "transformer.wte.weight" if name == "gpt2" else "model.embed_tokens.weight"
    _renamed(tmp_path, lambda key: "lm_head.weight" if key == embedding else key)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert np.abs(their_logits(theirs, IDS) - their_logits(model, IDS)).max() < TOLERANCE
    bundle = read_bundle(tmp_path)
    assert bundle.config.tie_embeddings is True
    assert np.abs(logits_of(bundle, IDS) - their_logits(model, IDS)).max() < TOLERANCE


# -- tokens without a row ------------------------------------------------------------------------------------------


def test_tokens_added_without_resizing_the_model_are_named_with_the_way_out(tmp_path: Path) -> None:
    saved_by_transformers(tmp_path, "gpt2")
    values = json.loads(BPE.to_str())
    for number, token in enumerate(["[PAD]", "<|한국어|>"]):
        values["added_tokens"].append({**values["added_tokens"][0], "id": 300 + number, "content": token})
    (tmp_path / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    assert "the tokenizer has 302 tokens, the model 300" in refusal(tmp_path)
    assert _hint(tmp_path).startswith("added without a row in the model: '[PAD]', '<|한국어|>'; in transformers, ")
    assert "model.resize_token_embeddings(len(tokenizer))" in _hint(tmp_path)
