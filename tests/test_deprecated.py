"""Old names go on working, and say the new one."""

from __future__ import annotations

import importlib

import pytest

import nextword
from nextword import Tokenizer
from tests.conftest import Trained


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("nextword.inspection.figures", "nextword.figures", "embedding_figure"),
        ("nextword.inspection.figures", "nextword.figures", "attention_figure"),
        ("nextword.training.lora", "nextword.training.adapters.lora", "add_lora"),
    ],
)
def test_a_module_that_moved_hands_on_the_very_same_things(old: str, new: str, name: str) -> None:
    module = importlib.import_module(old)
    with pytest.warns(DeprecationWarning, match=f"^{old} is {new} now$") as warned:
        found = getattr(module, name)
    assert found is getattr(importlib.import_module(new), name)
    assert [one.filename for one in warned] == [__file__]


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = importlib.import_module("nextword.inspection.figures").nothing_like_it


def test_a_tokenizer_is_written_and_read_under_its_old_names_too() -> None:
    tokenizer = Tokenizer.characters("abc")
    with pytest.warns(DeprecationWarning, match=r"^Tokenizer.to_json is Tokenizer.to_str now$"):
        text = tokenizer.to_json()
    assert text == tokenizer.to_str()
    with pytest.warns(DeprecationWarning, match=r"^Tokenizer.from_json is Tokenizer.from_str now$"):
        again = Tokenizer.from_json(text, bos="a")
    assert (again.to_str(), again.bos_id) == (text, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16"), ("q8", "q8_0"), ("q4", "q4_1"), ("Q8", "q8_0")],
)
def test_a_model_is_loaded_in_a_precision_of_the_old_words(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"^precision '{old}' is '{new}' now$") as warned:
        found = nextword.load(precision=old)
    assert [one.filename for one in warned] == [__file__]
    wanted = nextword.load(precision=new)
    assert found.dtype == wanted.dtype
    rows = [lm.backend.forward([[5, 6, 7]], [lm.backend.new_cache(3)])[0] for lm in (found, wanted)]
    assert rows[0].tobytes() == rows[1].tobytes()


def test_k_is_the_old_name_of_top(trained: Trained) -> None:
    trace = nextword.load(trained.path, backend="torch").trace("To be")
    with pytest.warns(DeprecationWarning, match=r"^top\(k=...\) is top\(top=...\) now$") as warned:
        found = trace.top(k=3)
    assert [one.filename for one in warned] == [__file__]
    assert found == trace.top(top=3) == trace.top(-1, 3)
    assert len(found) == 3
