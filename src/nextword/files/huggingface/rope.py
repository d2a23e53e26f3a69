"""Rotary positions of a config.json -> the fields of GPTConfig, as transformers 4 and 5 spell them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nextword.config import yarn_attention_factor
from nextword.errors import ConfigError

# What transformers' RopeParameters may hold: another name says nothing to it.
_PARAMETERS = {
    *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "short_factor"),
    *("long_factor", "low_freq_factor", "high_freq_factor", "mscale", "mscale_all_dim", "truncate", "mrope_section"),
    "partial_rotary_factor",
}
LAYER_KINDS = ("full_attention", "sliding_attention")
"""What layers attend to, as a config.json calls it."""
_OF_ITS_KIND: dict[str, set[str]] = {
    "default": set(),
    "linear": {"factor"},
    "dynamic": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"},
}
# Values with which a parameter of another kind asks for nothing.
_NEUTRAL = {"partial_rotary_factor": 1, "attention_factor": 1, "factor": 1, "truncate": True}


def read_rope(values: Mapping[str, Any], default_theta: float, kinds: Collection[str]) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, with what a file leaves out as transformers fills it in.

    Of `rope_scaling` and `rope_parameters` in one file, transformers takes the first.

    Args:
        values: The config.json's.
        default_theta: The base where none is named.
        kinds: Of `LAYER_KINDS`, those that the model has, where the file gives the parameters for each kind.

    Raises:
        ConfigError: A kind or a parameter that could change the numbers and is not understood.
    """
    given = _of_one_kind(_given(values), kinds)
    theta = given.pop("rope_theta", values.get("rope_theta", default_theta))
    kind = given.pop("type", None)
    kind = given.pop("rope_type", kind) or "default"
    own = _OF_ITS_KIND.get(kind, _PARAMETERS) if isinstance(kind, str) else _PARAMETERS
    scaling = {name: value for name, value in given.items() if name in own and value is not None}
    for name, value in given.items():
        if name in _PARAMETERS - own and value is not None and not _is_neutral(name, value):
            raise ConfigError(f"the field {name!r} of the rotary positions is not understood")
    if kind in ("llama3", "yarn"):
        length = scaling.get("original_max_position_embeddings", values.get("max_position_embeddings"))
        scaling["original_max_position_embeddings"] = values.get("original_max_position_embeddings", length)
    if kind == "yarn":
        scaling = _yarn(scaling)
    if kind == "dynamic" and not (isinstance(scaling.get("factor"), int | float) and scaling["factor"] >= 1):
        raise ConfigError("the rotary positions' factor is missing or below 1")
    # What is called dynamic stretches nothing within the context that the file names, where ours ends.
    plain = kind in ("default", "dynamic")
    return {"rope_theta": theta, "rope_scaling": None if plain else {"rope_type": kind, **scaling}}


def rope_notes(values: Mapping[str, Any]) -> list[str]:
    """What a config.json says of rotary positions that nothing computes with, a sentence each."""
    by_kind = _by_kind(_given(values))
    given = {name: value for own in by_kind.values() for name, value in own.items()}
    notes = []
    if strange := sorted(set(given) - _PARAMETERS - {"type", "rope_type", "rope_theta"}):
        notes.append(f"config.json: passed over, because no rotary position depends on it: {', '.join(strange)}")
    if given.get("rope_type", given.get("type")) == "dynamic":
        length = values.get("max_position_embeddings")
        notes.append(f"config.json: dynamic scaling begins behind {length} tokens, where the context ends here")
    return notes


def _by_kind(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters of each kind of layer, as transformers 5 may write them; under `""` those of all."""
    if not set(given) & set(LAYER_KINDS):
        return {"": given}
    if strange := sorted(set(given) - set(LAYER_KINDS)):
        raise ConfigError(f"the rotary positions of the layers {strange[0]!r} are not understood")
    if wrong := [kind for kind, own in given.items() if own is not None and not isinstance(own, Mapping)]:
        raise ConfigError(f"the rotary positions of {wrong[0]} should be a JSON object, found {given[wrong[0]]!r}")
    return {kind: dict(own) for kind, own in given.items() if own is not None}


def _of_one_kind(given: dict[str, Any], kinds: Collection[str]) -> dict[str, Any]:
    """The parameters of the layers that there are: one table serves them all."""
    by_kind = _by_kind(given)
    if "" in by_kind:
        return given
    if missing := [kind for kind in LAYER_KINDS if kind in kinds and kind not in by_kind]:
        raise ConfigError(f"the rotary positions of {missing[0]} are missing")
    first, *others = (by_kind[kind] for kind in LAYER_KINDS if kind in kinds)
    if any(other != first for other in others):
        raise ConfigError(
            "the rotary positions differ between full_attention and sliding_attention; nextword turns all layers alike"
        )
    return first


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    given = values.get("rope_scaling") or values.get("rope_parameters") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"the rotary positions should be a JSON object, found {given!r}")
    return dict(given)


def _is_neutral(name: str, value: object) -> bool:
    if name == "original_max_position_embeddings":  # linear and dynamic do not ask for it
        return True
    return name in _NEUTRAL and value == _NEUTRAL[name]


def _yarn(scaling: dict[str, Any]) -> dict[str, Any]:
    """YaRN's parameters with the values that transformers takes where they are left out."""
    if scaling.get("factor", 0) < 1:
        raise ConfigError("the rotary positions' factor is missing or below 1")
    factor = yarn_attention_factor(scaling["factor"])
    return {"beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": factor, **scaling}
