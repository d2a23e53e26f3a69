"""The held-out loss is the plain cross entropy of every token."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nextword.config import GPTConfig
from nextword.model import GPTModel
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.run.evaluate import Loss, evaluate
from tests.conftest import Trained
from tests.training.sample_text import TEXT


def model_and_text(trained: Trained, context: int, dropout: float = 0.0) -> tuple[GPTModel, TokenizedText]:
    tokenizer = trained.run.model.tokenizer
    torch.manual_seed(0)
    model = GPTModel.from_config(GPTConfig.preset("tiny", tokenizer.vocab_size, context, dropout=dropout))
    return model, TokenizedText.from_documents([Document("a", TEXT[:600])], tokenizer)


def test_it_equals_a_plain_cross_entropy_over_the_whole_text(trained: Trained) -> None:
    model, text = model_and_text(trained, context=4096)
    ids = torch.from_numpy(text.tokens)[None]
    with torch.inference_mode():
        expected = F.cross_entropy(model.eval()(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
    loss = evaluate(model, text)
    assert loss.nats == pytest.approx(expected, rel=1e-5)
    assert (loss.tokens, loss.characters, loss.bytes) == (len(text.tokens) - 1, 600, len(TEXT[:600].encode()))


@pytest.mark.parametrize("context", [1, 7, 32, 100])
def test_with_a_short_context_it_equals_the_sum_over_windows(trained: Trained, context: int) -> None:
    model, text = model_and_text(trained, context)
    ids, expected = torch.from_numpy(text.tokens), 0.0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, context):
            window = ids[start : start + context + 1]
            expected += F.cross_entropy(model.eval()(window[None, :-1])[0], window[1:], reduction="sum").item()
    assert evaluate(model, text).nats == pytest.approx(expected, rel=1e-5)


def test_it_equals_the_score_of_the_finished_model(trained: Trained) -> None:
    lm = trained.run.model
    # Whole windows only: `score` gives the tokens of a last, shorter one all the context they can have.
    whole = next(TEXT[-n:] for n in range(400, 500) if len(lm.tokenizer.encode(TEXT[-n:])) % 32 == 0)
    score = lm.score(whole)
    loss = evaluate(lm.model, TokenizedText.from_documents([Document("a", whole)], lm.tokenizer))
    assert loss.nats == pytest.approx(score.nats, rel=1e-4)
    assert loss.bits_per_byte == pytest.approx(score.bits_per_byte, rel=1e-4)
    assert loss.nats_per_character == pytest.approx(score.nats_per_character, rel=1e-4)


def test_an_untrained_model_is_about_as_good_as_guessing(trained: Trained) -> None:
    model, text = model_and_text(trained, context=64)
    assert evaluate(model, text).nats_per_token == pytest.approx(math.log(model.config.vocab_size), rel=0.1)


def test_dropout_is_off_while_looking_and_on_again_afterwards(trained: Trained) -> None:
    model, text = model_and_text(trained, context=32, dropout=0.5)
    model.train()
    assert evaluate(model, text).nats == evaluate(model, text).nats
    assert model.training
    model.eval()
    evaluate(model, text)
    assert not model.training


def test_the_units_are_what_they_say() -> None:
    loss = Loss(nats=120.0, tokens=30, characters=60, bytes=80)
    assert loss.nats_per_token == 4.0
    assert loss.nats_per_character == 2.0
    assert loss.bits_per_byte == pytest.approx(1.5 / math.log(2))


@pytest.mark.parametrize("context", [7, 4096])
def test_only_tokens_with_a_weight_count(trained: Trained, context: int) -> None:
    model, text = model_and_text(trained, context)
    weights = np.random.default_rng(0).integers(0, 2, len(text.tokens)).astype(np.uint8)
    ids, expected = torch.from_numpy(text.tokens), 0.0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, context):
            window = ids[start : start + context + 1]
            losses = F.cross_entropy(model.eval()(window[None, :-1])[0], window[1:], reduction="none")
            expected += float(losses @ torch.from_numpy(weights[start + 1 : start + context + 1]).float())
    loss = evaluate(model, replace(text, weights=weights))
    assert loss.nats == pytest.approx(expected, rel=1e-5)
    assert loss.tokens == weights[1:].sum()
    assert loss.nats < 0.7 * evaluate(model, text).nats
