"""What a tokenizer.json says, and whether nextword can run it.

Nothing that the `tokenizers` library would do without a word may change a text, move an id or use up the memory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer

from nextword.errors import ModelFileError

TokenizerKind = Literal["words", "characters", "bytes", "sentencepiece"]

# How SentencePiece's treatment of blanks is described.
_PREPEND_BLANK = {"type": "Prepend", "prepend": "▁"}
_REPLACE_BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}

# A table with an entry per id must fit in memory; the largest published vocabularies have under a million.
_MAX_IDS = 1 << 24


def describe(raw: RawTokenizer) -> dict[str, Any]:
    """What the tokenizer's own description (`to_str`) says, but for the vocabulary and the merges: those are megabytes.

    Of the model, what is asked for here; of an added token, the blanks that it takes.
    """
    without_vocabulary = RawTokenizer(models.BPE())
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (value := getattr(raw, part)) is not None:
            setattr(without_vocabulary, part, value)
    model, asked = raw.model, ("byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")
    added = raw.get_added_tokens_decoder().values()
    description: dict[str, Any] = json.loads(without_vocabulary.to_str())
    return description | {
        "model": {"type": type(model).__name__, **{name: getattr(model, name, None) for name in asked}},
        "added_tokens": [{"lstrip": token.lstrip, "rstrip": token.rstrip} for token in added],
    }


def tokenizer_kind(description: dict[str, Any]) -> TokenizerKind:
    """Words, characters, bytes or sentencepiece, read from the tokenizer's own description.

    Raises:
        ModelFileError: It is of another kind.
    """
    model, pre_tokenizer = description["model"]["type"], description["pre_tokenizer"] or {"type": None}
    if model == "BPE" and "ByteLevel" in (pre_tokenizer["type"], (description["decoder"] or {}).get("type")):
        return "bytes"
    if model == "BPE" and description["model"].get("byte_fallback"):
        return "sentencepiece"
    if model == "WordLevel" and pre_tokenizer["type"] == "WhitespaceSplit":
        return "words"
    if model == "WordLevel" and pre_tokenizer["type"] == "Split":
        return "characters"
    raise ModelFileError(
        f"a {model} tokenizer with the pre-tokeniser {pre_tokenizer['type']} is not supported",
        hint="supported: byte-level BPE, SentencePiece's BPE, words cut at white space, characters",
    )


def check_changes(description: dict[str, Any], kind: TokenizerKind) -> None:
    """Refuses what would add to a text or take from it; the library even panics in some of it.

    Raises:
        ModelFileError: Names the part.
    """
    for step in _steps(description["normalizer"], "normalizers"):
        blanks = kind == "sentencepiece" and step in (_PREPEND_BLANK, _REPLACE_BLANKS)
        if not blanks and step["type"] not in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
            raise ModelFileError(f"a tokenizer with the normaliser {step['type']} is not supported")
    for step in _steps(description["pre_tokenizer"], "pretokenizers"):
        if _drops_text(step):
            raise ModelFileError(f"a tokenizer whose pre-tokeniser {step['type']} leaves out text is not supported")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if affix := description["model"].get(name):
            raise ModelFileError(f"a tokenizer with the {name} {affix!r} is not supported")


def _drops_text(step: Mapping[str, Any]) -> bool:
    """Whether a step of a pre-tokeniser drops text: what its pattern fits or, inverted, what it does not fit.

    Patterns that came from tiktoken are often written as inverted: they fit every character, so that nothing is lost.
    """
    if step.get("behavior") != "Removed":
        return False
    pattern = step.get("pattern", {}).get("Regex")
    if pattern is None or not step["invert"]:
        return True
    text = "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    kept = pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(text)
    return sum(end - start for _, (start, end) in kept) < len(text)


def strips_leading_space(description: dict[str, Any]) -> bool:
    """Whether encoding puts a blank before a text, which decoding takes away again."""
    return any(step["type"] == "Strip" and step["start"] == 1 for step in _steps(description["decoder"], "decoders"))


def has_unbounded_tokens(description: dict[str, Any]) -> bool:
    """Whether a token may stand for any number of bytes: added ones may eat the blanks around them."""
    if any(token["lstrip"] or token["rstrip"] for token in description.get("added_tokens") or ()):
        return True
    return any(
        step["type"] not in ("ByteLevel", "Digits", "Metaspace", "Split", "Punctuation")
        for step in _steps(description["pre_tokenizer"], "pretokenizers")
    )


def max_bytes_per_byte(description: dict[str, Any], kind: TokenizerKind) -> int:
    """How many bytes of a text may be one byte of what the tokens are made of."""
    normalised = _steps(description["normalizer"], "normalizers")
    composed = any(step["type"] in ("NFC", "NFKC", "NFD", "NFKD", "Lowercase") for step in normalised)
    # U+1D400 becomes A; and the sign for a blank has three bytes itself.
    return (4 if composed else 1) * (3 if kind == "sentencepiece" else 1)


def bos_of_post_processor(description: dict[str, Any]) -> int | None:
    """The token that the file puts before every text, or None. What it puts behind a text is left out: it would end it.

    Raises:
        ModelFileError: It puts several there, or does something that is not supported.
    """
    ids: list[int] = []
    for step in _steps(description.get("post_processor"), "processors"):
        if step["type"] == "TemplateProcessing":
            before = itertools.takewhile(lambda part: "SpecialToken" in part, step["single"])
            special = [part["SpecialToken"]["id"] for part in before]
            if absent := [token for token in special if token not in step["special_tokens"]]:
                raise ModelFileError(f"the post-processor puts {absent[0]!r} before a text, but gives no id for it")
            ids += [i for token in special for i in step["special_tokens"][token]["ids"]]
        elif step["type"] != "ByteLevel":  # which only moves offsets
            raise ModelFileError(f"a tokenizer with the post-processor {step['type']} is not supported")
    if len(ids) > 1:
        raise ModelFileError(f"a tokenizer that puts {len(ids)} tokens before a text is not supported")
    return ids[0] if ids else None


def _steps(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """The steps of a part of the description that may be none, one or a sequence."""
    if part is None:
        return []
    return list(part[inner]) if part["type"] == "Sequence" else [part]


def read_added_tokens(text: str) -> list[dict[str, Any]]:
    """The list `added_tokens` of a tokenizer.json that the library reads.

    Files have it before the vocabulary and the merges, which are megabytes: what follows it is not read.
    """
    read, at = json.JSONDecoder().raw_decode, _skip(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = read(text, at)
        value, at = read(text, _skip(text, _skip(text, at) + 1))  # behind a colon
        if key == "added_tokens":
            return value or []
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return []


def _skip(text: str, at: int) -> int:
    """The first place from `at` on that is not blank."""
    while text[at] in " \t\r\n":
        at += 1
    return at


def check_added_tokens(raw: RawTokenizer, tokens: Iterable[Mapping[str, Any]]) -> None:
    """The library moves an added token whose id is not the next free one, which the model was not trained with.

    Raises:
        ModelFileError: A token was moved.
    """
    for token in tokens:
        name, wanted, found = token["content"], token["id"], raw.token_to_id(token["content"])
        if found != wanted:
            raise ModelFileError(
                f"the added token {name!r} has the id {wanted}, the tokenizers library makes it {found}"
            )


def count_ids(vocabulary: Mapping[str, int], kind: TokenizerKind) -> int:
    """One more than the highest id.

    Raises:
        ModelFileError: The vocabulary is empty, two tokens share an id, or an id is out of all proportion.
    """
    if not vocabulary or (kind != "bytes" and "" in vocabulary):
        raise ModelFileError("the vocabulary is empty" if not vocabulary else "the vocabulary has an empty token")
    if len(set(vocabulary.values())) < len(vocabulary):
        raise ModelFileError("two tokens of the vocabulary have the same id")
    highest = max(vocabulary.values())
    if highest >= _MAX_IDS:
        raise ModelFileError(f"the vocabulary has the id {highest}, at most {_MAX_IDS - 1} is supported")
    return highest + 1


def spellings_by_id(vocabulary: Mapping[str, int], size: int) -> list[str]:
    """The tokens as the vocabulary spells them, in the order of their ids; empty for an id that no token has."""
    spellings = [""] * size
    for token, i in vocabulary.items():
        spellings[i] = token
    return spellings
