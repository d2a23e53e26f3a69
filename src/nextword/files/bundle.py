"""The bundle: a directory that is a model.

config.json               architecture (a Hugging Face config wherever the architecture has a twin there)
model.safetensors         weights
tokenizer.json            tokenizer, and tokenizer_config.json with its special tokens
nextword.json             format version, provenance, what training measured
README.md                 the model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextword.config import GPTConfig
from nextword.errors import ModelFileError
from nextword.files.atomic import replace_directory
from nextword.files.families import config_from_json, config_to_json, family_of, tensors_from_family, tensors_to_family
from nextword.files.safetensors import RawTensor, check_tensors, read_json, read_safetensors, write_safetensors
from nextword.tokens import Tokenizer

FORMAT_VERSION = 1
BUNDLE_FILES = {
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "nextword.json", "README.md"),
    *("generation_config.json", "special_tokens_map.json"),  # what transformers adds when it saves the same model
}
_DTYPE_WORDS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Bundle:
    """What a model directory holds."""

    config: GPTConfig
    tensors: Mapping[str, RawTensor]
    """Every weight under the names of `config.parameter_shapes()`."""
    tokenizer: Tokenizer
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where the model comes from: recipe, data, measured losses. Free JSON."""
    card: str = ""
    """The model card, Markdown."""


def read_bundle(path: Path) -> Bundle:
    """Reads and checks a model directory.

    Raises:
        ModelFileError: A file is missing, damaged or unsupported, or the parts do not fit; names file and field.
    """
    try:
        return _read(path)
    except OSError as error:  # above all, directories that one may not look into
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from None


def _read(path: Path) -> Bundle:
    if not path.is_dir():
        raise ModelFileError(
            f"{path} is not a model directory",
            hint="a model directory holds config.json, model.safetensors, tokenizer.json",
        )
    values = read_json(path / "config.json")
    extra = (
        read_json(path / "nextword.json") if (path / "nextword.json").exists() else {"format_version": FORMAT_VERSION}
    )
    version = extra.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{path / 'nextword.json'}: format_version is {version!r}, this nextword reads {FORMAT_VERSION}",
            hint="a newer nextword wrote it: pip install --upgrade nextword",
        )
    config = config_from_json(values, str(path / "config.json"))
    weights = path / "model.safetensors"
    if not weights.exists():
        _explain_missing_weights(path)
    stored = read_safetensors(weights)
    if config.num_layers > len(stored):  # before anything is made per layer
        raise ModelFileError(
            f"{path / 'config.json'}: num_layers is {config.num_layers}, but {weights} has only {len(stored)} tensors"
        )
    tensors = tensors_from_family(config, str(values["model_type"]), stored)
    check_tensors(str(weights), tensors, config.parameter_shapes())
    tokenizer = Tokenizer.load(path)
    _check_vocabulary(path, tokenizer, config)
    provenance = extra.get("provenance", {})
    if not isinstance(provenance, dict):
        raise ModelFileError(f"{path / 'nextword.json'}: provenance should be a JSON object, found {provenance!r}")
    return Bundle(config, tensors, tokenizer, provenance, _read_card(path / "README.md"))


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Writes a model directory beside `path` and puts it in place when it is whole.

    Raises:
        ModelFileError: It cannot be written, or `path` holds something that is no model (it is left alone).
    """
    require_writable(path)
    check_tensors(str(path), bundle.tensors, bundle.config.parameter_shapes())
    dtype = _DTYPE_WORDS[bundle.tensors["token_embedding.weight"].dtype]
    tokenizer = bundle.tokenizer
    _check_vocabulary(path, tokenizer, bundle.config)
    config = config_to_json(bundle.config, dtype=dtype, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id)
    with replace_directory(path) as fresh:
        write_safetensors(
            fresh / "model.safetensors", tensors_to_family(bundle.config, bundle.tensors), {"format": "pt"}
        )
        _write_json(fresh / "config.json", config)
        (fresh / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
        _write_json(fresh / "tokenizer_config.json", tokenizer.settings())
        _write_json(
            fresh / "nextword.json",
            {
                "format_version": FORMAT_VERSION,
                "family": family_of(bundle.config),
                "provenance": dict(bundle.provenance),
            },
        )
        (fresh / "README.md").write_text(bundle.card or _plain_card(bundle), encoding="utf-8")


def require_writable(path: Path) -> None:
    """Refuses a target that holds something other than a model, before any work is done.

    Raises:
        ModelFileError: `path` is a file, or a directory with other things in it.
    """
    try:
        if not path.exists():
            return
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    except OSError as error:
        raise ModelFileError(f"cannot write {path}: {error.strerror}") from None
    # A config.json alone proves nothing: many programs have one.
    if not path.is_dir() or (names and not {"config.json", "model.safetensors"} <= names):
        raise ModelFileError(f"{path} exists and is not a model", hint="choose another directory")
    if foreign := sorted(names - BUNDLE_FILES):
        raise ModelFileError(
            f"{path} also holds {foreign[0]}, which would be lost", hint="move it away, or choose another directory"
        )


def _check_vocabulary(path: Path, tokenizer: Tokenizer, config: GPTConfig) -> None:
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelFileError(f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}")


def _explain_missing_weights(path: Path) -> None:
    if any(path.glob("*.bin")):
        raise ModelFileError(
            f"{path} holds pickled weights (.bin), which can run code when loaded",
            hint="convert them to safetensors where you trust them",
        )
    if (path / "model.safetensors.index.json").exists():
        raise ModelFileError(
            f"{path} holds weights in several files, nextword reads one model.safetensors",
            hint="in transformers: model.save_pretrained(directory, max_shard_size='1TB')",
        )


def _read_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None


def _plain_card(bundle: Bundle) -> str:
    config = bundle.config
    return (
        f"# A {family_of(config)} model with {config.num_parameters:,} parameters\n\n"
        f"{config.num_layers} layers x {config.d_model}, context {config.context_length}, "
        f"{bundle.tokenizer.vocab_size:,} tokens. Made with nextword.\n"
    )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
