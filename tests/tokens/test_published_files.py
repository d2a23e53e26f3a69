"""Tokenizers as published models bring them: SentencePiece's BPE, a beginning token, vocab.json with merges.txt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from nextword import Tokenizer
from nextword.errors import ModelFileError, TextError
from tests.tokens.conftest import TEXTS

CORPUS = [*TEXTS, "the quick brown fox jumps over the lazy dog", "토큰 입력부터 다음 단어 예측까지"] * 3
SAMPLES = [*CORPUS[: len(TEXTS) + 2], " leading", "trailing ", "two  blanks", "\n\n line", "🙂 unseen ᚠ 漢字", "a\tb"]


def _llama2(kind: str, bos: bool = True) -> str:
    """A tokenizer.json as Llama 2 has it (`legacy`), as its newer conversions have it (`metaspace`), or Gemma's."""
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learned = RawTokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learned.pre_tokenizer = pre_tokenizers.Metaspace()
    learned.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=specials))
    raw = RawTokenizer(learned.model)
    replace = normalizers.Replace(" ", "▁")
    if kind == "metaspace":
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        prepend = [normalizers.Prepend("▁")] if kind == "legacy" else []
        raw.normalizer = normalizers.Sequence([*prepend, replace])
    strip = [decoders.Strip(" ", 1, 0)] if kind != "gemma" else []
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    raw.add_special_tokens(["<unk>", "<s>", "</s>"])
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return raw.to_str()


KINDS = ["legacy", "metaspace", "gemma"]


@pytest.mark.parametrize("kind", KINDS)
def test_sentencepiece_gives_the_ids_and_the_text_that_transformers_gives(kind: str) -> None:
    description = _llama2(kind)
    ours = Tokenizer.from_str(description, bos="<s>", eos="</s>")
    theirs = PreTrainedTokenizerFast(tokenizer_object=RawTokenizer.from_str(description), bos_token="<s>")
    assert ours.kind == "sentencepiece"
    for text in SAMPLES:
        assert ours.encode_start(text) == theirs(text)["input_ids"], text
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="▁")))
def test_sentencepiece_gives_every_text_back(kind: str, text: str) -> None:
    tokenizer = Tokenizer.from_str(_LLAMA2[kind], bos="<s>", eos="</s>")
    if kind == "metaspace":  # it takes a blank at the start for the one that it would put there
        text = text.removeprefix(" ")
    assert tokenizer.decode(tokenizer.encode(text)) == text


_LLAMA2 = {kind: _llama2(kind) for kind in KINDS}


def test_a_blank_that_encoding_put_there_is_dropped_once_and_only_at_the_start() -> None:
    tokenizer = Tokenizer.from_str(_LLAMA2["legacy"], bos="<s>", eos="</s>")
    ids = tokenizer.encode("the fox")
    assert tokenizer.decode([1, *ids]) == "<s>the fox"
    assert b"".join(tokenizer.bytes_of(ids, continued=True)) == b" the fox"
    assert tokenizer.decode([*ids, *ids]) == "the fox the fox"
    assert tokenizer.decode(tokenizer.encode("  two")) == "  two"


def test_a_token_that_continues_a_text_adds_what_bytes_of_says_and_nothing_beyond_the_vocabulary() -> None:
    sentencepiece = Tokenizer.from_str(_LLAMA2["legacy"], bos="<s>", eos="</s>")
    words = Tokenizer.words(["먹고", "싶다"])
    for tokenizer in (sentencepiece, words):
        ids = range(tokenizer.vocab_size)
        for _ in range(2):  # found, and kept
            added = [tokenizer.continuation_bytes(token_id) for token_id in ids]
            assert added == [tokenizer.bytes_of([token_id], continued=True)[0] for token_id in ids]
        assert tokenizer.continuation_bytes(tokenizer.vocab_size + 3) == b""
        with pytest.raises(TextError, match="token id -1"):
            tokenizer.continuation_bytes(-1)
    assert words.continuation_bytes(1) == " 싶다".encode()


def test_bytes_of_an_unknown_character_are_its_utf8() -> None:
    tokenizer = Tokenizer.from_str(_LLAMA2["legacy"])
    ids = tokenizer.encode("ᚠ")
    assert [tokenizer.vocabulary[i] for i in ids[-3:]] == ["⟨E1⟩", "⟨9A⟩", "⟨A0⟩"]
    assert [piece.label for piece in tokenizer.pieces(ids)] == ["ᚠ 1/4", "ᚠ 2/4", "ᚠ 3/4", "ᚠ 4/4"]


def test_the_spelling_of_a_special_token_is_text() -> None:
    tokenizer = Tokenizer.from_str(_LLAMA2["legacy"], bos="<s>", eos="</s>")
    assert 1 not in tokenizer.encode("<s>")
    assert tokenizer.encode("<s>", special=True) == [1]


# -- what begins a text --------------------------------------------------------------------------------------------


def test_the_post_processor_says_whether_bos_begins_a_text() -> None:
    with_bos = Tokenizer.from_str(_llama2("legacy"), bos="<s>", eos="</s>")
    without = Tokenizer.from_str(_llama2("legacy", bos=False), bos="<s>", eos="</s>")
    assert (with_bos.adds_bos, without.adds_bos) == (True, False)
    assert with_bos.encode_start("fox") == [1, *with_bos.encode("fox")]
    assert without.encode_start("fox") == without.encode("fox")
    assert with_bos.encode_start("") == []


def test_a_beginning_that_only_the_post_processor_names_is_known() -> None:
    assert Tokenizer.from_str(_llama2("legacy")).bos_id == 1


def _processed(single: str) -> str:
    raw = RawTokenizer.from_str(_llama2("legacy", bos=False))
    marks = [("<s>", 1), ("</s>", 2)]
    raw.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    return raw.to_str()


def test_what_is_put_behind_a_text_is_left_out() -> None:
    """It would end the text that the model is to continue."""
    both = Tokenizer.from_str(_processed("<s> $A </s>"), eos="</s>")
    assert (both.adds_bos, both.encode_start("fox")) == (True, [1, *both.encode("fox")])
    behind = Tokenizer.from_str(_processed("$A </s>"), bos="<s>", eos="</s>")
    assert (behind.adds_bos, behind.bos_id, behind.encode_start("fox")) == (False, 1, behind.encode("fox"))


def test_what_cannot_begin_a_text_is_refused() -> None:
    with pytest.raises(ModelFileError, match="puts 2 tokens before a text"):
        Tokenizer.from_str(_processed("<s> <s> $A"))
    raw = RawTokenizer.from_str(_llama2("legacy", bos=False))
    raw.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    with pytest.raises(ModelFileError, match="post-processor BertProcessing is not supported"):
        Tokenizer.from_str(raw.to_str())


def test_several_tokens_can_end_a_text() -> None:
    tokenizer = Tokenizer.from_str(_llama2("legacy"), eos="</s>", ends=(2, 7))
    assert (tokenizer.eos_id, tokenizer.end_ids) == (2, {2, 7})
    assert Tokenizer.from_str(_llama2("legacy")).end_ids == frozenset()


# -- vocab.json and merges.txt -------------------------------------------------------------------------------------


def _write_old_files(directory: Path, family: str = "gpt2", **settings: Any) -> None:
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"]
    )
    raw.train_from_iterator(CORPUS, trainer)
    raw.model.save(str(directory))
    merges = directory / "merges.txt"
    merges.write_text("#version: 0.2\n" + merges.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
    (directory / "config.json").write_text(json.dumps({"model_type": family, "eos_token_id": 0}))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def test_gpt2s_old_files_give_transformers_ids(tmp_path: Path) -> None:
    _write_old_files(tmp_path, eos_token="<|endoftext|>")
    ours = Tokenizer.load(tmp_path)
    theirs = GPT2Tokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert (ours.kind, ours.vocab_size, ours.eos_id) == ("bytes", 400, 0)
    for text in SAMPLES:
        assert ours.encode(text) == theirs(text)["input_ids"], text
        assert ours.decode(ours.encode(text)) == text
    assert 0 not in ours.encode("<|endoftext|>")


def test_qwen2s_old_files_give_transformers_ids(tmp_path: Path) -> None:
    added = {"400": {"content": "<|im_start|>", "special": True}, "401": {"content": "<tool>", "special": False}}
    _write_old_files(
        tmp_path, "qwen2", tokenizer_class="Qwen2Tokenizer", eos_token="<|im_start|>", added_tokens_decoder=added
    )
    ours = Tokenizer.load(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert (ours.vocab_size, ours.eos_id) == (402, 400)
    for text in [*SAMPLES, "1234567 don't", "각 (decomposed)"]:
        assert ours.encode(text) == theirs(text)["input_ids"], text
    assert ours.encode("a<tool>b")[1] == 401
    assert 400 not in ours.encode("<|im_start|>")


def test_a_model_that_does_not_say_how_it_cuts_text_is_refused_with_the_way_out(tmp_path: Path) -> None:
    _write_old_files(tmp_path, "llama")
    with pytest.raises(ModelFileError, match=r"vocab\.json alone does not say how a 'llama' model cuts text") as caught:
        Tokenizer.load(tmp_path)
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("vocab.json", "[]", "should hold a JSON object"),
        ("vocab.json", '{"a": "0"}', "should hold an id for each token"),
        ("vocab.json", '{"a": -1}', "should hold an id for each token"),
        ("vocab.json", "{", "cannot be read"),
        ("merges.txt", "#version: 0.2\nnone such", "line 2: 'none such' merges what vocab.json does not have"),
        ("merges.txt", "alone", "line 1: 'alone' merges"),
        ("merges.txt", b"\xff\xff", "cannot be read"),
        ("merges.txt", None, "does not exist"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "should hold a token for each id"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"9": {"content": 5}}}', "should hold a token for each id"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"900": {"content": "<x>"}}}',
            "'<x>' has the id 900, the next free is 400",
        ),
        ("added_tokens.json", '{"<x>": "1"}', "should hold an id for each token"),
    ],
)
def test_damaged_old_files_are_refused(tmp_path: Path, file: str, content: str | bytes | None, reason: str) -> None:
    _write_old_files(tmp_path)
    (tmp_path / file).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ModelFileError) as caught:
        Tokenizer.load(tmp_path)
    assert reason in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
