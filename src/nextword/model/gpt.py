"""GPTModel: token ids in, logits out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nextword.arguments import checked
from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError
from nextword.model.attention import Attention
from nextword.model.cache import KVCache
from nextword.model.initialization import initialize
from nextword.model.layers import FeedForward, Norm
from nextword.model.lesson import config_of_lesson_weights, convert_lesson_weights
from nextword.model.rope import RotaryEmbedding, Rotation
from nextword.model.tap import Tap, scope, tap_point


class TransformerBlock(nn.Module):
    """One layer: attention, then the feed-forward layer, each behind a norm and added to what came in.

    The four arguments build the lesson's block; `TransformerBlock.from_config` builds any other.

    Args:
        d_model: Width of a token's vector.
        num_heads: Attention heads.
        dropout: Share of activations dropped while training.
        context_length: Longest sequence.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float, context_length: int) -> None:
        super().__init__()
        self._build(GPTConfig.lesson(1, d_model, num_heads, 1, dropout, context_length), layer=0)
        initialize(self, self.config)

    @classmethod
    @checked
    def from_config(cls, config: GPTConfig, layer: int = 0) -> TransformerBlock:
        """Block number `layer` of a model of this config; its weights are still to be initialised."""
        block = cls.__new__(cls)
        nn.Module.__init__(block)
        block._build(config, layer)
        return block

    def _build(self, config: GPTConfig, layer: int) -> None:
        self.config = config
        self.ln1 = Norm(config)
        self.attn = Attention(config, layer)
        self.ln2 = Norm(config)
        self.ffn = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D]. `mask` as nn.MultiheadAttention's `attn_mask`; None is causal."""
        x = tap_point(tap, "hook_resid_pre", x)
        h = self.ln1(x, scope(tap, "ln1."))
        attn_out = self.attn(h, mask, rotation=rotation, cache=cache, tap=scope(tap, "attn."))
        x = tap_point(tap, "hook_resid_mid", self._residual(x, h) + tap_point(tap, "hook_attn_out", attn_out))
        h = self.ln2(x, scope(tap, "ln2."))
        mlp_out = self.ffn(h, scope(tap, "mlp."))
        return tap_point(tap, "hook_resid_post", self._residual(x, h) + tap_point(tap, "hook_mlp_out", mlp_out))

    def _residual(self, x: Tensor, h: Tensor) -> Tensor:
        """What a sublayer's output is added to: the residual stream, or, as in the lesson, the normalised input."""
        return h if self.config.residual == "normalized" else x


class GPTModel(nn.Module):
    """A GPT. The six arguments build exactly the lesson's architecture; further fields are GPTConfig's.

    Args:
        vocab_size: Number of tokens.
        d_model: Width of a token's vector.
        num_heads: Attention heads.
        num_layers: Blocks.
        dropout: Share of activations dropped while training.
        context_length: Longest sequence; it must be given.
        **fields: Any other field of `GPTConfig`.

    Raises:
        ConfigError: A value is out of range; the message names the field.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        num_heads: int,
        num_layers: int,
        dropout: float = 0.1,
        context_length: int = 0,
        **fields: Any,
    ) -> None:
        super().__init__()
        self._build(GPTConfig.lesson(vocab_size, d_model, num_heads, num_layers, dropout, context_length, **fields))
        initialize(self, self.config)

    @classmethod
    @checked
    def from_config(cls, config: GPTConfig, *, initialized: bool = True) -> GPTModel:
        """A model of this config, with fresh random weights unless `initialized` is False (they are loaded next)."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model._build(config)
        if initialized:
            initialize(model, config)
        return model

    @classmethod
    @checked
    def from_lesson(cls, state_dict: Mapping[str, Tensor], num_heads: int) -> GPTModel:
        """A model with weights saved from the lesson's own classes; it gives the same logits.

        Args:
            state_dict: What `model.state_dict()` of the lesson's GPTModel gave.
            num_heads: The lesson's `num_heads`; the weights do not tell it.

        Raises:
            ModelFileError: A weight is missing, unexpected or of the wrong shape.
        """
        config = config_of_lesson_weights(state_dict, num_heads)
        model = cls.from_config(config, initialized=False)
        model.load_weights(convert_lesson_weights(state_dict, config))
        return model.eval()

    def weights(self) -> dict[str, Tensor]:
        """Every weight under the names of `config.parameter_shapes()`, a tied head once; the tensors themselves."""
        state = self.state_dict()
        return {name: state[name].detach() for name in self.config.parameter_shapes()}

    @checked
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copies weights in, named as `weights()` names them, and adapters' where the model has some.

        Raises:
            ConfigError: One is missing, unexpected or of another shape.
        """
        expected, found = (
            {name: tuple(one.shape) for name, one in own.items()} for own in (self.state_dict(), weights)
        )
        if self.config.tie_embeddings:
            del expected["output_layer.weight"]
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise ConfigError(f"{name} is {found.get(name, 'missing')}, it must be {expected.get(name, 'absent')}")
        tied = {"output_layer.weight": weights["token_embedding.weight"]} if self.config.tie_embeddings else {}
        self.load_state_dict({**weights, **tied})

    def _build(self, config: GPTConfig) -> None:
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_encoding = (
            nn.Embedding(config.context_length, config.d_model) if config.position == "learned" else None
        )
        self.rotary = RotaryEmbedding(config) if config.position == "rotary" else None
        self.blocks = nn.ModuleList([TransformerBlock.from_config(config, i) for i in range(config.num_layers)])
        self.ln_final = Norm(config)
        self.output_layer = nn.Linear(config.d_model, config.vocab_size, config.output_bias)
        if config.tie_embeddings:
            self.output_layer.weight = self.token_embedding.weight

    def forward(
        self,
        input_ids: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """The logits of the next token at every position: [B, T] -> [B, T, V].

        Args:
            input_ids: Token ids, [B, T].
            mask: As nn.MultiheadAttention's `attn_mask`: True is blocked, a float is added; None is causal.
            cache: Keys and values of the tokens before these; it grows by T.
            tap: Sees, and may change, every named value on the way.

        Raises:
            ContextOverflowError: Cached and new tokens are more than `context_length`.
            ConfigError: The cache holds what another model has read.
        """
        logits_BTV = self.output_layer(self.hidden(input_ids, mask, cache, tap))
        return tap_point(tap, "logits", logits_BTV)

    def hidden(
        self,
        input_ids: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """What the output layer reads, [B, T, D]: everything of `forward` but the last matrix product."""
        start, T = (cache.length if cache is not None else 0), input_ids.shape[1]
        if start + T > self.config.context_length:
            raise ContextOverflowError(start + T, self.config.context_length)
        if cache is not None:
            cache.bind(self)

        x_BTD = tap_point(tap, "hook_embed", self.token_embedding(input_ids))
        if self.position_encoding is not None:
            positions_T = torch.arange(start, start + T, device=input_ids.device)
            pos_BTD = self.position_encoding(positions_T).expand_as(x_BTD)
            x_BTD = x_BTD + tap_point(tap, "hook_pos_embed", pos_BTD)
        return self.hidden_from(0, x_BTD, mask, cache, tap)

    def hidden_from(
        self,
        layer: int,
        x_BTD: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """What the output layer reads, [B, T, D], of the residual stream that block `layer` reads, [B, T, D]."""
        start, T = (cache.length if cache is not None else 0), x_BTD.shape[1]
        rotation = self.rotary.rotation_at(start, T, x_BTD) if self.rotary is not None else None
        for i, block in list(enumerate(self.blocks))[layer:]:
            rope = None if i in self.config.no_rope_layers else rotation
            x_BTD = block(x_BTD, mask, rotation=rope, cache=cache, tap=scope(tap, f"blocks.{i}."))
        if cache is not None:
            cache.advance(T)
        normalized_BTD: Tensor = self.ln_final(x_BTD, scope(tap, "ln_final."))
        return normalized_BTD
