"""Weights saved from the lesson's own classes (nn.MultiheadAttention inside) -> this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nextword.config import GPTConfig
from nextword.errors import ModelFileError

_RENAMED = {"attn.out_proj": "attn.out_proj", "ffn.0": "ffn.up", "ffn.2": "ffn.down", "ln1": "ln1", "ln2": "ln2"}


def config_of_lesson_weights(state_dict: Mapping[str, Tensor], num_heads: int) -> GPTConfig:
    """The architecture that these weights were made for.

    Raises:
        ModelFileError: A weight that tells the shape is missing.
        ConfigError: `num_heads` does not fit.
    """
    try:
        vocab_size, d_model = state_dict["token_embedding.weight"].shape
        context_length = state_dict["position_encoding.weight"].shape[0]
        d_ff = state_dict["blocks.0.ffn.0.weight"].shape[0]
    except KeyError as error:
        raise ModelFileError(
            f"these are not the lesson's weights: {error} is missing",
            hint="pass model.state_dict() of the lesson's GPTModel",
        ) from None
    num_layers = 1 + max(int(name.split(".")[1]) for name in state_dict if name.startswith("blocks."))
    return GPTConfig.lesson(vocab_size, d_model, num_heads, num_layers, 0.0, context_length, d_ff=d_ff)


def convert_lesson_weights(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """The same numbers under this package's names; `in_proj` is split into queries, keys and values.

    Raises:
        ModelFileError: A weight is missing, unexpected or of the wrong shape.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        if name.endswith(".causal_mask"):
            continue  # a constant that the lesson registers as a buffer
        prefix, kind = name.rsplit(".", 1)
        if kind in ("in_proj_weight", "in_proj_bias"):
            for part, rows in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                converted[f"{prefix}.{part}.{kind.removeprefix('in_proj_')}"] = rows
        elif prefix.startswith("blocks."):
            _, number, inner = prefix.split(".", 2)
            converted[f"blocks.{number}.{_RENAMED.get(inner, inner)}.{kind}"] = tensor
        else:
            converted[name] = tensor
    expected = config.parameter_shapes()
    found = {name: tuple(tensor.shape) for name, tensor in converted.items()}
    if found != expected:
        name = min(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ModelFileError(
            f"the lesson's weights do not fit: {name} should be {expected.get(name, 'absent')}, "
            f"found {found.get(name, 'nothing')}"
        )
    return converted
