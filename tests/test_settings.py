"""Settings: given by name, handed on with `**`, checked once, and seen in the signature of what takes them."""

from __future__ import annotations

import inspect
import pydoc
import re
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Unpack, get_args, get_type_hints

import numpy as np
import pytest

import nextword
from nextword.arguments import checked
from nextword.errors import ConfigError
from nextword.settings import (
    BaseLoadingSettings,
    GenerationSettings,
    LoadingKeywords,
    LoadingSettings,
    SamplingSettings,
    ServerSettings,
    Settings,
    TrainingKeywords,
    TrainingSettings,
    takes_settings,
)
from nextword.training import Plan, train


@dataclass(frozen=True, kw_only=True)
class Kettle(Settings):
    """A kind of settings."""

    degrees: float = 80.0
    """How hot."""
    cups: int | None = None
    """How many."""


@checked
@takes_settings(Kettle)
def brew(leaf: str, *, lid: bool = True, **settings: Any) -> tuple[str, bool, Kettle]:
    return leaf, lid, Kettle(**settings)


def test_settings_are_handed_on_by_name() -> None:
    settings = Kettle(cups=3)
    assert dict(settings) == {"degrees": 80.0, "cups": 3}
    assert settings["cups"] == settings.cups == 3
    assert brew("녹차", **settings) == ("녹차", True, settings)
    assert brew("녹차", lid=False, **replace(settings, degrees=70.0)) == ("녹차", False, Kettle(degrees=70.0, cups=3))


def test_a_name_that_there_is_not_is_no_setting() -> None:
    with pytest.raises(KeyError, match="spout"):
        Kettle()["spout"]
    with pytest.raises(TypeError, match="spout"):
        Kettle(spout=1)
    with pytest.raises(TypeError, match=r"^brew\(\) has no setting cup: did you mean cups\?$"):
        brew("녹차", cup=1)
    with pytest.raises(TypeError, match=r"^brew\(\) has no setting 온도; there are leaf, lid, degrees, cups$"):
        brew("녹차", 온도=1)


def test_settings_are_held_against_the_types_of_their_fields() -> None:
    with pytest.raises(ConfigError, match=r"^cups is 2\.5, it must be a whole number or None$"):
        brew("녹차", cups=2.5)
    settings = Kettle(cups=np.int64(2))
    assert type(settings.cups) is int
    with pytest.raises(FrozenInstanceError):
        settings.cups = 3


def test_whoever_asks_for_a_signature_sees_every_setting_with_its_type_and_default() -> None:
    parameters = inspect.signature(brew).parameters
    assert list(parameters) == ["leaf", "lid", "degrees", "cups"]
    assert (parameters["degrees"].default, parameters["degrees"].annotation) == (80.0, float)
    assert (parameters["cups"].default, parameters["cups"].annotation) == (None, int | None)
    assert {parameters[name].kind for name in ("lid", "degrees", "cups")} == {inspect.Parameter.KEYWORD_ONLY}


Device = int
"""Another one than that of `BaseLoadingSettings`."""


@dataclass(frozen=True, kw_only=True)
class Below(BaseLoadingSettings):
    """Settings below those of another module."""

    lid: str = "off"
    """On or off."""


SETTINGS = {field.name: field.default for field in fields(TrainingSettings)}


def test_train_shows_every_setting_to_those_who_ask_for_its_signature() -> None:
    parameters = inspect.signature(train).parameters
    assert {name: parameters[name].default for name in SETTINGS} == SETTINGS
    assert list(parameters) == ["paths", "out", "resume", "restart", "watch", "started", *SETTINGS]
    assert parameters["from_model"].annotation == (str | Path | None)


def test_type_checkers_know_every_setting_of_train() -> None:
    assert get_type_hints(train, include_extras=True)["settings"] == Unpack[TrainingKeywords]
    known = get_type_hints(TrainingKeywords, include_extras=True)
    assert list(known.items()) == list(get_type_hints(TrainingSettings, include_extras=True).items())


def test_what_is_asked_for_is_what_a_plan_settles() -> None:
    def types(hint: Any) -> set[Any]:
        return set(get_args(hint) or [hint]) - {NoneType}

    asked, settled = get_type_hints(TrainingSettings), get_type_hints(Plan)
    both = asked.keys() & settled.keys()
    assert [name for name in both if types(asked[name]) != types(settled[name])] == ["strategy"]  # a text, then a word
    assert settled.keys() - both == {"base", "optimizer", "warmup", "decay", "clip", "seconds"}


def test_a_run_has_two_minutes_unless_its_length_is_given() -> None:
    assert (TrainingSettings().minutes, TrainingSettings().time_limit) == (None, 2.0)
    assert TrainingSettings(steps=5).time_limit is replace(TrainingSettings(), steps=5).time_limit is None
    assert TrainingSettings(steps=5, minutes=0.5).time_limit == 0.5


def test_names_of_files_are_kept_as_texts() -> None:
    settings = TrainingSettings(from_model=Path("모형"), exclude="drafts")
    assert (settings.from_model, settings.exclude) == ("모형", ("drafts",))
    assert TrainingSettings(exclude=["drafts", "*.csv"]).exclude == ("drafts", "*.csv")
    assert TrainingSettings(**settings) == settings


def test_load_shows_every_setting_to_people_and_type_checkers() -> None:
    parameters = inspect.signature(nextword.load).parameters
    assert list(parameters) == ["source", *(field.name for field in fields(LoadingSettings))]
    assert {name: one.default for name, one in parameters.items() if name != "source"} == dict(LoadingSettings())
    assert get_type_hints(nextword.load, include_extras=True)["settings"] == Unpack[LoadingKeywords]
    known = get_type_hints(LoadingKeywords, include_extras=True)
    assert list(known.items()) == list(get_type_hints(LoadingSettings, include_extras=True).items())


def test_settings_of_loading_are_read_handed_on_and_refused() -> None:
    settings = LoadingSettings(precision="Q4_1", threads=1)
    assert (settings.precision, settings.backend, settings.device) == ("q4_1", "auto", "auto")
    assert nextword.load(**settings).dtype == nextword.load(**BaseLoadingSettings(precision="q4_1")).dtype == "Q4_1"
    with pytest.raises(ConfigError, match=r"^precision is 'q5', it must be auto, float32, float16, .* or q4_0$"):
        LoadingSettings(precision="q5")
    with pytest.raises(ConfigError, match=r"^precision is None, it must be auto, float32"):
        nextword.load(precision=None)
    with pytest.raises(ConfigError, match=r"^threads is 1\.5, it must be a whole number or None$"):
        nextword.load(threads=1.5)


def test_a_class_below_another_modules_settings_reads_their_hints_where_they_stand() -> None:
    assert Below().device == "auto"
    assert Below(device="cpu", lid="on").lid == "on"
    with pytest.raises(ConfigError, match=r"^device is 5, it must be a text$"):
        Below(device=5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", -1, "port is -1, it must be between 0 and 65,535"),
        ("port", 65536, "port is 65536, it must be between 0 and 65,535"),
        ("allow_host", ("llm.example.org", ""), "'' is no name of a host"),
        ("allow_host", ("llm.example.org:80",), "'llm.example.org:80' is no name of a host"),
        ("sampling", "greedy", "sampling is 'greedy', it must be openai or recommended"),
        ("temperature", -0.1, "temperature is -0.1, it must be 0 or more"),
        ("top_k", -2, "top_k is -2, it must be at least 1"),
        ("top_p", 2, "top_p is 2, it must be above 0 and at most 1"),
        ("min_p", 1.5, "min_p is 1.5, it must be between 0 and 1"),
        ("repetition_penalty", 0, "repetition_penalty is 0, it must be above 0"),
        ("context", 1, "context is 1, it must be 2 or more: a token to read and one to write"),
        ("slots", 0, "slots is 0, it must be at least 1"),
        ("queue", 0, "queue is 0, it must be at least 1"),
        ("queue", 2.5, "queue is 2.5, it must be a whole number"),
        ("request_seconds", -1, "request_seconds is -1, it must be 0 or more"),
        ("drain_seconds", -0.5, "drain_seconds is -0.5, it must be 0 or more"),
    ],
)
def test_what_a_server_cannot_be_is_told_by_the_name_of_the_setting(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServerSettings(**{name: value})
    assert caught.value.message == message


def test_the_bounds_of_a_server_are_settings_themselves() -> None:
    settings = ServerSettings(port=65535, allow_host=("llm.example.org",), context=2, slots=1, queue=1, drain_seconds=0)
    assert ServerSettings(**settings) == settings
    assert dict(ServerSettings(port=0)) == {**ServerSettings(), "port": 0}


def test_a_request_comes_before_the_server_and_the_server_before_the_makers() -> None:
    makers = {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "do_sample": True}
    plain, own = ServerSettings(temperature=0.5), ServerSettings(sampling="recommended", temperature=0.5)
    assert plain.sampling_fields(makers, {}) == {"temperature": 0.5}  # nothing is applied that nobody asked for
    assert own.sampling_fields(makers, {}) == {"temperature": 0.5, "top_k": 20, "top_p": 0.9}
    requested = {"temperature": 0.0, "min_p": 0.1}
    assert own.sampling_fields(makers, requested) == {"temperature": 0.0, "top_k": 20, "top_p": 0.9, "min_p": 0.1}
    for every in (0, -1):
        assert own.sampling_fields(makers, {"top_k": every}) == {"temperature": 0.5, "top_p": 0.9}


@pytest.mark.parametrize(
    "kind", [TrainingSettings, GenerationSettings, SamplingSettings, LoadingSettings, ServerSettings]
)
def test_help_says_what_each_field_means(kind: type[Settings]) -> None:
    shown = pydoc.render_doc(kind, renderer=pydoc.plaintext)
    for field in fields(kind):
        assert re.search(rf"^ *\|? *{field.name}: \w", shown, re.MULTILINE), field.name
    assert "Attributes:" in (kind.__doc__ or "")


def test_settings_are_looked_through_like_a_mapping() -> None:
    settings = GenerationSettings(stop=["a"])
    assert "stop" in settings
    assert "beams" not in settings
    assert list(settings) == list(settings.keys())
    assert len(settings) == len(fields(settings))
    assert settings == GenerationSettings(stop=("a",))
    assert ServerSettings(allow_host="proxy.example").allow_host == ("proxy.example",)  # type: ignore[arg-type]


def test_a_docstring_needs_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> str:
        raise OSError("could not get source code")

    assert "min_p: " in (GenerationSettings.__doc__ or "")
    monkeypatch.setattr(inspect, "getsource", missing)
    shown = GenerationSettings.__doc__ or ""
    assert shown.startswith("What `generate`")
    assert "min_p: " not in shown
