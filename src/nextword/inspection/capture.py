"""Forward passes whose values are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.generation.backend import Backend
from nextword.inspection.edited_backend import EditedBackend
from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import hook_shapes, is_lazy, is_pattern, select
from nextword.inspection.inspectable import InspectableModel, gptmodel_of, unpack_backend
from nextword.inspection.trace import Trace
from nextword.tokens import Tokenizer

if TYPE_CHECKING:
    from nextword.model import GPTModel

MAX_BYTES = 2 << 30
"""Bytes that traces may hold unless the caller says otherwise."""

BATCH_TOKENS = 2048
"""Tokens that are read at once, about: their keys and values are held meanwhile."""


class _CaptureTap:
    """Keeps the values that are wanted, after the edits, by chunk."""

    def __init__(self, wanted: Iterable[str], chunks: int) -> None:
        self.names = frozenset(wanted)
        self.values: list[dict[str, NDArray[Any]]] = [{} for _ in range(chunks)]

    def __call__(self, name: str, value: NDArray[Any], chunk: int) -> None:
        self.values[chunk][name] = value


@dataclass(frozen=True)
class TextToTrace:
    """A text that is to be traced."""

    text: str
    token_ids: Sequence[int]
    dropped_tokens: int = 0
    """Older tokens of the text, which did not fit into the context."""


def capture(
    model: InspectableModel | Backend | GPTModel,
    tokenizer: Tokenizer | None,
    text: str,
    token_ids: Sequence[int],
    *,
    names: Iterable[Any] | str | None = None,
    layers: Sequence[int] | int | None = None,
    edits: Sequence[Edit] = (),
    max_bytes: int = MAX_BYTES,
    dropped_tokens: int = 0,
) -> Trace:
    """Runs a text and keeps what the pass computed; see `capture_all`."""
    texts = [TextToTrace(text, token_ids, dropped_tokens)]
    return capture_all(model, tokenizer, texts, names=names, layers=layers, edits=edits, max_bytes=max_bytes)[0]


def capture_all(
    model: InspectableModel | Backend | GPTModel,
    tokenizer: Tokenizer | None,
    texts: Sequence[TextToTrace],
    *,
    names: Iterable[Any] | str | None = None,
    layers: Sequence[int] | int | None = None,
    edits: Sequence[Edit] = (),
    max_bytes: int = MAX_BYTES,
) -> list[Trace]:
    """Runs texts, several at once, and keeps what the passes computed. A pass ends behind the last value that is kept.

    Args:
        model: What runs them, without its own edits.
        tokenizer: Its tokenizer.
        texts: The texts.
        names: What `hook_names.select` takes; None is everything.
        layers: Only these blocks; None is all.
        edits: Changes under which they run.
        max_bytes: What the traces may hold at most, together.

    Raises:
        TextError: There are no tokens, or one that the model does not have.
        ContextOverflowError: There are more than the model can look at.
        ConfigError: A name or layer does not exist, an edit does not fit, or the traces would be too large.
    """
    backend, _, _ = unpack_backend(model)
    config = backend.config
    for one in texts:
        check_tokens(config, one.token_ids, "nothing to trace")
    for edit in edits:
        edit.check(config)
    wanted = _names_to_capture(config, names, layers, edits)
    size = sum(estimate_nbytes(backend, wanted, len(one.token_ids)) for one in texts)
    if size > max_bytes:
        tokens = sum(len(one.token_ids) for one in texts)
        of = f"a trace of {tokens:,} tokens" if len(texts) == 1 else f"{len(texts):,} traces of {tokens:,} tokens"
        raise ConfigError(
            f"{of} would hold up to {size / 1e9:.2f} GB, the limit is {max_bytes / 1e9:.2f} GB",
            hint="a shorter text takes less; names= and layers= keep less of it; max_bytes= raises the limit",
        )
    runs = EditedBackend(backend, edits) if edits else backend
    checksums = None
    if (gptmodel := gptmodel_of(backend)) is not None:
        from nextword.inspection.weight_checksums import checksum_weights

        checksums = checksum_weights(gptmodel)
    traces = []
    for batch in _batches(texts):
        tap = _CaptureTap(wanted, len(batch))
        chunks = [one.token_ids for one in batch]
        runs.forward(chunks, [runs.new_cache(len(chunk)) for chunk in chunks], "none", tap)
        traces += [
            Trace(
                one.text,
                one.token_ids,
                config,
                values,
                edits=edits,
                model=backend,
                tokenizer=tokenizer,
                checksums=checksums,
                dropped_tokens=one.dropped_tokens,
                cache_format=getattr(backend, "cache_format", "float32"),
            )
            for one, values in zip(batch, tap.values, strict=True)
        ]
    return traces


def _batches(texts: Sequence[TextToTrace]) -> Iterator[list[TextToTrace]]:
    batch: list[TextToTrace] = []
    for one in texts:
        if batch and sum(len(other.token_ids) for other in batch) + len(one.token_ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


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
    config: GPTConfig, names: Iterable[Any] | str | None, layers: Sequence[int] | int | None, edits: Sequence[Edit]
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


def estimate_nbytes(backend: Backend, names: Iterable[str], count: int) -> int:
    """Bytes that these values of `count` tokens take at most (some share their memory)."""
    size = np.dtype(np.float64 if backend.dtype == "float64" else np.float32).itemsize
    shapes = hook_shapes(backend.config, count)
    return sum(math.prod(shapes[name]) for name in names) * size
