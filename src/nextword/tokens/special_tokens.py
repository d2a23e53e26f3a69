"""Which tokens begin and end a text, as the files of a model directory say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from nextword.errors import ModelFileError
from nextword.json_file import read_json_if_there


class SpecialTokens(TypedDict):
    """What `Tokenizer` takes: tokens as they are spelled, or as ids."""

    bos: str | int | None
    eos: str | int | None
    ends: tuple[int, ...]


def read_special_tokens(directory: Path) -> SpecialTokens:
    """The special tokens of a model directory.

    tokenizer_config.json decides, then special_tokens_map.json; what neither mentions is taken from config.json. All
    tokens that end a text are named by generation_config.json, or else by config.json.

    Raises:
        ModelFileError: A file is damaged, or what it names is neither a token nor an id.
    """
    config, config_file = _read(directory, "config.json")
    spelled: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        values, file = _read(directory, name)
        spelled |= {key: _spelling(values[key], key, file) for key in ("bos_token", "eos_token") if key in values}
    generation, generation_file = _read(directory, "generation_config.json")
    from_generation = _ids(generation, "eos_token_id", generation_file)
    eos_ids = _ids(config, "eos_token_id", config_file)
    bos_ids = _ids(config, "bos_token_id", config_file)
    return SpecialTokens(
        bos=spelled.get("bos_token", bos_ids[0] if bos_ids else None),
        eos=spelled.get("eos_token", eos_ids[0] if eos_ids else None),
        ends=from_generation or eos_ids,
    )


def _read(directory: Path, name: str) -> tuple[dict[str, Any], Path]:
    return read_json_if_there(directory / name), directory / name


def _spelling(token: object, key: str, file: Path) -> str | None:
    token = token.get("content", token) if isinstance(token, dict) else token
    if token is not None and not isinstance(token, str):
        raise ModelFileError(f"{file}: {key} should be a string, found {type(token).__name__}")
    return token


def _ids(values: Mapping[str, Any], name: str, file: Path) -> tuple[int, ...]:
    found = values.get(name)
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
        raise ModelFileError(f"{file}: {name} should be a token id or a list of them, found {found!r}")
    return tuple(ids)
