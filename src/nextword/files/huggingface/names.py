"""Weights under the names that other programs leave them with -> the names of the family's own files.

Training programs wrap a model, and the wrappers' names lie before every weight's or between them; a base model is
saved without its prefix; some add a head of their own. What has one sure meaning is put right, with a note where
something is left out; the rest is refused with what was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from nextword.config import GPTConfig
from nextword.errors import ModelFileError
from nextword.files.huggingface.families import FAMILIES, Family, FamilyName
from nextword.files.huggingface.tensors import family_names
from nextword.files.safetensors import is_constant
from nextword.files.tensors import RawTensor

# Parts of a name that no architecture has: torch.compile, and PyTorch's sharding and checkpointing, put them between.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")

# Heads of other tasks beside a whole language model: they read its hidden state and change none of its numbers.
_OTHER_HEADS = {
    "v_head": "TRL's value head",
    "value_head": "a value head",
    "multiple_choice_head": "the head that chooses among answers",
    "frozen_head": "trlX's copy of the upper layers as they were",
}

# What an extra tensor tells of a file -> what to do.
_UNSUPPORTED_TENSORS = (
    (
        r"(^|\.)(lora_[A-Za-z_]+|modules_to_save|base_layer|ia3_l)(\.|$)",
        "adapters that are not merged: in peft, model.merge_and_unload().save_pretrained(directory)",
    ),
    (
        r"(^|\.)(score|classifier|classification_head|qa_outputs|regression_head|reward_head|lm_head_reward)\.",
        "a head for another task: the model was saved for classification, rewards or answers, not to write",
    ),
    (
        r"(^|\.)(vision\w*|visual|multi_modal_projector|mm_projector|image_newline|audio\w*|speech\w*)(\.|$)",
        "a model of pictures or sounds: save its language model by itself",
    ),
    (
        r"\.(qweight|qzeros|g_idx|scales|biases|weight_scale\w*|weight_packed|absmax|quant_map|SCB|weight_format)$",
        "weights that were quantised for another program: take those that were not, or a .gguf file of the model",
    ),
    (r"_flat_param", "shards of FSDP that were not gathered: save a full state dict"),
)


def family_weights(
    source: str, config: GPTConfig, name: str, stored: Mapping[str, RawTensor]
) -> tuple[dict[str, RawTensor], list[str]]:
    """The weights under the family's names, without constants and foreign heads, and what to say of it.

    A tensor that fits nowhere keeps its name, for `check_tensors` to refuse.

    Raises:
        ModelFileError: The file holds two models, one weight twice, or something beside the model that says what it
            is; the message names the tensor, the hint what was found.
    """
    family = FAMILIES[_known(name)]
    wanted = family_names(config, name) | {_head(family)}
    where = _model_prefix(source, family, stored)
    weights: dict[str, RawTensor] = {}
    heads: dict[str, str] = {}
    for stored_name, tensor in stored.items():
        if is_constant(stored_name):
            continue  # they follow from the config
        plain = _strip_wrappers(stored_name)
        if (head := _first_difference(plain, where)) in _OTHER_HEADS:
            heads[head] = _OTHER_HEADS[head]
            continue
        new = _family_name(family, plain, where)
        if new not in wanted:
            _refuse_unsupported(source, stored_name)
            new = stored_name
        if new in weights:
            raise ModelFileError(f"{source}: tensor {stored_name!r} is {new} a second time")
        weights[new] = RawTensor(new, tensor.dtype, tensor.shape, tensor.data)
    notes = [f"weights: {head}.* is left out: {what}, which predicts no token here" for head, what in heads.items()]
    if not wanted & set(weights):
        found = ", ".join(map(_shown, sorted(stored)[:3]))
        raise ModelFileError(f"{source}: no tensor has a name that a {name} model has", hint=f"found: {found}, ...")
    return weights, notes


def with_file_lm_head(
    source: str, config: GPTConfig, name: str, stored: Mapping[str, RawTensor]
) -> tuple[GPTConfig, dict[str, RawTensor], list[str]]:
    """Config and weights with the output layer that the file holds, as transformers 5 decides, and what to say of it.

    `tie_word_embeddings` says that the output layer is the token embedding. A file that holds both, with different
    numbers, has an output layer of its own; of a file that holds only one of them, the other one is the same matrix.

    Raises:
        ModelFileError: The output layer is none of its own and not there.
    """
    family, weights = FAMILIES[_known(name)], dict(stored)
    head, embedding = _head(family), f"{family.names['token_embedding']}.weight"
    if not config.tie_embeddings:
        if head not in weights and embedding in weights:
            raise ModelFileError(
                f"{source}: tensor {head}, the output layer, is missing, and tie_word_embeddings is false",
                hint=f"a base model was saved, which predicts nothing (transformers draws the layer at random): save a "
                f"{family.model_class}; where the output layer is the token embedding, tie_word_embeddings is true",
            )
        return config, weights, []
    if head not in weights:
        return config, weights, []
    if embedding not in weights:
        weights[embedding] = weights.pop(head)
        return config, weights, [f"weights: {head} is the token embedding too, which the file leaves out"]
    if _same(weights[head], weights[embedding]):
        del weights[head]
        return config, weights, []
    note = f"weights: {head} is the output layer, for it differs from the embedding, though tie_word_embeddings is true"
    return config.replace(tie_embeddings=False), weights, [note]


def _known(name: str) -> FamilyName:
    return next(known for known in FAMILIES if known == name)


def _head(family: Family) -> str:
    return f"{family.names['output_layer']}.weight"


def _strip_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _model_prefix(source: str, family: Family, names: Iterable[str]) -> str:
    """What lies before the blocks' names, without the dot: `model`, nothing, `base_model.model.model`, ...

    Raises:
        ModelFileError: There are two models.
    """
    blocks = family.layers.partition(".")[2]
    embedding = f"{family.names['token_embedding']}.weight".partition(".")[2]
    first = re.compile(rf"^(?:(.*)\.)?{re.escape(blocks)}\.\d+\.")
    plain = [_strip_wrappers(name) for name in names]
    places = {match[1] or "" for name in plain if (match := first.match(name))}
    if len(places) > 1:  # the others may be towers of another kind
        places &= {name.removesuffix(embedding).removesuffix(".") for name in plain if name.endswith(embedding)}
    if len(places) > 1:
        found = ", ".join(sorted(_shown(f"{place}.*") for place in places))
        raise ModelFileError(f"{source} holds {len(places)} models", hint=f"found: {found}; save one of them by itself")
    return places.pop() if places else family.base


def _first_difference(plain: str, where: str) -> str:
    """The part of a name with which it leaves the way to the blocks."""
    way = where.split(".")
    return next((part for i, part in enumerate(plain.split(".")) if i >= len(way) or part != way[i]), "")


def _family_name(family: Family, plain: str, where: str) -> str:
    """The family's name of a tensor, if it has one."""
    head = _head(family)
    if plain == head or (plain.endswith(f".{head}") and f"{where}.".startswith(plain.removesuffix(head))):
        return head
    inner = plain if not where else plain.removeprefix(f"{where}.")
    return f"{family.base}.{inner}" if not where or inner != plain else plain


def _refuse_unsupported(source: str, name: str) -> None:
    for pattern, hint in _UNSUPPORTED_TENSORS:
        if re.search(pattern, name):
            raise ModelFileError(f"{source}: tensor {name!r} is not part of this architecture", hint=hint)


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _same(one: RawTensor, other: RawTensor) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype == other.dtype:
        return bool(np.array_equal(one.bits(), other.bits()))
    return bool(np.array_equal(one.values(), other.values()))
