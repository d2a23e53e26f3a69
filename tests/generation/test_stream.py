"""Writing on: equal to recomputing everything, the same for the same seed, in whole characters, ended in time."""

from __future__ import annotations

import codecs
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from nextword import Generation, GPTConfig, LanguageModel, Tokenizer
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.generation import Memory, Sampling
from tests.generation.backends import (
    END,
    LETTERS,
    SMALL,
    always,
    byte_tokenizer,
    plain_logits,
    random_model,
    write_uncached,
    writes,
)

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0, "top_p": 1.0},
    "plain": {"temperature": 1.0, "top_p": 1.0},
    "cut": {"temperature": 0.9, "top_k": 6, "top_p": 0.8, "min_p": 0.05},
    "penalised": {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.3},
}
KOREAN = [
    "안녕하세요. 오늘은 토큰 입력부터 단어 예측까지 살펴봅니다. " * 12,
    "🙂 party 🎉🎉 flag 🇰🇷 안녕히 가세요 " * 12,
]


def small(name: str = "learned positions", dtype: torch.dtype = torch.float64, **changes: Any) -> LanguageModel:
    return LanguageModel.from_model(random_model(SMALL[name].replace(**changes), dtype=dtype), LETTERS)


@pytest.fixture(scope="module")
def korean() -> LanguageModel:
    tokenizer = Tokenizer.train_bpe(KOREAN, vocab_size=300)
    config = GPTConfig.qwen3(tokenizer.vocab_size, 24, d_model=16, num_heads=2, num_layers=2, d_ff=24)
    return LanguageModel.from_model(random_model(config), tokenizer)


# -- equal to recomputing everything -------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", SMALL)
def test_cached_writing_equals_recomputing_the_window_far_past_the_context(name: str, settings: str) -> None:
    lm = small(name)
    for seed, prompt in enumerate(["a", "ab, c", "abcdefgh.", "abcdefgh. a", "dad, feed a cab. "]):
        ids = LETTERS.encode(prompt)
        expected = write_uncached(lm.model, ids, 45, Sampling(**SETTINGS[settings]), seed)
        generation = lm.generate(prompt, 45, seed=seed, overflow="slide", **SETTINGS[settings])
        assert list(generation.token_ids) == expected
        assert generation.text == LETTERS.decode(expected)
        assert generation.finish_reason == "length"


@pytest.mark.parametrize("context", [1, 2, 3, 8])
@pytest.mark.parametrize("name", SMALL)
def test_writing_slides_through_the_smallest_contexts(name: str, context: int) -> None:
    lm = small(name, context_length=context)
    for prompt in ("a", "ab", "abc", "a bad face; "):
        expected = write_uncached(lm.model, LETTERS.encode(prompt), 20, Sampling(temperature=1.0), 4)
        assert list(lm.generate(prompt, 20, temperature=1.0, top_p=1.0, seed=4).token_ids) == expected


@pytest.mark.parametrize("name", SMALL)
def test_greedy_writing_in_single_precision_equals_the_oracle_too(name: str) -> None:
    lm = small(name, torch.float32)
    expected = write_uncached(lm.model, LETTERS.encode("a bad"), 40, Sampling(temperature=0.0), 0)
    assert list(lm.generate("a bad", 40, temperature=0.0).token_ids) == expected


def test_a_model_with_the_same_logits_everywhere_needs_no_slide_to_be_right() -> None:
    lm = LanguageModel(always([0.0, 1.0, 0.0], context_length=4), Tokenizer.characters("abc"))
    assert lm.generate("ac", 11).text == "b" * 11


# -- prompts and contexts ------------------------------------------------------------------------------------------


def test_a_prompt_longer_than_the_context_says_how_much_was_not_seen() -> None:
    lm = small()
    prompt = "abcdefgh" * 3
    generation = lm.generate(prompt, 5, seed=1)
    assert generation.dropped_tokens == 20
    assert list(generation.prompt_token_ids) == LETTERS.encode(prompt)[20:]
    assert generation.prompt == prompt
    assert generation.to_json()["dropped_tokens"] == 20
    assert generation.token_ids == lm.generate(prompt[20:], 5, seed=1).token_ids
    assert lm.generate("abcdefgh.", 5, seed=1).dropped_tokens == 0


@pytest.mark.parametrize("length", range(1, 10))
def test_overflow_stop_ends_exactly_when_the_context_is_full(length: int) -> None:
    # A context of 9 holds the prompt and 9 - length tokens; it predicts one more, which nothing can follow.
    generation = small().generate("abcdefgh."[:length], 100, seed=2, overflow="stop")
    assert len(generation.token_ids) == 9 - length + 1
    assert generation.finish_reason == "length"
    slid = small().generate("abcdefgh."[:length], 9 - length + 1, seed=2, overflow="slide")
    assert generation.token_ids == slid.token_ids


def test_overflow_stop_refuses_a_long_prompt_with_both_numbers() -> None:
    with pytest.raises(ContextOverflowError) as caught:
        small().stream("abcdefgh. a", overflow="stop")
    assert (caught.value.n_prompt_tokens, caught.value.context_length) == (11, 9)
    assert "slide" in caught.value.hint


def test_no_tokens_asked_for_gives_no_text() -> None:
    lm = small()
    stream = lm.stream("abc", 0, logprobs=2)
    assert list(stream) == []
    expected = Generation("abc", "", (), tuple(LETTERS.encode("abc")), 0, "length", ())
    assert stream.generation == expected
    assert str(expected) == "abc"
    assert lm.generate("abcdefgh.", 0, overflow="stop").finish_reason == "length"


# -- seeds ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_writes_the_same_text_and_another_seed_another() -> None:
    lm = small()
    texts = [lm.generate("abc", 40, seed=seed).text for seed in (0, 0, 1, 2**40, 2**40)]
    assert texts[0] == texts[1]
    assert texts[3] == texts[4]
    assert len({*texts}) == 3


def test_without_a_seed_every_text_is_different() -> None:
    lm = small()
    assert len({lm.generate("abc", 60, temperature=1.5, top_p=1.0).text for _ in range(4)}) == 4


def test_writing_neither_reads_nor_changes_the_global_random_state() -> None:
    lm, texts = small(), []
    for state in (1, 2):
        random.seed(state)
        np.random.seed(state)
        torch.manual_seed(state)
        before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        texts.append(lm.generate("abc", 30, seed=7).text)
        lm.generate("abc", 10)
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    assert texts[0] == texts[1]


def test_temperature_zero_is_greedy_and_no_default_takes_its_place() -> None:
    lm = small()
    texts = {
        lm.generate("abc", 30, temperature=temperature, seed=seed).text for temperature in (0, 0.0) for seed in range(5)
    }
    assert texts == {LETTERS.decode(write_uncached(lm.model, LETTERS.encode("abc"), 30, Sampling(temperature=0), 0))}


# -- whole characters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["안녕하세요", "🙂 party 🎉", "flag 🇰🇷", "word"])
def test_an_untrained_byte_model_never_shows_half_a_character(korean: LanguageModel, prompt: str) -> None:
    for seed in range(6):
        stream = korean.stream(prompt, 40, temperature=1.3, top_p=1.0, seed=seed)
        pieces = list(stream)
        generation = stream.generation
        data = b"".join(korean.tokenizer.bytes_of(generation.token_ids, continued=True))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        assert "".join(pieces) == generation.text == decoder.decode(data)
        assert all(pieces)
        # Whatever valid characters there are come out as they are; only invalid bytes become U+FFFD.
        assert data.decode(errors="replace") in (generation.text, generation.text + "\ufffd")
        assert generation == korean.generate(prompt, 40, temperature=1.3, top_p=1.0, seed=seed)


@pytest.mark.parametrize("text", ["한국어 🙂👨‍👩‍👧 ok", "e\u0301 \u1112\u1161\u11ab 🇰🇷", "다𠮷\U0010ffff"])
def test_characters_in_byte_tokens_come_out_one_by_one_and_whole(text: str) -> None:
    tokenizer = byte_tokenizer([bytes([i]) for i in range(256)])
    stream = writes(tokenizer, "a", list(text.encode())).stream("a", len(text.encode()))
    assert list(stream) == list(text)
    assert stream.generation.text == text
    assert list(stream.generation.token_ids) == list(text.encode())


def test_a_character_left_incomplete_stays_out_of_the_text_and_in_the_tokens() -> None:
    tokenizer = byte_tokenizer([bytes([i]) for i in range(256)])
    script = list("가나🙂".encode())
    lm = writes(tokenizer, "a", script)
    for count, text in enumerate(["", "", "", "가", "가", "가", "가나", "가나", "가나", "가나", "가나🙂"]):
        stream = lm.stream("a", count)
        assert "".join(stream) == stream.generation.text == text
        assert list(stream.generation.token_ids) == script[:count]
        assert stream.generation.finish_reason == "length"


def test_an_end_token_inside_a_character_leaves_it_out_too() -> None:
    tokenizer = byte_tokenizer([bytes([i]) for i in range(256)])
    assert tokenizer.eos_id == 256
    generation = writes(tokenizer, "a", [*"가".encode(), 0xEB, 256]).generate("a", 40)
    assert (generation.text, generation.finish_reason) == ("가", "stop")
    assert list(generation.token_ids) == [*"가".encode(), 0xEB]


def test_invalid_bytes_become_replacement_characters_as_decode_makes_them() -> None:
    tokenizer = byte_tokenizer([bytes([i]) for i in range(256)])
    script = [0x61, 0xFF, 0xED, 0x95, 0x62, 0x80, 0xF0, 0x9F, 0x63]
    generation = writes(tokenizer, "a", script).generate("a", len(script))
    assert generation.text == bytes(script).decode(errors="replace") == "a\ufffd\ufffdb\ufffd\ufffdc"


# -- stop strings and the end token --------------------------------------------------------------------------------

PIECES = [b"one", b" t", b"wo", b" three", b"a", b"ab", b"b", b"\n", b"\xed", b"\x95", b"\x9c"]
SCRIPTED = byte_tokenizer(PIECES)


def scripted(script: Sequence[bytes], stop: str | Sequence[str], **settings: Any) -> tuple[list[str], Generation]:
    """What is streamed and what results when the model writes `script` after "a"."""
    ids = [PIECES.index(piece) if piece in PIECES else len(PIECES) for piece in script]
    stream = writes(SCRIPTED, "a", ids).stream("a", len(script), stop=stop, **settings)
    return list(stream), stream.generation


@pytest.mark.parametrize(
    ("script", "stop", "text"),
    [
        ([b"one", b" t", b"wo", b" three"], "e tw", "on"),  # over three tokens
        ([b"one", b" t", b"wo", b" three"], "one", ""),  # at the very start
        ([b"one", b" t", b"wo", b" three"], ["three", "two"], "one "),  # the first of several
        ([b"one", b" t", b"wo", b" three"], " three", "one two"),  # the last token
        ([b"one", b" t", b"wo", b" three"], "hre", "one two t"),  # inside a token, with text behind it
        ([b"a", b"ab", b"ab", b"b"], "abab", "a"),  # a false start that overlaps the true one
        ([b"ab", b"a", b"b", b"b"], ["abb", "bb"], "ab"),  # two at the same place: the longer
        ([b"one", b"\n", b"\n", b"a"], ["\n\n"], "one"),
        ([b"a", b"\xed", b"\x95", b"\x9c", b"a"], "한", "a"),  # of bytes in three tokens
        ([b"a", b"\xed", b"\x95", b"\x9c", b"a"], "한a", "a"),
    ],
)
def test_text_ends_before_a_stop_string_that_is_never_shown(
    script: list[bytes], stop: str | list[str], text: str
) -> None:
    pieces, generation = scripted(script, stop)
    assert "".join(pieces) == generation.text == text
    assert generation.finish_reason == "stop"
    for count in range(len(pieces) + 1):
        assert text.startswith("".join(pieces[:count]))


def test_no_token_is_written_after_the_one_that_completes_a_stop_string() -> None:
    _, generation = scripted([b"one", b" t", b"wo", b" three"], "two")
    assert [PIECES[i] for i in generation.token_ids] == [b"one", b" t", b"wo"]


def test_a_stop_string_that_only_began_is_text_at_the_end() -> None:
    pieces, generation = scripted([b"one", b" t", b"wo"], "two three")
    assert pieces == ["one", " ", "two"]
    assert (generation.text, generation.finish_reason) == ("one two", "length")
    _, generation = scripted([b"one", b" t", b"<end>"], "two")
    assert (generation.text, generation.finish_reason) == ("one t", "stop")


def test_a_stop_string_in_the_last_token_is_still_a_stop() -> None:
    assert scripted([b"one", b" t", b"wo"], "two")[1].finish_reason == "stop"


def test_a_stop_string_in_the_prompt_does_not_count() -> None:
    lm = LanguageModel(always([0.0, 1.0]), Tokenizer.characters("ab"))
    assert lm.generate("aab", 3, stop="ab").text == "bbb"


def test_the_end_token_stops_and_is_no_part_of_the_result() -> None:
    pieces, generation = scripted([b"one", b" t", b"wo", b"<end>", b"a"], (), logprobs=1)
    assert pieces == ["one", " t", "wo"]
    assert (generation.text, generation.finish_reason) == ("one two", "stop")
    assert [PIECES[i] for i in generation.token_ids] == [b"one", b" t", b"wo"]
    assert generation.logprobs is not None
    assert len(generation.logprobs) == 3


def test_an_end_token_at_once_gives_an_empty_text() -> None:
    pieces, generation = scripted([b"<end>"], ())
    assert (pieces, generation.text, generation.token_ids, generation.finish_reason) == ([], "", (), "stop")


def test_the_spelling_of_the_end_token_in_the_prompt_is_text() -> None:
    tokenizer = byte_tokenizer([bytes([i]) for i in range(256)])
    generation = writes(tokenizer, END, list(b"ok")).generate(END, 2)
    assert (list(generation.prompt_token_ids), generation.text) == (list(END.encode()), "ok")


@pytest.mark.parametrize("end", [b"wo", b" three", b"<end>"])
def test_each_of_several_end_tokens_stops(end: bytes) -> None:
    tokenizer = Tokenizer.from_str(SCRIPTED.to_str(), eos=END, ends=[PIECES.index(b"wo"), PIECES.index(b" three")])
    script = [PIECES.index(b"one"), PIECES.index(b" t"), PIECES.index(end) if end in PIECES else len(PIECES), 0]
    stream = writes(tokenizer, "a", script).stream("a", 9)
    assert list(stream) == ["one", " t"]
    assert (stream.generation.finish_reason, list(stream.generation.token_ids)) == ("stop", script[:2])
    assert writes(SCRIPTED, "a", script).generate("a", 3).text == ("one t" + end.decode()).replace("<end>", "")


# -- token ids as the prompt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_token_ids_are_continued_as_their_text_is(name: str) -> None:
    lm = small(name)
    for prompt in ("abc", "a bad face; abcdefgh"):
        of_ids = lm.generate(LETTERS.encode(prompt), 20, seed=3, logprobs=1)
        assert of_ids == lm.generate(prompt, 20, seed=3, logprobs=1)
        assert (of_ids.prompt, str(of_ids)) == (prompt, prompt + of_ids.text)


def test_no_token_ids_and_unknown_ones_are_refused() -> None:
    with pytest.raises(TextError, match="the prompt is empty"):
        small().stream([])
    for wrong in (12, -1):
        with pytest.raises(TextError, match=f"token id {wrong} is not in the vocabulary of 12 tokens"):
            small().stream([0, wrong])


# -- memory --------------------------------------------------------------------------------------------------------


class Counting:
    """A backend that notes how many tokens it is given."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.read: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def forward(self, chunks: Any, caches: Any, logits: Any = "last") -> Any:
        self.read += map(len, chunks)
        return self._backend.forward(chunks, caches, logits)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", SMALL)
def test_texts_that_grow_turn_by_turn_are_continued_as_if_read_anew(name: str, settings: str) -> None:
    lm, memory = small(name, context_length=60), Memory()
    prompt = "abc"
    for turn in range(8):  # the last ones are longer than the context
        fresh = lm.generate(prompt, 6, seed=turn, logprobs=3, **SETTINGS[settings])
        kept = lm.generate(prompt, 6, seed=turn, logprobs=3, memory=memory, **SETTINGS[settings])
        assert kept.token_ids == fresh.token_ids
        assert kept.dropped_tokens == fresh.dropped_tokens
        assert kept.logprobs is not None
        assert fresh.logprobs is not None
        assert [item.logprob for item in kept.logprobs] == pytest.approx([item.logprob for item in fresh.logprobs])
        prompt = str(fresh) + " bad."[: turn + 1]
    assert fresh.dropped_tokens > 0


def test_only_what_is_new_is_read() -> None:
    backend, memory = Counting(small(context_length=60).backend), Memory()
    lm = LanguageModel(backend, LETTERS)
    first = lm.generate("abcdefgh", 4, seed=1, memory=memory)
    assert backend.read == [8, 1, 1, 1]
    backend.read.clear()
    lm.generate(str(first) + "ab", 3, seed=1, memory=memory)  # its cache was too small: all is read again, once
    assert backend.read == [14, 1, 1]
    backend.read.clear()
    lm.generate(str(first) + "abc", 2, seed=1, memory=memory)
    assert backend.read == [1, 1]
    backend.read.clear()
    lm.generate("abcdefgh", 2, seed=1, memory=memory)  # at least one, for its logits
    assert backend.read == [1, 1]
    backend.read.clear()
    lm.generate("hgf", 1, memory=memory)
    assert backend.read == [3]


@pytest.mark.parametrize("name", SMALL)
def test_a_text_that_turns_another_way_forgets_what_it_does_not_share(name: str) -> None:
    lm, memory = small(name, context_length=60), Memory()
    for prompt in ("abcdefgh", "abcdefgh", "abc", "abcfed", "hgf", "h", "abcdefgh. a bad cab", "abcdefgh"):
        fresh = lm.generate(prompt, 9, seed=1, logprobs=1)
        kept = lm.generate(prompt, 9, seed=1, logprobs=1, memory=memory)
        assert kept.token_ids == fresh.token_ids
        assert [item.logprob for item in kept.logprobs or ()] == pytest.approx(
            [item.logprob for item in fresh.logprobs or ()]
        )


def test_a_text_that_was_broken_off_leaves_a_memory_that_is_right() -> None:
    lm, memory = small(context_length=60), Memory()
    stream = lm.stream("abcdefgh", 20, seed=5, memory=memory)
    begun = next(stream) + next(stream)
    prompt = "abcdefgh" + begun + ";;"
    assert lm.generate(prompt, 20, seed=2, memory=memory) == lm.generate(prompt, 20, seed=2)


# -- log-probabilities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", SMALL)
def test_logprobs_are_the_models_own_before_penalties_and_cuts(name: str, settings: str) -> None:
    lm = small(name)
    ids = LETTERS.encode("abc")
    generation = lm.generate("abc", 6, seed=3, logprobs=4, **SETTINGS[settings])
    assert generation.logprobs is not None
    assert [item.token_id for item in generation.logprobs] == list(generation.token_ids)
    for i, item in enumerate(generation.logprobs):
        own = torch.log_softmax(
            torch.from_numpy(plain_logits(lm.model, [*ids, *generation.token_ids[:i]])).double(), -1
        )
        assert item.text == LETTERS.vocabulary[item.token_id]
        assert item.logprob == pytest.approx(own[item.token_id].item(), abs=1e-6)
        best = own.topk(4)
        assert [token for token, _, _ in item.top] == best.indices.tolist()
        assert [value for _, _, value in item.top] == pytest.approx(best.values.tolist(), abs=1e-6)
        assert [text for _, text, _ in item.top] == [LETTERS.vocabulary[token] for token, _, _ in item.top]


def test_as_many_alternatives_as_asked_for_and_as_there_are() -> None:
    lm = small()
    assert lm.generate("abc", 3).logprobs is None
    for count, expected in ((1, 1), (5, 5), (12, 12), (1000, 12)):
        logprobs = lm.generate("abc", 3, logprobs=count).logprobs
        assert logprobs is not None
        assert [len(item.top) for item in logprobs] == [expected] * 3
    every = lm.generate("abc", 1, logprobs=12).logprobs
    assert every is not None
    assert sum(np.exp([value for _, _, value in every[0].top])) == pytest.approx(1, abs=1e-9)


def test_json_holds_every_part_as_plain_values() -> None:
    generation = small().generate("abc", 2, seed=1, logprobs=1)
    values = generation.to_json()
    assert generation.logprobs is not None
    token, text, value = generation.logprobs[1].top[0]
    assert values["text"] == generation.text
    assert values["token_ids"] == list(generation.token_ids)
    assert values["prompt_token_ids"] == LETTERS.encode("abc")
    assert values["finish_reason"] == "length"
    assert values["logprobs"][1]["top"] == [{"token_id": token, "text": text, "logprob": value}]
    assert small().generate("abc", 2).to_json()["logprobs"] is None


# -- the stream as an object ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_joined_pieces_are_the_text(name: str) -> None:
    lm = small(name)
    stream = lm.stream("abc", 50, seed=9, stop=["a. ", "bb"])
    assert "".join(stream) == stream.generation.text == lm.generate("abc", 50, seed=9, stop=["a. ", "bb"]).text


def test_breaking_out_leaves_what_was_written_and_no_reason() -> None:
    lm = small()
    stream = lm.stream("abc", 20, seed=5)
    first = [next(stream), next(stream), next(stream)]
    partial = stream.generation
    assert partial.finish_reason is None
    assert partial.text == "".join(first)
    assert len(partial.token_ids) == 3
    whole = lm.generate("abc", 20, seed=5)
    assert whole.token_ids[:3] == partial.token_ids
    assert first + list(stream) == list(whole.text)  # and it can go on
    assert stream.generation == whole
    assert list(stream) == []


def test_a_words_model_begins_its_text_with_a_blank() -> None:
    words = Tokenizer.words(["to", "be", "or", "not"])
    stream = writes(words, "to be", [2, 3, 0, 1]).stream("to be", 4)
    assert list(stream) == [" or", " not", " to", " be"]
    assert str(stream.generation) == "to be or not to be"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens is -1, it must be 0 or more"),
        ({"logprobs": -1}, "logprobs is -1, it must be 0 or more"),
        ({"seed": -1}, "seed is -1, it must be 0 or more"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"min_p": 2.0}, "min_p is 2.0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"overflow": "wrap"}, "overflow is 'wrap'"),
        ({"stop": ""}, "a stop string is empty"),
        ({"stop": ["a", ""]}, "a stop string is empty"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small().stream("abc", **setting)


def test_prompts_that_cannot_be_continued_are_refused() -> None:
    with pytest.raises(TextError, match="the prompt is empty"):
        small().generate("")
    with pytest.raises(TextError, match="not in the vocabulary of 12 characters: 'x', 'y'"):
        small().generate("abcxy")


def test_an_id_that_the_tokenizer_does_not_have_adds_no_text() -> None:
    # Published models pad their vocabulary: 12 characters here, 20 rows in the model.
    lm = small(vocab_size=20)
    generation = lm.generate("abc", 60, temperature=2.0, top_p=1.0, seed=0, logprobs=20)
    known = [token for token in generation.token_ids if token < 12]
    assert 0 < len(known) < 60
    assert generation.text == LETTERS.decode(known)
    assert generation.logprobs is not None
    assert [item.text for item in generation.logprobs] == [
        LETTERS.vocabulary[token] if token < 12 else "" for token in generation.token_ids
    ]
    assert {text for token, text, _ in generation.logprobs[0].top if token >= 12} == {""}
