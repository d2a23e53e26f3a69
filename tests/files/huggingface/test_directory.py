"""A model directory of Hugging Face's layout: weights in several files, marks, chat template, recommended settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import ModelFileError
from nextword.files import Bundle, read_bundle, write_bundle
from nextword.files.opening import read_model
from tests.files.making import (
    BPE,
    CONFIGS,
    change_json,
    logits_of,
    minimal_bundle,
    random_bundle,
    refusal,
    write_in_several_files,
    write_index,
)

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}안녕"


def _in_several_files(path: Path) -> dict[str, str]:
    return write_in_several_files(path, 3)


# -- weights in several files --------------------------------------------------------------------------------------


def test_weights_in_several_files_are_one_model(tmp_path: Path) -> None:
    _in_several_files(tmp_path / "model")
    assert logits_of(read_bundle(tmp_path / "model"), [1, 2]).tobytes() == logits_of(minimal_bundle(), [1, 2]).tobytes()


def test_one_file_is_taken_before_anwrite_index(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    write_index(tmp_path / "model", {"x": "gone.safetensors"})
    assert read_bundle(tmp_path / "model").config == minimal_bundle().config


def test_a_file_of_several_that_is_missing_is_named(tmp_path: Path) -> None:
    _in_several_files(tmp_path / "model")
    (tmp_path / "model/model-00002-of-00003.safetensors").unlink()
    assert "model-00002-of-00003.safetensors cannot be read: No such file" in refusal(tmp_path / "model")


def test_a_tensor_that_is_not_where_the_index_says_is_named(tmp_path: Path) -> None:
    places = _in_several_files(tmp_path / "model")
    first, last = "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"
    write_index(tmp_path / "model", {**places, "lm_head.extra": first})
    assert f"index.json: tensor 'lm_head.extra' is missing in {first}" in refusal(tmp_path / "model")
    moved = next(name for name, file in places.items() if file == last)
    write_index(tmp_path / "model", {name: file for name, file in places.items() if name != moved})
    assert f"index.json: tensor {moved!r} is not listed for {last}" in refusal(tmp_path / "model")


def test_a_whole_file_that_the_index_leaves_out_is_missed(tmp_path: Path) -> None:
    places = _in_several_files(tmp_path / "model")
    write_index(tmp_path / "model", {name: file for name, file in places.items() if "00003-of" not in file})
    assert "is missing" in refusal(tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["../elsewhere.safetensors", "/etc/passwd", "a/b.safetensors", "model.bin", "", 5, None]
)
def test_an_index_cannot_point_elsewhere(tmp_path: Path, name: object) -> None:
    places = _in_several_files(tmp_path / "model")
    write_index(tmp_path / "model", {**places, "x": name})
    assert "is not the name of a safetensors file beside it" in refusal(tmp_path / "model")


@pytest.mark.parametrize("places", [None, [], {}, "x", 5])
def test_an_index_without_places_is_refused(tmp_path: Path, places: object) -> None:
    _in_several_files(tmp_path / "model")
    write_index(tmp_path / "model", places)
    assert "weight_map should be a JSON object" in refusal(tmp_path / "model")


# -- pickles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "last.ckpt"])
def test_pickles_are_refused_with_the_reason_and_the_way_out(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model" / name)
    for path in (tmp_path / "model", tmp_path / "model" / name):
        with pytest.raises(ModelFileError) as caught:
            read_model(path)
        assert name in caught.value.message
        assert "which can run code when loaded" in caught.value.message
        assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("name", ["notes.txt", "model.safetensors", "model.onnx"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(ModelFileError, match="is no model file"):
        read_model(tmp_path / name)


# -- marks, template, recommended settings -------------------------------------------------------------------------


def _with_files(path: Path, **files: Any) -> Bundle:
    """A model directory in which each named JSON file is replaced (or, as None, taken away)."""
    write_bundle(path, random_bundle(CONFIGS["llama"]))
    for name, values in files.items():
        file = path / f"{name}.json"
        file.unlink(missing_ok=True)
        if values is not None:
            file.write_text(json.dumps(values), encoding="utf-8")
    return read_bundle(path)


def test_every_token_that_ends_a_text_is_known(tmp_path: Path) -> None:
    tokenizer = _with_files(tmp_path / "a", generation_config={"eos_token_id": [0, 7, 9]}).tokenizer
    assert (tokenizer.eos_id, tokenizer.end_ids) == (0, {0, 7, 9})
    assert _with_files(tmp_path / "b", generation_config={"eos_token_id": 7}).tokenizer.end_ids == {0, 7}
    assert _with_files(tmp_path / "c", generation_config={"top_k": 5}).tokenizer.end_ids == {0}


def test_tokenizer_config_decides_before_the_map_and_the_config(tmp_path: Path) -> None:
    named = {"bos_token": None, "eos_token": {"content": "a"}}
    tokenizer = _with_files(tmp_path / "a", tokenizer_config=named, special_tokens_map={"eos_token": "b"}).tokenizer
    assert (tokenizer.bos_id, tokenizer.eos_id) == (None, BPE.encode("a")[0])
    tokenizer = _with_files(tmp_path / "b", tokenizer_config={}, special_tokens_map={"eos_token": "b"}).tokenizer
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, BPE.encode("b")[0])
    tokenizer = _with_files(tmp_path / "c", tokenizer_config=None).tokenizer
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, 0)


def test_an_id_of_the_config_beyond_the_vocabulary_means_no_token(tmp_path: Path) -> None:
    """Libraries write their own defaults there."""
    write_bundle(tmp_path / "a", random_bundle(CONFIGS["llama"]))
    (tmp_path / "a/tokenizer_config.json").unlink()
    change_json(tmp_path / "a/config.json", bos_token_id=128000, eos_token_id=128001)
    (tmp_path / "a/generation_config.json").write_text(json.dumps({"eos_token_id": [50256, 7]}))
    tokenizer = read_bundle(tmp_path / "a").tokenizer
    assert (tokenizer.bos_id, tokenizer.eos_id) == (None, None)
    assert tokenizer.end_ids == {7}


@pytest.mark.parametrize("value", ["0", -1, [0, "1"], {}, True, 1.5])
def test_marks_that_are_no_ids_are_refused(tmp_path: Path, value: object) -> None:
    write_bundle(tmp_path / "a", minimal_bundle())
    (tmp_path / "a/generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    assert "generation_config.json: eos_token_id should be a token id" in refusal(tmp_path / "a")


def test_the_chat_template_comes_back(tmp_path: Path) -> None:
    bundle = minimal_bundle()
    write_bundle(tmp_path / "a", Bundle(bundle.config, bundle.tensors, bundle.tokenizer, chat_template=TEMPLATE))
    assert read_bundle(tmp_path / "a").chat_template == TEMPLATE
    write_bundle(tmp_path / "b", bundle)
    assert read_bundle(tmp_path / "b").chat_template == ""


def test_a_template_of_its_own_file_is_taken_first(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", minimal_bundle())
    change_json(tmp_path / "a/tokenizer_config.json", chat_template="old")
    assert read_bundle(tmp_path / "a").chat_template == "old"
    (tmp_path / "a/chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    assert read_bundle(tmp_path / "a").chat_template == TEMPLATE
    (tmp_path / "a/chat_template.jinja").write_bytes(b"")  # says that there is none
    assert read_bundle(tmp_path / "a").chat_template == ""


def test_of_several_templates_the_default_one_is_taken(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", minimal_bundle())
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    change_json(tmp_path / "a/tokenizer_config.json", chat_template=several)
    assert read_bundle(tmp_path / "a").chat_template == TEMPLATE


def test_a_template_of_another_name_is_not_taken(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", minimal_bundle())
    change_json(tmp_path / "a/tokenizer_config.json", chat_template=[{"name": ["x"], "template": TEMPLATE}, 5])
    assert read_bundle(tmp_path / "a").chat_template == ""


def test_a_nextword_json_without_a_version_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", minimal_bundle())
    (tmp_path / "a/nextword.json").write_text("{}")
    assert "format_version is None" in refusal(tmp_path / "a")


@pytest.mark.parametrize("value", [5, {"default": "x"}, [{"name": "default", "template": 5}]])
def test_a_template_of_the_wrong_kind_is_refused(tmp_path: Path, value: object) -> None:
    write_bundle(tmp_path / "a", minimal_bundle())
    change_json(tmp_path / "a/tokenizer_config.json", chat_template=value)
    assert "tokenizer_config.json: chat_template should be a string" in refusal(tmp_path / "a")


def test_recommended_settings_come_back_beside_the_end_tokens(tmp_path: Path) -> None:
    settings = {"temperature": 0.6, "top_p": 0.9, "do_sample": True}
    written = {**settings, "eos_token_id": [0, 3], "bos_token_id": 0, "transformers_version": "4.50.0"}
    first = _with_files(tmp_path / "a", generation_config=written)
    write_bundle(tmp_path / "b", first)
    again = read_bundle(tmp_path / "b")
    assert first.generation == again.generation == settings
    assert first.tokenizer.end_ids == again.tokenizer.end_ids == {0, 3}
    assert json.loads((tmp_path / "b/generation_config.json").read_text())["eos_token_id"] == [0, 3]
