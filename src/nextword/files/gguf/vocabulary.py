"""Metadata of a GGUF file <-> tokenizer.

llama.cpp knows a tokenizer by its kind (`gpt2`: byte-level BPE, `llama`: SentencePiece's BPE), the name of its
pre-tokeniser, its tokens with a type each, and merges or scores. It applies no normaliser.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from typing import Any

from tokenizers import Tokenizer as RawTokenizer

from nextword.errors import ConfigError, ModelFileError
from nextword.files.gguf.eog import EOG_KEYS, eog_tokens, is_eog_spelling
from nextword.files.gguf.header import quoted
from nextword.files.gguf.metadata import Metadata
from nextword.tokens import Tokenizer
from nextword.tokens.published import (
    add_bos,
    add_tokens,
    byte_level_tokenizer,
    merges_of,
    pre_tokenizer_name,
    pre_tokenizer_named,
    sentencepiece_tokenizer,
)
from nextword.tokens.sentencepiece import SPACE_SYMBOL

_LOG = logging.getLogger(__name__)
_PREFIX = "tokenizer.ggml."
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_MAX_TOKEN_LENGTH = 256  # characters; every way to cut a SentencePiece token in two is tried

# Keys that say nothing about how text becomes ids, or nothing for one of the two kinds.
_OTHER_KEYS = ("add_eos_token", "add_sep_token", "token_type_count", "scores", "merges", "pre", "added_tokens")
# What would change how text becomes ids, or which of them may be drawn.
_MUST_BE_EMPTY = ("suppress_tokens", "precompiled_charsmap")
_MUST_BE_FALSE = ("normalizer.lowercase", "normalizer.strip_accents", "remove_extra_whitespaces")
# What a file without `pre` is read as. The tokenizer is then seldom cut as the model learned it.
_DEFAULT_PRE = "default"


class TokenType(IntEnum):
    """What llama.cpp knows of a token besides its text."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# -- reading -------------------------------------------------------------------------------------------------------


def read_tokenizer(metadata: Metadata) -> Tokenizer:
    """The tokenizer that a file's metadata describes.

    Raises:
        ModelFileError: It is of another kind, damaged, or something in it is not understood; names the key.
    """
    try:
        return _read_tokenizer(metadata)
    except ModelFileError as error:
        if error.message.startswith(metadata.source):
            raise
        raise ModelFileError(f"{metadata.source}: {error.message}", hint=error.hint) from None


def _read_tokenizer(metadata: Metadata) -> Tokenizer:
    kind = metadata.text(f"{_PREFIX}model")
    if kind not in ("gpt2", "llama"):
        raise ModelFileError(
            f"{metadata.source}: {_PREFIX}model is {quoted(kind)}, which is not supported",
            hint="supported: gpt2 (byte-level BPE), llama (SentencePiece)",
        )
    tokens = metadata.texts(f"{_PREFIX}tokens")
    types = [TokenType.NORMAL] * len(tokens)
    if f"{_PREFIX}token_type" in metadata:
        types = metadata.numbers(f"{_PREFIX}token_type", len(tokens)).tolist()
    sentencepiece = kind == "llama"
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if sentencepiece else {}
    special_ids = {name: _token_id(metadata, name, len(tokens), defaults) for name in ("bos", "unknown", *EOG_KEYS)}
    vocabulary = _vocabulary_of(tokens, types, {i for i in special_ids.values() if i is not None})
    named = {name: tokens[i] if i is not None and tokens[i] in vocabulary else None for name, i in special_ids.items()}
    bos, eos, unknown = named["bos"], named["eos"], named["unknown"]
    ends = eog_tokens(vocabulary, {name: named[name] for name in EOG_KEYS})
    hidden = {TokenType.CONTROL.value, TokenType.UNKNOWN.value}
    special = [token for token, i in vocabulary.items() if types[i] in hidden or token in ends]
    if sentencepiece:
        raw, adds_bos = _read_sentencepiece(metadata, vocabulary, types, unknown, ends), True
    else:
        pre_tokenizer = pre_tokenizer_named(_pre(metadata))
        metadata.pass_over("llama.cpp puts no blank before a text of byte-level BPE", f"{_PREFIX}add_space_prefix")
        raw, adds_bos = byte_level_tokenizer(vocabulary, _read_merges(metadata), pre_tokenizer), pre_tokenizer.adds_bos
    add_tokens(raw, special, special=True)
    whole = TokenType.USER_DEFINED.value
    user_defined = [token for token, i in vocabulary.items() if types[i] == whole]
    add_tokens(raw, [token for token in user_defined if token not in ends], special=False)
    if metadata.flag(f"{_PREFIX}add_bos_token", adds_bos):
        if bos is None:
            raise ModelFileError(f"{_PREFIX}add_bos_token is true, but {_PREFIX}bos_token_id is missing")
        add_bos(raw, bos)
    for key in _MUST_BE_EMPTY:
        metadata.expect_empty(_PREFIX + key)
    for key in _MUST_BE_FALSE:
        metadata.expect(_PREFIX + key, False)
    metadata.ignore(*(_PREFIX + key for key in _OTHER_KEYS))
    metadata.refuse_rest(_PREFIX, but="_token_id")  # the others name tokens that other programs ask for
    return Tokenizer(raw, bos=bos, eos=eos, ends=[vocabulary[end] for end in ends])


def _pre(metadata: Metadata) -> str:
    """The name of the pre-tokeniser. Files older than the key (May 2024) have none: llama.cpp's default stands in."""
    name = metadata.text(f"{_PREFIX}pre", "")
    if name:
        return name
    note = (
        f"{_PREFIX}pre is missing, so text is cut as llama.cpp's {_DEFAULT_PRE!r} cuts it; the model may have learned "
        "other tokens: take a newer conversion of it"
    )
    metadata.notes.append(note)
    _LOG.warning("%s: %s", metadata.source, note)
    return _DEFAULT_PRE


def _vocabulary_of(tokens: Sequence[str], types: Sequence[int], special: Collection[int]) -> dict[str, int]:
    """Token -> id, without those that fill up the list; `special` ids, and spellings that end a text, never do."""
    vocabulary: dict[str, int] = {}
    unused = TokenType.UNUSED.value  # a name of an enumeration takes longer to find than all else here
    for i, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if not token or (kind == unused and i not in special and not is_eog_spelling(token)):
            continue
        if token in vocabulary:
            raise ModelFileError(f"the token {quoted(token)} has the ids {vocabulary[token]} and {i}")
        vocabulary[token] = i
    return vocabulary


def _token_id(metadata: Metadata, name: str, num_tokens: int, defaults: Mapping[str, int]) -> int | None:
    """The id that a key names. An id that no token has (often -1 as an unsigned number) is none, as in llama.cpp."""
    key = f"{_PREFIX}{name}_token_id"
    token_id, default = metadata.integer(key, -1), defaults.get(name)
    if 0 <= token_id < num_tokens:
        return token_id
    if key in metadata:
        metadata.notes.append(f"{key} is {token_id}, which no token has: passed over")
    return default if default is not None and default < num_tokens else None


def _read_merges(metadata: Metadata) -> list[tuple[str, str]]:
    merges = []
    for i, merge in enumerate(metadata.texts(f"{_PREFIX}merges")):
        left, _, right = merge.partition(" ")
        if not left or not right:
            raise ModelFileError(f"{_PREFIX}merges: entry {i} should be two tokens, found {quoted(merge)}")
        merges.append((left, right))
    return merges


def _read_sentencepiece(
    metadata: Metadata,
    vocabulary: Mapping[str, int],
    types: Sequence[int],
    unknown: str | None,
    ends: Collection[str],
) -> RawTokenizer:
    scores = metadata.numbers(f"{_PREFIX}scores", len(types)).tolist()
    normal = [token for token, i in vocabulary.items() if types[i] == TokenType.NORMAL and token not in ends]
    merged = {token: scores[vocabulary[token]] for token in normal}
    for token, score in merged.items():
        if not math.isfinite(score):
            raise ModelFileError(f"{_PREFIX}scores: the score of {quoted(token)} is {score}")
        if len(token) > _MAX_TOKEN_LENGTH:
            raise ModelFileError(f"the token {quoted(token)} has {len(token)} characters, at most {_MAX_TOKEN_LENGTH}")
    if absent := [byte for byte in _BYTES if byte not in vocabulary]:
        raise ModelFileError(f"{_PREFIX}tokens: the byte {absent[0]} is missing, so that not all text can be spelled")
    add_space_prefix = metadata.flag(f"{_PREFIX}add_space_prefix", True)
    return sentencepiece_tokenizer(
        vocabulary, merges_of(vocabulary, merged), unknown=unknown, add_space_prefix=add_space_prefix
    )


# -- writing -------------------------------------------------------------------------------------------------------


def tokenizer_metadata(tokenizer: Tokenizer, num_tokens: int) -> dict[str, Any]:
    """What a file says of a tokenizer.

    Args:
        tokenizer: Byte-level or SentencePiece. The normaliser NFC, which Qwen's tokenizers name, is left out, as
            llama.cpp's own converter does: it has none.
        num_tokens: Rows of the embedding; llama.cpp wants a token for each.

    Raises:
        ConfigError: llama.cpp cannot express it; names the part.
    """
    description = json.loads(tokenizer.to_str())
    model = description["model"]
    if tokenizer.kind not in ("bytes", "sentencepiece"):
        raise _inexpressible(f"a tokenizer of {tokenizer.kind}")
    types = dict.fromkeys(model["vocab"].values(), TokenType.NORMAL)
    texts = {i: token for token, i in model["vocab"].items()}
    for added in description["added_tokens"]:
        texts[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        if not added["special"] and (added["lstrip"] or added["rstrip"] or added["single_word"]):
            raise _inexpressible(f"the added token {added['content']!r} with lstrip, rstrip or single_word")
    merges = [tuple(merge) for merge in model["merges"]]
    values: dict[str, Any]
    if tokenizer.kind == "bytes":
        values = _byte_level_values(description, merges)
    else:
        types |= {i: TokenType.BYTE for i, token in texts.items() if token in _BYTES}
        if model["unk_token"] is not None:
            types[model["vocab"][model["unk_token"]]] = TokenType.UNKNOWN
        values = _sentencepiece_values(description, merges, num_tokens)
    _pad_vocabulary(texts, num_tokens)
    values |= {
        "tokens": [texts[i] for i in range(num_tokens)],
        "token_type": [int(types.get(i, TokenType.UNUSED)) for i in range(num_tokens)],
        "add_bos_token": _adds_only_bos(tokenizer),
        "add_eos_token": False,
    }
    # Ends that their spelling does not tell come first: two keys are all there are.
    others = sorted(tokenizer.end_ids - {tokenizer.eos_id}, key=lambda i: (is_eog_spelling(texts[i]), i))
    if len([i for i in others if not is_eog_spelling(texts[i])]) > 2:
        raise _inexpressible(f"a tokenizer with {len(others) + 1} end tokens")
    unknown = model["vocab"].get(model["unk_token"])
    ends = dict(zip(("eot", "eom"), others, strict=False))
    special_ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "unknown": unknown, **ends}
    values |= {f"{name}_token_id": i for name, i in special_ids.items() if i is not None}
    return {_PREFIX + name: value for name, value in values.items()}


def _byte_level_values(description: Mapping[str, Any], merges: Sequence[tuple[str, str]]) -> dict[str, Any]:
    pre = pre_tokenizer_name(description)
    if pre is None:
        raise _inexpressible("this tokenizer's pre_tokenizer")
    normalizer = description["normalizer"]
    if normalizer not in (None, {"type": "NFC"}):
        raise _inexpressible(f"the normaliser {normalizer['type']}")
    if not merges:
        raise _inexpressible("a tokenizer without merges")
    if any(" " in left or " " in right for left, right in merges):
        raise _inexpressible("merges of tokens that hold a blank")
    return {"model": "gpt2", "pre": pre, "merges": [" ".join(merge) for merge in merges]}


def _sentencepiece_values(
    description: Mapping[str, Any], merges: Sequence[tuple[str, str]], num_tokens: int
) -> dict[str, Any]:
    if description["pre_tokenizer"] is not None:
        raise _inexpressible(f"the pre_tokenizer {description['pre_tokenizer']['type']}")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
    prepend = {"type": "Prepend", "prepend": SPACE_SYMBOL}
    normalizer = description["normalizer"]
    add_space_prefix = normalizer == {"type": "Sequence", "normalizers": [prepend, replace]}
    if not add_space_prefix and normalizer != replace:
        raise _inexpressible("this tokenizer's normalizer")
    vocabulary: dict[str, int] = description["model"]["vocab"]
    # A token's score is its place among the merges; a token that no merge makes stands behind them all.
    ranks: dict[str, float] = {}
    for left, right in merges:
        ranks.setdefault(left + right, -float(len(ranks)))
    added = {token["content"] for token in description["added_tokens"]}
    last = -float(len(ranks))
    normal = {token: ranks.get(token, last) for token in vocabulary if token not in added and token not in _BYTES}
    if merges_of(vocabulary, normal) != list(merges):
        raise _inexpressible("merges that do not follow from a score for each token")
    scores = [0.0] * num_tokens
    for token, score in normal.items():
        scores[vocabulary[token]] = score
    return {"model": "llama", "pre": "default", "scores": scores, "add_space_prefix": add_space_prefix}


def _adds_only_bos(tokenizer: Tokenizer) -> bool:
    added = RawTokenizer.from_str(tokenizer.to_str()).encode("").ids
    if added not in ([], [tokenizer.bos_id]):
        raise _inexpressible("a post_processor that adds more than bos")
    return bool(added)


def _pad_vocabulary(texts: dict[int, str], num_tokens: int) -> None:
    """Gives ids without a token a text that no token has."""
    taken = set(texts.values())
    for i in range(num_tokens):
        if i not in texts:
            texts[i] = f"[PAD{i}]"
            while texts[i] in taken:
                texts[i] += "_"
            taken.add(texts[i])


def _inexpressible(what: str) -> ConfigError:
    return ConfigError(
        f"llama.cpp cannot express {what}, so the model cannot be written as GGUF",
        hint="write a Hugging Face directory instead",
    )
