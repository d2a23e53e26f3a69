"""Whole words: the search against exhaustive enumeration of every token path."""

from __future__ import annotations

import codecs
import functools
import sys
from collections import defaultdict

import numpy as np
import pytest
import regex

from nextword import GPTConfig, Tokenizer
from nextword.engine.backend import NativeBackend
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.files.tensors import RawTensor
from nextword.generation import WordPrediction, predict_word, word_search
from nextword.generation.backend import Logits
from nextword.generation.word_pieces import split_word
from nextword.generation.word_search import MAX_PATH
from nextword.model import GPTModel, TorchBackend
from tests.generation.backends import TableBackend, always, byte_tokenizer, plain_logits, random_model
from tests.oracle.cases import random_weights

EVERYTHING = 10**9
ALL_OF_IT = 10**6

# Blanks, punctuation, several characters in a token, a boundary inside a token, the bytes of one Hangul syllable.
CRAFTED = byte_tokenizer([b"a", b"b", b" ", b".", b"a b", b"ab", b" b", b"\xed", b"\x95", b"\x9c", b"'"])
TOKENIZERS: dict[str, Tokenizer] = {
    "characters": Tokenizer.characters("ab1'. ,\n"),
    "crafted bytes": CRAFTED,
    "words": Tokenizer.words(["to", "be", "or", "not", ",", "to-be", "한국"]),
}
PROMPTS = {"characters": "ab. ab", "crafted bytes": "ab a.b", "words": "to be or not , to"}

PART = "\udc80-\udcff"  # a byte that is no character, as Python keeps it
WORD = regex.compile(rf"(\s*)([\p{{L}}\p{{N}}\p{{M}}'’]+|(?P<part>[{PART}])|[^\s\p{{L}}\p{{N}}\p{{M}}'’{PART}]+)")
BROKEN = "⟨⟩"


def first_word(data: bytes, ended: bool) -> tuple[str, bool]:
    """The first word of these bytes and whether it is closed; a second reading of the rule, with a pattern."""
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(data)
    found = WORD.match(text)
    if not found:
        return "", ended
    if found["part"]:
        return BROKEN, True
    return (" " if found[1] else "") + found[2], ended or found.end() < len(text)


class Enumeration:
    """Every path of tokens behind the prompt, up to a length, each by a plain pass over the whole text."""

    def __init__(self, model: GPTModel, tokenizer: Tokenizer, ids: list[int], longest: int) -> None:
        self.words: dict[str, float] = defaultdict(float)
        self._model, self._tokenizer, self._ids, self._longest = model, tokenizer, ids, longest
        self._bytes = tokenizer.bytes_of(range(tokenizer.vocab_size), continued=True)
        self.passes = 0
        self._walk((), b"", 1.0)

    def _walk(self, path: tuple[int, ...], data: bytes, probability: float) -> None:
        self.passes += 1
        logits = plain_logits(self._model, [*self._ids, *path]).astype(np.float64)
        shares = np.exp(logits - logits.max())
        shares *= probability / shares.sum()
        for token, piece in enumerate(self._bytes):
            ended = token == self._tokenizer.eos_id
            extended = data if ended else data + piece
            word, closed = first_word(extended, ended)
            if closed:
                self.words[word] += shares[token]
            elif len(path) < self._longest:
                self._walk((*path, token), extended, shares[token])


@functools.cache
def case(kind: str, position: str, prompt_tokens: int) -> tuple[TorchBackend, Tokenizer, str, Enumeration]:
    """A small random model with a context of 6, a prompt, and the truth about its next word."""
    tokenizer = TOKENIZERS[kind]
    size = tokenizer.vocab_size
    config = {
        "learned": GPTConfig.lesson(size, 16, 4, 2, 0.0, 6),
        "rotary": GPTConfig.qwen3(size, 6, d_model=16, num_heads=4, num_kv_heads=2, num_layers=2, d_ff=24),
    }[position]
    model = random_model(config, seed=prompt_tokens)
    ids = tokenizer.encode(PROMPTS[kind])[:prompt_tokens]
    assert len(ids) == prompt_tokens
    seen = ids[3:] if prompt_tokens == 6 else ids
    return TorchBackend(model), tokenizer, tokenizer.decode(ids), Enumeration(model, tokenizer, seen, 6 - len(seen))


def search(backend: TorchBackend, tokenizer: Tokenizer, prompt: str, top: int, passes: int) -> WordPrediction:
    return predict_word(backend, tokenizer, prompt, top, tolerance=0, max_expansions=passes)


LENGTHS = (("learned", 3), ("learned", 5), ("rotary", 4), ("rotary", 6))
CASES = [(kind, position, count) for kind in TOKENIZERS for position, count in LENGTHS]


@pytest.mark.parametrize(("kind", "position", "prompt_tokens"), CASES)
def test_a_search_of_everything_equals_enumeration(kind: str, position: str, prompt_tokens: int) -> None:
    backend, tokenizer, prompt, truth = case(kind, position, prompt_tokens)
    found = search(backend, tokenizer, prompt, EVERYTHING, ALL_OF_IT)
    probabilities = {word.text: word.probability for word in found}
    assert len(probabilities) == len(found)
    words = {word: probability for word, probability in truth.words.items() if word != BROKEN}
    assert probabilities.keys() == words.keys()
    for word, probability in words.items():
        assert probabilities[word] == pytest.approx(probability, abs=1e-9)
    assert found.broken == pytest.approx(truth.words.get(BROKEN, 0.0), abs=1e-9)
    assert sum(probabilities.values()) + found.broken + found.unexplored == pytest.approx(1, abs=1e-9)
    assert list(probabilities.values()) == sorted(probabilities.values(), reverse=True)
    assert found.expansions <= truth.passes  # a word's closing tokens are summed at once, not followed one by one
    assert found.dropped_tokens == (3 if prompt_tokens == 6 else 0)


def test_the_cases_hold_what_makes_words_difficult() -> None:
    words = case("crafted bytes", "learned", 3)[3].words
    assert {"", "a", " a", "ab", "한", "'", ".", "a'b", " .", BROKEN} <= words.keys()
    assert not any(" " in word[1:] for word in words)
    assert case("characters", "learned", 3)[3].words[" ab"] > 0  # spelled with a blank or a line end
    assert case("words", "learned", 3)[3].words.get(" to-") is None  # a word of the vocabulary is cut at the hyphen
    assert case("words", "learned", 3)[3].words[" to"] > 0


@pytest.mark.parametrize("passes", [0, 1, 2, 3, 7, 20, 60])
@pytest.mark.parametrize("kind", ["characters", "crafted bytes"])
def test_a_cut_search_gives_lower_bounds_that_are_off_by_less_than_the_unexplored(kind: str, passes: int) -> None:
    backend, tokenizer, prompt, truth = case(kind, "learned", 3)
    found = search(backend, tokenizer, prompt, EVERYTHING, passes)
    assert found.expansions == passes
    assert sum(word.probability for word in found) + found.broken + found.unexplored == pytest.approx(1, abs=1e-9)
    probabilities = {word.text: word.probability for word in found} | {BROKEN: found.broken}
    for word, probability in truth.words.items():
        assert probabilities.get(word, 0.0) <= probability + 1e-9
        assert probability <= probabilities.get(word, 0.0) + found.unexplored + 1e-9
    if passes == 0:
        assert (len(found), found.unexplored) == (0, 1.0)


def test_more_passes_leave_less_unexplored() -> None:
    backend, tokenizer, prompt, _ = case("crafted bytes", "learned", 3)
    left = [search(backend, tokenizer, prompt, EVERYTHING, passes).unexplored for passes in (0, 1, 4, 16, 64, 256)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[1] < left[0]


def test_a_ranking_that_is_settled_early_is_the_true_one() -> None:
    tokenizer, early = CRAFTED, 0
    for seed in range(10):
        config = GPTConfig.lesson(tokenizer.vocab_size, 16, 4, 2, 0.0, 5)
        model = random_model(config, seed)
        ids = tokenizer.encode("ab a")[:3]
        truth = Enumeration(model, tokenizer, ids, 2)
        ranked = sorted(truth.words.keys() - {BROKEN}, key=lambda word: -truth.words[word])
        backend, prompt = TorchBackend(model), tokenizer.decode(ids)
        everything = search(backend, tokenizer, prompt, EVERYTHING, ALL_OF_IT)
        for top in (1, 2, 3):
            found = search(backend, tokenizer, prompt, top, ALL_OF_IT)
            if found.expansions < everything.expansions:
                early += 1
                assert [word.text for word in found] == ranked[:top]
    assert early >= 5  # searches that did end early


def test_a_search_ends_when_little_enough_is_unexplored() -> None:
    backend, tokenizer, prompt, _ = case("crafted bytes", "learned", 3)
    whole = search(backend, tokenizer, prompt, EVERYTHING, ALL_OF_IT)
    for tolerance in (0.9, 0.6, whole.unexplored + 0.05):
        found = predict_word(backend, tokenizer, prompt, EVERYTHING, tolerance=tolerance, max_expansions=ALL_OF_IT)
        assert whole.unexplored < found.unexplored <= tolerance
        assert found.expansions < whole.expansions


# -- by hand -------------------------------------------------------------------------------------------------------


def by_text(found: WordPrediction) -> dict[str, float]:
    return {word.text: word.probability for word in found}


def test_a_word_is_summed_over_its_spellings_by_hand() -> None:
    # From every place: a .5, b .2, blank .2, end .1. So "a" then no letter, "aa" then no letter, ...
    tokenizer = byte_tokenizer([b"a", b"b", b" "])
    found = predict_word(always([0.5, 0.2, 0.2, 0.1]), tokenizer, "a", 100, tolerance=0, max_expansions=3000)
    words = by_text(found)
    assert words[""] == pytest.approx(0.1 / (1 - 0.2), abs=1e-6)  # the end, behind any number of blanks
    assert words["a"] == pytest.approx(0.5 * 0.3, abs=1e-6)
    assert words["ab"] == pytest.approx(0.5 * 0.2 * 0.3, abs=1e-6)
    assert words[" a"] == pytest.approx(0.2 / 0.8 * 0.5 * 0.3, abs=1e-5)


def test_different_cuts_of_one_word_are_added() -> None:
    tokenizer = byte_tokenizer([b"a", b"b", b"ab", b"."], end=False)
    found = predict_word(always([0.4, 0.2, 0.3, 0.1]), tokenizer, "a", 4, tolerance=0, max_expansions=2000)
    assert by_text(found)["ab"] == pytest.approx((0.4 * 0.2 + 0.3) * 0.1, abs=1e-6)
    assert by_text(found)["."] == pytest.approx(0.1 * 0.9, abs=1e-6)


def test_a_boundary_inside_a_token_closes_the_word_at_once() -> None:
    tokenizer = byte_tokenizer([b"a", b"a b", b". "], end=False)
    found = predict_word(always([0.2, 0.5, 0.3]), tokenizer, "a", 2, tolerance=0, max_expansions=1)
    assert by_text(found) == {"a": pytest.approx(0.5, abs=1e-7), ".": pytest.approx(0.3, abs=1e-7)}
    assert found.unexplored == pytest.approx(0.2, abs=1e-7)


def test_the_spelling_is_that_of_the_most_probable_path() -> None:
    tokenizer = byte_tokenizer([b"a", b"\n", b" ", b"."], end=False)
    backend = TableBackend(4, lambda tokens: [[-9, 2, 1, -9], [3, -9, -9, 2]][tokens[-1] in (1, 2)])
    found = predict_word(backend, tokenizer, "a", 3, tolerance=0, max_expansions=500)
    assert found[0].text == " a"
    assert found[0].spelling == "\na"


def test_paths_of_the_longest_allowed_length_count_and_longer_ones_stay_unexplored() -> None:
    tokenizer = byte_tokenizer([b"a", b"."], end=False)
    found = predict_word(always([0.9, 0.1]), tokenizer, "a", 1000, tolerance=0, max_expansions=ALL_OF_IT)
    words = by_text(found)
    assert MAX_PATH == 24
    for count in range(1, 25):
        assert words["a" * count] == pytest.approx(0.9**count * 0.1, rel=1e-6)
        assert words["." * count] == pytest.approx(0.1**count * 0.9, rel=1e-6)
    assert len(words) == 48
    assert found.unexplored == pytest.approx(0.9**25, rel=1e-5)


def test_one_free_place_in_the_context_is_enough_for_a_word_of_one_token() -> None:
    tokenizer = Tokenizer.words(["to", "be", "or"])
    found = predict_word(always([0.2, 0.5, 0.3], context_length=4), tokenizer, "to be or", 3, tolerance=0)
    assert [word.text for word in found] == [" be", " or", " to"]
    assert [word.probability for word in found] == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)
    assert found.dropped_tokens == 0


def test_a_prompt_that_fills_the_context_slides_or_is_refused() -> None:
    tokenizer = Tokenizer.words(["to", "be", "or"])
    backend = always([0.2, 0.5, 0.3], context_length=4)
    assert predict_word(backend, tokenizer, "to be or be", 1).dropped_tokens == 2
    assert predict_word(backend, tokenizer, "to be or be to", 1).dropped_tokens == 3
    for prompt, count in (("to be or be", 5), ("to be or be to", 5), ("to be or be to be", 6)):
        with pytest.raises(ContextOverflowError) as caught:
            predict_word(backend, tokenizer, prompt, 1, "stop")
        assert (caught.value.n_prompt_tokens, caught.value.context_length) == (count, 4)
    assert len(predict_word(backend, tokenizer, "to be or", 1, "stop")) == 1


def test_ids_that_the_tokenizer_does_not_have_stay_unexplored() -> None:
    found = predict_word(always([0.5, 0.25, 0.25]), Tokenizer.words(["to", "be"]), "to", 2, tolerance=0)
    assert by_text(found) == {" to": pytest.approx(0.5 * 0.75), " be": pytest.approx(0.25 * 0.75)}
    assert found.unexplored == pytest.approx(0.25 + 0.75 * 0.25)


def test_impossible_tokens_make_no_words() -> None:
    found = predict_word(always([1.0, 0.0, 0.0]), Tokenizer.words(["to", "be", "or"]), "to", 5, tolerance=0)
    assert by_text(found) == {" to": 1.0}
    assert found.unexplored == 0.0


def test_every_end_token_closes_a_word_and_is_an_end_of_the_text() -> None:
    pieces = [b"a", b" ", b"."]
    plain = byte_tokenizer(pieces)
    several = Tokenizer.from_str(plain.to_str(), eos=plain.vocabulary[3], ends=[2])
    backend = always([0.4, 0.3, 0.2, 0.1])
    found = by_text(predict_word(backend, several, "a", 3, tolerance=0.001))
    assert found[""] == pytest.approx(0.3 / (1 - 0.3), rel=0.02)  # `.` is an end here, also behind blanks
    assert "." not in found
    assert by_text(predict_word(backend, plain, "a", 9, tolerance=0.001))[""] == pytest.approx(0.1 / 0.7, rel=0.02)


def test_token_ids_are_continued_as_their_text_is() -> None:
    tokenizer = Tokenizer.words(["to", "be", "or"])
    backend = always([0.2, 0.5, 0.3])
    of_text, of_ids = (predict_word(backend, tokenizer, prompt, 3, tolerance=0) for prompt in ("to be", [0, 1]))
    assert list(of_ids) == list(of_text)
    assert of_ids.prompt == "to be"


@pytest.mark.parametrize("top", [0, -1])
def test_fewer_than_one_word_is_refused(top: int) -> None:
    with pytest.raises(ConfigError, match=f"top is {top}, it must be at least 1"):
        predict_word(always([0.5, 0.5]), Tokenizer.words(["to", "be"]), "to", top)
    with pytest.raises(TextError, match="the prompt is empty"):
        predict_word(always([0.5, 0.5]), Tokenizer.words(["to", "be"]), "", 1)


@pytest.mark.parametrize(
    ("text", "word", "closed"),
    [
        ("", "", False),
        ("  ", "", False),
        ("to", "to", False),
        ("to ", "to", True),
        (" to", " to", False),
        ("\n\t to be", " to", True),
        ("don't stop", "don't", True),
        ("don’t", "don’t", False),
        ("be,", "be", True),
        (", to", ",", True),
        ("...a", "...", True),
        ("3rd.", "3rd", True),
        ("안녕하세요!", "안녕하세요", True),
        ("e\u0301a.", "e\u0301a", True),
        ("🙂a", "🙂", True),
        ("안녕 ", "안녕", True),
    ],
)
def test_the_first_word_of_a_text(text: str, word: str, closed: bool) -> None:
    assert split_word(text, ended=False) == (word, closed)
    assert split_word(text, ended=True) == (word, True)
    assert first_word(text.encode(), ended=False) == (word, closed)


def test_a_word_prediction_is_a_sequence_that_prints_as_a_table_and_as_json() -> None:
    found = predict_word(always([0.2, 0.5, 0.3]), Tokenizer.words(["to", "be", "or"]), "to be", 2, tolerance=0)
    assert len(found) == 2
    assert [word.text for word in found] == [" be", " or"] == [word.text for word in found[:2]]
    assert found[-1].probability == pytest.approx(0.3, abs=1e-6)
    first, second, last = str(found).splitlines()
    assert first.split() == ["1.", "50.00%", "█" * 10, "'", "be'"]
    assert "30.00%" in second
    assert last.split() == ["20.00%", "unexplored"]
    assert repr(found) == "<WordPrediction after 'to be': 2 words, best ' be' 50.0%>"
    values = found.to_json()
    assert values["candidates"][0] == {"text": " be", "probability": found[0].probability, "spelling": " be"}
    assert (values["prompt"], values["unit"], values["dropped_tokens"]) == ("to be", "word", 0)
    assert values["unexplored"] == found.unexplored
    assert values["broken"] == found.broken == 0.0


def test_half_a_character_is_no_word_and_its_share_is_told_by_hand() -> None:
    # ED begins a syllable, 95 and 9C go on with it: ED 95 95 is U+D555, ED 95 9C 한, ED 9C 95 U+D715, ED 9C 9C U+D71C.
    tokenizer = byte_tokenizer([b"\xed", b"\x95", b"\x9c"], end=False)
    found = predict_word(always([1 / 3, 1 / 3, 1 / 3]), tokenizer, "한", 9, tolerance=0, max_expansions=4)
    assert found.broken == pytest.approx(2 / 3 + 1 / 3 * 1 / 3 + 2 / 9 * 1 / 3, abs=1e-6)
    assert (list(found), found.unexplored) == ([], pytest.approx(4 / 27, abs=1e-6))
    closed = predict_word(always([1 / 3, 1 / 3, 1 / 3]), tokenizer, "한", 9, tolerance=0, max_expansions=8)
    # A stray 95 or 9C closes the word, ED may begin another letter of it.
    assert by_text(closed) == dict.fromkeys(("핕", "한", "휕", "휜"), pytest.approx(1 / 27 * 2 / 3, abs=1e-6))
    assert (closed.broken, closed.unexplored) == (found.broken, pytest.approx(4 / 27 * 1 / 3, abs=1e-6))


def test_a_replacement_character_that_the_model_writes_itself_is_a_mark() -> None:
    tokenizer = byte_tokenizer(["\ufffd".encode(), b"a"], end=False)
    found = predict_word(always([0.5, 0.5]), tokenizer, "a", 1, tolerance=0, max_expansions=2)
    both = predict_word(always([0.5, 0.5]), tokenizer, "a", 2, tolerance=0, max_expansions=200)
    assert found.broken == both.broken == 0.0
    assert by_text(both)["\ufffd"] == by_text(both)["a"] == pytest.approx(0.25)


class Reads:
    """A backend that counts the paths of every pass."""

    def __init__(self, backend: TableBackend | NativeBackend) -> None:
        self._backend = backend
        self.together: list[int] = []
        self.caches: set[int] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def forward(self, chunks: list[list[int]], caches: list[object]) -> list[Logits]:
        self.together.append(len(chunks))
        self.caches |= set(map(id, caches))
        return self._backend.forward(chunks, caches)  # type: ignore[arg-type]


def test_paths_that_are_read_together_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = GPTConfig.qwen3(CRAFTED.vocab_size, 40, d_model=16, num_heads=4, num_kv_heads=2, num_layers=2, d_ff=24)
    weights = random_weights(config, 7).items()
    native = NativeBackend(config, {name: RawTensor.from_bits(name, "F32", np.float32(w)) for name, w in weights})
    found = []
    for most in (1, 8):
        monkeypatch.setattr(word_search, "MAX_BATCH", most)
        reads = Reads(native)
        found.append(predict_word(reads, CRAFTED, "ab a.b", 50, tolerance=0, max_expansions=100))  # type: ignore[arg-type]
        assert max(reads.together) == len(reads.caches) == most
        assert sum(reads.together) < 100 + most
    assert found[0].to_json() == found[1].to_json()
    assert found[0].expansions == found[1].expansions == 100


def test_long_prompts_are_read_with_as_many_caches_as_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(always([0.5, 0.3, 0.2]))
    one = TableBackend.new_cache(always([1.0]), 1 + MAX_PATH).nbytes
    monkeypatch.setattr(word_search, "CACHE_BYTES", 4 * one + 1)
    predict_word(reads, Tokenizer.characters("a.b"), "a", 5, tolerance=0, max_expansions=30)  # type: ignore[arg-type]
    assert len(reads.caches) == max(reads.together) == 4


@pytest.mark.parametrize("top", [1, 5])
def test_an_interrupt_is_lost_at_no_call_of_the_search(top: int) -> None:
    backend = always([1 / CRAFTED.vocab_size] * CRAFTED.vocab_size)
    calls = 0

    def search(interrupted: int) -> None:
        """Stops at a call of a Python function, as Ctrl-C does that comes then."""
        nonlocal calls
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call"
            if event == "call" and calls == interrupted:
                raise KeyboardInterrupt

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            predict_word(backend, CRAFTED, "ab a.b", top, max_expansions=3)
        finally:
            sys.setprofile(before)

    search(0)  # what is kept from the first search on
    search(0)
    assert calls > 50
    for number in range(1, calls + 1):
        with pytest.raises(KeyboardInterrupt):
            search(number)
