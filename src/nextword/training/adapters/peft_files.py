"""LoRA adapters on disk, in the layout of the library peft: adapter_config.json and adapter_model.safetensors.

A setting that could change the numbers and is not computed here is refused by name. GPT-2's queries, keys and values
share one matrix there, `c_attn`, and are three here. Their adapters are written as one of the summed rank, B in blocks;
reading gives each of the three the rows of A that its part of B uses. Both are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextword.errors import ConfigError, ModelFileError
from nextword.files.atomic import replace_directory, write_errors
from nextword.files.huggingface.families import FAMILIES, family_of
from nextword.files.safetensors import read_safetensors, write_safetensors
from nextword.files.tensors import RawTensor, check_tensors
from nextword.json_file import json_text, read_json
from nextword.model import GPTModel
from nextword.model.backend import DTYPES
from nextword.training.adapters.lora import LoRA, attach, lora_layers, matrices

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_READ = {"peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern"}
_READ |= {"target_modules", "exclude_modules", "bias", "init_lora_weights"}
# What says nothing about the numbers: names, versions, how the base keeps its weights, defaults of switches elsewhere.
_IGNORED = {"base_model_name_or_path", "revision", "auto_mapping", "peft_version", "inference_mode", "fan_in_fan_out"}
_IGNORED |= {"megatron_core", "qalora_group_size"}
_BASE_UNCHANGED = (True, False, None, "gaussian", "orthogonal")  # the other initialisations change the base's weights
_MAX_PATTERN_LENGTH = 1000
_PATTERN_SECONDS = 1.0


def save_adapter(model: GPTModel, directory: str | Path, base_name: str) -> None:
    """Writes a model's adapters so that peft reads them.

    Args:
        model: A model with adapters.
        directory: Where to; an adapter that is there already is replaced.
        base_name: The model that they belong to, as it is kept under `base_model_name_or_path`.

    Raises:
        ConfigError: The model has no adapters.
        ModelFileError: It cannot be written, or `directory` holds something else.
    """
    path = Path(directory)
    tensors, settings = _packed(model)
    if not settings:
        raise ConfigError("the model has no adapters", hint="add_lora puts them in")
    _require_writable(path)
    usual = Counter(settings.values()).most_common(1)[0][0]
    ranks = {place: lora.rank for place, lora in settings.items() if lora.rank != usual.rank}
    alphas = {place: _plain(lora.alpha) for place, lora in settings.items() if lora.alpha != usual.alpha}
    everywhere = list(_places(model))
    values = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": usual.rank,
        "lora_alpha": _plain(usual.alpha),
        "lora_dropout": usual.dropout,
        "use_rslora": usual.rslora,
        "rank_pattern": _short(ranks, everywhere),
        "alpha_pattern": _short(alphas, everywhere),
        "target_modules": list(_short(dict.fromkeys(settings), everywhere)),
        "bias": "none",
        "fan_in_fan_out": family_of(model.config) == "gpt2",
        "init_lora_weights": True,
        "inference_mode": True,
    }
    with replace_directory(path) as fresh:
        write_safetensors(fresh / WEIGHTS, tensors, {"format": "pt"})
        (fresh / CONFIG).write_text(json_text(values, indent=2) + "\n", encoding="utf-8")


def load_adapter(model: GPTModel, directory: str | Path) -> None:
    """Puts an adapter from disk into a model, in place; all other weights are frozen.

    That it was made for this very model cannot be told from the files, only that it fits.

    Args:
        model: The model that it was made for, without adapters.
        directory: What `save_adapter`, or peft, wrote.

    Raises:
        ModelFileError: A file is missing or damaged, does not fit the model, or asks for something that is not
            supported; the model stays as it was.
        ConfigError: The model has adapters already.
    """
    path = Path(directory)
    places = _places(model)
    settings = _settings(path / CONFIG, list(places))
    layers = matrices(model)
    shapes: dict[str, tuple[int, ...]] = {}
    for place, lora in settings.items():
        parts = [layers[name] for name in places[place]]
        shapes[_key(place, "A")] = (lora.rank, parts[0].in_features)
        shapes[_key(place, "B")] = (sum(part.out_features for part in parts), lora.rank)
    if not (path / WEIGHTS).exists() and (path / "adapter_model.bin").exists():
        raise ModelFileError(
            f"{path / 'adapter_model.bin'} holds pickled weights, which can run code when loaded",
            hint="where you trust its makers, open it in peft and save it again: that writes safetensors",
        )
    stored = read_safetensors(path / WEIGHTS)
    check_tensors(str(path / WEIGHTS), stored, shapes)

    found: dict[str, tuple[Tensor, Tensor, LoRA]] = {}
    for place, lora in settings.items():
        A, B = (torch.from_numpy(stored[_key(place, kind)].values()) for kind in "AB")
        heights = [layers[name].out_features for name in places[place]]
        for name, rows in zip(places[place], torch.split(B, heights), strict=True):
            used = rows.any(0) if B.any() and len(places[place]) > 1 else torch.ones(lora.rank, dtype=torch.bool)
            if used.any():
                found[name] = (A[used], rows[:, used], lora if used.all() else lora.of_rank(int(used.sum())))
    attach(model, {name: lora for name, (_, _, lora) in found.items()})
    with torch.no_grad():
        for name, layer in lora_layers(model):
            layer.lora_A.copy_(found[name][0])
            layer.lora_B.copy_(found[name][1])


def _places(model: GPTModel) -> dict[str, list[str]]:
    """Their names of the matrices that can be adapted, and which of ours lie in each."""
    family = family_of(model.config)
    places: dict[str, list[str]] = {}
    for name in matrices(model):
        place = name
        if family != "nextword":  # which has no twin, and keeps this package's names
            _, number, inner = name.split(".", 2)
            shared = family == "gpt2" and inner.endswith(("q_proj", "k_proj", "v_proj"))
            theirs = "attn.c_attn" if shared else FAMILIES[family].names[inner]
            place = f"{FAMILIES[family].layers}.{number}.{theirs}"
        places.setdefault(place, []).append(name)
    return places


def _key(place: str, kind: str) -> str:
    return f"base_model.model.{place}.lora_{kind}.weight"


# -- writing -------------------------------------------------------------------------------------------------------


def _packed(model: GPTModel) -> tuple[dict[str, RawTensor], dict[str, LoRA]]:
    """The tensors under their names, and the settings of each place."""
    layers, adapted = matrices(model), dict(lora_layers(model))
    tensors: dict[str, RawTensor] = {}
    settings: dict[str, LoRA] = {}
    for place, names in _places(model).items():
        parts = [adapted[name] for name in names if name in adapted]
        if not parts:
            continue
        A = torch.cat([part.lora_A.detach() for part in parts])
        B = A.new_zeros(sum(layers[name].out_features for name in names), len(A))
        row = column = 0
        for name in names:
            if name in adapted:
                block = adapted[name].lora_B.detach()
                B[row : row + block.shape[0], column : column + block.shape[1]] = block
                column += block.shape[1]
            row += layers[name].out_features
        settings[place] = parts[0].lora if len(parts) == 1 else parts[0].lora.of_rank(len(A))  # the parts' scale is one
        tensors |= {_key(place, kind): _raw(_key(place, kind), value) for kind, value in (("A", A), ("B", B))}
    return tensors, settings


def _raw(name: str, tensor: Tensor) -> RawTensor:
    kind = next(key for key, dtype in DTYPES.items() if dtype == tensor.dtype)
    data = tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return RawTensor(name, kind, tuple(tensor.shape), memoryview(data))


def _short(values: Mapping[str, Any], everywhere: Iterable[str]) -> dict[str, Any]:
    """Names without the layer's number, where every layer has the same value; other programs expect them so."""
    groups: dict[str, list[str]] = {}
    for place in everywhere:
        parts = place.split(".")
        groups.setdefault(".".join(parts[-2:]) if parts[-1] == "c_proj" else parts[-1], []).append(place)
    shortened: dict[str, Any] = {}
    for short, group in groups.items():
        given = {place: values[place] for place in group if place in values}
        alike = len(given) == len(group) and all(given[a] == given[b] for a, b in pairwise(group))
        shortened |= {short: given[group[0]]} if alike else given
    return shortened


def _plain(number: float) -> float:
    """Whole numbers as peft writes them."""
    return int(number) if float(number).is_integer() else number


def _require_writable(path: Path) -> None:
    with write_errors(path):
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    if foreign := sorted(names - {CONFIG, WEIGHTS, "README.md"}):
        raise ModelFileError(
            f"{path} also holds {foreign[0]}, which would be lost", hint="move it away, or choose another directory"
        )


# -- reading -------------------------------------------------------------------------------------------------------


def _settings(file: Path, everywhere: Sequence[str]) -> dict[str, LoRA]:
    """The settings of each place that the file names as a target."""
    values = read_json(file)
    try:
        _check_fields(values)
        usual = LoRA(
            _number(values.get("r"), "r", whole=True),
            _number(values.get("lora_alpha"), "lora_alpha"),
            _number(values.get("lora_dropout", 0.0), "lora_dropout"),
            values.get("use_rslora") is True,
        )
        targets, excluded = values.get("target_modules"), values.get("exclude_modules") or []
        settings = {}
        for place in everywhere:
            if _is_meant("target_modules", targets, place) and not _is_meant("exclude_modules", excluded, place):
                rank = _patterned(values, "rank_pattern", place, usual.rank)
                alpha = _patterned(values, "alpha_pattern", place, usual.alpha)
                settings[place] = LoRA(
                    _number(rank, "rank_pattern", whole=True),
                    _number(alpha, "alpha_pattern"),
                    usual.dropout,
                    usual.rslora,
                )
    except ConfigError as error:
        raise ModelFileError(f"{file}: {error.message}", hint=error.hint) from None
    if not settings:
        raise ModelFileError(f"{file}: target_modules is {_shown(targets)}, which this model has none of")
    return settings


def _check_fields(values: Mapping[str, Any]) -> None:
    expected: dict[str, tuple[Any, ...]] = {
        "peft_type": ("LORA",),
        "task_type": ("CAUSAL_LM", None),
        "bias": ("none", None),
        "use_rslora": (True, False, None),
        "init_lora_weights": _BASE_UNCHANGED,
    }
    for name, allowed in expected.items():
        value = values.get(name)
        if not any(value is one or (isinstance(one, str) and value == one) for one in allowed):
            raise ConfigError(
                f"{name} is {_shown(value)}, which is not supported",
                hint=f"supported: {', '.join(repr(one) for one in allowed if one is not None)}",
            )
    for name, value in values.items():
        # Switched off, it changes nothing, whatever it is. (A 0 is no switch: it can be the number of a layer.)
        off = value is None or value is False or value in ([], {}, "")
        if name not in _READ | _IGNORED and not off:
            raise ConfigError(f"{name} is {_shown(value)}, which is not supported", hint="merge the adapter in peft")


def _number(value: Any, name: str, *, whole: bool = False) -> Any:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ConfigError(f"{name} should be a {'whole ' if whole else ''}number, found {_shown(value)}")
    return value


def _is_meant(name: str, names: Any, place: str) -> bool:
    """Whether a list of names, or ends of names, or a regular expression, means this place."""
    if isinstance(names, str):
        return names.lower() == "all-linear" or _matches(name, names, place)
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise ConfigError(f"{name} should be a list of names or a regular expression, found {_shown(names)}")
    return any(place == one or place.endswith(f".{one}") for one in names)


def _patterned(values: Mapping[str, Any], name: str, place: str, usual: float) -> Any:
    """The value of the first pattern that matches the end of the name."""
    patterns = values.get(name) or {}
    if not isinstance(patterns, dict):
        raise ConfigError(f"{name} should be a JSON object, found {_shown(patterns)}")
    return next((v for key, v in patterns.items() if _matches(name, rf"(?:.*\.)?(?:{key})", place)), usual)


def _matches(name: str, pattern: str, place: str) -> bool:
    """Whether an expression that nobody has read matches, in bounded time."""
    import regex

    try:
        # Matching has a time limit, compiling has none: nested counts take it any time, nested brackets the stack.
        if len(pattern) > _MAX_PATTERN_LENGTH or "{" in pattern:
            raise ConfigError(f"{name} is too long or counts with braces, which is not supported: {_shown(pattern)}")
        return regex.fullmatch(pattern, place, timeout=_PATTERN_SECONDS) is not None
    except TimeoutError:
        raise ConfigError(f"{name} takes too long to match: {_shown(pattern)}") from None
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise ConfigError(f"{name} holds {_shown(pattern)}, no regular expression: {error}") from None


def _shown(value: Any) -> str:
    """A value from a file on one line, cut where it is long."""
    line = repr(value)
    return line if len(line) <= 80 else f"{line[:80]}..."
