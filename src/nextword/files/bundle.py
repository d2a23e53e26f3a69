"""The bundle: a directory that is a model, and opens in other tools wherever its architecture has a twin there.

config.json               architecture
model.safetensors         weights
tokenizer.json            tokenizer; tokenizer_config.json has its special tokens and the chat template
generation_config.json    every token that ends a text, and what the model's makers recommend for sampling
nextword.json             format version, provenance, what training measured
README.md                 the model card
metrics.jsonl, loss.svg   how a model that was trained here was trained: every loss, and their curve (loss.png too)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextword.config import GPTConfig
from nextword.errors import ModelFileError
from nextword.files.atomic import replace_directory, write_errors
from nextword.files.huggingface.config import config_to_json
from nextword.files.huggingface.families import family_of
from nextword.files.huggingface.tensors import tensors_to_family
from nextword.files.safetensors import write_safetensors
from nextword.files.tensors import ELEMENT_NAMES, DequantizedTensors, RawTensor, check_tensors
from nextword.formatting import pluralize
from nextword.json_file import json_text
from nextword.tokens import Tokenizer

FORMAT_VERSION = 1
RUN_FILES = frozenset({"metrics.jsonl", "loss.png", "loss.svg"})
BUNDLE_FILES = RUN_FILES | {
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "nextword.json", "README.md"),
    *("generation_config.json", "special_tokens_map.json", "chat_template.jinja"),  # what transformers adds
    "verification.json",  # what `nextword verify` measured
}


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
    chat_template: str = ""
    """How a conversation is written as one text, Jinja; empty if the model was not trained for conversations."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """What the makers recommend for sampling, as generation_config.json has it; shown, never applied silently."""
    notes: Sequence[str] = ()
    """What was passed over or assumed when the files were read, a sentence each."""

    def dequantized(self) -> Mapping[str, RawTensor]:
        """Every weight in an element type that computes; blocks are unpacked to float32 whenever they are asked for."""
        return DequantizedTensors(self.tensors)


def write_bundle(path: Path, bundle: Bundle, files: Mapping[str, bytes] | None = None) -> None:
    """Writes a model directory beside `path` and puts it in place when it is whole.

    Quantised blocks, which these files cannot hold, are written as float32.

    Args:
        path: The directory.
        bundle: The model.
        files: What lies beside it, names (of `RUN_FILES`) to contents: how its training went.

    Raises:
        ModelFileError: It cannot be written, or `path` holds something that is no model (it is left alone).
    """
    require_writable(path)
    check_tensors(str(path), bundle.tensors, bundle.config.parameter_shapes())
    tensors = dict(bundle.dequantized())
    dtype = _dtype_word({tensor.dtype for tensor in tensors.values()})
    tokenizer = bundle.tokenizer
    check_vocabulary(path, tokenizer, bundle.config)
    config = config_to_json(bundle.config, dtype=dtype, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id)
    with replace_directory(path) as fresh:
        write_safetensors(fresh / "model.safetensors", tensors_to_family(bundle.config, tensors), {"format": "pt"})
        _write_json(fresh / "config.json", config)
        (fresh / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        template = {"chat_template": bundle.chat_template} if bundle.chat_template else {}
        _write_json(fresh / "tokenizer_config.json", {**tokenizer.settings(), **template})
        if bundle.generation or len(tokenizer.end_ids) > 1:
            special_ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": sorted(tokenizer.end_ids) or None}
            _write_json(fresh / "generation_config.json", {**bundle.generation, **special_ids})
        _write_json(
            fresh / "nextword.json",
            {
                "format_version": FORMAT_VERSION,
                "family": family_of(bundle.config),
                "provenance": dict(bundle.provenance),
            },
        )
        (fresh / "README.md").write_text(bundle.card or _default_card(bundle), encoding="utf-8")
        for name, content in (files or {}).items():
            (fresh / name).write_bytes(content)


def require_writable(path: Path) -> None:
    """Refuses a target that holds something other than a model, before any work is done.

    Raises:
        ModelFileError: `path` is a file, or a directory with other things in it.
    """
    with write_errors(path):
        if not path.exists():
            return
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    # A config.json alone proves nothing: many programs have one.
    if not path.is_dir() or (names and not {"config.json", "model.safetensors"} <= names):
        raise ModelFileError(f"{path} exists and is not a model", hint="choose another directory")
    if foreign := sorted(names - BUNDLE_FILES):
        raise ModelFileError(
            f"{path} also holds {foreign[0]}, which would be lost", hint="move it away, or choose another directory"
        )


def check_vocabulary(path: Path, tokenizer: Tokenizer, config: GPTConfig) -> None:
    """The model has an output for every token.

    Raises:
        ModelFileError: The tokenizer has more tokens than the model.
    """
    if tokenizer.vocab_size > config.vocab_size:
        extra = ", ".join(map(repr, tokenizer.vocabulary[config.vocab_size :][:3]))
        raise ModelFileError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}",
            hint=f"added without a row in the model: {extra}; in transformers, "
            "model.resize_token_embeddings(len(tokenizer)) makes the rows, or take them out of tokenizer.json",
        )


def _dtype_word(kinds: set[str]) -> str:
    """The one element type that holds every weight exactly; other programs load all of them in it."""
    return ELEMENT_NAMES[kinds.pop() if len(kinds) == 1 else "F64" if "F64" in kinds else "F32"]


def _default_card(bundle: Bundle) -> str:
    config = bundle.config
    return (
        f"# A {family_of(config)} model with {pluralize(config.num_parameters, 'parameters')}\n\n"
        f"{pluralize(config.num_layers, 'layers')} x {config.d_model}, context {config.context_length}, "
        f"{pluralize(bundle.tokenizer.vocab_size, 'tokens')}. Made with nextword.\n"
    )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json_text(values, indent=2) + "\n", encoding="utf-8")
