"""One forward pass whose values are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.inspection.edit_tap import EditTap
from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import hook_shapes, is_lazy, is_pattern, select
from nextword.inspection.trace import Trace
from nextword.inspection.weight_checksums import checksum_weights
from nextword.model import GPTModel, eval_mode
from nextword.tokens import Tokenizer

MAX_BYTES = 2 << 30
"""Bytes that a trace may hold unless the caller says otherwise."""


class _CaptureTap:
    """Keeps the values that are wanted, after the edits."""

    def __init__(self, wanted: Iterable[str], edits: EditTap) -> None:
        self.values: dict[str, NDArray[Any]] = {}
        self._wanted, self._edits = frozenset(wanted), edits

    def wants(self, name: str) -> bool:
        return name in self._wanted or self._edits.wants(name)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        if self._edits.wants(name):
            tensor = self._edits(name, tensor)
        if name in self._wanted:
            self.values[name] = tensor[0].to("cpu", torch.promote_types(tensor.dtype, torch.float32)).numpy()
        return tensor


def capture(
    model: GPTModel,
    tokenizer: Tokenizer | None,
    text: str,
    token_ids: Sequence[int],
    *,
    names: Iterable[str] | str | None = None,
    layers: Sequence[int] | int | None = None,
    edits: Sequence[Edit] = (),
    max_bytes: int = MAX_BYTES,
    dropped_tokens: int = 0,
) -> Trace:
    """Runs a text and keeps what the pass computed.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        text: The text.
        token_ids: Its tokens.
        names: Full names, patterns with `*` or kinds such as `pattern`; None is everything.
        layers: Only these blocks; None is all.
        edits: Changes under which it runs.
        max_bytes: What the trace may hold at most.
        dropped_tokens: Older tokens of the text, which did not fit into the context.

    Raises:
        TextError: There are no tokens, or one that the model does not have.
        ContextOverflowError: There are more than the model can look at.
        ConfigError: A name or layer does not exist, an edit does not fit, or the trace would be too large.
    """
    config = model.config
    check_tokens(config, token_ids, "nothing to trace")
    for edit in edits:
        edit.check(config)
    wanted = _names_to_capture(config, names, layers, edits)
    size = estimate_nbytes(model, wanted, len(token_ids))
    if size > max_bytes:
        raise ConfigError(
            f"a trace of {len(token_ids):,} tokens would hold up to {size / 1e9:.2f} GB, "
            f"the limit is {max_bytes / 1e9:.2f} GB",
            hint="a shorter text takes less; names= and layers= keep less of it; max_bytes= raises the limit",
        )
    tap = _CaptureTap(wanted, EditTap(edits, model))
    ids_1T = torch.tensor([list(token_ids)], device=model.token_embedding.weight.device)
    with eval_mode(model), torch.inference_mode():
        model(ids_1T, tap=tap)
    checksums = checksum_weights(model)
    return Trace(
        text,
        token_ids,
        config,
        tap.values,
        edits=edits,
        model=model,
        tokenizer=tokenizer,
        checksums=checksums,
        dropped_tokens=dropped_tokens,
    )


def check_tokens(config: GPTConfig, token_ids: Sequence[int], nothing: str) -> None:
    """Whether a model can read these tokens.

    Args:
        config: Its architecture.
        token_ids: The text.
        nothing: What there is not in an empty text, for the message.

    Raises:
        TextError: There are none, or one is not in the vocabulary.
        ContextOverflowError: There are more than the model can look at.
    """
    if not token_ids:
        raise TextError(f"the text is empty: there is {nothing}")
    if len(token_ids) > config.context_length:
        raise ContextOverflowError(len(token_ids), config.context_length)
    if beyond := [token for token in token_ids if not 0 <= token < config.vocab_size]:
        raise TextError(
            f"token id {beyond[0]} is not in the model's vocabulary of {config.vocab_size} tokens",
            hint="use the tokenizer that the model was trained with",
        )


def _names_to_capture(
    config: GPTConfig, names: Iterable[str] | str | None, layers: Sequence[int] | int | None, edits: Sequence[Edit]
) -> set[str]:
    """What the tap keeps: lazy values only where they are named, or where an edit stands in the way to them."""
    kept: set[str] = set()
    for name in select(config, names, layers):
        if not is_lazy(name):
            kept.add(name)
        elif name.endswith("hook_result"):
            kept.add(name.replace("hook_result", "hook_z"))
        elif names is not None:
            kept.add(name)
    for edit in edits:  # q and k no longer tell the scores and the pattern then, nor the scores the pattern
        if is_pattern(edit.name):
            block = edit.name.rsplit("hook_", 1)[0]
            if {block + "hook_rot_q", block + "hook_rot_k"} <= kept:
                kept |= {block + "hook_attn_scores", block + "hook_pattern"}
            elif block + "hook_attn_scores" in kept:
                kept.add(block + "hook_pattern")
    return kept


def estimate_nbytes(model: GPTModel, names: Iterable[str], count: int) -> int:
    """Bytes that these values of `count` tokens take at most (some share their memory)."""
    size = torch.promote_types(model.token_embedding.weight.dtype, torch.float32).itemsize
    shapes = hook_shapes(model.config, count)
    return sum(math.prod(shapes[name]) for name in names) * size
