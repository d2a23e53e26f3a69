"""What rounding a model's weights costs: how far its predictions move on text that it writes itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nextword.engine.backend import NativeBackend
from nextword.engine.weights import FORMATS
from nextword.errors import ModelFileError
from nextword.files import Bundle, RawTensor
from nextword.files.precision import PRECISIONS, cast_matrices, computable
from nextword.files.tensors import DequantizedTensors
from nextword.generation import Sampling, TextStream
from nextword.generation.sampling import log_softmax
from nextword.measuring.verification_file import Rounding

TOKENS = 2000


def rounding_losses(bundle: Bundle, watch: Callable[[str], None] = lambda _: None) -> list[Rounding]:
    """The loss of every precision that makes this model smaller, and of `auto`, of what blocks meet, if there are any.

    One that cannot hold a weight (float16) is left out. The loss is the mean Kullback-Leibler divergence of the rounded
    model's predictions from the model's own, in nats a token, over about 2,000 tokens that the model draws from its own
    distribution.
    """
    exact = exact_backend(bundle)
    watch("rounded weights: the model writes the text")
    texts = _sample_texts(exact, bundle)
    size = _size(bundle.tensors)
    found = []
    for precision in ("auto", *PRECISIONS):
        try:
            tensors = computable(cast_matrices(bundle.tensors, precision), FORMATS)
        except ModelFileError:  # a weight is too large for float16
            continue
        quantized = any(tensor.is_quantized for tensor in bundle.tensors.values())
        if quantized if precision == "auto" else _size(tensors) < size:
            watch(f"rounded weights: {precision}")
            rounded = NativeBackend(bundle.config, tensors)
            found.append(_loss(precision, exact, rounded, texts, _size(tensors) / size))
    return found


def exact_backend(bundle: Bundle) -> NativeBackend:
    """The native backend on exactly the file's weights and activations: kinds of blocks that it lacks are unpacked."""
    return NativeBackend(bundle.config, DequantizedTensors(bundle.tensors, keep=FORMATS), activations="float32")


def loaded_backend(bundle: Bundle) -> NativeBackend:
    """The native backend as `nextword.load` sets it up."""
    return NativeBackend(bundle.config, computable(bundle.tensors, FORMATS))


def _size(tensors: Mapping[str, RawTensor]) -> int:
    return sum(len(tensor.data) for tensor in tensors.values())


def _sample_texts(backend: NativeBackend, bundle: Bundle) -> list[list[int]]:
    """Token ids of texts that begin as a document does, or with any token; none is longer than the context."""
    tokenizer, length = bundle.tokenizer, min(bundle.config.context_length, 500)
    start = next((token for token in (tokenizer.bos_id, tokenizer.eos_id) if token is not None), 0)
    texts: list[list[int]] = []
    while sum(map(len, texts)) < TOKENS and len(texts) < TOKENS // 4:  # a text may end at once
        stream = TextStream(
            backend,
            tokenizer,
            [start],
            max_new_tokens=length - 1,
            sampling=Sampling(),
            seed=len(texts),
            overflow="stop",
        )
        for _ in stream:
            pass
        texts.append([start, *stream.generation.token_ids])
    return texts


def _loss(
    precision: str, exact: NativeBackend, rounded: NativeBackend, texts: Sequence[Sequence[int]], size: float
) -> Rounding:
    divergences, same = [], []
    for ids in texts:
        ours, theirs = (_log_probabilities(backend, ids) for backend in (exact, rounded))
        divergences.append((np.exp(ours) * (ours - theirs)).sum(-1))
        same.append(ours.argmax(-1) == theirs.argmax(-1))
    per_token = np.concatenate(divergences)
    return Rounding(precision, len(per_token), size, float(per_token.mean()), float(np.concatenate(same).mean()))


def _log_probabilities(backend: NativeBackend, ids: Sequence[int]) -> NDArray[np.float64]:
    (rows,) = backend.forward([ids], [backend.new_cache(len(ids))], "all")
    return log_softmax(rows)
