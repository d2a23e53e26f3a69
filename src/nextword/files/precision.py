"""Weights in the element types that a backend computes with, or that someone asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from nextword.errors import ModelFileError
from nextword.files.quantization import BLOCKS, is_finite, quantize
from nextword.files.tensors import RawTensor
from nextword.settings import Precision

PRECISIONS: dict[Precision, str] = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "q8_0": "Q8_0",
    "q6_k": "Q6_K",
    "q5_k_m": "Q5_K",
    "q5_1": "Q5_1",
    "q5_0": "Q5_0",
    "q4_k_m": "Q4_K",
    "q4_1": "Q4_1",
    "q4_0": "Q4_0",
}
"""What weights can be rounded to, and the element type that most matrices get."""
LLAMA_CPP_WORDS: dict[str, str] = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""What llama.cpp calls floats; its words for blocks are ours."""
_SHORTER_BLOCKS = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0"}
"""What stands in where rows are no whole super-blocks of 256."""

_POSITIONS = "position_encoding.weight"


def mixed_types(shapes: Mapping[str, tuple[int, ...]], precision: Precision) -> dict[str, str]:
    """The element type of every weight, in the mix that llama.cpp makes of the same name.

    Vectors and learned positions are float32. Among blocks, the matrix that makes the logits has Q6_K at least; with
    `_m`, values and the second half of the feed-forward network too, in the first and last eighth of the layers and in
    every third between. Rows that are no whole super-blocks of 256 get blocks of 32 with a bit more, and rows that are
    no whole blocks of 32 float16.

    Args:
        shapes: Of every weight of a model, by name.
        precision: Not auto.
    """
    head = "output_layer.weight" if "output_layer.weight" in shapes else "token_embedding.weight"
    layers = 1 + max((int(name.split(".")[1]) for name in shapes if name.startswith("blocks.")), default=-1)
    # Where positions are learned, llama.cpp has queries, keys and values in one matrix.
    values = ("attn.q_proj", "attn.k_proj", "attn.v_proj") if _POSITIONS in shapes else ("attn.v_proj",)
    finer = {head} | {
        f"blocks.{layer}.{part}.weight"
        for layer in range(layers)
        for part in (*values, "ffn.down")
        if precision.endswith("_m") and _is_sensitive(layer, layers)
    }
    kind = PRECISIONS[precision]
    is_coarse = kind in BLOCKS and kind != "Q8_0"
    return {
        name: "F32"
        if len(shape) == 1 or name == _POSITIONS
        else _fitting("Q6_K" if is_coarse and name in finer else kind, shape[-1])
        for name, shape in shapes.items()
    }


def _is_sensitive(layer: int, layers: int) -> bool:
    first = layers // 8
    return layer < first or layer >= 7 * layers // 8 or (layer - first) % 3 == 2


def _fitting(kind: str, columns: int) -> str:
    for candidate in (kind, _SHORTER_BLOCKS.get(kind, kind)):
        if candidate not in BLOCKS or columns % BLOCKS[candidate].elements == 0:
            return candidate
    return "F16"


def cast_matrices(tensors: Mapping[str, RawTensor], precision: Precision) -> dict[str, RawTensor]:
    """Every weight rounded to its `mixed_types`; `auto` changes nothing.

    Raises:
        ModelFileError: A weight is too large for half precision.
    """
    if precision == "auto":
        return dict(tensors)
    kinds = mixed_types({name: tensor.shape for name, tensor in tensors.items()}, precision)
    return {name: round_tensor(tensor, kinds[name]) for name, tensor in tensors.items()}


def computable(tensors: Mapping[str, RawTensor], kinds: Collection[str]) -> dict[str, RawTensor]:
    """The same weights where an element type is one of `kinds`; other blocks become Q8_0, other floats float32."""
    return {
        name: tensor if tensor.dtype in kinds else round_tensor(tensor, "Q8_0" if tensor.is_quantized else "F32")
        for name, tensor in tensors.items()
    }


def requantization_note(tensors: Mapping[str, RawTensor], kinds: Collection[str]) -> str:
    """What `computable` does to blocks of other kinds than these, in words; empty if it leaves all as they are."""
    others = sorted({tensor.dtype for tensor in tensors.values() if tensor.is_quantized and tensor.dtype not in kinds})
    return f"blocks of {', '.join(others)} are rounded again, to Q8_0" if others else ""


def round_tensor(tensor: RawTensor, kind: str) -> RawTensor:
    """The weights as floats or blocks; itself if they are. Rows are whole blocks.

    Raises:
        ModelFileError: A weight is too large for half precision, which scales of blocks have too.
    """
    if kind not in BLOCKS or tensor.dtype == kind:
        return tensor.astype(kind)
    blocks = np.ascontiguousarray(quantize(kind, tensor.values())).reshape(-1).data
    if not is_finite(kind, tensor.shape, blocks):
        raise ModelFileError(
            f"tensor {tensor.name} has values too large for {kind.lower()}", hint="choose bfloat16 or float32"
        )
    return RawTensor(tensor.name, kind, tensor.shape, blocks)
