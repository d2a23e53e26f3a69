"""The settings of everything that writes: one list of names and defaults, wherever they are typed."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Unpack, get_type_hints

import pytest

from nextword import LanguageModel, Sampling, Tokenizer
from nextword.cli.options import SamplingFlags
from nextword.errors import ConfigError
from nextword.generation.sampling import token_biases
from nextword.settings import GenerationKeywords, GenerationSettings, SamplingKeywords
from tests.generation.backends import TableBackend

METHODS = ("generate", "stream", "chat", "stream_chat")
DEFAULTS = dict(GenerationSettings())
LETTERS = Tokenizer.characters("abc")


def model() -> LanguageModel:
    """Whatever was said before: a has the logit 2, b 1.5, c 1."""
    return LanguageModel(TableBackend(3, lambda _: [2.0, 1.5, 1.0]), LETTERS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_shows_every_setting_to_those_who_ask_for_its_signature(method: str) -> None:
    signature = inspect.signature(getattr(model(), method))
    spelled = {one.name: one.default for one in signature.parameters.values() if one.name in DEFAULTS}
    assert spelled == DEFAULTS
    assert signature.parameters["top_k"].annotation == (int | None)
    assert not any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())


@pytest.mark.parametrize("method", METHODS)
def test_type_checkers_know_every_setting(method: str) -> None:
    hints = get_type_hints(getattr(LanguageModel, method), include_extras=True)
    assert hints["settings"] == Unpack[GenerationKeywords]
    assert get_type_hints(GenerationKeywords) == get_type_hints(GenerationSettings)


def test_settings_of_sampling_and_of_generation_differ_in_what_is_usual_when_writing() -> None:
    plain, writing = dict(Sampling()), dict(GenerationSettings())
    assert get_type_hints(SamplingKeywords) == get_type_hints(Sampling)
    assert {name for name in plain if plain[name] != writing[name]} == {"temperature", "top_p"}
    assert (plain["temperature"], plain["top_p"]) == (1, 1)
    assert (writing["temperature"], writing["top_p"]) == (0.8, 0.95)


def test_settings_are_handed_on_with_two_stars() -> None:
    settings = GenerationSettings(temperature=0, frequency_penalty=0.6)
    assert model().generate("b", 4, **settings).text == "abac"
    assert settings["frequency_penalty"] == 0.6


def test_sampling_and_the_command_line_have_the_same_names_and_defaults() -> None:
    names = {field.name for field in dataclasses.fields(Sampling)}
    assert names == {field.name for field in dataclasses.fields(SamplingFlags)}
    assert SamplingFlags().settings() == {name: DEFAULTS[name] for name in names}


@pytest.mark.parametrize("method", METHODS)
def test_a_name_that_there_is_not_is_refused_with_the_nearest_one(method: str) -> None:
    asked: Any = [{"role": "user", "content": "a"}] if "chat" in method else "a"
    with pytest.raises(TypeError, match=rf"^{method}\(\) has no setting temprature: did you mean temperature\?$"):
        getattr(model(), method)(asked, temprature=0.5)
    with pytest.raises(TypeError, match=rf"^{method}\(\) has no setting 온도; there are .*, temperature, top_k, "):
        getattr(model(), method)(asked, 온도=1)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "aaaa"),
        ({"presence_penalty": 0.6}, "abaa"),  # b once a was there (2 - .6 < 1.5), then a again (1.4 > .9): taken once
        ({"frequency_penalty": 0.6}, "abac"),  # a twice costs 1.2: .8, b once .9, c 1
        ({"presence_penalty": 0.3, "frequency_penalty": 0.3}, "abaa"),  # the second time .9: 1.1 is still the most
        ({"presence_penalty": -1.0}, "aaaa"),
        ({"logit_bias": {1: 0.6}}, "bbbb"),
        ({"logit_bias": {1: 0.6, 0: 0.2}}, "aaaa"),
        ({"logit_bias": {2: 1.1}, "frequency_penalty": 0.6}, "cabc"),
    ],
)
def test_penalties_and_biases_by_hand(settings: dict[str, Any], text: str) -> None:
    written = model().generate("b", 4, temperature=0, **settings)
    assert written.text == text
    assert "".join(model().stream("b", 4, temperature=0, **settings)) == text


def test_what_the_prompt_holds_was_not_written() -> None:
    assert model().generate("aaaa", 1, temperature=0, presence_penalty=1.0).text == "a"


@pytest.mark.parametrize("token", [3, -1, "3", "x", "１", 1.5, 10**20])
def test_a_bias_of_no_token_is_refused_before_anything_is_written(token: Any) -> None:
    with pytest.raises(ConfigError, match=rf"logit_bias holds '{token}', which is no token id below 3"):
        model().stream("a", logit_bias={token: 1.0})


def test_a_bias_of_thousands_of_digits_is_one_of_no_token() -> None:
    with pytest.raises(ConfigError, match=r"logit_bias holds '9{40}', which is no token id below 3"):
        token_biases({"9" * 5000: 1.0}, 3)


def test_ids_may_be_spelled_in_digits_as_json_has_them() -> None:
    assert token_biases({"2": 1.5, "0": -3}, 3) == {2: 1.5, 0: -3}
    assert token_biases({}, 3) == {}
