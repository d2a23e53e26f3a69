"""llama.cpp's architectures: how GPTConfig and its weights are spelled in a GGUF file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files.field_names import rename_fields
from nextword.files.gguf.header import quoted
from nextword.files.gguf.metadata import Metadata
from nextword.files.gguf.rope import is_expressible, rope_metadata
from nextword.files.tensors import RawTensor

_MAX_CONTEXT_LENGTH = 1 << 24  # as in config.json: tables with an entry per position must fit in memory


@dataclass(frozen=True)
class Architecture:
    """One of llama.cpp's architectures."""

    name: str
    """`general.architecture`, and what its keys begin with."""
    fixed: Mapping[str, Any]
    """The fields of GPTConfig that it does not leave free."""
    interleaved: bool = False
    """Whether channels 2c and 2c + 1 rotate together: rows of queries and keys lie in another order than ours."""
    no_rope_every: int = 0
    """Of so many layers each last one is without rotary positions; 0: none is."""
    takes_factors: bool = False
    """Whether llama3's scaling is known, as a tensor of factors."""

    def no_rope_layers(self, num_layers: int) -> tuple[int, ...]:
        """The layers without rotary positions, of so many."""
        every = self.no_rope_every
        return tuple(range(every - 1, num_layers, every)) if every else ()

    def unsupported_fields(self, config: GPTConfig) -> list[str]:
        """The fields of a config that it cannot express."""
        rules = {**self.fixed, "layer_windows": (None,) * len(config.layer_windows)}
        rules["no_rope_layers"] = self.no_rope_layers(config.num_layers)
        if not is_expressible(config.rope_scaling, self.takes_factors):
            rules["rope_scaling"] = None
        if self.name == "gpt2":
            rules |= {"num_kv_heads": config.num_heads, "head_dim": config.d_model / config.num_heads}
        return [field for field, value in rules.items() if getattr(config, field) != value]


_MODERN = {
    "residual": "stream",
    "position": "rotary",
    "rope_layout": "half",
    "norm": "rmsnorm",
    "activation": "swiglu",
    "output_bias": False,
}
_NO_OTHER_BIAS = {"attention_output_bias": False, "mlp_bias": False}

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("qwen3", {**_MODERN, "qk_norm": True, "qkv_bias": False, **_NO_OTHER_BIAS}),
        Architecture("qwen2", {**_MODERN, "qk_norm": False, "qkv_bias": True, **_NO_OTHER_BIAS}),
        Architecture("llama", {**_MODERN, "qk_norm": False}, interleaved=True, takes_factors=True),
        Architecture(
            "smollm3",
            {**_MODERN, "qk_norm": False, "qkv_bias": False, **_NO_OTHER_BIAS},
            interleaved=True,
            no_rope_every=4,
        ),
        Architecture(
            "gpt2",
            {
                "residual": "stream",
                "position": "learned",
                "norm": "layernorm",
                "activation": "gelu_tanh",
                "qk_norm": False,
                "qkv_bias": True,
                "attention_output_bias": True,
                "mlp_bias": True,
                "output_bias": False,
            },
        ),
    )
}


def architecture_of(config: GPTConfig) -> Architecture:
    """The architecture that a config is.

    Raises:
        ConfigError: It is none of them; names the field that keeps it from the nearest one.
    """
    nearest = min(ARCHITECTURES.values(), key=lambda architecture: len(architecture.unsupported_fields(config)))
    if unsupported := nearest.unsupported_fields(config):
        field = unsupported[0]
        raise ConfigError(
            f"GPTConfig.{field} is {getattr(config, field)!r}, which llama.cpp's {nearest.name} cannot express, so the "
            "model cannot be written as GGUF",
            hint="write a Hugging Face directory instead",
        )
    return nearest


# -- metadata ------------------------------------------------------------------------------------------------------


def read_architecture(metadata: Metadata) -> Architecture:
    """The architecture that a file names.

    Raises:
        ModelFileError: It is another one.
    """
    metadata_type = metadata.text("general.type", "model")
    if metadata_type != "model":
        raise ModelFileError(f"{metadata.source} is no whole model: its general.type is {quoted(metadata_type)}")
    name = metadata.text("general.architecture")
    if name not in ARCHITECTURES:
        raise ModelFileError(
            f"{metadata.source}: general.architecture {quoted(name)} is not supported",
            hint=f"supported: {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[name]


def gguf_keys(architecture: Architecture) -> dict[str, str]:
    """Fields of GPTConfig -> the keys of a file that hold them."""
    epsilon = "layer_norm_epsilon" if architecture.fixed["norm"] == "layernorm" else "layer_norm_rms_epsilon"
    keys = {
        "vocab_size": "vocab_size",
        "context_length": "context_length",
        "d_model": "embedding_length",
        "num_layers": "block_count",
        "d_ff": "feed_forward_length",
        "num_heads": "attention.head_count",
        "num_kv_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "norm_eps": f"attention.{epsilon}",
        "rope_theta": "rope.freq_base",
        "rope_scaling": "rope.scaling",
    }
    return {field: f"{architecture.name}.{key}" for field, key in keys.items()}


def read_config(metadata: Metadata, architecture: Architecture, tensors: Mapping[str, RawTensor]) -> GPTConfig:
    """The config that a file describes, without its rope scaling.

    Raises:
        ModelFileError: A key is missing, wrong, or could change the numbers and is not understood.
    """
    arch = architecture.name
    keys = gguf_keys(architecture)
    layers = metadata.layers = metadata.integer(keys["num_layers"])
    if layers > len(tensors):  # before anything is made per layer
        raise ModelFileError(f"{metadata.source}: {keys['num_layers']} is {layers}, there are {len(tensors)} tensors")
    if "token_embd.weight" not in tensors:
        raise ModelFileError(f"{metadata.source}: tensor token_embd.weight is missing")
    context_length = metadata.integer(keys["context_length"])
    if context_length > _MAX_CONTEXT_LENGTH:
        raise ModelFileError(
            f"{metadata.source}: {keys['context_length']} is {context_length}, "
            f"at most {_MAX_CONTEXT_LENGTH} is supported"
        )
    width, heads = metadata.integer(keys["d_model"]), metadata.integer(keys["num_heads"])
    if heads < 1:
        raise ModelFileError(f"{metadata.source}: {keys['num_heads']} is {heads}, it must be at least 1")
    fields: dict[str, Any] = {
        "vocab_size": tensors["token_embd.weight"].shape[0],
        "d_model": width,
        "num_heads": heads,
        "num_layers": layers,
        "dropout": 0.0,
        "context_length": context_length,
        "num_kv_heads": metadata.integer(keys["num_kv_heads"], heads),
        "head_dim": metadata.integer(keys["head_dim"], width // heads),
        "d_ff": metadata.integer(keys["d_ff"]),
        "norm_eps": metadata.number(keys["norm_eps"]),
        "tie_embeddings": "output.weight" not in tensors,
        "no_rope_layers": architecture.no_rope_layers(layers),
        # The architectures that leave biases free have them where the tensors are.
        "qkv_bias": "blk.0.attn_q.bias" in tensors or "blk.0.attn_qkv.bias" in tensors,
        "attention_output_bias": "blk.0.attn_output.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        **architecture.fixed,
    }
    if fields["position"] == "rotary":
        fields["rope_theta"] = metadata.number(keys["rope_theta"], 10000.0)
        metadata.expect(f"{arch}.rope.dimension_count", fields["head_dim"])
    try:
        return GPTConfig(**fields)
    except ConfigError as error:
        raise ModelFileError(f"{metadata.source}: {rename_fields(error.message, keys)}") from None


def config_metadata(config: GPTConfig) -> dict[str, Any]:
    """What a file says of a config, `general.architecture` too.

    Raises:
        ConfigError: llama.cpp cannot express it; names the field.
    """
    architecture = architecture_of(config)
    fields = ["vocab_size", "context_length", "d_model", "num_layers", "d_ff", "num_heads", "norm_eps"]
    if config.position == "rotary":
        fields += ["num_kv_heads", "head_dim", "rope_theta"]
    keys = gguf_keys(architecture)
    values = {keys[field]: getattr(config, field) for field in fields}
    values |= {keys[field]: float(getattr(config, field)) for field in ("norm_eps", "rope_theta") if field in fields}
    if config.position == "rotary":
        same = {"attention.value_length": config.head_dim, "rope.dimension_count": config.head_dim}
        values |= {f"{architecture.name}.{key}": value for key, value in {**same, **rope_metadata(config)}.items()}
    return {"general.architecture": architecture.name, **values}


# -- names of tensors ----------------------------------------------------------------------------------------------

_NAMES = {
    "token_embedding": "token_embd",
    "position_encoding": "position_embd",
    "ln_final": "output_norm",
    "output_layer": "output",
    "ln1": "attn_norm",
    "ln2": "ffn_norm",
    "attn.q_proj": "attn_q",
    "attn.k_proj": "attn_k",
    "attn.v_proj": "attn_v",
    "attn.out_proj": "attn_output",
    "attn.q_norm": "attn_q_norm",
    "attn.k_norm": "attn_k_norm",
    "ffn.gate": "ffn_gate",
    "ffn.up": "ffn_up",
    "ffn.down": "ffn_down",
}


def name_pairs(config: GPTConfig, stored: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """(our name, GGUF's name) of every weight; where queries, keys and values share a matrix, three have one name.

    They share it in GPT-2's files, and wherever a file has `stored` them so.
    """
    fused = config.position == "learned"
    for name in config.parameter_shapes():
        module, kind = name.rsplit(".", 1)
        if not module.startswith("blocks."):
            yield name, f"{_NAMES[module]}.{kind}"
            continue
        _, number, inner = module.split(".", 2)
        shared = f"blk.{number}.attn_qkv.{kind}"
        of_three = inner.endswith(("q_proj", "k_proj", "v_proj"))
        yield name, shared if of_three and (fused or shared in stored) else f"blk.{number}.{_NAMES[inner]}.{kind}"
