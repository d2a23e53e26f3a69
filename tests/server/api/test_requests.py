"""What clients send that is wrong, and what they are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.conftest import Served, serving

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "날씨", "parameters": {"type": "object"}}}


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
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [99_999]}, "prompt"),
        ({"prompt": [2**40]}, "prompt"),
        ({"prompt": "a", "max_tokens": -2}, "max_tokens"),
        ({"prompt": "a", "max_tokens": "5"}, "max_tokens"),
        ({"prompt": "a", "max_tokens": True}, "max_tokens"),
        ({"prompt": "a", "temperature": -1}, "temperature"),
        ({"prompt": "a", "temperature": "hot"}, "temperature"),
        ({"prompt": "a", "top_p": 1.5}, "top_p"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "n": 129}, "n"),
        ({"prompt": "a", "logprobs": 50}, "logprobs"),
        ({"prompt": "a", "stop": ""}, "stop"),
        ({"prompt": "a", "stop": ["a", 5]}, "stop"),
        ({"prompt": "a", "logit_bias": {"king": 5}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"999999": 5}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"9" * 5000: 5}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"5": 500}}, "logit_bias"),
        ({"prompt": "a", "seed": 2**70}, "seed"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
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
        {"messages": [USER], "tools": [TOOL], "tool_choice": "required"},
        {"messages": [USER], "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"messages": [USER], "functions": [{"name": "f"}], "function_call": {"name": "f"}},
        {"messages": [USER], "continue_final_message": True},
        {"messages": [USER], "reasoning_effort": "high"},
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


KINDS = "must be a text, a list of texts, a list of token ids or a list of such lists"


@pytest.mark.parametrize(
    ("path", "body", "message", "hint"),
    [
        (COMPLETIONS, {"prompt": 5}, f"prompt {KINDS}, found a number", None),
        (COMPLETIONS, {"prompt": [1, "two"]}, f"prompt {KINDS}, found one that holds a number and a text", None),
        (COMPLETIONS, {"prompt": [[1], []]}, "prompt[1] must be a list of token ids that is not empty", None),
        (COMPLETIONS, {"prompt": [-1]}, "prompt holds -1, which is no token id", None),
        (COMPLETIONS, {"prompt": ["a"] * 2049}, "prompt holds 2,049 prompts, at most 2,048 are possible at once", None),
        (COMPLETIONS, {"prompt": "a", "stop": ["b"] * 17}, "stop holds 17 texts, at most 16 stops are possible", None),
        (COMPLETIONS, {"prompt": "a", "stop": ["b", 5]}, "stop must be a text or a list of texts", None),
        (COMPLETIONS, {"prompt": "a", "stop": ["b", ""]}, "stop holds an empty text", None),
        (COMPLETIONS, {"prompt": "a", "temperature": "hot"}, "temperature must be a number, found a text", None),
        (COMPLETIONS, {"prompt": "a", "top_p": 1.5}, "top_p must be at most 1, found 1.5", None),
        (
            COMPLETIONS,
            {"prompt": "a", "seed": 1.5},
            "seed must be a whole number, found 1.5",
            None,
        ),
        (
            COMPLETIONS,
            {"prompt": [1, 2.5]},
            f"prompt {KINDS}, found one that holds a number and a number with a point",
            None,
        ),
        (COMPLETIONS, {"prompt": "a", "n": 0}, "n must be at least 1, found 0", None),
        (
            COMPLETIONS,
            {"prompt": "a", "max_tokens": True},
            "max_tokens must be a whole number, found true or false",
            None,
        ),
        (COMPLETIONS, {"prompt": "a", "logit_bias": [[5, 1]]}, "logit_bias must be an object, found a list", None),
        (COMPLETIONS, {"prompt": "a", "logit_bias": {"5": 500}}, "logit_bias.5 must be at most 100, found 500", None),
        (
            COMPLETIONS,
            {"prompt": "a", "suffix": "b"},
            "suffix is not supported",
            "the model only goes on behind a text",
        ),
        (CHAT, {}, "messages is missing", None),
        (CHAT, {"messages": []}, "messages must not be empty", None),
        (CHAT, {"messages": ["hi"]}, "messages[0] must be an object, found a text", None),
        (CHAT, {"messages": [USER, {"content": "hi"}]}, "messages[1].role is missing", None),
        (
            CHAT,
            {"messages": [{"role": "user", "content": 5}]},
            "messages[0].content must be a text or a list of parts, found a number",
            None,
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "이건"}, {"type": "image_url"}]}]},
            "messages[0].content[1]: pictures are not supported, the model reads text only",
            None,
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0]: sounds are not supported, the model reads text only",
            None,
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": {}, "text": ""}]}]},
            'messages[0].content[0] must be {"type": "text", "text": "..."}',
            None,
        ),
        (CHAT, {"messages": [USER], "top_logprobs": 3}, "top_logprobs needs logprobs", None),
        (
            "/look",
            {"text": "a", "edits": [{"kind": "head", "layer": -1, "head": 0}]},
            "edits[0].layer must be at least 0, found -1",
            None,
        ),
        ("/look", {"text": "a", "edits": [{"layer": 1}]}, "edits[0] lacks 'kind'", None),
    ],
)
def test_messages_name_the_field_and_what_is_wrong(
    server: Served, path: str, body: dict, message: str, hint: str | None
) -> None:
    error = refusal(server.client.post(path, json=body))
    assert (error["message"], error.get("hint")) == (message, hint)


NO_JSON = ("the body is not sent as JSON", "send Content-Type: application/json")


@pytest.mark.parametrize(
    ("content", "kind", "message", "hint"),
    [
        (b"", "application/json", "the body must be a JSON object, found nothing", None),
        (b"[1, 2]", "application/json", "the body must be a JSON object, found a list", None),
        (
            b'{"prompt": }',
            "application/json",
            "the body is no valid JSON: Expecting value, at character 11",
            None,
        ),
        (b"[" * 100_000, "application/json", "the body cannot be read as JSON", None),
        (b'{"prompt": "a"}', "text/plain", "the body is not sent as JSON", "send Content-Type: application/json"),
        (
            b"prompt=a",
            "application/x-www-form-urlencoded",
            "the body is not sent as JSON",
            "send Content-Type: application/json",
        ),
    ],
)
def test_a_body_that_cannot_be_read_is_told_why(
    server: Served, content: bytes, kind: str, message: str, hint: str | None
) -> None:
    error = refusal(server.client.post(COMPLETIONS, content=content, headers={"content-type": kind}))
    assert (error["message"], error.get("hint")) == (message, hint)


def answer_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["choices"] if "choices" in body else body["tokens"]


def test_no_limit_is_as_many_tokens_as_the_context_holds(server: Served) -> None:
    keep_on = {"temperature": 0, "logit_bias": {"0": -100}}
    for limit in ({"max_tokens": -1}, {"max_tokens": None}):
        found = server.client.post(COMPLETIONS, json={"prompt": "To be", **limit, **keep_on}).json()
        assert found["choices"][0]["finish_reason"] == "length"
        assert found["usage"]["total_tokens"] == 257  # the last one is written, not read
    chat = {"model": "chatty", "messages": [USER], **keep_on}
    for limit in ({"max_tokens": -1}, {"max_completion_tokens": -1}, {}):
        found = server.client.post(CHAT, json={**chat, **limit}).json()
        assert (found["choices"][0]["finish_reason"], found["usage"]["total_tokens"]) == ("length", 257)


def test_a_prompt_of_ids_may_be_as_long_as_the_context(server: Served) -> None:
    answer_of(server.client.post(COMPLETIONS, json={"prompt": [300] * 256, "max_tokens": 1}))
    error = refusal(server.client.post(COMPLETIONS, json={"prompt": [300] * 2049}))
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (2049, 256)


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
    unknown = refusal(server.client.get("/v1/nothing"), 404)
    assert (unknown["message"], unknown["code"]) == ("there is no GET /v1/nothing", "unknown_url")
    answer = server.client.get(COMPLETIONS)
    assert refusal(answer, 405)["hint"] == "this path answers POST"
    assert answer.headers["allow"] == "POST"
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


def test_a_prompt_that_the_tokenizer_gives_up_on_or_that_cannot_fit_is_a_400(chatty: Path, tmp_path: Path) -> None:
    """The Rust library panics on the one; encoding the other would take seconds."""
    model = tmp_path / "gives-up"
    shutil.copytree(chatty, model)
    description = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    for step in description["pre_tokenizer"]["pretokenizers"]:
        if step["type"] == "Split":
            step["pattern"] = {"Regex": r"(\s+)+$"}
    (model / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    with serving(tmp_path / "log", model) as served:
        for path, body in (
            (COMPLETIONS, {"prompt": " " * 40 + "x"}),
            (COMPLETIONS, {"prompt": ["a", " " * 40 + "x"], "stream": True}),
            ("/tokenize", {"prompt": " " * 40 + "x"}),
            (CHAT, {"messages": [{"role": "user", "content": " " * 40 + "x"}]}),
        ):
            error = refusal(served.client.post(path, json=body))
            assert error["message"].startswith("the tokenizer cannot encode the text"), error
        long = "한" * 600_000
        for path, body in ((COMPLETIONS, {"prompt": long}), (CHAT, {"messages": [{"role": "user", "content": long}]})):
            assert "the prompt has at least" in refusal(served.client.post(path, json=body))["message"]
        assert served.client.get("/health").status_code == 200
        assert served.client.post(COMPLETIONS, json={"prompt": "To be", "max_tokens": 1}).status_code == 200
