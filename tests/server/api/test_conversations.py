"""Conversations as templates write them: tools, messages that are continued, variables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.api.test_requests import CHAT, COMPLETIONS, TOOL, USER, refusal
from tests.server.conftest import Served

VARIABLES = [
    "self",
    "cls",
    "kwargs",
    "at_most",
    "context",
    "loop",
    "varargs",
    "range",
    "raise_exception",
    "bos_token",
    "이름",
    "",
]


def written(server: Served, body: dict) -> str:
    """What a template makes of a conversation."""
    found = server.client.post("/tokenize", json=body)
    assert found.status_code == 200, found.text
    tokens = {"model": body["model"], "tokens": found.json()["tokens"]}
    return server.client.post("/detokenize", json=tokens).json()["prompt"]


def test_tools_reach_a_template_that_knows_them_and_change_nothing_where_it_does_not(server: Served) -> None:
    asked = {"messages": [USER], "temperature": 0, "max_tokens": 6}
    for name in ("chatty", "tooled"):
        plain = server.client.post(CHAT, json={"model": name, **asked}).json()
        for extra in (
            {"tools": [TOOL]},
            {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True},
            {"functions": [TOOL["function"]], "function_call": "auto"},
            {"tools": [TOOL], "tool_choice": "none"},
            {"tools": [], "tool_choice": None},
        ):
            found = server.client.post(CHAT, json={"model": name, **asked, **extra}).json()
            told = name == "tooled" and "none" not in extra.values() and extra.get("tools") != []
            assert (found["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]) == told
            assert found["choices"][0]["finish_reason"] in {"stop", "length"}
            if not told:
                assert found["choices"] == plain["choices"]
    text = written(server, {"model": "tooled", "messages": [USER], "tools": [TOOL]})
    assert text == f"<tools>{json.dumps([TOOL], ensure_ascii=False)}</tools><user>hi\n<assistant>"


def test_a_last_message_of_the_assistant_is_continued(server: Served) -> None:
    begun = [USER, {"role": "assistant", "content": "물론이죠, "}]
    talk = {"model": "chatty", "messages": begun}
    assert written(server, talk) == "<user>hi\n<assistant>물론이죠, "
    assert written(server, {**talk, "continue_final_message": True}) == "<user>hi\n<assistant>물론이죠, "
    assert written(server, {**talk, "continue_final_message": False}) == "<user>hi\n<assistant>물론이죠, \n<assistant>"
    assert written(server, {**talk, "add_generation_prompt": True}) == "<user>hi\n<assistant>물론이죠, \n<assistant>"
    assert written(server, {**talk, "add_generation_prompt": False}) == "<user>hi\n<assistant>물론이죠, \n"
    ids = server.client.post("/tokenize", json=talk).json()["tokens"]
    settings = {"model": "chatty", "max_tokens": 6, "temperature": 0}
    wanted = server.client.post(COMPLETIONS, json={**settings, "prompt": ids}).json()["choices"][0]["text"]
    found = server.client.post(CHAT, json={**settings, "messages": begun}).json()["choices"][0]
    assert found["message"] == {"role": "assistant", "content": wanted, "refusal": None}


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", [1, None, "x", [], {"a": [1, "<|endoftext|>"]}])
def test_a_template_may_be_given_variables_of_any_name(server: Served, name: str, value: Any) -> None:
    body = {"model": "tooled", "messages": [USER], "max_tokens": 1, "chat_template_kwargs": {name: value}}
    answer = server.client.post(CHAT, json=body)
    assert answer.status_code in {200, 400}, answer.text
    if name not in {"bos_token", "raise_exception"}:
        assert answer.status_code == 200


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "continue_final_message"])
def test_variables_cannot_replace_what_the_request_has_itself(server: Served, name: str) -> None:
    body = {"model": "tooled", "messages": [USER], "chat_template_kwargs": {name: []}}
    assert refusal(server.client.post(CHAT, json=body))["param"] == "chat_template_kwargs"


def test_effort_reaches_a_template_that_thinks(server: Served) -> None:
    plain = written(server, {"model": "tooled", "messages": [USER]})
    assert written(server, {"model": "tooled", "messages": [USER], "reasoning_effort": "high"}) == plain
    quiet = written(server, {"model": "tooled", "messages": [USER], "reasoning_effort": "none"})
    assert quiet == f"{plain}<quiet>"
    assert (
        refusal(server.client.post(CHAT, json={"model": "chatty", "messages": [USER], "reasoning_effort": "low"}))[
            "param"
        ]
        == "reasoning_effort"
    )
