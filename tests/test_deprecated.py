"""Old names go on working, and say the new one."""

from __future__ import annotations

import importlib

import pytest


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
