"""TransformerLens's two calls, `run_with_cache` and `run_with_hooks`, so that code written for it ports in minutes.

Names, hook functions and their arguments are TransformerLens's (github.com/TransformerLensOrg/TransformerLens, 4.3);
docs/inspection.md has the table. What differs: a text gets no document start that the model was not trained with, and
weights are never folded or centred.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.errors import ConfigError, TextError
from nextword.inspection.hook_names import Key, full_name, hook_shapes, layer_of, resolve
from nextword.inspection.inspectable import InspectableModel, unpack_model, with_edits
from nextword.model import GPTModel, eval_mode
from nextword.model.layers import linear_weight
from nextword.tokens import Tokenizer


@dataclass(frozen=True)
class HookPoint:
    """Where a hook function is called."""

    name: str
    """The value's full name."""

    def layer(self) -> int:
        """The block that the value belongs to.

        Raises:
            ConfigError: It stands outside all blocks.
        """
        layer = layer_of(self.name)
        if layer is None:
            raise ConfigError(f"{self.name} belongs to no block")
        return layer


class HookFunction(Protocol):
    """What is called with a value: it may write into it, and returns None or the value to go on with."""

    def __call__(self, tensor: Tensor, /, *, hook: HookPoint) -> Tensor | None: ...  # noqa: D102


Input = str | Tensor | Sequence[int] | Sequence[Sequence[int]]
"""A text, or token ids: [T] or [B, T]."""

NameFilter = str | Sequence[str] | Callable[[str], bool]
"""One name, several, or a function that says yes to some."""


class ActivationCache(Mapping[str, Tensor]):
    """Values of one forward pass by name, with their batch axis.

    `cache["blocks.3.attn.hook_pattern"]`, `cache["pattern", 3]`, `cache["pattern", -1]` (the last block) and
    `cache["pattern3"]` all work.
    """

    def __init__(self, values: Mapping[str, Tensor], model: GPTModel) -> None:
        self._values = dict(values)
        self._config = model.config

    def __getitem__(self, key: Key) -> Tensor:
        """The value.

        Raises:
            ConfigError: The model has no such value, or `names_filter` left it out.
        """
        if key not in self:
            name = resolve(self._expand_key(key), self._config)
            raise ConfigError(f"{name} was not kept", hint="names_filter chooses; hook_result is kept only by name")
        return self._values[self._expand_key(key)]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | tuple) and self._expand_key(key) in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        size = sum(value.nbytes for value in self._values.values())
        return f"<ActivationCache of {len(self)} values, {size / 1e6:.1f} MB>"

    def _expand_key(self, key: Key) -> str:
        if isinstance(key, str) and (short := re.fullmatch(r"([a-z_]+)(\d+)(ln[12])?", key)):
            key = tuple(part for part in (short[1], int(short[2]), short[3]) if part is not None)
        if isinstance(key, tuple):
            layers = self._config.num_layers
            key = tuple(part + layers if isinstance(part, int) and part < 0 else part for part in key)
        return full_name(key)


def run_with_cache(
    model: GPTModel | InspectableModel,
    input: Input,  # noqa: A002
    names_filter: NameFilter | None = None,
    remove_batch_dim: bool = False,
) -> tuple[Tensor, ActivationCache]:
    """Runs the model, without dropout, and keeps what it computes on the way.

    Args:
        model: A GPTModel, or a LanguageModel (its edits are applied).
        input: A text, or token ids [T] or [B, T].
        names_filter: What is kept: a name, several, or a function of the name; None is everything but `hook_result`
            (each head's part of attention's output, [B, T, H, D]), which is kept only by name.
        remove_batch_dim: Leaves the batch axis of the kept values out; for one text.

    Returns:
        The logits, [B, T, V], and the values, cut off from the graph of gradients.

    Raises:
        ConfigError: A name is unknown, or the batch axis is wanted away and has several texts.
        TextError: The text cannot be encoded, or an id is not in the vocabulary.
    """
    gpt, tokenizer, edits = unpack_model(model)
    ids_BT = _token_ids(input, gpt, tokenizer)
    if remove_batch_dim and len(ids_BT) != 1:
        raise ConfigError(f"remove_batch_dim is for one text, here are {len(ids_BT)}")
    wanted = _select_names(names_filter, gpt)
    results = {name for name in wanted if name.endswith("hook_result")}
    sources = {name.replace("hook_result", "hook_z") for name in results}
    kept: dict[str, Tensor] = {}

    def keep(tensor: Tensor, hook: HookPoint) -> Tensor:
        value = tensor.detach()
        if hook.name in wanted:
            kept[hook.name] = value
        if hook.name in sources:
            projection = gpt.get_submodule(f"blocks.{hook.layer()}.attn.out_proj")
            weight_DHC = linear_weight(projection).detach().reshape(-1, *value.shape[2:])
            kept[hook.name.replace("hook_z", "hook_result")] = torch.einsum("bthc,dhc->bthd", value, weight_DHC)
        return tensor

    tap = _HookTap({name: [keep] for name in (wanted - results) | sources}, copies=False)
    with eval_mode(gpt):
        logits_BTV = gpt(ids_BT, tap=with_edits(edits, gpt, tap))
    values = {name: value[0] for name, value in kept.items()} if remove_batch_dim else kept
    return logits_BTV, ActivationCache(values, gpt)


def run_with_hooks(
    model: GPTModel | InspectableModel,
    input: Input,  # noqa: A002
    fwd_hooks: Iterable[tuple[Key | Callable[[str], bool], HookFunction]] = (),
    return_type: Literal["logits", "loss", "both"] | None = "logits",
) -> Tensor | tuple[Tensor, Tensor] | None:
    """Runs the model, without dropout, and calls functions with the values on the way; they may change them.

    A function gets a copy, so it may write into it. Where no gradient is recorded (`torch.no_grad`), a value that comes
    back as it was changes no bit of the logits. Where one is, the copy becomes a part of the graph, so that
    `tensor.retain_grad()` works in a hook; attention and norms that are hooked then run step by step, not fused.

    Args:
        model: A GPTModel, or a LanguageModel (its edits are applied before the functions see a value).
        input: A text, or token ids [T] or [B, T].
        fwd_hooks: Pairs of a name (or its short form, or a function that says yes to names) and a function
            `(tensor, hook)`; it returns None or the tensor to go on with, of the same shape. `hook.name` is the name.
        return_type: `logits` [B, T, V], `loss` (mean cross-entropy of each next token, in nats), `both`, or None.

    Raises:
        ConfigError: A name is unknown or cannot be hooked, a function returns something else, `return_type` is wrong.
        TextError: The text cannot be encoded, an id is not in the vocabulary, or there is no next token for a loss.
    """
    if return_type not in ("logits", "loss", "both", None):
        raise ConfigError(f"return_type is {return_type!r}, it must be logits, loss, both or None")
    gpt, tokenizer, edits = unpack_model(model)
    ids_BT = _token_ids(input, gpt, tokenizer)
    if return_type in ("loss", "both") and ids_BT.shape[1] < 2:
        raise TextError("the loss needs two tokens or more: it is about each token after the first")
    functions: dict[str, list[HookFunction]] = {}
    for name, function in fwd_hooks:
        for full in [known for known in _tap_names(gpt) if name(known)] if callable(name) else [_hookable(name, gpt)]:
            functions.setdefault(full, []).append(function)

    with eval_mode(gpt):
        logits_BTV: Tensor = gpt(ids_BT, tap=with_edits(edits, gpt, _HookTap(functions)))
    if return_type is None:
        return None
    if return_type == "logits":
        return logits_BTV
    loss = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
    return loss if return_type == "loss" else (logits_BTV, loss)


class _HookTap:
    """The tap that calls hook functions, each with a copy it may write into."""

    def __init__(self, functions: Mapping[str, Sequence[HookFunction]], copies: bool = True) -> None:
        self._functions = functions
        self._copies = copies

    def wants(self, name: str) -> bool:
        return name in self._functions

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        value = tensor.clone() if self._copies else tensor
        for function in self._functions[name]:
            returned = function(value, hook=HookPoint(name))
            value = value if returned is None else returned
            if not isinstance(value, Tensor) or value.shape != tensor.shape or value.dtype != tensor.dtype:
                raise ConfigError(
                    f"the hook of {name} returned {_describe(value)} where a tensor of {_describe(tensor)} was expected"
                )
        unchanged = value is tensor or (not value.requires_grad and _equal_with_nan(value, tensor))
        return tensor if unchanged else value


def _token_ids(given: Input, model: GPTModel, tokenizer: Tokenizer | None) -> Tensor:
    """[B, T] on the model's device."""
    if isinstance(given, str):
        if tokenizer is None:
            raise ConfigError("a bare GPTModel reads token ids, not text", hint="hand the LanguageModel over instead")
        given = tokenizer.encode_start(given)
    try:
        ids = torch.as_tensor(given, device=model.token_embedding.weight.device)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError("token ids are whole numbers, in one row or in rows of equal length") from None
    if ids.numel() == 0:
        raise TextError("there are no tokens to read")
    if ids.dim() not in (1, 2) or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ConfigError(f"token ids are whole numbers of shape [T] or [B, T], not {_describe(ids)}")
    vocab_size = model.config.vocab_size
    if not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise TextError(f"a token id is not in the vocabulary of {vocab_size}: they go from 0 to {vocab_size - 1}")
    return ids.long().reshape(-1, ids.shape[-1])


def _tap_names(model: GPTModel) -> list[str]:
    """The names that a forward pass hands to its tap."""
    return [name for name in hook_shapes(model.config, 1) if not name.endswith("hook_result")]


def _select_names(names_filter: NameFilter | None, model: GPTModel) -> set[str]:
    if names_filter is None or callable(names_filter):
        return {name for name in _tap_names(model) if names_filter is None or names_filter(name)}
    names = [names_filter] if isinstance(names_filter, str) else names_filter
    return {resolve(name, model.config) for name in names}


def _hookable(key: Key, model: GPTModel) -> str:
    name = resolve(key, model.config)
    if name.endswith("hook_result"):
        raise ConfigError(
            f"{name} cannot be hooked: the model adds the heads up in one product and never has them one by one",
            hint="hook_z is what the product reads, [B, T, H, C]: change the head there",
        )
    return name


def _equal_with_nan(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers; not-a-number is the same as itself."""
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def _describe(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
