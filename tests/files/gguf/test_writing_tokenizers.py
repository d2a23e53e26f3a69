"""Tokenizers written into GGUF files: read back equal, or refused by the part that llama.cpp cannot express."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import AddedToken, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer

from nextword import GPTConfig, Tokenizer
from nextword.errors import ConfigError, ModelFileError
from nextword.files import Bundle
from nextword.files.gguf import read_gguf, write_gguf
from tests.files.gguf.vocabularies import TEXTS, sentencepiece_file
from tests.files.making import BPE, WORDS, random_bundle

V = BPE.vocab_size


def _contents(path: Path) -> dict[str, Any]:
    """What the gguf library finds: the metadata."""
    return {key: item.contents() for key, item in gguf.GGUFReader(path).fields.items()}


def _model_for(tokenizer: Tokenizer, vocab_size: int | None = None) -> Bundle:
    config = GPTConfig.llama(vocab_size or tokenizer.vocab_size, 16, d_model=8, num_heads=2, num_layers=1, d_ff=12)
    return dataclasses.replace(random_bundle(config), tokenizer=tokenizer)


def _round_trip(tokenizer: Tokenizer, tmp_path: Path) -> Tokenizer:
    write_gguf(tmp_path / "model.gguf", _model_for(tokenizer), "f32")
    return read_gguf(tmp_path / "model.gguf").tokenizer


def _changed(**parts: Any) -> Tokenizer:
    """The trained tokenizer with parts of its description changed; `added` tokens are appended."""
    raw = RawTokenizer.from_str(BPE.to_str())
    for name, part in parts.items():
        if name == "added":
            raw.add_tokens(part)
        else:
            setattr(raw, name, part)
    return Tokenizer.from_str(raw.to_str(), bos="<|endoftext|>", eos="<|endoftext|>")


@pytest.mark.parametrize(
    ("pre", "cutter"),
    [
        ("gpt-2", pre_tokenizers.ByteLevel(add_prefix_space=False)),
        (
            "smollm",
            pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        ),
    ],
)
def test_known_pre_tokenisers_are_written_by_name(pre: str, cutter: Any, tmp_path: Path) -> None:
    tokenizer = _changed(pre_tokenizer=cutter)
    found = _round_trip(tokenizer, tmp_path)
    assert _contents(tmp_path / "model.gguf")["tokenizer.ggml.pre"] == pre
    assert [found.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_added_tokens_stay_whole(tmp_path: Path) -> None:
    added = [AddedToken("<think>", special=False, normalized=False), AddedToken("<|im_end|>", special=True)]
    tokenizer = _changed(added=added)
    found = _round_trip(tokenizer, tmp_path)
    assert _contents(tmp_path / "model.gguf")["tokenizer.ggml.token_type"][-2:] == [4, 3]
    assert found.encode("a<think>b<|im_end|>") == tokenizer.encode("a<think>b<|im_end|>")
    assert found.encode("<|im_end|>", special=True) == [V + 1]


def test_several_end_tokens_are_written(tmp_path: Path) -> None:
    ending = [AddedToken(f"<|end{i}|>", special=True) for i in range(4)]
    text = _changed(added=ending).to_str()
    for count in (1, 2):
        ends = range(V, V + count)
        tokenizer = Tokenizer.from_str(text, bos="<|endoftext|>", eos="<|endoftext|>", ends=ends)
        assert _round_trip(tokenizer, tmp_path).end_ids == {0, *ends}
    tokenizer = Tokenizer.from_str(text, eos="<|endoftext|>", ends=range(V, V + 3))
    with pytest.raises(ConfigError, match="a tokenizer with 4 end tokens"):
        _round_trip(tokenizer, tmp_path)


def test_ends_that_their_spelling_tells_need_no_key(tmp_path: Path) -> None:
    spelled = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>"]
    added = [AddedToken(token, special=True) for token in [*spelled, "<|end0|>", "<|end1|>"]]
    ends = range(V, V + 5)
    tokenizer = Tokenizer.from_str(_changed(added=added).to_str(), eos="<|endoftext|>", ends=ends)
    assert _round_trip(tokenizer, tmp_path).end_ids == {0, *ends}
    contents = _contents(tmp_path / "model.gguf")
    assert (contents["tokenizer.ggml.eot_token_id"], contents["tokenizer.ggml.eom_token_id"]) == (V + 3, V + 4)


def test_more_tokens_than_the_embedding_has_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=f"the tokenizer has {V} tokens, the model {V - 1}"):
        write_gguf(tmp_path / "model.gguf", _model_for(BPE, V - 1), "f32")


def test_bos_before_every_text_is_written(tmp_path: Path) -> None:
    description = json.loads(BPE.to_str())
    mark = {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}
    single = [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    description["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single,
        "special_tokens": mark,
    }
    tokenizer = Tokenizer.from_str(json.dumps(description))
    assert _round_trip(tokenizer, tmp_path).adds_bos
    assert _contents(tmp_path / "model.gguf")["tokenizer.ggml.add_bos_token"] is True
    description["post_processor"]["single"] = [*single, single[0]]
    with pytest.raises(ConfigError, match="a post_processor that adds more than bos"):
        _round_trip(Tokenizer.from_str(json.dumps(description)), tmp_path)


@pytest.mark.parametrize(
    ("part", "tokenizer"),
    [
        ("a tokenizer of words", WORDS),
        ("a tokenizer without merges", Tokenizer.train_bpe(["a"], 257)),
        ("a tokenizer of characters", Tokenizer.characters("abc가나다")),
        ("this tokenizer's pre_tokenizer", _changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True))),
        ("the normaliser Lowercase", _changed(normalizer=normalizers.Lowercase())),
        (
            "lstrip, rstrip or single_word",
            _changed(added=[AddedToken("<x>", special=False, normalized=False, lstrip=True)]),
        ),
    ],
)
def test_a_tokenizer_that_llama_cpp_cannot_express_is_refused(part: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=part):
        write_gguf(tmp_path / "model.gguf", _model_for(tokenizer), "f32")
    assert list(tmp_path.iterdir()) == []


def test_nfc_is_left_out_as_llama_cpps_converter_does(tmp_path: Path) -> None:
    found = _round_trip(_changed(normalizer=normalizers.NFC()), tmp_path)
    assert json.loads(found.to_str())["normalizer"] is None


def test_sentencepiece_is_written_with_scores_that_give_its_merges(tmp_path: Path) -> None:
    (tmp_path / "first.gguf").write_bytes(sentencepiece_file().written())
    first = read_gguf(tmp_path / "first.gguf")
    write_gguf(tmp_path / "second.gguf", first, "f32")
    second = read_gguf(tmp_path / "second.gguf")
    assert second.tokenizer.to_str() == first.tokenizer.to_str()
    assert (second.tokenizer.bos_id, second.tokenizer.eos_id, second.tokenizer.adds_bos) == (1, 2, True)
    before, after = _contents(tmp_path / "first.gguf"), _contents(tmp_path / "second.gguf")
    assert after["tokenizer.ggml.tokens"][: len(before["tokenizer.ggml.tokens"])] == before["tokenizer.ggml.tokens"]
    assert len(after["tokenizer.ggml.scores"]) == first.config.vocab_size
    assert after["tokenizer.ggml.add_space_prefix"] is True


def test_sentencepiece_merges_that_no_score_gives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "first.gguf").write_bytes(sentencepiece_file().written())
    first = read_gguf(tmp_path / "first.gguf")
    description = json.loads(first.tokenizer.to_str())
    del description["model"]["merges"][5]
    tokenizer = Tokenizer.from_str(json.dumps(description), eos="</s>")
    with pytest.raises(ConfigError, match="merges that do not follow from a score for each token"):
        write_gguf(tmp_path / "second.gguf", dataclasses.replace(first, tokenizer=tokenizer), "f32")


def test_fillers_take_no_name_that_is_there(tmp_path: Path) -> None:
    tokenizer = _changed(added=[AddedToken(f"[PAD{V + 1}]", special=True)])
    write_gguf(tmp_path / "model.gguf", _model_for(tokenizer, V + 2), "f32")
    assert _contents(tmp_path / "model.gguf")["tokenizer.ggml.tokens"][-2:] == [f"[PAD{V + 1}]", f"[PAD{V + 1}]_"]
