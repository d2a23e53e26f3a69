"""What clients send that is wrong, and what they are told."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.server.conftest import Served

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
USER = {"role": "user", "content": "hi"}


def refusal(answer: httpx.Response, status: int = 400) -> dict:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    assert {"message", "type", "param", "code"} <= set(body["error"])
    assert "detail" not in body
    return body["error"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "two"]}, "prompt"),
        ({"prompt": [[1], ["two"]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [[]]}, None),
        ({"prompt": [99_999]}, None),
        ({"prompt": [2**40]}, "prompt"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a", "max_tokens": "5"}, "max_tokens"),
        ({"prompt": "a", "max_tokens": True}, "max_tokens"),
        ({"prompt": "a", "temperature": -1}, "temperature"),
        ({"prompt": "a", "temperature": "hot"}, "temperature"),
        ({"prompt": "a", "top_p": 1.5}, "top_p"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "n": 129}, "n"),
        ({"prompt": "a", "logprobs": 50}, "logprobs"),
        ({"prompt": "a", "stop": ""}, None),
        ({"prompt": "a", "stop": ["a", 5]}, "stop"),
        ({"prompt": "a", "logit_bias": {"king": 5}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"999999": 5}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"5": 500}}, "logit_bias"),
        ({"prompt": "a", "seed": 2**70}, "seed"),
        ({"prompt": "a", "suffix": "b"}, None),
        ({"prompt": "a", "best_of": 2}, None),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, None),
    ],
)
def test_a_wrong_completion_is_a_400(server: Served, body: dict, param: str | None) -> None:
    error = refusal(server.client.post(COMPLETIONS, json=body))
    assert error["param"] == param
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": "hi"},
        {"messages": ["hi"]},
        {"messages": [{"content": "hi"}]},
        {"messages": [{"role": "", "content": "hi"}]},
        {"messages": [{"role": 5, "content": "hi"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        {"messages": [{"role": "tool", "content": "5", "tool_call_id": "1"}]},
        {"messages": [USER], "tools": [{"type": "function"}]},
        {"messages": [USER], "functions": [{"name": "f"}]},
        {"messages": [USER], "response_format": {"type": "json_object"}},
        {"messages": [USER], "modalities": ["audio"]},
        {"messages": [USER], "top_logprobs": 3},
        {"messages": [USER], "max_completion_tokens": 0},
        {"messages": [USER], "chat_template_kwargs": {"messages": []}},
    ],
)
def test_a_wrong_chat_is_a_400(server: Served, body: dict) -> None:
    refusal(server.client.post(CHAT, json={"model": "chatty", **body}))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[1, 2]", "application/json"),
        (b"5", "application/json"),
        (b"null", "application/json"),
        (b'"prompt"', "application/json"),
        (b'{"prompt": "\\ud800"}', "application/json"),
        (b'{"prompt": "\xff"}', "application/json"),
        (b'{"prompt": "a", "temperature": NaN}', "application/json"),
        (b'{"prompt": "a", "temperature": 1e999}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"prompt=a", "application/x-www-form-urlencoded"),
        (b'{"prompt": "a"}', "text/plain"),
    ],
)
def test_a_body_that_is_no_object_is_a_400(server: Served, content: bytes, kind: str) -> None:
    refusal(server.client.post(COMPLETIONS, content=content, headers={"content-type": kind}))


def test_unknown_fields_are_ignored_and_null_is_as_good_as_nothing(server: Served) -> None:
    body = {
        "prompt": "To be",
        "max_tokens": 3,
        "seed": 1,
        "stop": None,
        "n": None,
        "logit_bias": None,
        "service_tier": "auto",
    }
    assert server.client.post(COMPLETIONS, json=body).json()["choices"][0]["text"]


def test_what_is_not_there_and_wrong_methods_are_told_in_the_same_shape(server: Served) -> None:
    refusal(server.client.get("/v1/nothing"), 404)
    refusal(server.client.get(COMPLETIONS), 405)
    refusal(server.client.post(COMPLETIONS, json={"prompt": "a", "model": "gpt-4"}), 404)
    refusal(server.client.get("/v1/../../etc/passwd"), 404)


def test_paths_work_without_v1_too(server: Served) -> None:
    assert server.client.get("/models").json() == server.client.get("/v1/models").json()
    body = {"prompt": "To be", "max_tokens": 3, "temperature": 0}
    both = [server.client.post(path, json=body).json()["choices"] for path in (COMPLETIONS, "/completions")]
    assert both[0] == both[1]


def test_text_becomes_tokens_and_back(server: Served) -> None:
    found = server.client.post("/tokenize", json={"prompt": "모든 국민은", "return_token_strs": True}).json()
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert server.client.post("/detokenize", json={"tokens": found["tokens"]}).json()["prompt"] == "모든 국민은"
    chat = server.client.post("/tokenize", json={"model": "chatty", "messages": [USER]}).json()
    assert (
        server.client.post("/detokenize", json={"tokens": chat["tokens"]}).json()["prompt"] == "<user>hi\n<assistant>"
    )
    refusal(server.client.post("/detokenize", json={"tokens": [999_999]}))
    refusal(server.client.post("/tokenize", json={}))
    assert server.client.get("/tokenizer_info").json()["model_max_length"] == 256


def test_stream_events_have_the_shape_that_clients_parse(server: Served) -> None:
    body = {"model": "chatty", "messages": [USER], "max_tokens": 4, "stream": True, "seed": 0}
    with server.client.stream("POST", CHAT, json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_what_is_wrong_before_a_stream_has_a_status_of_its_own(server: Served) -> None:
    refusal(server.client.post(COMPLETIONS, json={"prompt": "word " * 999, "stream": True}))
    refusal(server.client.post(COMPLETIONS, json={"prompt": [99_999], "stream": True}))
