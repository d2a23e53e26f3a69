"""Fields of other servers that would change the answer: refused by name, unless they change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.server.api.openai.schemas import ChatRequest, CompletionRequest
from nextword.server.api.unsupported import UNSUPPORTED_IN_TOKENIZE, UnsupportedField
from tests.server.api.test_requests import CHAT, COMPLETIONS, USER, answer_of, refusal
from tests.server.conftest import Served

NAMES = [
    "guided_choice",
    "guided_json",
    "guided_regex",
    "guided_grammar",
    "structured_outputs",
    "grammar",
    "json_schema",
    "regex",
    "ebnf",
    "bad_words",
    "allowed_token_ids",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
    "n_predict",
    "typical_p",
    "mirostat",
    "dynatemp_range",
    "xtc_probability",
    "dry_multiplier",
    "repeat_penalty",
    "use_beam_search",
    "do_sample",
    "truncate_prompt_tokens",
]


def unlike(field: UnsupportedField) -> Any:
    """A value that is not neutral, of the same kind where there is one."""
    first = next(iter(field.neutral), "x")
    if isinstance(first, bool):
        return not first
    return {"x": 1} if first == {} else ["x"] if first == [] else 3.5 if isinstance(first, int | float) else "x"


@pytest.mark.parametrize(
    ("path", "body", "unsupported"),
    [
        (COMPLETIONS, {"prompt": "To be", "max_tokens": 3}, CompletionRequest.unsupported),
        (CHAT, {"model": "chatty", "messages": [USER], "max_tokens": 3}, ChatRequest.unsupported),
        ("/tokenize", {"prompt": "To be"}, UNSUPPORTED_IN_TOKENIZE),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name_and_what_changes_nothing_is_taken(
    server: Served, path: str, body: dict, unsupported: dict[str, UnsupportedField]
) -> None:
    for name, field in unsupported.items():
        error = refusal(server.client.post(path, json={**body, name: unlike(field)}))
        assert (error["message"], error["param"]) == (f"{name} is not supported", name)
        assert error["code"] == "unsupported_parameter"
    wanted = answer_of(server.client.post(path, json={**body, "temperature": 0}))
    most = max(len(field.neutral) for field in unsupported.values())
    for i in range(most):
        neutral = {
            name: (field.neutral or (None,))[min(i, len(field.neutral or "x") - 1)]
            for name, field in unsupported.items()
        }
        assert answer_of(server.client.post(path, json={**body, **neutral, "temperature": 0})) == wanted
    nothing = dict.fromkeys(unsupported)
    assert answer_of(server.client.post(path, json={**body, **nothing, "temperature": 0})) == wanted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_the_fields_that_people_send_are_among_them(server: Served, path: str, name: str) -> None:
    body = {"prompt": "a"} if path == COMPLETIONS else {"model": "chatty", "messages": [USER]}
    assert refusal(server.client.post(path, json={**body, name: False if name == "do_sample" else 2}))["param"] == name


def test_a_window_of_penalties_matters_only_with_a_penalty(server: Served) -> None:
    body = {"prompt": "To be", "max_tokens": 2, "repeat_last_n": 64}
    answer_of(server.client.post(COMPLETIONS, json={**body, "presence_penalty": 0, "repetition_penalty": 1.0}))
    error = refusal(server.client.post(COMPLETIONS, json={**body, "presence_penalty": 1}))
    assert error["param"] == "repeat_last_n"
