"""What transformers' own classes make of every field of a config.json, measured on tiny models of theirs.

`python -m tests.files.huggingface.reference` measures each field by itself and writes the table that
`nextword.files.huggingface.reference` holds; the tests measure all of a family's fields at once.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.activations import ACT2FN
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from nextword.files.huggingface import reference as table
from nextword.files.huggingface.families import FAMILIES

LAYERS = 2
IDS = [(7 * i + 3) % 40 for i in range(12)]
_GPT2 = {"vocab_size": 40, "n_embd": 16, "n_inner": 24, "n_layer": LAYERS, "n_head": 2, "n_positions": 32}
_MODERN: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
}
# Scaled, so that every parameter of the rotary positions counts.
_ROPE = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 0.2}
_MODERN["rope_parameters"] = _ROPE
_SLIDING = {"use_sliding_window": True, "sliding_window": 4}
_PLAIN: dict[str, dict[str, Any]] = {
    "gpt2": _GPT2,
    "llama": _MODERN,
    "mistral": {**_MODERN, "sliding_window": None},
    "qwen2": {**_MODERN, **_SLIDING, "max_window_layers": 1},
    "qwen3": {**_MODERN, **_SLIDING, "max_window_layers": 1, "head_dim": 8},
    "smollm3": {**_MODERN, **_SLIDING, "no_rope_layer_interval": 2},
}
# Values unlike a field's default, where its kind alone suggests none or only harmless ones.
_OTHERS: dict[str, list[Any]] = {
    "hidden_act": ["gelu", "relu"],
    "activation_function": ["gelu", "relu"],
    "summary_activation": ["tanh"],
    "summary_type": ["last"],
    "problem_type": ["regression"],
    "dtype": ["float16"],
    "torch_dtype": ["float16"],
    "num_labels": [3],
    "id2label": [{"0": "a", "1": "b", "2": "c"}],
    "label2id": [{"a": 0, "b": 1, "c": 2}],
    "architectures": [["Another"]],
    "transformers_version": ["4.0.0"],
    "eos_token_id": [3, [3, 4]],
    "pad_token_id": [5, -1],
    "vision_feature_select_strategy": ["default"],
    "vision_feature_layer": [-2],
    "use_sliding_window": [False],
    "max_window_layers": [0],
    "no_rope_layer_interval": [1],
    "rope_parameters": [{"rope_type": "linear", "factor": 2.0}],
    "rope_scaling": [{"type": "linear", "factor": 2.0}],
    "rope_theta": [77.0],
    "partial_rotary_factor": [0.5],
    "original_max_position_embeddings": [8],
    "sliding_window": [3],
    "attention_chunk_size": [3],
    "layer_types": [["sliding_attention"] * LAYERS, ["linear_attention"] * LAYERS],
    "mlp_layer_types": [["sparse"] * LAYERS],
    "mtp_layer_types": [["mamba"] * LAYERS],
    "kv_sharing_modes": [[0] * LAYERS],
    "no_rope_layers": [[0] * LAYERS],
    "per_layer_config": [{"0": {"head_dim": 4}}],
    "text_config": [{"hidden_size": 8}],
    "decoder": [{"hidden_size": 8}],
    "generator": [{"hidden_size": 8}],
    "quantization_config": [{"quant_method": "gptq", "bits": 4}],
    "fusion_config": [{"qkv": True}],
    "distributed_config": [{"tp": 2}],
    "transformers_weights": ["other.safetensors"],
    "auto_map": [{"AutoConfig": "configuration_x.XConfig"}],
    "attn_implementation": ["eager"],
    "_attn_implementation": ["eager"],
    "_name_or_path": ["elsewhere"],
    "name_or_path": ["elsewhere"],
    "_commit_hash": ["0123"],
    "is_causal": [False],
    "head_dim": [4],
    "gradient_checkpointing": [True],
    "early_stopping": [True],
    "suppress_tokens": [[1]],
    "begin_suppress_tokens": [[1]],
    "num_return_sequences": [1],
    "rope_type": ["linear"],
    "use_bidirectional_attention": [True],
}
# Names that older releases wrote and that these classes take out of a file by themselves.
_LEGACY = ("torch_dtype", "num_labels", "rope_theta", "rope_scaling", "partial_rotary_factor", "name_or_path")
_LEGACY += ("per_layer_config", "attn_implementation", "_commit_hash", "_name_or_path", "tf_legacy_loss")


@cache
def config_class(family: str) -> Any:
    """Their config class of a model_type."""
    return CONFIG_MAPPING[family]


def plain_values(family: str) -> dict[str, Any]:
    """The smallest config.json of a family in which every field may be changed."""
    return {
        "model_type": family,
        **deepcopy(_PLAIN[family]),
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": None,
    }


@contextmanager
def _silent() -> Iterator[None]:
    """Fields that mean nothing make their classes complain."""
    transformers.logging.set_verbosity(logging.CRITICAL)
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity_warning()
        if bars:
            transformers.logging.enable_progress_bar()


@cache
def _weights(family: str) -> dict[str, torch.Tensor]:
    """Random weights of the plain model."""
    with _silent():
        state = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**plain_values(family))).state_dict()
    generator = torch.Generator().manual_seed(3)
    if family == "gpt2":  # tied
        del state["lm_head.weight"]
    return {
        name: float(tensor.dim() == 1 and name.endswith("weight"))
        + 0.3 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in state.items()
    }


def load(family: str, **changes: Any) -> Any:
    """Their model of the plain weights under a changed config.json.

    Raises:
        Exception: Their classes refuse the values, or the weights do not fit them.
    """
    with _silent(), tempfile.TemporaryDirectory() as directory:
        values = {**plain_values(family), **changes}
        (Path(directory) / "config.json").write_text(json.dumps(values), encoding="utf-8")
        save_file(_weights(family), Path(directory) / "model.safetensors", metadata={"format": "pt"})
        model, report = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"] or report["unexpected_keys"] or report["mismatched_keys"]:
        raise ValueError("the weights do not fit")
    return model.eval()


def logits(family: str, **changes: Any) -> NDArray[np.float64]:
    """[2, T, V]: their logits under a changed config.json, in one pass and token by token.

    Raises:
        Exception: As `load`.
    """
    model = load(family, **changes)
    with _silent(), torch.no_grad():
        ids = torch.tensor([IDS])
        whole = model(ids, return_dict=True).logits[0]
        past, rows = None, []
        for i in range(len(IDS)):
            out = model(ids[:, i : i + 1], past_key_values=past, use_cache=True, return_dict=True)
            past = out.past_key_values
            rows.append(out.logits[0, 0])
    return torch.stack([whole, torch.stack(rows)]).double().numpy()


@cache
def plain_logits(family: str) -> NDArray[np.float64]:
    """Their logits under the plain config.json."""
    return logits(family)


def changes_numbers(family: str, **changes: Any) -> bool:
    """Whether their logits of the same weights change, or their classes refuse the values."""
    try:
        return not np.allclose(logits(family, **changes), plain_logits(family), rtol=0, atol=1e-4)
    except Exception:  # noqa: BLE001  their refusals are of many kinds
        return True


def declared_fields(family: str) -> set[str]:
    """Fields that their class of a family declares, under every name that it takes."""
    cls = config_class(family)
    generation = GenerationConfig._get_default_generation_params()
    return {field.name for field in dataclasses.fields(cls)} | {*cls.attribute_map, *generation, *_LEGACY}


def asked_fields(family: str) -> set[str]:
    """Fields that a model of theirs asks its config for, though the class declares none of the name."""
    cls = config_class(family)
    asked: set[str] = set()
    original = cls.__getattribute__

    def noting(self: Any, name: str) -> Any:
        try:
            return original(self, name)
        except AttributeError:
            asked.add(name)
            raise

    cls.__getattribute__ = noting
    try:
        with _silent(), torch.no_grad():
            load(family).generate(torch.tensor([IDS]), max_new_tokens=2, do_sample=False, pad_token_id=0)
    finally:
        del cls.__getattribute__
    return {name for name in asked if not name.startswith("_")} | {"_attn_implementation"}


def known_fields(family: str) -> set[str]:
    """Every field of a config.json that their classes look at."""
    return (declared_fields(family) | asked_fields(family)) - {"model_type", "output_loading_info"}


def other_values(family: str, name: str) -> list[Any]:
    """Values unlike the one that a field has in the plain config."""
    if name in _OTHERS:
        return _OTHERS[name]
    value = plain_values(family).get(name)
    value = getattr(config_class(family)(), name, None) if value is None else value
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 2]
    if isinstance(value, float):
        return [value / 2 + 0.2]
    return ["other", 3, True]


def inert_fields(family: str) -> set[str]:
    """Fields that their classes look at and that leave the logits of the same weights as they are."""
    return {
        name
        for name in known_fields(family)
        if not any(changes_numbers(family, **{name: value}) for value in other_values(family, name))
    }


def same_activations(name: str) -> list[str]:
    """Every spelling of theirs of one activation function."""
    x = torch.linspace(-8, 8, 321)
    alone = set(ACT2FN) - {"xielu"}  # it has weights of its own
    return sorted(s for s in alone if torch.allclose(ACT2FN[s](x), ACT2FN[name](x), rtol=0, atol=1e-5))


def main() -> None:
    """Measures every field and writes the table."""
    found = {family: inert_fields(family) for family in FAMILIES}
    shared = set.intersection(*found.values())
    lines = [
        '"""Fields of a config.json that leave the logits of transformers\' models as they are, an architecture each.',
        "",
        "Written by `python -m tests.files.huggingface.reference`: each field that a config class declares or a model",
        "asks for is changed by itself, with the same weights, and the logits of a text are compared.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        f'TRANSFORMERS = "{transformers.__version__}"',
        "",
        f"_EVERYWHERE = {sorted(shared)!r}",
        "",
        "WITHOUT_EFFECT: dict[str, frozenset[str]] = {",
        *(
            f"    {family!r}: frozenset([*_EVERYWHERE, *{sorted(names - shared)!r}]),"
            for family, names in found.items()
        ),
        "}",
        "",
    ]
    path = Path(table.__file__)
    path.write_text("\n".join(lines), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", str(path)], check=True)


if __name__ == "__main__":
    main()
