"""GPTConfig: everything that decides the shape and the arithmetic of a model, and its presets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nextword.arguments import check_fields, checked
from nextword.errors import ConfigError

Position = Literal["learned", "rotary"]
Norm = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu", "gelu_tanh", "relu_squared", "swiglu"]
Residual = Literal["stream", "normalized"]

# Scaled rotary frequencies: the parameters each kind must bring.
ROPE_SCALING_PARAMETERS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"),
}


@dataclass(frozen=True)
class GPTConfig:
    """The architecture of one GPT. The six fields without a default are the lesson's.

    Two fields left at `None` follow from others: `num_kv_heads` (as many as `num_heads`) and `head_dim`
    (`d_model // num_heads`); `d_ff` defaults to `4 * d_model`. After construction they always hold numbers.

    Raises:
        ConfigError: A field is out of range or contradicts another one; the message names it.
    """

    vocab_size: int
    """Number of tokens the model knows."""
    d_model: int
    """Width of the residual stream: numbers per token."""
    num_heads: int
    """Query heads of every attention layer."""
    num_layers: int
    """Transformer blocks."""
    dropout: float
    """Share of activations dropped while training (0 when the model is used)."""
    context_length: int
    """Tokens the model can look at."""
    num_kv_heads: int = 0
    """Key/value heads; fewer than `num_heads` is grouped-query attention. 0: as many as `num_heads`."""
    head_dim: int = 0
    """Channels of one head. 0: `d_model // num_heads`."""
    d_ff: int = 0
    """Width of the feed-forward layer. 0: `4 * d_model`."""
    position: Position = "learned"
    """Learned position vectors added to the embedding, or rotary positions applied to queries and keys."""
    rope_theta: float = 10000.0
    """Base of the rotary frequencies."""
    rope_scaling: Mapping[str, Any] | None = None
    """Scaled rotary frequencies: `{"rope_type": "linear"|"llama3"|"yarn", "factor": ..., ...}`."""
    rope_layout: Literal["half", "interleaved"] = "half"
    """Which channels rotate together: c and c + head_dim/2 (half), or 2c and 2c + 1 (interleaved)."""
    no_rope_layers: tuple[int, ...] = ()
    """Layers whose queries and keys are not rotated."""
    norm: Norm = "layernorm"
    """LayerNorm (with bias) or RMSNorm (without)."""
    norm_eps: float = 1e-5
    """Added to the variance before its root is taken."""
    activation: Activation = "gelu"
    """Non-linearity of the feed-forward layer; `swiglu` adds a gate matrix."""
    qkv_bias: bool = True
    """Bias on the query, key and value projections."""
    attention_output_bias: bool = True
    """Bias on the attention's output projection."""
    mlp_bias: bool = True
    """Bias on the feed-forward matrices."""
    output_bias: bool = True
    """Bias on the output layer."""
    qk_norm: bool = False
    """RMSNorm over the channels of each query and key head, before the rotation."""
    tie_embeddings: bool = False
    """The output layer uses the token embedding's matrix."""
    residual: Residual = "stream"
    """What each sublayer's output is added to: the residual stream, or the normalised input (the lesson)."""
    layer_windows: tuple[int | None, ...] = field(default=())
    """Per layer, how many newest tokens a token attends to (itself included); None is all. Empty: all layers full."""

    def __post_init__(self) -> None:
        """Fills the derived fields, then checks every field."""
        check_fields(self, "GPTConfig.")
        for name in ("vocab_size", "d_model", "num_heads", "num_layers", "context_length"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("num_kv_heads", "head_dim", "d_ff"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        object.__setattr__(self, "num_kv_heads", self.num_kv_heads or self.num_heads)
        if not self.head_dim:
            self._require("d_model", self.d_model % self.num_heads == 0, f"divisible by num_heads ({self.num_heads})")
            object.__setattr__(self, "head_dim", self.d_model // self.num_heads)
        object.__setattr__(self, "d_ff", self.d_ff or 4 * self.d_model)
        self._require(
            "num_kv_heads", self.num_heads % self.num_kv_heads == 0, f"a divisor of num_heads ({self.num_heads})"
        )
        self._require("dropout", 0 <= self.dropout < 1, "at least 0 and below 1")
        self._require("norm_eps", self.norm_eps > 0, "above 0")
        self._require("rope_theta", self.rope_theta > 0, "above 0")
        self._check_positions()

    def _check_positions(self) -> None:
        if self.position == "rotary":
            self._require("head_dim", self.head_dim % 2 == 0, "even for rotary positions")
        layers = range(self.num_layers)
        self._require(
            "no_rope_layers",
            all(i in layers for i in self.no_rope_layers),
            f"layer numbers below {self.num_layers}",
        )
        windows = self.layer_windows
        self._require("layer_windows", len(windows) in (0, self.num_layers), f"empty or {self.num_layers} entries long")
        self._require("layer_windows", all(w is None or w >= 1 for w in windows), "None or at least 1 per layer")
        if self.rope_scaling is not None:
            kind = self.rope_scaling.get("rope_type")
            self._require("rope_scaling", self.position == "rotary", "None for learned positions")
            self._require(
                "rope_scaling",
                isinstance(kind, str) and kind in ROPE_SCALING_PARAMETERS,
                f"of a rope_type that nextword computes ({', '.join(ROPE_SCALING_PARAMETERS)})",
            )
            wanted = {"rope_type", *ROPE_SCALING_PARAMETERS[str(kind)]}
            self._require("rope_scaling", set(self.rope_scaling) == wanted, f"a mapping with exactly {sorted(wanted)}")
            numbers = [value for name, value in self.rope_scaling.items() if name != "rope_type"]
            self._require("rope_scaling", all(_is_number(v) and v > 0 for v in numbers), "made of numbers above 0")
            if kind == "llama3":
                low, high = self.rope_scaling["low_freq_factor"], self.rope_scaling["high_freq_factor"]
                self._require("rope_scaling", low < high, "given a low_freq_factor below its high_freq_factor")
            if kind == "yarn":
                fast, slow = self.rope_scaling["beta_fast"], self.rope_scaling["beta_slow"]
                self._require("rope_scaling", slow < fast, "given a beta_slow below its beta_fast")
                self._require("rope_theta", self.rope_theta > 1, "above 1 for yarn's scaling")

    def _require(self, name: str, holds: bool, must_be: str) -> None:
        if not holds:
            raise ConfigError(f"GPTConfig.{name} is {getattr(self, name)!r}, it must be {must_be}")

    def replace(self, **changes: Any) -> GPTConfig:
        """A copy with some fields changed.

        Raises:
            ConfigError: A field does not exist, or the changed config is not valid.
        """
        return GPTConfig.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["layer_windows"] = list(self.layer_windows)
        values["no_rope_layers"] = list(self.no_rope_layers)
        values["rope_scaling"] = None if self.rope_scaling is None else dict(self.rope_scaling)
        return values

    @classmethod
    @checked
    def from_dict(cls, values: Mapping[str, Any]) -> GPTConfig:
        """The config that `to_dict` wrote.

        Raises:
            ConfigError: A field is unknown, missing or wrong; the message names it.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"GPTConfig has no field {unknown[0]!r}", hint=f"fields: {', '.join(sorted(known))}")
        required = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING]
        if missing := [name for name in required if name not in values]:
            raise ConfigError(f"GPTConfig.{missing[0]} is missing")
        return cls(**values)

    # -- presets ---------------------------------------------------------------------------------------------------

    @classmethod
    def lesson(
        cls,
        vocab_size: int,
        d_model: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
        context_length: int,
        **fields: Any,
    ) -> GPTConfig:
        """The architecture of the lesson.

        Learned positions, LayerNorm, GELU, biases, and sublayers that are added to their *normalised* input.
        """
        return cls(
            vocab_size,
            d_model,
            num_heads,
            num_layers,
            dropout,
            context_length,
            **{"residual": "normalized", **fields},
        )

    @classmethod
    def gpt2(cls, vocab_size: int = 50257, context_length: int = 1024, **fields: Any) -> GPTConfig:
        """GPT-2 as released: tanh GELU, tied head, biases everywhere but on the head (124M parameters by default)."""
        defaults = {"d_model": 768, "num_heads": 12, "num_layers": 12, "dropout": 0.0}
        standard = {"activation": "gelu_tanh", "tie_embeddings": True, "output_bias": False}
        return cls(vocab_size=vocab_size, context_length=context_length, **{**defaults, **standard, **fields})

    @classmethod
    def llama(cls, vocab_size: int, context_length: int = 2048, **fields: Any) -> GPTConfig:
        """Llama: RMSNorm, rotary positions, SwiGLU, no biases."""
        sizes = {"d_model": 512, "num_heads": 8, "num_layers": 8, "dropout": 0.0, "d_ff": 1408}
        return cls(vocab_size=vocab_size, context_length=context_length, **{**sizes, **_modern(), **fields})

    @classmethod
    def qwen3(cls, vocab_size: int, context_length: int, **fields: Any) -> GPTConfig:
        """Qwen3: Llama with RMSNorm on queries and keys. The architecture of everything trained here."""
        standard = {"qk_norm": True, "norm_eps": 1e-6, "tie_embeddings": True, "dropout": 0.0}
        return cls(vocab_size=vocab_size, context_length=context_length, **{**_modern(), **standard, **fields})

    @classmethod
    @checked
    def preset(cls, name: str, vocab_size: int, context_length: int, **fields: Any) -> GPTConfig:
        """A training preset: `tiny`, `small`, `medium` or `large` (the Qwen3 architecture).

        Raises:
            ConfigError: There is no preset of that name.
        """
        if name not in TRAINING_PRESETS:
            raise ConfigError(f"there is no preset {name!r}", hint=f"presets: {', '.join(TRAINING_PRESETS)}")
        return cls.qwen3(vocab_size, context_length, **{**TRAINING_PRESETS[name], **fields})

    # -- derived figures -------------------------------------------------------------------------------------------

    @property
    def num_parameters(self) -> int:
        """Trainable numbers of the whole model; a tied head counts once."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, in the order data passes through them.

        A tied output layer has no entry of its own. These are the names of `GPTModel.state_dict()` and of every
        file reader.
        """
        d, c, f = self.d_model, self.head_dim, self.d_ff
        q_width, kv_width = self.num_heads * c, self.num_kv_heads * c
        gate = ("gate",) if self.activation == "swiglu" else ()

        def norm(name: str, width: int = d) -> dict[str, tuple[int, ...]]:
            shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (width,)}
            return shapes | ({f"{name}.bias": (width,)} if self.norm == "layernorm" else {})

        def linear(name: str, wide_out: int, wide_in: int, bias: bool) -> dict[str, tuple[int, ...]]:
            shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (wide_out, wide_in)}
            return shapes | ({f"{name}.bias": (wide_out,)} if bias else {})

        shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (self.vocab_size, d)}
        if self.position == "learned":
            shapes["position_encoding.weight"] = (self.context_length, d)
        for i in range(self.num_layers):
            shapes |= norm(f"blocks.{i}.ln1")
            shapes |= linear(f"blocks.{i}.attn.q_proj", q_width, d, self.qkv_bias)
            shapes |= linear(f"blocks.{i}.attn.k_proj", kv_width, d, self.qkv_bias)
            shapes |= linear(f"blocks.{i}.attn.v_proj", kv_width, d, self.qkv_bias)
            if self.qk_norm:
                shapes |= {f"blocks.{i}.attn.q_norm.weight": (c,), f"blocks.{i}.attn.k_norm.weight": (c,)}
            shapes |= linear(f"blocks.{i}.attn.out_proj", d, q_width, self.attention_output_bias)
            shapes |= norm(f"blocks.{i}.ln2")
            for name in (*gate, "up"):
                shapes |= linear(f"blocks.{i}.ffn.{name}", f, d, self.mlp_bias)
            shapes |= linear(f"blocks.{i}.ffn.down", d, f, self.mlp_bias)
        shapes |= norm("ln_final")
        if not self.tie_embeddings:
            shapes["output_layer.weight"] = (self.vocab_size, d)
        if self.output_bias:
            shapes["output_layer.bias"] = (self.vocab_size,)
        return shapes


TRAINING_PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"num_layers": 4, "d_model": 128, "num_heads": 4, "num_kv_heads": 2, "head_dim": 32, "d_ff": 384},
    "small": {"num_layers": 6, "d_model": 256, "num_heads": 4, "num_kv_heads": 2, "head_dim": 64, "d_ff": 768},
    "medium": {"num_layers": 8, "d_model": 512, "num_heads": 8, "num_kv_heads": 4, "head_dim": 64, "d_ff": 1536},
    "large": {"num_layers": 12, "d_model": 768, "num_heads": 12, "num_kv_heads": 4, "head_dim": 64, "d_ff": 2304},
}


def yarn_attention_factor(factor: float) -> float:
    """What YaRN multiplies cosines and sines with where nothing else is asked: `0.1 ln(factor) + 1`."""
    return 0.1 * math.log(factor) + 1.0


def _modern() -> dict[str, Any]:
    """What Llama and its descendants share."""
    biases = {"qkv_bias": False, "attention_output_bias": False, "mlp_bias": False, "output_bias": False}
    return {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu", **biases}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
