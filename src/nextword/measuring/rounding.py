"""What rounding a model's weights costs: how far its predictions move on text that it writes itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.engine.backend import NativeBackend
from nextword.engine.weights import FORMATS
from nextword.errors import ModelFileError
from nextword.files import Bundle, RawTensor
from nextword.files.precision import PRECISIONS, cast_matrices, computable, mixed_types
from nextword.files.tensors import DequantizedTensors, count_bytes
from nextword.generation import Sampling, TextStream
from nextword.generation.sampling import log_softmax
from nextword.loading import choose_backend, native_backend
from nextword.measuring.verification_file import Rounding
from nextword.settings import Precision

TOKENS = 2000
_ROWS = 4


def rounding_losses(bundle: Bundle, watch: Callable[[str], None] = lambda _: None) -> list[Rounding]:
    """The loss of every precision that makes this model smaller, as `load` sets it up.

    Where there are blocks, `auto` is what rounding activations, keys and values costs alone. A precision that cannot
    hold a weight (float16) is left out. The loss is the mean Kullback-Leibler divergence of the rounded model's
    predictions from the model's own, in nats a token, over about 2,000 tokens that the model draws from its own
    distribution.
    """
    exact = exact_backend(bundle)
    watch("rounded weights: the model writes the text")
    texts = _sample_texts(exact, bundle)
    watch("rounded weights: the model reads the text")
    references = [_logits(exact, ids) for ids in texts]
    del exact
    size = _size(bundle.tensors)
    found = []
    for precision in _smaller_precisions(bundle):
        watch(f"rounded weights: {precision}")
        try:
            tensors = computable(cast_matrices(bundle.tensors, precision), FORMATS)
        except ModelFileError:  # a weight is too large for float16
            continue
        rounded = loaded_backend(bundle.config, tensors)
        found.append(_loss(precision, rounded, texts, references, _size(tensors) / size))
    return found


def _smaller_precisions(bundle: Bundle) -> list[Precision]:
    """Those that make the model smaller, as their types alone tell; `auto` too where weights are quantised."""
    shapes, size = {name: tensor.shape for name, tensor in bundle.tensors.items()}, _size(bundle.tensors)
    quantized = any(tensor.is_quantized for tensor in bundle.tensors.values())
    smaller = [
        precision
        for precision in PRECISIONS
        if sum(count_bytes(kind, shapes[name]) for name, kind in mixed_types(shapes, precision).items()) < size
    ]
    return [*(("auto",) if quantized else ()), *smaller]


def exact_backend(bundle: Bundle) -> NativeBackend:
    """The native backend on exactly the file's weights and activations: kinds of blocks that it lacks are unpacked."""
    return NativeBackend(bundle.config, DequantizedTensors(bundle.tensors, keep=FORMATS), activations="float32")


def loaded_backend(config: GPTConfig, tensors: Mapping[str, RawTensor]) -> NativeBackend:
    """The native backend as `nextword.load` sets it up for such weights."""
    return native_backend(config, tensors, choose_backend("native").with_weights(tensors))


def _size(tensors: Mapping[str, RawTensor]) -> int:
    return sum(len(tensor.data) for tensor in tensors.values())


def _sample_texts(backend: NativeBackend, bundle: Bundle) -> list[list[int]]:
    """Token ids of texts that begin as a document does, or with any token; none is longer than the context.

    As many are written together as are needed at least. A text may end at once, so others follow.
    """
    tokenizer, length = bundle.tokenizer, min(bundle.config.context_length, 500)
    start = next((token for token in (tokenizer.bos_id, tokenizer.eos_id) if token is not None), 0)
    texts: list[list[int]] = []
    while (missing := TOKENS - sum(map(len, texts))) > 0 and len(texts) < TOKENS // 4:
        count = min(-(-missing // length), TOKENS // 4 - len(texts))
        streams = [
            TextStream(
                backend,
                tokenizer,
                [start],
                max_new_tokens=length - 1,
                sampling=Sampling(),
                seed=seed,
                overflow="stop",
                speculative=False,
            )
            for seed in range(len(texts), len(texts) + count)
        ]
        _write_together(backend, streams)
        texts += ([start, *stream.token_ids] for stream in streams)
    return texts


def _write_together(backend: NativeBackend, streams: Sequence[TextStream]) -> None:
    while growing := [stream for stream in streams if stream.finish_reason is None]:
        if batches := [(stream, batch) for stream in growing if (batch := stream.next_batch())]:
            rows = backend.forward([batch for _, batch in batches], [stream.cache for stream, _ in batches])
            for (stream, _), row in zip(batches, rows, strict=True):
                stream.feed_logits(row)
        for stream in growing:
            stream.sample_next()


def _logits(backend: NativeBackend, ids: Sequence[int]) -> NDArray[np.float32]:
    [logits_TV] = backend.forward([ids], [backend.new_cache(len(ids))], "all")
    return logits_TV


def _loss(
    precision: Precision,
    rounded: NativeBackend,
    texts: Sequence[Sequence[int]],
    references: Sequence[NDArray[np.float32]],
    size: float,
) -> Rounding:
    divergences, same = [], []
    for ids, reference_TV in zip(texts, references, strict=True):
        logits_TV = _logits(rounded, ids)
        for start in range(0, len(ids), _ROWS):  # as many as a cache of the processor holds
            rows = slice(start, start + _ROWS)
            ours, theirs = log_softmax(reference_TV[rows]), log_softmax(logits_TV[rows])
            divergences.append((np.exp(ours) * (ours - theirs)).sum(-1))
            same.append(ours.argmax(-1) == theirs.argmax(-1))
    per_token = np.concatenate(divergences)
    return Rounding(precision, len(per_token), size, float(per_token.mean()), float(np.concatenate(same).mean()))
