"""tokenizer.json on disk: ours, other people's, damaged and hostile ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from nextword import Tokenizer
from nextword.errors import ModelFileError, TextError
from nextword.tokens import END_OF_TEXT
from nextword.tokens.description import read_added_tokens
from tests.tokens.conftest import TEXTS

Change = Callable[[dict[str, Any]], None]


def _with(tokenizer: Tokenizer, change: Change) -> str:
    """The tokenizer's JSON after a change."""
    description = json.loads(tokenizer.to_str())
    change(description)
    return json.dumps(description)


def _added(token: str, token_id: int, **fields: Any) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": token, **flags, **fields}


def _refused(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        Tokenizer.load(path)
    assert "\n" not in caught.value.message
    assert str(path.parent) in caught.value.message
    return caught.value


@pytest.fixture
def directory(bpe: Tokenizer, tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.json").write_text(bpe.to_str(), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(bpe.settings()), encoding="utf-8")
    return tmp_path


# -- round trip ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokenizer",
    [
        Tokenizer.words(["안녕", "<unk>", "b"], unknown="<unk>"),
        Tokenizer.characters("가a\n🙂"),
        Tokenizer.train_bpe(["ab"], 300),
    ],
    ids=["words", "characters", "bytes"],
)
def test_a_tokenizer_survives_its_json(tokenizer: Tokenizer) -> None:
    again = Tokenizer.from_str(tokenizer.to_str())
    assert again.to_str() == tokenizer.to_str()
    assert (again.kind, again.vocabulary) == (tokenizer.kind, tokenizer.vocabulary)


def test_a_directory_and_its_tokenizer_file_load_alike(
    bpe: Tokenizer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    for path in (directory, directory / "tokenizer.json", str(directory), ".", "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert (loaded.bos_id, loaded.eos_id) == (bpe.bos_id, bpe.eos_id) == (0, 0)
        for text in TEXTS.values():
            assert loaded.encode(text) == bpe.encode(text)
            assert loaded.decode(loaded.encode(text)) == text


def test_without_settings_there_are_no_marks(directory: Path) -> None:
    (directory / "tokenizer_config.json").unlink()
    loaded = Tokenizer.load(directory)
    assert (loaded.bos_id, loaded.eos_id) == (None, None)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_transformers_reads_the_same_ids_and_text(bpe: Tokenizer, directory: Path, file: str) -> None:
    where = {"tokenizer_file": str(directory / file)} if file == "tokenizer.json" else None
    theirs = PreTrainedTokenizerFast(**where) if where else PreTrainedTokenizerFast.from_pretrained(directory)
    for name, text in TEXTS.items():
        if name == "special spelling":
            continue  # transformers takes it for the token
        ids = theirs.encode(text, add_special_tokens=False)
        assert ids == bpe.encode(text), name
        assert theirs.decode(ids, clean_up_tokenization_spaces=False) == text, name
    if not where:
        assert (theirs.bos_token, theirs.eos_token_id) == (END_OF_TEXT, 0)


# -- settings ------------------------------------------------------------------------------------------------------


def test_special_tokens_may_be_objects_as_transformers_writes_them(directory: Path) -> None:
    mark = {"__type": "AddedToken", "content": END_OF_TEXT, "lstrip": False, "special": True}
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": mark, "eos_token": None, "model_max_length": 1e30})
    )
    loaded = Tokenizer.load(directory)
    assert (loaded.bos_id, loaded.eos_id) == (0, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"bos_token": 5}',
        b'{"bos_token": ["<s>"]}',
        b'{"eos_token": {"lstrip": true}}',
        b'{"eos_token": {"content": 5}}',
        b'{"bos_token": "<s>"}',
    ],
    ids=lambda content: content[:32].decode("latin-1"),
)
def test_damaged_settings_are_refused_in_one_line(directory: Path, content: bytes) -> None:
    (directory / "tokenizer_config.json").write_bytes(content)
    _refused(directory / "tokenizer.json")
    _refused(directory / "tokenizer_config.json") if content.startswith(b"[") else None


def test_a_mark_that_is_not_in_the_vocabulary_is_named(directory: Path) -> None:
    (directory / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    assert "the special token '<s>' is not in the vocabulary" in _refused(directory / "tokenizer.json").message


# -- damaged files -------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.message == f"{tmp_path / 'tokenizer.json'} does not exist"
    with pytest.raises(ModelFileError, match="does not exist"):
        Tokenizer.load(tmp_path / "nowhere" / "tokenizer.json")


def test_a_directory_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").mkdir()
    _refused(tmp_path / "tokenizer.json")
    with pytest.raises(ModelFileError, match="cannot be read"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{nope",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"model": ' + b"[" * 100_000,
        b'{"version": "9.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}',
        b'{"model": {"type": "WordLevel"}}',
        b'{"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "vocab": {}}}',
        b'{"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "vocab": {"": 0}}}',
        b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}',
        b'{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
    ],
    ids=lambda content: content[:40].decode("latin-1"),
)
def test_corrupt_content_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    _refused(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0})), "WordPiece"),
        (tokenizers.Tokenizer(tokenizers.models.Unigram([("a", 0.0)], 0)), "Unigram"),
        (tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, [])), "BPE"),
        (tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, "a")), "WordLevel"),
    ],
    ids=["wordpiece", "unigram", "BPE over characters", "words cut nowhere"],
)
def test_a_kind_that_is_not_supported_is_named(tmp_path: Path, raw: tokenizers.Tokenizer, named: str) -> None:
    (tmp_path / "tokenizer.json").write_text(raw.to_str())
    error = _refused(tmp_path / "tokenizer.json")
    assert f"a {named} tokenizer with the pre-tokeniser None is not supported" in error.message
    assert "byte-level BPE" in error.hint


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Prepend", "prepend": ""},  # the library panics when it runs this one
        {"type": "Prepend", "prepend": "x"},
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "StripAccents"}]},
    ],
    ids=lambda normalizer: normalizer["type"],
)
def test_a_normaliser_that_adds_or_drops_is_named(bpe: Tokenizer, normalizer: dict[str, Any]) -> None:
    last = normalizer.get("normalizers", [normalizer])[-1]["type"]
    with pytest.raises(ModelFileError, match=f"with the normaliser {last} is not supported"):
        Tokenizer.from_str(_with(bpe, lambda d: d.update(normalizer=normalizer)))


@pytest.mark.parametrize("name", ["continuing_subword_prefix", "end_of_word_suffix"])
def test_marks_inside_the_vocabulary_are_refused_by_name(bpe: Tokenizer, name: str) -> None:
    with pytest.raises(ModelFileError, match=f"a tokenizer with the {name} '</w>' is not supported"):
        Tokenizer.from_str(_with(bpe, lambda d: d["model"].update({name: "</w>", "merges": []})))


@pytest.mark.parametrize("normalizer", [{"type": "NFC"}, {"type": "Sequence", "normalizers": []}], ids=str)
def test_the_normal_forms_of_published_models_are_kept(bpe: Tokenizer, normalizer: dict[str, Any]) -> None:
    loaded = Tokenizer.from_str(_with(bpe, lambda d: d.update(normalizer=normalizer)))
    jamo = "\u1112\u1161\u11ab"
    expected = "한" if normalizer["type"] == "NFC" else jamo
    assert loaded.decode(loaded.encode(jamo)) == expected


def test_a_file_cut_short_anywhere_is_refused(bpe: Tokenizer, tmp_path: Path) -> None:
    whole = bpe.to_str().encode()
    for size in range(0, len(whole) - 1, len(whole) // 25):
        (tmp_path / "tokenizer.json").write_bytes(whole[:size])
        _refused(tmp_path / "tokenizer.json")


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)


@given(data=st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_mutated_file_is_refused_or_works(data: st.DataObject) -> None:
    tokenizer = data.draw(st.sampled_from(FUZZED))
    description = json.loads(tokenizer.to_str())
    for _ in range(data.draw(st.integers(1, 2))):
        where: Any = description
        while True:
            keys = sorted(where) if isinstance(where, dict) else list(range(len(where)))
            key = data.draw(st.sampled_from(keys))
            if isinstance(where[key], dict | list) and where[key] and data.draw(st.booleans()):
                where = where[key]
                continue
            where[key] = data.draw(JSON_VALUES)
            break
        if not isinstance(description, dict):
            break
    said = "it works"
    try:
        loaded = Tokenizer.from_str(json.dumps(description))
        assert isinstance(loaded.decode(loaded.encode("ab 가")), str)
    except (ModelFileError, TextError) as error:
        said = error.message
    assert len(said.splitlines()) == 1


FUZZED = [
    Tokenizer.words(["ab", "가"]),
    Tokenizer.characters("ab 가"),
    Tokenizer.train_bpe(["ab ab 가가"], 260),
]


# -- what other people's files ask for -----------------------------------------------------------------------------


def test_a_file_that_asks_for_cutting_and_filling_up_does_neither(bpe: Tokenizer) -> None:
    def change(d: dict[str, Any]) -> None:
        d["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        strategy = {"Fixed": 64}
        pad = {"pad_id": 0, "pad_type_id": 0, "pad_token": END_OF_TEXT, "pad_to_multiple_of": None}
        d["padding"] = {"strategy": strategy, "direction": "Right", **pad}

    loaded = Tokenizer.from_str(_with(bpe, change))
    for text in TEXTS.values():
        assert loaded.encode(text) == loaded.encode(text, special=True) or END_OF_TEXT in text
        assert loaded.encode(text) == loaded.encode_batch([text, "longer " * 50])[0] == bpe.encode(text)


def test_a_file_left_with_bpe_dropout_still_gives_one_answer(bpe: Tokenizer) -> None:
    loaded = Tokenizer.from_str(_with(bpe, lambda d: d["model"].update(dropout=0.5)))
    assert {tuple(loaded.encode("the quick brown fox")) for _ in range(20)} == {
        tuple(bpe.encode("the quick brown fox"))
    }


def test_a_template_that_adds_tokens_adds_none(bpe: Tokenizer) -> None:
    def change(d: dict[str, Any]) -> None:
        mark, text = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
        special = {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [0], "tokens": [END_OF_TEXT]}}
        d["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [mark, text],
            "pair": [text],
            "special_tokens": special,
        }

    assert Tokenizer.from_str(_with(bpe, change)).encode("the fox") == bpe.encode("the fox")


def test_an_added_token_with_a_far_id_is_refused_and_not_moved(bpe: Tokenizer) -> None:
    # The library would give it the next free id, which the model was not trained with.
    text = _with(bpe, lambda d: d["added_tokens"].append(_added("<|far|>", 1000)))
    with pytest.raises(ModelFileError, match=r"x\.json: the added token '<\|far\|>' has the id 1000, .* 440"):
        Tokenizer.from_str(text, source="x.json")


@pytest.mark.parametrize("indent", [None, 0, 3])
def test_added_tokens_are_found_wherever_they_stand(bpe: Tokenizer, indent: int | None) -> None:
    description = json.loads(bpe.to_str())
    expected = description["added_tokens"]
    assert [token["content"] for token in expected] == ["<|endoftext|>"]
    for names in (list(description), list(reversed(description))):
        text = json.dumps({name: description[name] for name in names}, indent=indent, ensure_ascii=False)
        assert read_added_tokens(f"\n {text}\n") == expected
    del description["added_tokens"]
    assert read_added_tokens(json.dumps(description)) == read_added_tokens("{ }") == []
    assert read_added_tokens('{"added_tokens": null, "model": 1}') == []


def test_a_vocabulary_with_holes_counts_up_to_its_highest_id() -> None:
    words = Tokenizer.from_str(_with(Tokenizer.words(["a", "b"]), lambda d: d["model"]["vocab"].update(b=40)))
    assert words.vocab_size == len(words.vocabulary) == 41
    assert words.encode("b a") == [40, 0]
    assert words.decode([40, 0]) == "b a"
    assert words.bytes_of([20]) == [b""]
    with pytest.raises(TextError, match="token id 41"):
        words.decode([41])


@pytest.mark.parametrize("highest", [1 << 24, 2**32 - 1])
def test_an_id_out_of_all_proportion_is_refused_before_a_table_is_made(highest: int) -> None:
    text = _with(Tokenizer.words(["a", "b"]), lambda d: d["model"]["vocab"].update(b=highest))
    with pytest.raises(ModelFileError, match=f"the vocabulary has the id {highest}"):
        Tokenizer.from_str(text, source="x.json")


def test_two_tokens_with_one_id_are_refused() -> None:
    text = _with(Tokenizer.words(["a", "b"]), lambda d: d["model"]["vocab"].update(b=0))
    with pytest.raises(ModelFileError, match=r"x\.json: two tokens of the vocabulary have the same id"):
        Tokenizer.from_str(text, source="x.json")


def test_a_byte_that_the_vocabulary_lacks_is_refused_and_never_dropped(bpe: Tokenizer) -> None:
    def change(d: dict[str, Any]) -> None:
        del d["model"]["vocab"]["Z"]
        tokens = sorted(d["model"]["vocab"], key=d["model"]["vocab"].get)
        ids = {token: i for i, token in enumerate(tokens)}
        d["model"].update(vocab=ids)

    loaded = Tokenizer.from_str(_with(bpe, change))
    assert loaded.decode(loaded.encode("ab")) == "ab"
    for encode in (loaded.encode, lambda text: loaded.encode_batch(["ok", text])):
        with pytest.raises(TextError, match=r"not in the vocabulary of 439 byte-level tokens: b'Z'"):
            encode("aZb")


def test_an_added_token_is_not_read_as_stand_ins(bpe: Tokenizer) -> None:
    # "Ġ" stands for a blank inside the vocabulary, but an added token is spelled as it is.
    loaded = Tokenizer.from_str(_with(bpe, lambda d: d["added_tokens"].append(_added("<Ġé>", 440))))
    assert loaded.encode("<Ġé>", special=True) == [440]
    assert loaded.decode([440]) == "<Ġé>"
    assert 440 not in loaded.encode("<Ġé>")


def test_importing_tokens_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, nextword.tokens; print(sorted({'torch', 'transformers', 'safetensors'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
