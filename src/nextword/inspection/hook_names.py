"""The names of everything a forward pass computes, in the order it computes them, and how to say them briefly.

The names are TransformerLens's; docs/inspection.md has the table.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches

from nextword.config import GPTConfig
from nextword.errors import ConfigError

Key = str | tuple[str | int, ...]
"""A full name, or its short form: `("pattern", 3)`, `("scale", 3, "ln1")`, `"embed"`."""

NameTest = Callable[[str], bool]
"""Says yes to some full names."""

LAZY = ("hook_attn_scores", "hook_pattern", "hook_result")
"""What a trace computes from other values when it is asked for."""


class NoSuchValueError(ConfigError, KeyError):
    """A forward pass has no value of this name, or a trace does not hold it."""

    __str__ = Exception.__str__


_SUBMODULES = {
    "attn": ("q", "k", "v", "rot_q", "rot_k", "attn_scores", "pattern", "z", "result"),
    "mlp": ("pre", "pre_linear", "post"),
    "ln1": ("scale", "normalized", "out"),
    "ln2": ("scale", "normalized", "out"),
}
_ALIASES = {"attn": "pattern", "scores": "attn_scores"}


def hook_shapes(config: GPTConfig, count: int) -> dict[str, tuple[int, ...]]:
    """Every name and the shape of its value for one text, without the batch axis.

    Args:
        config: The architecture.
        count: Tokens of the text, T.
    """
    T, D, C = count, config.d_model, config.head_dim
    q_THC, k_TKC = (T, config.num_heads, C), (T, config.num_kv_heads, C)
    scores_HTS = (config.num_heads, T, T)
    shapes: dict[str, tuple[int, ...]] = {"hook_embed": (T, D)}
    if config.position == "learned":
        shapes["hook_pos_embed"] = (T, D)
    linear = {"mlp.hook_pre_linear": (T, config.d_ff)} if config.activation == "swiglu" else {}
    block: dict[str, tuple[int, ...]] = {
        "hook_resid_pre": (T, D),
        "ln1.hook_scale": (T, 1),
        "ln1.hook_normalized": (T, D),
        "ln1.hook_out": (T, D),
        "attn.hook_q": q_THC,
        "attn.hook_k": k_TKC,
        "attn.hook_v": k_TKC,
        "attn.hook_rot_q": q_THC,
        "attn.hook_rot_k": k_TKC,
        "attn.hook_attn_scores": scores_HTS,
        "attn.hook_pattern": scores_HTS,
        "attn.hook_z": q_THC,
        "attn.hook_result": (T, config.num_heads, D),
        "hook_attn_out": (T, D),
        "hook_resid_mid": (T, D),
        "ln2.hook_scale": (T, 1),
        "ln2.hook_normalized": (T, D),
        "ln2.hook_out": (T, D),
        "mlp.hook_pre": (T, config.d_ff),
        **linear,
        "mlp.hook_post": (T, config.d_ff),
        "hook_mlp_out": (T, D),
        "hook_resid_post": (T, D),
    }
    for layer in range(config.num_layers):
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    return shapes | {
        "ln_final.hook_scale": (T, 1),
        "ln_final.hook_normalized": (T, D),
        "ln_final.hook_out": (T, D),
        "logits": (T, config.vocab_size),
    }


def name_of_version_1(name: str) -> str:
    """Today's name of what saved traces and edits of version 1 called `name`: a norm's output was `hook_normalized`."""
    return name.replace("hook_normalized", "hook_out")


def is_lazy(name: str) -> bool:
    """Whether a trace computes this value only when it is asked for."""
    return name.endswith(LAZY)


def is_pattern(name: str) -> bool:
    """Whether a value is [heads, queries, keys]; all others begin with the position."""
    return name.endswith(("hook_attn_scores", "hook_pattern"))


def resolve(key: Key, config: GPTConfig) -> str:
    """The full name of a key.

    Raises:
        ConfigError: This architecture has no such value; the hint names the nearest.
    """
    name = full_name(key)
    if name.startswith("blocks.-"):  # counted from the last block
        _, number, rest = name.split(".", 2)
        name = f"blocks.{int(number) + config.num_layers}.{rest}" if number[1:].isdigit() else name
    if name not in (known := hook_shapes(config, 1)):
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        raise NoSuchValueError(
            f"there is no value {key!r} in this model's forward pass",
            hint=f"near it: {', '.join(near)}" if near else f"layers are 0 to {config.num_layers - 1}",
        )
    return name


def full_name(key: Key) -> str:
    """A key written out; a key that is no short form stays as it is."""
    if isinstance(key, str):
        return f"hook_{key}" if key in ("embed", "pos_embed") else key
    kind, *rest = key or ("",)
    layer = next((part for part in rest if isinstance(part, int)), None)
    submodules = [part for part in rest if isinstance(part, str)]
    if layer is None:  # ("scale",), ("embed",), ("normalized", "ln_final")
        return f"ln_final.hook_{kind}" if kind in _SUBMODULES["ln1"] else full_name(str(kind))
    name = _ALIASES.get(str(kind), str(kind))
    fitting = [part for part, names in _SUBMODULES.items() if name in names and submodules in ([], [part])]
    submodule = next(iter(fitting or submodules), None)
    return f"blocks.{layer}.{submodule}.hook_{name}" if submodule else f"blocks.{layer}.hook_{name}"


def select(
    config: GPTConfig, names: Iterable[Key | NameTest] | str | NameTest | None, layers: Sequence[int] | int | None
) -> tuple[str, ...]:
    """The names that fit, in the order of the pass.

    Args:
        config: The architecture.
        names: Full names, short forms such as `("pattern", -1)`, patterns with `*`, bare kinds (`pattern`,
            `resid_post`) or functions that say yes to full names; None is every one. A tuple with a number is one name.
        layers: Only these blocks' values (and those outside all blocks), -1 is the last; None is every block.

    Raises:
        ConfigError: A name fits nothing, or a layer does not exist.
    """
    shapes = hook_shapes(config, 1)
    known = list(shapes)
    chosen = set(known)
    if names is not None:
        chosen = set()
        for name in _one_by_one(names):
            chosen |= _fitting(name, shapes) or {resolve("" if callable(name) else name, config)}
    if layers is None:
        return tuple(name for name in known if name in chosen)
    wanted = []
    for layer in [layers] if isinstance(layers, int) else layers:
        if not -config.num_layers <= layer < config.num_layers:
            raise ConfigError(f"there is no layer {layer}", hint=f"layers are 0 to {config.num_layers - 1}")
        wanted.append(layer % config.num_layers)
    return tuple(name for name in known if name in chosen and layer_of(name) in (None, *wanted))


def _one_by_one(names: Iterable[Key | NameTest] | str | NameTest) -> list[Key | NameTest]:
    if isinstance(names, str) or callable(names):
        return [names]
    if isinstance(names, tuple) and any(isinstance(part, int) for part in names):
        return [names]
    return list(names)


def _fitting(name: Key | NameTest, known: Collection[str]) -> set[str]:
    """The full names that a pattern, a kind or a function means; none of a short form."""
    if callable(name):
        return {full for full in known if name(full)}
    if isinstance(name, tuple):
        return set()
    if name in known:
        return {name}
    kind = _ALIASES.get(name, name)
    return {full for full in known if fnmatch.fnmatchcase(full, name) or _kind(full) == kind}


def layer_of(name: str) -> int | None:
    """The block that a name belongs to; None for those outside all blocks."""
    return int(name.split(".")[1]) if name.startswith("blocks.") else None


def _kind(name: str) -> str:
    return name.rsplit(".", 1)[-1].removeprefix("hook_")
