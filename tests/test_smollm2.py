"""A real published model, SmolLM2-135M-Instruct in 4-bit blocks: the same file here and in transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import nextword
from nextword import LanguageModel
from nextword.files import read_model
from nextword.files.card import languages_of
from tests.published import smollm2_gguf

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "대한민국의 수도는",
    "Emoji like 🙂, 👨‍👩‍👧 and 🇰🇷 are",
]
MESSAGES = [
    {"role": "user", "content": "What is the capital of Korea?"},
    {"role": "assistant", "content": "It is Seoul (서울)."},
    {"role": "user", "content": "And of Japan? 🙂"},
]
# Not among them: fractions and other numbers that are no digits. What transformers makes of the file's tokenizer cuts
# " ½" in one piece; the model's own tokenizer and llama.cpp (tests/llama_cpp) cut the number off, as we do.
TEXTS = [
    *PROMPTS,
    "a <|im_start|>",
    "1234567890 and 3.14",
    "   blanks   and\n\n\ttabs\r\n",
    "각 각 e\u0301",
    "ﬁ ᚠ\u0000\ufffd",
]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return nextword.load(smollm2_gguf())


@pytest.fixture(scope="module")
def theirs() -> Any:
    """transformers on the same file."""
    file = smollm2_gguf()
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def their_tokenizer() -> Any:
    file = smollm2_gguf()
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def test_it_is_what_it_says(lm: LanguageModel) -> None:
    assert lm.config.num_parameters == 134_515_008
    assert (lm.config.num_layers, lm.config.d_model, lm.config.num_kv_heads) == (30, 576, 3)
    assert (lm.config.context_length, lm.config.rope_theta, lm.config.tie_embeddings) == (8192, 100000.0, True)
    assert (lm.tokenizer.vocab_size, lm.tokenizer.adds_bos) == (49152, False)
    ends = {lm.tokenizer.vocabulary[end] for end in lm.tokenizer.end_ids}
    assert ends == {"<|im_end|>", "<|endoftext|>", "<reponame>"}  # as llama.cpp decides
    assert lm.chat_template.startswith("{% for message in messages %}")


def test_its_blocks_stay_as_they_are_in_the_file() -> None:
    file = smollm2_gguf()
    bundle = read_model(file)
    kinds = [tensor.dtype for tensor in bundle.tensors.values()]
    assert (kinds.count("Q4_1"), kinds.count("Q8_0"), kinds.count("F32")) == (210, 1, 61)
    assert sum(len(tensor.data) for tensor in bundle.tensors.values()) == 96_576_768


@pytest.fixture(scope="module")
def exact() -> LanguageModel:
    return nextword.load(smollm2_gguf(), activations="float32")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_logits_are_those_of_transformers(lm: LanguageModel, exact: LanguageModel, theirs: Any, prompt: str) -> None:
    ids = lm.tokenizer.encode_start(prompt)
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
    for model, tolerance in ((exact, 5e-5), (lm, 1e-3)):  # float32's rounding, 30 layers deep; int16, float16
        [found] = model.backend.forward([ids], [model.backend.new_cache(len(ids))], logits="all")
        assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()
        assert (found.argmax(-1) == expected.argmax(-1)).all()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_fifty_greedy_tokens_are_those_of_transformers(
    lm: LanguageModel, exact: LanguageModel, theirs: Any, prompt: str
) -> None:
    written = exact.generate(prompt, 50, temperature=0.0)
    ids = torch.tensor([written.prompt_token_ids])
    settings = GenerationConfig(max_new_tokens=50, do_sample=False, eos_token_id=2, pad_token_id=2)
    output = theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    expected = output[0, ids.shape[1] :].tolist()
    assert [*written.token_ids] == [token for token in expected if token != 2]
    assert (written.finish_reason == "stop") == (expected[-1] == 2)
    if prompt.isascii():  # with those of 16 bits too, but for strings of bytes that it never learned
        assert lm.generate(prompt, 50, temperature=0.0).token_ids == written.token_ids


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_cut_into_transformers_tokens(lm: LanguageModel, their_tokenizer: Any, text: str) -> None:
    plain = their_tokenizer(text, split_special_tokens=True)["input_ids"]
    assert lm.tokenizer.encode(text) == plain
    assert lm.tokenizer.encode(text, special=True) == their_tokenizer(text)["input_ids"]
    assert lm.tokenizer.decode(plain) == text


def test_a_conversation_is_answered_with_the_tokens_of_transformers(
    lm: LanguageModel, theirs: Any, their_tokenizer: Any
) -> None:
    answer = lm.chat(MESSAGES, max_new_tokens=30, temperature=0.0)
    prompt = their_tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt")
    ids = prompt["input_ids"] if not isinstance(prompt, torch.Tensor) else prompt
    assert list(answer.prompt_token_ids) == ids[0].tolist()
    settings = GenerationConfig(max_new_tokens=30, do_sample=False, eos_token_id=2, pad_token_id=2)
    output = theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    assert list(answer.token_ids) == [token for token in output[0, ids.shape[1] :].tolist() if token != 2]
    assert answer.finish_reason == "stop"
    assert "Tokyo" in answer.text


def test_the_file_says_that_it_is_a_model_of_english() -> None:
    bundle = read_model(smollm2_gguf())
    assert languages_of(bundle.card, bundle.provenance) == ("English",)
