"""What a tokenizer.json and a tokenizer_config.json say, and whether nextword can run it.

Nothing that the `tokenizers` library would do without a word may change a text, move an id or use up the memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer as RawTokenizer

from nextword.errors import ModelFileError

Kind = Literal["words", "characters", "bytes"]

# A table with an entry per id must fit in memory; the largest published vocabularies have under a million.
_MOST_IDS = 1 << 24


def kind_of(description: dict[str, Any]) -> Kind:
    """Words, characters or bytes, read from the tokenizer's own description.

    Raises:
        ModelFileError: It is of another kind.
    """
    model, cutter = description["model"]["type"], description["pre_tokenizer"] or {"type": None}
    if model == "BPE" and "ByteLevel" in (cutter["type"], (description["decoder"] or {}).get("type")):
        return "bytes"
    if model == "WordLevel" and cutter["type"] == "WhitespaceSplit":
        return "words"
    if model == "WordLevel" and cutter["type"] == "Split":
        return "characters"
    raise ModelFileError(
        f"a {model} tokenizer with the pre-tokeniser {cutter['type']} is not supported",
        hint="supported: byte-level BPE, words cut at white space, characters",
    )


def check_changes(description: dict[str, Any]) -> None:
    """Refuses what would add to a text or take from it; the library even panics in some of it.

    Raises:
        ModelFileError: Names the part.
    """
    normalizer = description["normalizer"] or {"type": "Sequence", "normalizers": []}
    for step in normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]:
        if step["type"] not in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
            raise ModelFileError(f"a tokenizer with the normaliser {step['type']} is not supported")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if mark := description["model"].get(name):
            raise ModelFileError(f"a tokenizer with the {name} {mark!r} is not supported")


def check_added_tokens(raw: RawTokenizer, description: dict[str, Any]) -> None:
    """The library moves an added token whose id is not the next free one, which the model was not trained with.

    Raises:
        ModelFileError: A token was moved.
    """
    for token in description.get("added_tokens") or ():
        name, wanted, found = token["content"], token["id"], raw.token_to_id(token["content"])
        if found != wanted:
            raise ModelFileError(
                f"the added token {name!r} has the id {wanted}, the tokenizers library makes it {found}"
            )


def count_ids(vocabulary: Mapping[str, int], kind: Kind) -> int:
    """One more than the highest id.

    Raises:
        ModelFileError: The vocabulary is empty, two tokens share an id, or an id is out of all proportion.
    """
    if not vocabulary or (kind != "bytes" and "" in vocabulary):
        raise ModelFileError("the vocabulary is empty" if not vocabulary else "the vocabulary has an empty token")
    if len(set(vocabulary.values())) < len(vocabulary):
        raise ModelFileError("two tokens of the vocabulary have the same id")
    highest = max(vocabulary.values())
    if highest >= _MOST_IDS:
        raise ModelFileError(f"the vocabulary has the id {highest}, at most {_MOST_IDS - 1} is supported")
    return highest + 1


def read_marks(settings: Path) -> dict[str, str]:
    """`bos` and `eos` as a tokenizer_config.json names them."""
    try:
        values = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{settings} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ModelFileError(f"{settings} should hold a JSON object, found {type(values).__name__}")
    marks = {}
    for name in ("bos", "eos"):
        token = values.get(f"{name}_token")
        token = token.get("content", token) if isinstance(token, dict) else token
        if token is not None and not isinstance(token, str):
            raise ModelFileError(f"{settings}: {name}_token should be a string, found {type(token).__name__}")
        if token is not None:
            marks[name] = token
    return marks
