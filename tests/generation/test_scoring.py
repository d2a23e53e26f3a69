"""How probable a text is: each token once, in the windows that training's evaluation uses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nextword import GPTConfig, GPTModel, Tokenizer
from nextword.errors import ConfigError, TextError
from nextword.generation import Score, score_tokens
from nextword.model import TorchBackend
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.run.evaluate import evaluate
from tests.generation.backends import END, LETTERS, SMALL, TableBackend, always, byte_tokenizer, random_model

TEXT = "dad, feed a cab; a bad face. each dead bee had a cage, he beheaded a cad. "
BYTES = byte_tokenizer([bytes([i]) for i in range(256)])
WITH_START = GPTConfig.qwen3(257, 9, d_model=16, num_heads=4, num_kv_heads=2, num_layers=2, d_ff=24)


def token_logprobs(model: GPTModel, row: list[int]) -> list[float]:
    """Of tokens 1, 2, ... given those before, by one pass over all of them."""
    with torch.no_grad():
        logits = model(torch.tensor([row[:-1]]))[0].float().double()
    own = torch.log_softmax(logits, -1)
    return [own[i, token].item() for i, token in enumerate(row[1:])]


@pytest.mark.parametrize("name", SMALL)
def test_a_short_text_without_a_document_start_excludes_the_first_token(name: str) -> None:
    model = random_model(SMALL[name])
    score = score_tokens(TorchBackend(model), LETTERS, "a bad cab.")
    ids = LETTERS.encode("a bad cab.")
    assert list(score.token_ids) == ids
    assert score.token_logprobs[0] is None
    assert list(score.token_logprobs[1:]) == pytest.approx(token_logprobs(model, ids), abs=1e-6)
    assert score.scored_tokens == 9


def test_a_document_start_lets_the_first_token_be_scored_too() -> None:
    model = random_model(WITH_START)
    score = score_tokens(TorchBackend(model), BYTES, "한 a b c")
    ids = list("한 a b c".encode())
    assert list(score.token_ids) == ids
    assert list(score.token_logprobs) == pytest.approx(token_logprobs(model, [256, *ids]), abs=1e-6)
    assert score.scored_tokens == 9


@pytest.mark.parametrize("stride", [None, 1, 2, 4, 8, 9])
@pytest.mark.parametrize("start", [False, True])
def test_a_long_text_is_scored_once_a_token_in_windows(start: bool, stride: int | None) -> None:
    model = random_model(WITH_START if start else SMALL["learned positions"])
    tokenizer = BYTES if start else LETTERS
    score = score_tokens(TorchBackend(model), tokenizer, TEXT, stride)
    row = [*([256] if start else []), *tokenizer.encode(TEXT)]
    # The oracle goes token by token: token i is predicted in the block of `stride` predictions that it falls into,
    # whose window ends with the block and begins at most a context earlier.
    step, expected = stride or 9, []
    for i in range(1, len(row)):
        end = ((i - 1) // step + 1) * step
        seen = row[max(0, end - 9) : i]
        assert len(seen) >= min(i, 9 - step + 1)
        expected.append(token_logprobs(model, [*seen, row[i]])[-1])
    scored = list(score.token_logprobs[0 if start else 1 :])
    assert len(score.token_logprobs) == len(score.token_ids) == len(TEXT)
    assert scored == pytest.approx(expected, abs=1e-6)
    assert score.nats == pytest.approx(-sum(expected), abs=1e-5)


def test_a_smaller_stride_lets_tokens_see_more() -> None:
    # This model knows a token only if it sees the two before it.
    backend = TableBackend(12, lambda tokens: [0.0 if len(tokens) > 2 else -1.0] + [0.0] * 11, context_length=8)
    text = "a" * 40
    blocks, overlapping = (score_tokens(backend, Tokenizer.characters("abcdefghijkl"), text, s) for s in (8, 4))
    assert sum(value == pytest.approx(-math.log(12)) for value in blocks.token_logprobs if value) == 39 - 2 * 5
    assert sum(value == pytest.approx(-math.log(12)) for value in overlapping.token_logprobs if value) == 39 - 2


def test_a_window_never_exceeds_the_context_and_every_token_is_run() -> None:
    backend = always([0.25] * 4, context_length=5)
    for length in range(1, 18):
        for stride in (None, 1, 2, 3, 5):
            score = score_tokens(backend, Tokenizer.characters("abcd"), "a" * length, stride)
            assert score.scored_tokens == length - 1
            assert score.nats == pytest.approx((length - 1) * math.log(4), abs=1e-6)


def test_the_units_by_hand() -> None:
    # Eight equal tokens: 3 bits each. 한글 are two tokens, two characters, six bytes; the first is not scored.
    score = score_tokens(always([0.125] * 8), Tokenizer.characters("abcdef한글"), "한글")
    assert score.token_logprobs[1] == pytest.approx(-3 * math.log(2), abs=1e-7)
    assert score.nats == pytest.approx(3 * math.log(2), abs=1e-7)
    assert (score.characters, score.bytes, score.scored_tokens) == (2, 6, 1)
    assert score.nats_per_character == pytest.approx(1.5 * math.log(2), abs=1e-7)
    assert score.bits_per_byte == pytest.approx(0.5, abs=1e-7)
    assert score.perplexity == pytest.approx(8, abs=1e-5)


def test_the_units_of_known_numbers() -> None:
    score = Score((1, 2, 3), (None, -1.0, -3.0), 4, 8)
    assert score.nats == 4.0
    assert score.nats_per_character == 1.0
    assert score.bits_per_byte == pytest.approx(4 / 8 / math.log(2))
    assert score.perplexity == pytest.approx(math.exp(2))
    assert score.to_json() == {
        "token_ids": [1, 2, 3],
        "token_logprobs": [None, -1.0, -3.0],
        "scored_tokens": 2,
        "characters": 4,
        "bytes": 8,
        "nats": 4.0,
        "nats_per_character": 1.0,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
    }


def test_a_single_token_without_a_document_start_has_no_score() -> None:
    score = score_tokens(always([0.5, 0.5]), Tokenizer.characters("ab"), "a")
    assert score.token_logprobs == (None,)
    assert score.scored_tokens == 0
    assert math.copysign(1, score.nats) == 1.0  # zero, not minus zero
    assert score.nats == 0.0


def test_the_spelling_of_the_document_start_is_scored_as_text() -> None:
    score = score_tokens(always([1 / 257] * 257), BYTES, END)
    assert score.scored_tokens == len(END)
    assert list(score.token_ids) == list(END.encode())


@pytest.mark.parametrize("length", [2, 9, 10, 11, 19, 75])
@pytest.mark.parametrize("start", [False, True])
def test_a_score_equals_what_training_evaluates(start: bool, length: int) -> None:
    config, tokenizer = (WITH_START, BYTES) if start else (SMALL["rotary positions"], LETTERS)
    model, text = random_model(config, dtype=torch.float32), TEXT[:length]
    loss = evaluate(model, TokenizedText.from_documents([Document("text", text)], tokenizer))
    score = score_tokens(TorchBackend(model), tokenizer, text)
    assert score.scored_tokens == loss.tokens
    assert score.nats == pytest.approx(loss.nats, rel=1e-6)
    assert score.bits_per_byte == pytest.approx(loss.bits_per_byte, rel=1e-6)
    assert score.nats_per_character == pytest.approx(loss.nats_per_character, rel=1e-6)
    assert math.log(score.perplexity) == pytest.approx(loss.nats_per_token, rel=1e-6)


def test_an_impossible_token_makes_the_text_impossible() -> None:
    assert score_tokens(always([0.0, 1.0]), Tokenizer.characters("ab"), "aba").nats == np.inf


@pytest.mark.parametrize("stride", [0, -1, 10])
def test_a_stride_out_of_range_is_named(stride: int) -> None:
    backend = TorchBackend(random_model(SMALL["learned positions"]))
    with pytest.raises(ConfigError, match=f"stride is {stride}, it must be between 1 and the context length, 9"):
        score_tokens(backend, LETTERS, TEXT, stride)
    with pytest.raises(TextError, match="nothing to score: the text is empty"):
        score_tokens(backend, LETTERS, "")
