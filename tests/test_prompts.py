"""A text, or its token ids in whatever holds numbers: every call takes both, of a model and of its edited self."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nextword
from nextword import LanguageModel, TextError
from tests.conftest import Trained

TEXTS = ("To be, or not", "나는 오늘")
WAYS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "NumPy": lambda ids: np.array(ids, dtype=np.int32),
}
CALLS: dict[str, Callable[[LanguageModel, Any], Any]] = {
    "predict": lambda lm, text: lm.predict(text, 3).to_json(),
    "words": lambda lm, text: lm.predict(text, 3, unit="word").to_json(),
    "generate": lambda lm, text: lm.generate(text, 3, seed=0).to_json(),
    "stream": lambda lm, text: "".join(lm.stream(text, 3, seed=0)),
    "score": lambda lm, text: lm.score(text).to_json(),
    "trace": lambda lm, text: [c.logit for c in lm.trace(text, names="logits").top()],
    "attribute": lambda lm, text: lm.attribute(text).to_json(),
    "compare": lambda lm, text: nextword.compare(lm, lm.edit(nextword.ablate_layer(1)), text).to_json(),
}


@pytest.fixture(scope="module", params=["plain", "edited"])
def lm(trained: Trained, request: pytest.FixtureRequest) -> LanguageModel:
    loaded = nextword.load(trained.path, backend="torch")
    return loaded if request.param == "plain" else loaded.edit(nextword.ablate_head(0, 1))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("call", CALLS)
def test_token_ids_give_what_their_text_gives(lm: LanguageModel, call: str, text: str) -> None:
    ids = lm.tokenizer.encode_start(text)
    expected = CALLS[call](lm, text)
    for name, way in WAYS.items():
        assert CALLS[call](lm, way(ids)) == expected, name


def test_the_token_that_begins_a_document_need_not_be_among_the_scored_ids(lm: LanguageModel) -> None:
    text = "그러나 나는"
    assert lm.score(lm.tokenizer.encode(text)) == lm.score(lm.tokenizer.encode_start(text)) == lm.score(text)


@pytest.mark.parametrize("wrong", [None, b"bytes", ["two", "texts"], [10**6], [-1], 3, []])
def test_what_is_neither_is_refused_alike(lm: LanguageModel, wrong: Any) -> None:
    for name, call in CALLS.items():
        if name == "trace" and wrong == ["two", "texts"]:
            assert len(lm.trace(wrong)) == 2  # the one that takes several
            continue
        with pytest.raises(TextError):
            call(lm, wrong)
