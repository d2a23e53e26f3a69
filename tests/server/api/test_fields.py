"""Every field of every route, given what it cannot be: a 400 that names it in one plain sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from nextword.files import read_model
from nextword.loading import DEFAULT_MODEL
from tests.server.api.test_requests import CHAT, COMPLETIONS, TOOL, USER, refusal
from tests.server.conftest import Served

ROUTES: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"model": "nextword", "prompt": "To be", "max_tokens": 1},
    CHAT: {"model": "chatty", "messages": [USER], "max_tokens": 1},
    "/tokenize": {"model": "chatty", "prompt": "To be"},
    "/detokenize": {"model": "nextword", "tokens": [300]},
    "/look/predict": {"model": "nextword", "text": "To be"},
    "/look": {"model": "nextword", "text": "To be"},
}
"""Each with the least that it answers."""
VALUES = [True, 5, -7, 1.5, 1e9, "x", [], ["x"], [[]], [None], {}, {"x": 1}]
HALF = "\ud800"
SHIPPED = read_model(DEFAULT_MODEL).config
VOCABULARY = SHIPPED.vocab_size
FOREIGN = re.compile(r"Input should|Value error|value_error|pydantic|union|str_type|nextword |--|lm\.|\n")
"""Words of the checker's, of the command line and of Python: none of them is a client's."""


def schema_of(server: Served, path: str) -> dict[str, Any]:
    """What /openapi.json says of a route's body, whole in itself."""
    whole = server.client.get("/openapi.json").json()
    body = whole["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return {**body, "components": whole["components"]}


def fields_of(schema: dict[str, Any]) -> dict[str, Any]:
    return schema["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]


def post(server: Served, path: str, body: dict[str, Any]) -> Any:
    """Half characters cannot be sent but as escapes."""
    return server.client.post(path, content=json.dumps(body).encode(), headers={"content-type": "application/json"})


def wrong_values(schema: dict[str, Any], field: dict[str, Any]) -> Iterator[Any]:
    """The values that a field's schema does not allow; in JSON, 1.0 is a whole number, and a number is none here."""
    held = jsonschema.Draft202012Validator({**field, "components": schema["components"]})
    yield from (value for value in VALUES if not held.is_valid(value))


@pytest.mark.parametrize("path", ROUTES)
def test_a_field_of_a_wrong_kind_is_refused_by_name_in_one_sentence(server: Served, path: str) -> None:
    schema, tried = schema_of(server, path), 0
    for name, field in fields_of(schema).items():
        for value in wrong_values(schema, field):
            error = refusal(post(server, path, {**ROUTES[path], name: value}))
            assert error["param"] == name, (name, value, error)
            assert error["message"].startswith(name), (name, value, error)
            assert len(error["message"]) < 200, error
            assert not FOREIGN.search(error["message"] + error.get("hint", "")), error
            tried += 1
    assert tried >= 8 * len(fields_of(schema)) - 25, tried  # few fields take much


@pytest.mark.parametrize("path", ROUTES)
def test_half_a_character_is_never_an_error_of_the_server(server: Served, path: str) -> None:
    schema = schema_of(server, path)
    for name in [*fields_of(schema), HALF]:
        for value in (HALF, [HALF], [[HALF]], {HALF: 1}, {"x": [HALF]}, [{"x": HALF}], [{"kind": HALF}]):
            answer = post(server, path, {**ROUTES[path], name: value})
            assert answer.status_code in {200, 400}, (name, value, answer.text)
            if answer.status_code == 400:  # two texts at once are refused by the name of one
                assert refusal(answer)["param"] in {name, "prompt", "text"}, (name, value, answer.text)


@pytest.mark.parametrize(
    ("path", "body", "param", "message"),
    [
        (COMPLETIONS, {"prompt": None}, "prompt", "prompt is missing"),
        (
            COMPLETIONS,
            {"prompt": [99_999]},
            "prompt",
            f"token id 99999 is not in the vocabulary of {VOCABULARY} tokens",
        ),
        (COMPLETIONS, {"prompt": ["한", "word " * 400]}, "prompt", "the prompt has 401 tokens"),
        (COMPLETIONS, {"prompt": HALF}, "prompt", "the text holds a lone surrogate, U+D800"),
        (COMPLETIONS, {"stop": ["\n", HALF]}, "stop", "stop holds what is no valid Unicode text"),
        (COMPLETIONS, {"prompt": ["a"] * 257}, "prompt", "257 texts are more than the 256 that may wait"),
        (COMPLETIONS, {"prompt": ["a"] * 3, "n": 100}, "n", "300 texts are more than the 256 that may wait"),
        (
            COMPLETIONS,
            {"max_tokens": 1e9},
            "max_tokens",
            "max_tokens must be a whole number without a point or an exponent, found 1000000000.0",
        ),
        (COMPLETIONS, {"max_tokens": 1.5}, "max_tokens", "max_tokens must be a whole number, found 1.5"),
        (CHAT, {"model": "nextword"}, "messages", "the model has no chat template"),
        (CHAT, {"messages": [{"role": "user", "content": "말 " * 400}]}, "messages", "the prompt has "),
        (CHAT, {"messages": [{"role": "user", "content": HALF}]}, "messages", "the text holds a lone surrogate"),
        (CHAT, {"chat_template_kwargs": {"a": [HALF]}}, "chat_template_kwargs", "chat_template_kwargs holds what"),
        (CHAT, {"tools": [TOOL, {HALF: 1}]}, "tools", "tools[1] holds what is no valid Unicode text"),
        ("/tokenize", {"prompt": None}, "prompt", "give prompt, content or messages, one of them"),
        ("/tokenize", {"prompt": None, "content": HALF}, "content", "the text holds a lone surrogate"),
        ("/tokenize", {"prompt": None, "model": "nextword", "messages": [USER]}, "messages", "the model has no chat"),
        ("/detokenize", {"tokens": [VOCABULARY]}, "tokens", f"token id {VOCABULARY} is not in the vocabulary of"),
        ("/look/predict", {"text": ""}, "text", "the prompt is empty"),
        ("/look/predict", {"text": None, "ids": [VOCABULARY]}, "ids", f"token id {VOCABULARY} is not in the"),
        ("/look", {"text": ""}, "text", "the prompt is empty"),
        ("/look", {"text": None}, "text", "give text or ids, one of them"),
        ("/look", {"edits": [{"kind": "head", "layer": 99, "head": 0}]}, "edits", "there is no value 'blocks.99."),
        ("/look", {"edits": [{"kind": "token", "position": 0, "id": VOCABULARY}]}, "edits", "an embedding of a token"),
        ("/look", {"parts": [{"kind": "block", "layer": 99}]}, "parts", "there is no layer 99"),
    ],
)
def test_what_a_model_cannot_take_names_the_field_too(
    server: Served, path: str, body: dict[str, Any], param: str, message: str
) -> None:
    error = refusal(post(server, path, {**ROUTES[path], **body}))
    assert error["param"] == param
    assert error["message"].startswith(message)
    assert not FOREIGN.search(error["message"] + error.get("hint", ""))


ROLES = "must be 'system', 'developer', 'user', 'assistant', 'tool' or 'function'"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "wizard", "content": "hi"}, f".role {ROLES}, found 'wizard'"),
        ({"role": "마법사", "content": "hi"}, f".role {ROLES}, found '마법사'"),
        ({"role": "User", "content": "hi"}, f".role {ROLES}, found 'User'"),
        ({"role": "", "content": "hi"}, f".role {ROLES}, found ''"),
        ({"role": None, "content": "hi"}, f".role {ROLES}, found null"),
        ({"role": "user"}, ".content is missing"),
        ({"role": "user", "content": None}, ".content must be a text or a list of parts, found null"),
        ({"role": "user", "content": []}, ".content must be a text or a list of parts, found an empty one"),
        ({"role": "system", "content": None}, ".content must be a text or a list of parts, found null"),
        ({"role": "assistant", "content": None}, ".content must be a text or a list of parts, found null"),
        ({"role": "assistant", "tool_calls": []}, ".content is missing"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, ": tool calls are not supported"),
        ({"role": "tool", "content": "5", "tool_call_id": "1"}, ": tool calls are not supported"),
        ({"role": "function", "content": "5", "name": "f"}, ": tool calls are not supported"),
        ({}, ".role is missing"),
    ],
)
def test_a_message_without_a_role_or_words_is_refused_as_openai_does(
    server: Served, message: dict[str, Any], said: str
) -> None:
    for path, model in ((CHAT, "chatty"), ("/tokenize", "chatty")):
        error = refusal(post(server, path, {"model": model, "messages": [USER, message]}))
        assert (error["message"], error["param"]) == (f"messages[1]{said}", "messages")


def test_what_openai_takes_is_taken(server: Served) -> None:
    developer = [{"role": "developer", "content": "짧게"}, {"role": "user", "content": ""}]
    system = [{**developer[0], "role": "system"}, developer[1]]
    counts = [
        server.client.post("/tokenize", json={"model": "chatty", "messages": said}) for said in (developer, system)
    ]
    assert counts[0].json()["tokens"] == counts[1].json()["tokens"]


def test_every_model_is_listed_with_its_context_before_it_is_loaded(server: Served) -> None:
    for model in server.client.get("/v1/models").json()["data"]:
        assert (model["max_model_len"], model["meta"]["n_params"]) == (SHIPPED.context_length, SHIPPED.num_parameters)
