"""vocab.json and merges.txt: how GPT-2 and Qwen2 kept their tokenizers before there was a tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, normalizers
from tokenizers import Tokenizer as RawTokenizer

from nextword.errors import ModelFileError
from nextword.json_file import read_json, read_json_if_there
from nextword.text_file import read_text
from nextword.tokens.published import byte_level_tokenizer, pre_tokenizer_named
from nextword.tokens.special_tokens import SpecialTokens

# The files do not say how text is cut before pairs are merged; the architecture does.
_PRE_TOKENIZERS = {"gpt2": "gpt-2", "qwen2": "qwen2", "qwen3": "qwen2"}
_COMPOSED = ("qwen2", "qwen3")
"""Architectures whose tokenizer composes characters (NFC) first."""


def read_vocabulary_files(directory: Path, special_tokens: SpecialTokens) -> RawTokenizer:
    """The tokenizer that a directory's vocab.json and merges.txt describe, with the tokens that other files add.

    Args:
        directory: The model directory.
        special_tokens: Which tokens begin and end a text: only code inserts them.

    Raises:
        ModelFileError: A file is missing or damaged, or the architecture does not tell how text is cut.
    """
    family = read_json_if_there(directory / "config.json").get("model_type")
    if family not in _PRE_TOKENIZERS:
        raise ModelFileError(
            f"{directory} has no tokenizer.json, and vocab.json alone does not say how a {family!r} model cuts text",
            hint="AutoTokenizer.from_pretrained(directory).save_pretrained(directory) in transformers writes one",
        )
    vocabulary = _vocabulary(directory / "vocab.json")
    merges = _merges(directory / "merges.txt", vocabulary)
    raw = byte_level_tokenizer(vocabulary, merges, pre_tokenizer_named(_PRE_TOKENIZERS[family]))
    if family in _COMPOSED:
        raw.normalizer = normalizers.NFC()
    for token, wanted, special in _added(directory):
        raw.add_tokens([AddedToken(token, special=special, normalized=False)])
        if (found := raw.token_to_id(token)) != wanted:
            raise ModelFileError(
                f"{directory}: the added token {token!r} has the id {wanted}, the next free is {found}"
            )
    named = (special_tokens["bos"], special_tokens["eos"])
    spelled = [token for token in named if isinstance(token, str) and token in vocabulary]
    raw.add_tokens([AddedToken(token, special=True, normalized=False) for token in spelled])
    return raw


def _vocabulary(file: Path) -> dict[str, int]:
    values = read_json(file)
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in values.values()):
        raise ModelFileError(f"{file} should hold an id for each token")
    return values


def _merges(file: Path, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        left, _, right = line.rstrip("\r").partition(" ")
        if not {left, right, left + right} <= vocabulary.keys():
            raise ModelFileError(f"{file}, line {number}: {line!r} merges what vocab.json does not have")
        merges.append((left, right))
    return merges


def _added(directory: Path) -> list[tuple[str, int, bool]]:
    """Tokens outside the merges: spelling, id, whether only code inserts it; by id."""
    settings = directory / "tokenizer_config.json"
    listed = read_json_if_there(settings).get("added_tokens_decoder")
    entries: dict[Any, Any] = listed if isinstance(listed, dict) else {}
    added = {}
    for number, entry in entries.items():
        if not str(number).isdecimal() or not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise ModelFileError(f"{settings}: added_tokens_decoder should hold a token for each id")
        added[int(number)] = (entry["content"], entry.get("special") is True)
    file = directory / "added_tokens.json"
    for token, number in read_json_if_there(file).items():
        if not isinstance(number, int):
            raise ModelFileError(f"{file} should hold an id for each token")
        added.setdefault(number, (token, True))
    return [(token, number, special) for number, (token, special) in sorted(added.items())]
