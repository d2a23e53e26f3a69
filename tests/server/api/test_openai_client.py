"""The official client, unchanged."""

from __future__ import annotations

import math
from collections.abc import Iterator

import openai
import pytest

import nextword
from tests.server.conftest import Served

PROMPT = "To be, or not to"
MESSAGES = [{"role": "user", "content": "대한민국의 주권은"}]


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def lm() -> nextword.LanguageModel:
    return nextword.load()


def test_it_lists_its_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["nextword", "chatty", "tooled"]
    assert client.models.retrieve("chatty").object == "model"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4'"):
        client.models.retrieve("gpt-4")


@pytest.mark.parametrize("prompt", [PROMPT, "모든 국민은", "🙂 and"])
def test_a_completion_is_what_generate_writes(client: openai.OpenAI, lm: nextword.LanguageModel, prompt: str) -> None:
    whole = client.completions.create(
        model="nextword", prompt=prompt, max_tokens=40, seed=3, temperature=0.9, top_p=0.8
    )
    wanted = lm.generate(prompt, 40, seed=3, temperature=0.9, top_p=0.8)
    assert whole.choices[0].text == wanted.text
    assert whole.choices[0].finish_reason == wanted.finish_reason
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len(wanted.token_ids)
    assert whole.usage.prompt_tokens == len(wanted.prompt_token_ids)


def test_streamed_and_whole_are_the_same(client: openai.OpenAI) -> None:
    settings = {"model": "nextword", "prompt": "모든 국민은", "max_tokens": 60, "seed": 5}
    whole = client.completions.create(**settings)
    chunks = list(client.completions.create(**settings, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"


def test_a_chat_is_what_chat_answers(client: openai.OpenAI, chatty) -> None:
    wanted = nextword.load(chatty).chat(MESSAGES, 30, seed=1, temperature=1.0, top_p=1.0)
    whole = client.chat.completions.create(model="chatty", messages=MESSAGES, max_completion_tokens=30, seed=1)
    assert whole.choices[0].message.content == wanted.text
    assert whole.choices[0].message.role == "assistant"
    parts = [{"role": "user", "content": [{"type": "text", "text": "대한민국의 "}, {"type": "text", "text": "주권은"}]}]
    chunks = list(
        client.chat.completions.create(model="chatty", messages=parts, max_completion_tokens=30, seed=1, stream=True)
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == wanted.text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == [
        wanted.finish_reason
    ]


def test_several_texts_of_one_request_have_seeds_of_their_own(
    client: openai.OpenAI, lm: nextword.LanguageModel
) -> None:
    answer = client.completions.create(
        model="nextword", prompt=[PROMPT, "모든"], n=2, max_tokens=12, seed=7, top_p=0.95
    )
    wanted = [
        lm.generate(prompt, 12, seed=7 + i, temperature=1.0).text
        for i, prompt in enumerate([PROMPT, PROMPT, "모든", "모든"])
    ]
    assert [choice.text for choice in answer.choices] == wanted
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    ids = lm.tokenizer.encode_start(PROMPT)
    greedy = client.completions.create(model="nextword", prompt=[ids, ids], max_tokens=5, temperature=0)
    assert {choice.text for choice in greedy.choices} == {lm.generate(PROMPT, 5, temperature=0).text}


def test_log_probabilities_are_the_models(client: openai.OpenAI, lm: nextword.LanguageModel) -> None:
    answer = client.completions.create(model="nextword", prompt=PROMPT, max_tokens=6, seed=0, logprobs=3).choices[0]
    wanted = lm.generate(PROMPT, 6, seed=0, temperature=1.0, top_p=1.0, logprobs=3)
    logprobs = answer.logprobs
    assert logprobs.token_logprobs == [item.logprob for item in wanted.logprobs]
    assert "".join(logprobs.tokens) == answer.text
    assert [answer.text[a:b] for a, b in zip(logprobs.text_offset, [*logprobs.text_offset[1:], None], strict=True)] == (
        logprobs.tokens
    )
    assert all(3 <= len(top) <= 4 for top in logprobs.top_logprobs)
    assert all(math.exp(max(top.values())) <= 1 for top in logprobs.top_logprobs)


def test_echo_scores_the_prompt_as_score_does(client: openai.OpenAI, lm: nextword.LanguageModel) -> None:
    text = "대한민국의 주권은 국민에게 있고, 모든 권력은 국민으로부터 나온다."
    score = lm.score(text)
    ids = [lm.tokenizer.bos_id, *score.token_ids]  # what score reads: the document's start before the text
    answer = client.completions.create(model="nextword", prompt=ids, max_tokens=0, echo=True, logprobs=1).choices[0]
    assert answer.logprobs.token_logprobs == [None, *score.token_logprobs]
    assert answer.logprobs.text_offset[0] == 0
    assert answer.finish_reason == "length"
    more = client.completions.create(model="nextword", prompt=text, max_tokens=2, echo=True, logprobs=1).choices[0]
    assert more.text.startswith(text)
    assert len(more.logprobs.tokens) == len(score.token_ids) + 2


def test_chat_log_probabilities_have_their_bytes(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chatty", messages=MESSAGES, max_completion_tokens=8, seed=0, logprobs=True, top_logprobs=2
    ).choices[0]
    content = answer.logprobs.content
    assert len(content) == 8
    assert (
        bytes(byte for token in content for byte in token.bytes)
        .decode(errors="ignore")
        .startswith(answer.message.content.removesuffix("\N{REPLACEMENT CHARACTER}"))
    )
    assert all(len(token.top_logprobs) == 2 for token in content)


def test_a_stop_string_ends_the_text_wherever_tokens_are_cut(client: openai.OpenAI) -> None:
    settings = {"model": "nextword", "prompt": PROMPT, "max_tokens": 60, "seed": 2}
    text = client.completions.create(**settings).choices[0].text
    for start in (1, 5, 9):
        stop = text[start : start + 3]
        cut = client.completions.create(**settings, stop=[stop, "never there"]).choices[0]
        assert cut.text == text[: text.index(stop)]
        assert cut.finish_reason == "stop"


def test_biases_and_penalties_change_what_is_written(client: openai.OpenAI, lm: nextword.LanguageModel) -> None:
    token = lm.tokenizer.encode(" king")[0]
    settings = {"model": "nextword", "prompt": PROMPT, "max_tokens": 16, "temperature": 0}
    only = client.completions.create(**settings, logit_bias={str(token): 100})
    assert only.choices[0].text == " king" * 16
    # Two for being there and two for each time: a bias of 30 is eaten up after 14 times.
    spread = client.completions.create(**settings, logit_bias={str(token): 30}, frequency_penalty=2, presence_penalty=2)
    plain = client.completions.create(**settings, logit_bias={str(token): 30})
    assert plain.choices[0].text.count(" king") == 16
    assert spread.choices[0].text.count(" king") < 16
    written = lm.generate(PROMPT, 16, temperature=0, logit_bias={token: 30}, frequency_penalty=2, presence_penalty=2)
    assert spread.choices[0].text == written.text  # as Python writes it


def test_errors_are_openais(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="nextword", prompt="word " * 3000)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.body["n_ctx"] == 256
    assert caught.value.body["n_prompt_tokens"] > 256
    with pytest.raises(openai.BadRequestError, match="chat template"):
        client.chat.completions.create(model="nextword", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="best_of"):
        client.completions.create(model="nextword", prompt=PROMPT, best_of=3)
