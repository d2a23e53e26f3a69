"""Fresh weights, as the architecture's own code draws them."""

from __future__ import annotations

import math

from torch import nn

from nextword.config import GPTConfig


def initialize(module: nn.Module, config: GPTConfig) -> None:
    """Draws every weight of a model or block from torch's global generator.

    The lesson's architecture gets PyTorch's own defaults, as its nn.Embedding, nn.Linear and nn.MultiheadAttention
    would. All others get GPT-2's: normal with deviation 0.02, biases zero, the matrices that write into the residual
    stream divided by sqrt(2 * layers).
    """
    draw = _lesson_defaults if config.residual == "normalized" else _gpt2_defaults
    for name, part in module.named_modules():
        draw(name, part, config)


def _lesson_defaults(name: str, part: nn.Module, config: GPTConfig) -> None:
    if not isinstance(part, nn.Linear | nn.Embedding):
        return
    part.reset_parameters()
    if name.endswith(("q_proj", "k_proj", "v_proj")) and isinstance(part, nn.Linear):
        # nn.MultiheadAttention draws the three from one xavier-uniform matrix of [3 D, D].
        bound = math.sqrt(6 / (4 * config.d_model))
        nn.init.uniform_(part.weight, -bound, bound)
    if ".attn." in f".{name}" and isinstance(part, nn.Linear) and part.bias is not None:
        nn.init.zeros_(part.bias)


def _gpt2_defaults(name: str, part: nn.Module, config: GPTConfig) -> None:
    if isinstance(part, nn.Linear | nn.Embedding):
        into_stream = name.endswith(("out_proj", "down"))
        nn.init.normal_(part.weight, std=0.02 / math.sqrt(2 * config.num_layers) if into_stream else 0.02)
    if isinstance(part, nn.Linear) and part.bias is not None:
        nn.init.zeros_(part.bias)
