"""The lesson's two classes, retyped: its architecture with PyTorch's own nn.MultiheadAttention and nn.LayerNorm.

Names of modules, order of operations and defaults are the lesson's, so that its saved weights fit. What makes it
special: each sublayer's output is added to the *normalised* input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextword.config import GPTConfig
from tests.oracle.numpy_gpt import Pass


class LessonBlock(nn.Module):
    """Attention, then a feed-forward layer, each behind a LayerNorm."""

    causal_mask: Tensor

    def __init__(self, d_model: int, num_heads: int, dropout: float, context_length: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(d_model)
        self.ln2 = nn.LayerNorm(d_model)
        self.attn = nn.MultiheadAttention(d_model, num_heads, dropout=dropout, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model), nn.Dropout(dropout)
        )
        self.register_buffer("causal_mask", causal_mask(context_length))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; `mask` goes to nn.MultiheadAttention as it is."""
        if mask is None:
            mask = causal_mask(x.shape[1]).to(x)
        x = self.ln1(x)
        attended, _ = self.attn(x, x, x, attn_mask=mask, need_weights=False)
        x = self.ln2(x + attended)
        out: Tensor = x + self.ffn(x)
        return out


class LessonGPT(nn.Module):
    """Token embedding + position embedding, blocks, LayerNorm, one linear layer to the vocabulary."""

    def __init__(
        self, vocab_size: int, d_model: int, num_heads: int, num_layers: int, dropout: float, context_length: int
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_encoding = nn.Embedding(context_length, d_model)
        self.blocks = nn.ModuleList(
            [LessonBlock(d_model, num_heads, dropout, context_length) for _ in range(num_layers)]
        )
        self.ln_final = nn.LayerNorm(d_model)
        self.output_layer = nn.Linear(d_model, vocab_size)

    def forward(self, input_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T] -> [B, T, V]."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.token_embedding(input_ids) + self.position_encoding(positions)
        for block in self.blocks:
            x = block(x, mask)
        logits: Tensor = self.output_layer(self.ln_final(x))
        return logits


def causal_mask(length: int) -> Tensor:
    """[T, T]: -inf above the diagonal."""
    return torch.triu(torch.full((length, length), float("-inf")), diagonal=1)


def shaken_lesson(dropout: float) -> LessonGPT:
    """A small lesson model whose zeros and ones are moved, so that a weight in the wrong place shows."""
    torch.manual_seed(15)
    lesson = LessonGPT(29, 12, 3, 3, dropout, 11)
    with torch.no_grad():
        for parameter in lesson.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return lesson


def in_our_names(theirs: Pass, config: GPTConfig) -> Pass:
    """A pass of the lesson's classes with its gradients under this package's names, renamed independently of `src/`."""
    gradients = {}
    for name, gradient in theirs.gradients.items():
        if "in_proj" in name:
            for i, part in enumerate("qkv"):
                ours = name.replace("in_proj_", f"{part}_proj.")
                gradients[ours] = gradient[i * config.d_model : (i + 1) * config.d_model]
        else:
            gradients[name.replace("ffn.0", "ffn.up").replace("ffn.2", "ffn.down")] = gradient
    return Pass(theirs.logits, theirs.loss, gradients)
