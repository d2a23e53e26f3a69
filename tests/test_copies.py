"""Copies, and values for other processes: they work, or one error says what to do."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import nextword
from nextword import ConfigError, ContextOverflowError, LanguageModel, Sampling, TextError
from nextword.engine import is_built
from nextword.errors import MissingPackageError
from nextword.generation import Memory
from nextword.inspection.hook_names import NoSuchValueError
from tests.inspection.models import language_model

WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),  # noqa: S301  its own
}


def written(lm: LanguageModel) -> tuple[int, ...]:
    return lm.generate([1, 2, 3], 5, seed=1).token_ids


@pytest.mark.parametrize("way", WAYS)
def test_a_model_in_torch_and_an_edited_one_are_copied_and_write_the_same(way: str) -> None:
    plain = language_model("llama")
    plain.chat_template = "{{ messages[0].content }}"
    assert plain.template
    for lm in (plain, plain.edit(nextword.ablate_head(0, 0))):
        other = WAYS[way](lm)
        assert written(other) == written(lm)
        assert other.edits == lm.edits
        assert other.reference is not lm.reference
        assert other.template.source == plain.chat_template


@pytest.mark.parametrize("way", WAYS)
def test_values_are_copied(way: str) -> None:
    lm = language_model("llama")
    trace, prediction = lm.trace([1, 2, 3]), lm.predict([1, 2, 3])
    assert (WAYS[way](trace)["pattern", 0] == trace["pattern", 0]).all()
    assert list(WAYS[way](prediction)) == list(prediction)
    assert WAYS[way](lm.tokenizer).to_str() == lm.tokenizer.to_str()
    for value in (lm.config, nextword.scale("embed", 0.5), Sampling(0.5), lm.generate([1], 2, seed=1), lm.score("ab")):
        assert WAYS[way](value) == value


@pytest.mark.parametrize("way", WAYS)
def test_errors_of_another_process_are_raised_as_they_are(way: str) -> None:
    for error in (
        ContextOverflowError(5, 3),
        TextError("글 🙂", hint="see"),
        NoSuchValueError("x"),
        MissingPackageError("y", hint="install it"),
    ):
        other = WAYS[way](error)
        assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


def test_a_memory_that_is_copied_begins_with_nothing_and_changes_no_text() -> None:
    lm, memory = language_model("llama"), Memory()
    lm.generate([1, 2, 3], 5, seed=1, memory=memory)
    for way in WAYS.values():
        other = way(memory)
        assert (other.ids, other.cache) == ([], None)
        assert lm.generate([1, 2, 3], 5, seed=1, memory=other).token_ids == written(lm)


@pytest.mark.skipif(not is_built(), reason="there is no native backend here")
@pytest.mark.parametrize("way", WAYS)
def test_a_native_model_says_that_it_is_loaded_where_it_is_needed(way: str) -> None:
    lm = nextword.load()
    for one in (lm, lm.backend, lm.stream("To be")):
        with pytest.raises(ConfigError, match="cannot be copied or sent to another process") as caught:
            WAYS[way](one)
        assert caught.value.hint.startswith("load it there: nextword.load(path)")


def test_a_model_is_sent_to_another_process() -> None:
    lm = language_model("llama")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(written, (lm,)) == written(lm)
