"""Faults of the tokenizers library, public ones among them: each is one clear error, and none passes by `except`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer

import nextword
from nextword import ContextOverflowError, ModelFileError, TextError, Tokenizer
from nextword.cli import run
from nextword.loading import DEFAULT_MODEL
from nextword.tokenizers_errors import suppress_panic_output, translate_panics
from nextword.tokens.byte_level import QWEN2_PATTERN, UNICODE_TO_BYTE
from nextword.tokens.chat import ChatTemplate
from tests.tokens.conftest import CORPUS, TEXTS

PATHOLOGICAL = r"(\s+)+$"
BLANKS = " " * 40 + "x"
GAVE_UP = "the tokenizer cannot encode the text: Onig: Regex search error: retry-limit-in-match over"


def _changed(**parts: Any) -> str:
    description = json.loads(Tokenizer.train_bpe(CORPUS, 300).to_str())
    description["model"] |= parts.pop("model", {})
    return json.dumps(description | parts)


def _cut_by(pattern: str, *, inverted: bool = False) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    split |= {"behavior": "Removed", "invert": True} if inverted else {}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, bytes_]}


@pytest.fixture(scope="module")
def gives_up() -> Tokenizer:
    """Its pattern takes for ever on a run of blanks."""
    return Tokenizer.from_str(_changed(pre_tokenizer=_cut_by(PATHOLOGICAL)), eos="<|endoftext|>")


def test_a_pattern_that_gives_up_is_an_error_of_the_text(gives_up: Tokenizer) -> None:
    assert gives_up.decode(gives_up.encode("안녕 hello")) == "안녕 hello"
    uses: list[Callable[[], Any]] = [
        lambda: gives_up.encode(BLANKS),
        lambda: gives_up.encode(BLANKS, special=True),
        lambda: gives_up.encode_start(BLANKS),
        lambda: gives_up.encode_batch(["a", BLANKS]),
        lambda: ChatTemplate("{{ messages[0].content }}", gives_up).encode([{"role": "user", "content": BLANKS}]),
    ]
    for use in uses:
        with pytest.raises(TextError) as caught:
            use()
        assert caught.value.message == GAVE_UP
        assert "shorten" in caught.value.hint
    assert gives_up.decode(gives_up.encode("still works 여전히")) == "still works 여전히"


def test_so_it_is_where_the_words_that_are_unknown_are_looked_for() -> None:
    raw = RawTokenizer(models.WordLevel({"a": 0}, unk_token=""))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(PATHOLOGICAL), "isolated")
    with pytest.raises(TextError, match="Regex search error"):
        Tokenizer(raw).encode(BLANKS)


WITHOUT_THREADS = """
import resource
from nextword import Tokenizer
from nextword.errors import ConfigError
from nextword.loading import DEFAULT_MODEL

texts = ["hello", "안녕 🙂"]
tokenizer = Tokenizer.load(DEFAULT_MODEL)
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))
try:
    print([tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts)
except ConfigError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system how much memory the process has")
def test_where_the_system_starts_no_threads_it_is_said_and_there_is_a_way_without() -> None:
    expected = {
        "true": "the system starts no threads for the tokenizer: too many run, or there is not enough memory | "
        "set TOKENIZERS_PARALLELISM=false",
        "false": "True",
    }
    for parallel, said in expected.items():
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": parallel}
        command = [sys.executable, "-c", WITHOUT_THREADS]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert (ran.returncode, ran.stdout.strip()) == (0, said), ran.stderr


@pytest.fixture(scope="module")
def model_that_gives_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "gives-up"
    shutil.copytree(DEFAULT_MODEL, path)
    description = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    description["pre_tokenizer"] = _cut_by(PATHOLOGICAL)
    (path / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["predict", "generate", "tokenize", "look"])
def test_the_command_line_ends_with_it(
    command: str, model_that_gives_up: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And with nothing else, though Rust writes of its panic to the process's own standard error."""
    assert run([command, BLANKS, "--model", str(model_that_gives_up)]) == 2
    hint = "hint: patterns give up on very long runs of blanks or of one character: shorten those"
    assert capfd.readouterr().err.splitlines()[-2:] == [f"error: {GAVE_UP}", hint]


def test_nothing_but_the_panic_is_left_out(gives_up: Tokenizer, capfd: pytest.CaptureFixture[str]) -> None:
    for quiet in (suppress_panic_output(), nullcontext()):
        with pytest.raises(TextError), quiet:
            gives_up.encode(BLANKS)
        os.write(2, "뒤에\n".encode())
        said = capfd.readouterr().err
        assert said.endswith("뒤에\n")
        assert ("panicked" in said) == isinstance(quiet, nullcontext)


def test_what_python_means_by_itself_passes() -> None:
    """Ctrl-C is no fault of the library, and our own errors are not wrapped."""
    for error in (KeyboardInterrupt(), SystemExit(3), MemoryError(), TextError("ours")):
        with pytest.raises(type(error)) as caught, translate_panics(ModelFileError):
            raise error
        assert caught.value is error
    with pytest.raises(ModelFileError, match=r"^two words$"), translate_panics(ModelFileError):
        raise ValueError("two\n  words")
    with pytest.raises(ModelFileError, match=r"^ValueError$"), translate_panics(ModelFileError):
        raise ValueError


def _template(**special: Any) -> dict[str, Any]:
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special}


# Reported as huggingface/tokenizers 1645, 2094, 2151, 2156, 2198; and neighbours.
LONG = {token: i for i, token in enumerate([*UNICODE_TO_BYTE, "aaaa", "bbbb"])}
HOSTILE = {
    "merges longer than any token": _changed(model={"vocab": LONG, "merges": [["aaaa", "bbbb"]]}, added_tokens=[]),
    "a prefix longer than tokens": _changed(model={"continuing_subword_prefix": "##"}),
    "a charsmap that is none": _changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "a charsmap that is null": _changed(normalizer={"type": "Precompiled", "precompiled_charsmap": None}),
    "a template without its token": _changed(post_processor=_template()),
    "parentheses without end": _changed(pre_tokenizer=_cut_by("(" * 5000 + "a" + ")" * 5000)),
    "a pattern that calls itself": _changed(pre_tokenizer=_cut_by(r"(?<x>a\g<x>?b|\g<x>)")),
    "an id of minus one": _changed(added_tokens=[{**json.loads(_changed())["added_tokens"][0], "id": -1}]),
    "an id beyond all bounds": _changed(model={"vocab": {**LONG, "z": 2**32 - 1}, "merges": []}, added_tokens=[]),
    "a dropout of two": _changed(model={"dropout": 2.0}),
    "text that is left out": _changed(pre_tokenizer=_cut_by("a")).replace("Isolated", "Removed"),
    "punctuation that is left out": _changed(pre_tokenizer={"type": "Punctuation", "behavior": "Removed"}),
    "what an inverted pattern does not fit": _changed(pre_tokenizer=_cut_by(r"\p{L}+|\p{N}|\s+", inverted=True)),
    "another version": _changed(version="9.0"),
    "half a file": _changed()[:-100],
    "no object": "null",
    "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_breaks_the_library_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        Tokenizer.from_str(HOSTILE[name], source="the/tokenizer.json")
    assert caught.value.message.startswith("the/tokenizer.json")
    assert len(caught.value.message.splitlines()) == 1


HARMLESS = {
    "cut to nothing": {"truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 9}},
    "random merges": {"model": {"dropout": 0.5}},
    "an unknown token that is not there": {"model": {"unk_token": "<unk>"}},
    "a template with an id that no token has": {
        "post_processor": _template(**{"<s>": {"id": "<s>", "ids": [2**32 - 1], "tokens": ["<s>"]}})
    },
    "zero-width tokens": {
        "added_tokens": [
            {"id": 300 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False}
            | {"normalized": i % 2 == 0, "special": False}
            for i, text in enumerate(["\u200c", "aaaa", "\u0301", "½½"])
        ]
    },
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_file_that_only_looks_hostile_runs(name: str) -> None:
    parts = dict(HARMLESS[name])
    if "added_tokens" in parts:
        parts["model"] = {"vocab": {token: i for i, token in enumerate(UNICODE_TO_BYTE)}, "merges": []}
        parts["added_tokens"] = [{**token, "id": 256 + i} for i, token in enumerate(parts["added_tokens"])]
    tokenizer = Tokenizer.from_str(_changed(**parts))
    for text in [*TEXTS.values(), "¯\x8fব £ ﬁ① İ\u200c", "ï¼¿ï¼\x8fâ\x94"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_an_inverted_pattern_that_fits_everything_leaves_nothing_out() -> None:
    """As converters from tiktoken write what others write as `Isolated`: the same tokens."""
    plain, inverted = (
        Tokenizer.from_str(_changed(pre_tokenizer=_cut_by(QWEN2_PATTERN, inverted=inverted)))
        for inverted in (False, True)
    )
    for text in TEXTS.values():
        assert inverted.encode(text) == plain.encode(text)
        assert inverted.decode(inverted.encode(text)) == text


def test_ids_that_no_token_has_are_refused(bpe: Tokenizer) -> None:
    for token_id in (-1, bpe.vocab_size, 2**31, 2**40, -(2**70)):
        with pytest.raises(TextError, match=f"token id {token_id} is not in the vocabulary of 440 tokens"):
            bpe.decode([token_id])
        with pytest.raises(TextError, match="not in the vocabulary"):
            bpe.pieces([1, token_id])
    assert Tokenizer.from_str(bpe.to_str(), bos=-1, eos=10**6).eos_id is None


# -- how many bytes a token can stand for ----------------------------------------------------------------------------


def _bytes(**parts: Any) -> Tokenizer:
    return Tokenizer.from_str(_changed(**parts))


def _sentencepiece(**parts: Any) -> Tokenizer:
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abc한", "▁▁", "▁▁▁▁", "ab"]
    merges = [("▁", "▁"), ("▁▁", "▁▁"), ("a", "b")]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    raw = RawTokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return Tokenizer.from_str(json.dumps(json.loads(raw.to_str()) | parts))


BOUNDED = {
    "bytes": _bytes(),
    "bytes, composed": _bytes(normalizer={"type": "NFC"}),
    "bytes, folded": _bytes(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "NFC"}]}
    ),
    "sentencepiece": _sentencepiece(),
    "characters": Tokenizer.characters("".join(map(chr, range(32, 0x3000))) + "한국\u1112\u1161\u11ab𝐀𝐚🙂"),
}
ALPHABET = st.text(st.sampled_from(" \t\nab한국\u1112\u1161\u11ab\u1100é\u0301\u0323ﷺⅧ①ｶﾞKÅİ𝐀𝐚▁  🙂<|endoftext|>"))


@pytest.mark.parametrize("name", BOUNDED)
@settings(max_examples=60, deadline=None)
@given(text=ALPHABET)
def test_no_token_stands_for_more_bytes_than_is_claimed(name: str, text: str) -> None:
    tokenizer = BOUNDED[name]
    if name == "characters":
        text = "".join(character for character in text if character in set("".join(tokenizer.vocabulary)))
    assert tokenizer.max_token_bytes is not None
    for sample in (text, text * 7):
        assert len(sample.encode()) <= tokenizer.max_token_bytes * len(tokenizer.encode(sample))


def test_where_a_token_can_swallow_anything_there_is_no_bound() -> None:
    raw = RawTokenizer.from_str(_changed())
    raw.add_tokens([AddedToken("<x>", lstrip=True, normalized=False)])
    swallowing = Tokenizer(raw)
    assert swallowing.max_token_bytes is None
    assert len(swallowing.encode(" " * 1000 + "<x>")) == 1
    assert Tokenizer.words(["a", "b"]).max_token_bytes is None  # "a" and any number of blanks
    fused = json.loads(_sentencepiece().to_str())["model"]
    del fused["vocab"]["<0x00>"]
    assert _sentencepiece(model=fused).max_token_bytes is None


def test_a_text_that_cannot_fit_is_refused_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = nextword.load()
    tokenizer, context = lm.tokenizer, lm.config.context_length
    most = tokenizer.max_token_bytes
    assert most is not None
    lm.chat_template = "{{ messages[0].content }}"
    encoded: list[str] = []
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text, special=False: encoded.append(text) or [0])  # type: ignore[func-returns-value]
    for text in (" " * 11_000_000, "한" * (most * context)):
        fewest = -(-len(text.encode()) // most)
        uses: list[Callable[[], Any]] = [
            lambda text=text: lm.predict(text, overflow="stop"),
            lambda text=text: lm.predict(text, unit="word", overflow="stop"),
            lambda text=text: lm.generate(text, overflow="stop"),
            lambda text=text: lm.trace(text, overflow="stop"),
            lambda text=text: lm.attribute(text, overflow="stop"),
            lambda text=text: lm.chat([{"role": "user", "content": text[:900_000]}], overflow="stop"),
        ]
        for use in uses:
            with pytest.raises(ContextOverflowError) as caught:
                use()
            assert caught.value.message.startswith("the prompt has at least ")
            assert caught.value.context_length == context < caught.value.n_prompt_tokens <= fewest
    assert encoded == []
    lm.predict(" " * (most * context), overflow="stop")  # it might just fit
    assert len(encoded) == 1
