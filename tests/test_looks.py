"""How values look: one short line each in a list, and `to_json` gives plain values everywhere."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import nextword
from nextword import LanguageModel
from nextword.inspection.lens import logit_lens
from tests.conftest import Trained

TEXTS = ("To be, or not to", "그러나 ❤️ 그 말은 " * 40)


@pytest.fixture(scope="module")
def lm(trained: Trained) -> LanguageModel:
    return nextword.load(trained.path, backend="torch")


def values(lm: LanguageModel, text: str) -> dict[str, Any]:
    """One of each kind of answer."""
    trace = lm.trace(text[-8:])
    edited = lm.edit(nextword.ablate_layer(0))
    return {
        "prediction": lm.predict(text),
        "words": lm.predict(text, unit="word"),
        "generation": lm.generate(text, 3, seed=0),
        "score": lm.score(text),
        "comparison": nextword.compare(lm, edited, text[-8:]),
        "lens": logit_lens(trace),
        "logit attribution": trace.attribution(),
        "attribution": lm.attribute(text[-8:]),
        "edit": nextword.ablate_head(0, 0),
        "trace": trace,
        "model": lm,
        "edited": edited,
        "tokenizer": lm.tokenizer,
    }


@pytest.mark.parametrize("text", TEXTS, ids=["English", "Korean"])
def test_every_answer_is_one_short_line_in_a_list_and_plain_values_in_json(lm: LanguageModel, text: str) -> None:
    without_json = {"trace", "model", "edited", "tokenizer"}
    for name, value in values(lm, text).items():
        line = repr(value)
        assert "\n" not in line, name
        assert len(line) <= 200, (name, line)
        assert line in repr([value])
        if name not in without_json:
            plain = value.to_json()
            assert json.loads(json.dumps(plain, allow_nan=False)) == plain, name


def test_every_to_json_in_the_package_says_that_it_gives_a_dictionary() -> None:
    found = 0
    for path in Path(nextword.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "to_json" and path.name != "tokenizer.py":
                assert node.returns is not None
                assert ast.unparse(node.returns).startswith("dict["), path
                found += 1
    assert found >= 15


def test_the_numbers_of_a_score_are_all_in_its_json(lm: LanguageModel) -> None:
    score = lm.score("To be")
    found = score.to_json()
    assert (found["characters"], found["bytes"], found["scored_tokens"]) == (5, 5, score.scored_tokens)
    assert found["bits_per_byte"] == score.bits_per_byte
