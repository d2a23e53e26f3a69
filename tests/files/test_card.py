"""A model's card, and the languages that it or the model's file names."""

from __future__ import annotations

import pytest

from nextword.files.card import card_lead, card_text, languages_of

CARD = """---
library_name: transformers
license: apache-2.0
language:
- en
- ko
pipeline_tag: text-generation
---

# A model

What it is.

## Limits

It makes things up.
"""


@pytest.mark.parametrize(
    ("front", "languages"),
    [
        ("language: en", ("English",)),
        ("language: [en, ko]", ("English", "Korean")),
        ("license: mit\nlanguage:\n  - ko\n  - 'xh'\ntags:\n- de", ("Korean", "xh")),
        ("language:\n- en\n- zh-Hant", ("English", "zh-Hant")),
        ("language: multilingual", ("multilingual",)),
        ("language:\n- code  # of ten kinds\n- es-419", ("code", "es-419")),
        ("language: # unknown\nlicense: mit", ()),
        ("license: mit", ()),
        ("", ()),
    ],
)
def test_languages_are_read_from_the_cards_front(front: str, languages: tuple[str, ...]) -> None:
    assert languages_of(f"---\n{front}\n---\n# A model\nlanguage: fr\n", {}) == languages


def test_the_file_goes_before_the_card_and_a_card_may_have_no_front() -> None:
    assert languages_of(CARD, {"languages": ["fr"]}) == ("French",)
    assert languages_of(CARD, {"languages": "fr"}) == ("English", "Korean")
    assert languages_of("# A model\nlanguage: en\n", {}) == ()
    assert card_text("no front\n---\nlanguage: en\n") == "no front\n---\nlanguage: en"


def test_the_lead_ends_before_the_second_heading_and_the_front_is_no_text() -> None:
    assert card_lead(CARD) == "# A model\n\nWhat it is."
    assert card_text(CARD).startswith("# A model")
    assert card_text(CARD).endswith("It makes things up.")
    assert card_lead(CARD.replace("\n", "\r\n")) == "# A model\n\nWhat it is."
    assert card_lead("") == card_text("") == ""
    assert card_lead("한 문단.\n\n## 그다음") == "한 문단."
