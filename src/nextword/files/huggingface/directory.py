"""Reading a model directory: one that nextword wrote, or any of Hugging Face's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextword.errors import ModelFileError
from nextword.files.bundle import FORMAT_VERSION, Bundle, check_vocabulary
from nextword.files.huggingface.config import config_from_json, hf_name
from nextword.files.huggingface.fields import ignored_field_notes
from nextword.files.huggingface.names import family_weights, with_file_lm_head
from nextword.files.huggingface.tensors import tensors_from_family
from nextword.files.safetensors import read_safetensors, read_sharded
from nextword.files.tensors import RawTensor, check_tensors
from nextword.json_file import read_json, read_json_if_there
from nextword.text_file import read_text
from nextword.tokens import Tokenizer

PICKLE_WAY_OUT = (
    "where you trust its makers, open it in transformers and save it again: "
    "model.save_pretrained(directory) writes safetensors"
)

_MERGE = "merge it into its base model: in peft, merge_and_unload(), then save_pretrained(directory)"
_HOLDS = "a model directory holds config.json, tokenizer.json, and model.safetensors or its parts with their index"


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
        raise ModelFileError(f"{path} is not a model directory", hint=_HOLDS)
    if not (path / "config.json").exists():
        if (path / "adapter_config.json").exists():
            raise ModelFileError(f"{path} is an adapter, not a whole model", hint=_MERGE)
        inside = sorted(file.parent for file in path.glob("*/config.json"))[:3]
        hint = f"one is inside: {', '.join(map(str, inside))}" if inside else _HOLDS
        raise ModelFileError(f"{path} is no model directory: it has no config.json", hint=hint)
    values = read_json(path / "config.json")
    provenance = _provenance(path / "nextword.json")
    config = config_from_json(values, str(path / "config.json"))
    weights, stored = _stored_tensors(path)
    if config.num_layers > len(stored):  # before anything is made per layer
        field = hf_name(values, "num_layers")
        raise ModelFileError(
            f"{path / 'config.json'}: {field} is {config.num_layers}, but {weights} has only {len(stored)} tensors"
        )
    family, notes = str(values["model_type"]), ignored_field_notes(values)
    if family != "nextword":
        stored, named = family_weights(str(weights), config, family, stored)
        config, stored, tied = with_file_lm_head(str(weights), config, family, stored)
        notes += named + tied
    tensors = tensors_from_family(config, family, stored)
    check_tensors(str(weights), tensors, config.parameter_shapes())
    tokenizer = Tokenizer.load(path)
    check_vocabulary(path, tokenizer, config)
    return Bundle(
        config,
        tensors,
        tokenizer,
        provenance,
        _text_if_there(path / "README.md"),
        chat_template=_chat_template(path),
        generation=_generation(path / "generation_config.json"),
        notes=notes,
    )


def _provenance(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}  # another program wrote the directory
    values = read_json(file)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{file}: format_version is {version!r}, this nextword reads {FORMAT_VERSION}",
            hint="a newer nextword wrote it: install that one",
        )
    provenance = values.get("provenance", {})
    if not isinstance(provenance, dict):
        raise ModelFileError(f"{file}: provenance should be a JSON object, found {provenance!r}")
    return provenance


def _stored_tensors(path: Path) -> tuple[Path, dict[str, RawTensor]]:
    """The weights under the file's own names, and the file that names them."""
    one, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if index.exists() and not one.exists():
        return index, read_sharded(index)
    if not one.exists():
        _refuse_pickles(path)
        raise ModelFileError(f"{path} has no weights: there is no {one.name}", hint=_HOLDS)
    return one, read_safetensors(one)


def _refuse_pickles(path: Path) -> None:
    pickled = [file for kind in ("bin", "pt", "pth", "ckpt") for file in sorted(path.glob(f"*.{kind}"))]
    if pickled:
        raise ModelFileError(f"{pickled[0]} holds pickled weights, which can run code when loaded", hint=PICKLE_WAY_OUT)


def _chat_template(path: Path) -> str:
    """The template of a file of its own, or the default one of tokenizer_config.json."""
    if (path / "chat_template.jinja").exists():
        return _text_if_there(path / "chat_template.jinja")
    file = path / "tokenizer_config.json"
    template = read_json_if_there(file).get("chat_template", "")
    if isinstance(template, list):  # several, with names
        default = (item for item in template if isinstance(item, dict) and item.get("name") == "default")
        template = next(default, {}).get("template", "")
    if template is not None and not isinstance(template, str):
        raise ModelFileError(f"{file}: chat_template should be a string, found {type(template).__name__}")
    return template or ""


def _generation(file: Path) -> dict[str, Any]:
    """What the makers recommend; ids are the tokenizer's affair, versions nobody's."""
    left_out = {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config"}
    return {name: value for name, value in read_json_if_there(file).items() if name not in left_out}


def _text_if_there(path: Path) -> str:
    return read_text(path) if path.exists() and path.stat().st_size else ""
