"""The next token: ranked candidates, the whole distribution, the pieces of the prompt."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nextword import Tokenizer
from nextword.errors import ContextOverflowError, TextError
from nextword.generation import Sampling, predict_token
from nextword.model import TorchBackend
from tests.generation.backends import LETTERS, SMALL, always, byte_tokenizer, plain_logits, random_model


@pytest.mark.parametrize("name", SMALL)
def test_candidates_are_torchs_softmax_sorted(name: str) -> None:
    model = random_model(SMALL[name])
    prediction = predict_token(TorchBackend(model), LETTERS, "abc", 5)
    logits = torch.from_numpy(plain_logits(model, LETTERS.encode("abc")))
    best = torch.softmax(logits.double(), -1).topk(5)
    assert [c.token_id for c in prediction] == best.indices.tolist()
    assert [c.probability for c in prediction] == pytest.approx(best.values.tolist(), abs=1e-9)
    assert [c.logit for c in prediction] == pytest.approx(logits[best.indices].tolist(), abs=1e-6)
    assert [c.text for c in prediction] == [LETTERS.vocabulary[i] for i in best.indices]
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert prediction.logits.dtype == np.float32


def test_equal_tokens_are_ranked_by_id_and_top_may_exceed_the_vocabulary() -> None:
    prediction = predict_token(always([0.25, 0.125, 0.25, 0.25, 0.125]), Tokenizer.characters("abcde"), "a", 100)
    assert [c.token_id for c in prediction] == [0, 2, 3, 1, 4]
    assert len(prediction) == 5
    assert prediction[1].text == "c"
    assert [c.text for c in prediction[3:]] == ["b", "e"]


def test_a_long_prompt_is_predicted_from_its_newest_half_or_refused() -> None:
    backend = TorchBackend(random_model(SMALL["learned positions"]))
    prediction = predict_token(backend, LETTERS, "abcdefgh. a", 3)
    assert prediction.dropped_tokens == 7
    assert prediction.prompt_token_ids == LETTERS.encode("h. a")
    assert [c.logit for c in prediction] == [c.logit for c in predict_token(backend, LETTERS, "h. a", 3)]
    assert predict_token(backend, LETTERS, "abcdefgh.", 3, "stop").dropped_tokens == 0
    with pytest.raises(ContextOverflowError):
        predict_token(backend, LETTERS, "abcdefgh. a", 3, "stop")
    with pytest.raises(TextError, match="the prompt is empty"):
        predict_token(backend, LETTERS, "", 3)


def test_stages_start_from_these_logits_and_this_prompt() -> None:
    prediction = predict_token(always([0.5, 0.25, 0.25]), Tokenizer.characters("abc"), "aab", 3)
    stages = prediction.stages(Sampling(temperature=0.5, top_k=1))
    assert stages.tempered == pytest.approx([2 / 3, 1 / 6, 1 / 6], abs=1e-7)
    assert stages.distribution.tolist() == [1, 0, 0]
    assert stages.discarded_mass == pytest.approx(1 / 3, abs=1e-7)
    penalized = prediction.stages(Sampling(repetition_penalty=2.0)).penalized
    assert penalized == pytest.approx([2 * np.log(0.5), 2 * np.log(0.25), np.log(0.25)], abs=1e-6)


def test_fragments_of_characters_are_written_as_bytes_and_unknown_ids_as_nothing() -> None:
    tokenizer = byte_tokenizer([b"a", b"\xed\x95", b"\x9c"])
    prediction = predict_token(always([0.1, 0.4, 0.3, 0.15, 0.05]), tokenizer, "a", 5)
    assert [c.text for c in prediction] == ["⟨ED·95⟩", "⟨9C⟩", "<|endoftext|>", "a", ""]
    assert [(p.text, p.part, p.parts) for p in prediction.pieces] == [("a", 1, 1)]


def test_a_prediction_prints_as_a_table_and_as_json() -> None:
    prediction = predict_token(always([0.5, 0.25, 0.25]), Tokenizer.characters("abc"), "ab", 2)
    first, second = str(prediction).splitlines()
    assert first == "  1.  50.00% ██████████           'a'"
    assert second == "  2.  25.00% █████                'b'"
    assert repr(prediction) == "<Prediction after 'ab': 2 tokens, best 'a' 50.0%>"
    values = json.loads(json.dumps(prediction.to_json()))
    assert values["prompt_tokens"][1] == {"id": 1, "text": "b", "part": 1, "parts": 1}
    assert [c["token_id"] for c in values["candidates"]] == [0, 1]
    assert values["candidates"][0]["probability"] == pytest.approx(0.5)
    assert (values["prompt"], values["unit"], values["dropped_tokens"]) == ("ab", "token", 0)


def test_token_ids_are_predicted_from_as_their_text_is() -> None:
    backend = TorchBackend(random_model(SMALL["rotary positions"]))
    of_text, of_ids = (predict_token(backend, LETTERS, prompt, 5) for prompt in ("a bad", LETTERS.encode("a bad")))
    assert list(of_ids) == list(of_text)
    assert (of_ids.prompt, of_ids.prompt_token_ids) == ("a bad", LETTERS.encode("a bad"))
    with pytest.raises(TextError, match="token id 99 is not in the vocabulary"):
        predict_token(backend, LETTERS, [0, 99], 5)
