"""What the page reads of a trace: frames, which are named arrays in the safetensors format with JSON about them.

Every number is the trace's own; sizes are Euclidean norms. docs/inspection.md lists the arrays of each frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.inspection.attribution import logit_attribution
from nextword.inspection.edits import Edit, ablate_head, ablate_layer, ablate_mlp
from nextword.inspection.hook_names import layer_of
from nextword.inspection.lens import logit_lens
from nextword.inspection.recording import Recording
from nextword.rope import inverse_frequencies
from nextword.tokens import Tokenizer
from nextword.tokens.visible import text_of

VERSION = "1"
LENS_TOP = 5
"""Tokens that the lens keeps of each row and position."""
NAMED_TOP = 50
"""Next tokens whose texts come with the frame, besides the lens's."""

Floats = NDArray[np.float32]

_SHOWN = (
    "embed",
    "resid_pre",
    "resid_post",
    "q",
    "k",
    "rot_q",
    "rot_k",
    "z",
    "attn_out",
    "mlp_out",
    "logits",
)


def shown_names(config: GPTConfig) -> tuple[str, ...]:
    """What must be traced for everything that the page and `nextword look` show, and no more."""
    return (*_SHOWN, "pos_embed") if config.position == "learned" else _SHOWN


@dataclass(frozen=True)
class Facts:
    """What a frame says beside the trace's own values."""

    trace: str = ""
    """By which name the trace is kept; empty in a file."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """The model's name, file, backend, dtype and bytes, as far as they are known."""
    dropped: int = 0
    """Tokens of the text that the model did not see."""
    edits: Sequence[str] | None = None
    """The changes as Python; None writes them from the trace's."""
    seconds: float = 0.0
    """What the trace took."""


def look_frame(trace: Recording, facts: Facts | None = None) -> bytes:
    """The whole path: embeddings, sizes of the residual stream and of what was added, the lens, the last logits.

    Raises:
        ConfigError: The trace lacks one of `shown_names`, or its model or tokenizer.
    """
    facts = Facts() if facts is None else facts
    config, layers = trace.config, range(trace.config.num_layers)
    logits_V = trace["logits"][-1]
    lens = logit_lens(trace, top=min(LENS_TOP, config.vocab_size))
    arrays: dict[str, NDArray[Any]] = {
        "logits": logits_V,
        "embed": trace["embed"],
        "combined": trace.residual(0),
        "residual_norm": np.stack([_norms(trace.residual(row)) for row in range(config.num_layers + 1)]),
        "attention_norm": np.stack([_norms(trace["attn_out", layer]) for layer in layers]),
        "mlp_norm": np.stack([_norms(trace["mlp_out", layer]) for layer in layers]),
        "lens_ids": lens.token_ids,
        "lens_probability": lens.probabilities,
        "lens_rank": lens.target_rank,
        "lens_kl": lens.kl,
        "lens_entropy": lens.entropy,
    }
    if config.position == "learned":
        arrays["position"] = trace["pos_embed"]
    best = [candidate.token_id for candidate in trace.top(top=min(NAMED_TOP, config.vocab_size))]
    return _frame(
        arrays,
        {
            "trace": facts.trace,
            "model": {**_model_facts(trace), **facts.model},
            "text": trace.text,
            "tokens": token_pieces(_tokenizer(trace), trace.token_ids),
            "dropped": facts.dropped,
            "edits": edit_code(trace.edits) if facts.edits is None else list(facts.edits),
            "texts": token_texts(_tokenizer(trace), {*lens.token_ids.ravel().tolist(), *best}),
            "seconds": facts.seconds,
        },
    )


def block_frame(trace: Recording, layer: int) -> bytes:
    """One block: who looks at whom, what each head and the feed-forward layer added, and what to the first choice.

    Raises:
        ConfigError: There is no such layer, or the trace lacks one of `shown_names`, its model or tokenizer.
    """
    _check("layer", layer, trace.config.num_layers)
    target = trace.top(top=1)[0]
    arrays: dict[str, NDArray[Any]] = {
        "pattern": trace.attention(layer),
        "head_norm": _norms(trace["result", layer]),
        "attention_norm": _norms(trace["attn_out", layer]),
        "mlp_norm": _norms(trace["mlp_out", layer]),
        "residual_norm": _norms(trace.residual(layer)),
    }
    reason = ""
    try:
        attribution = logit_attribution(trace)
        arrays["head_contribution"] = attribution.heads[layer]
        arrays["mlp_contribution"] = attribution.mlps[layer : layer + 1]
    except ConfigError as error:  # there is no stream that is a sum of parts
        reason = error.message
    about = {"id": target.token_id, "text": target.text}
    return _frame(arrays, {"layer": layer, "target": about, "why_no_contributions": reason})


def turns_frame(trace: Recording, layer: int, head: int) -> bytes:
    """How a head's queries and keys turn with their place: every rotating pair of channels before and after.

    Raises:
        ConfigError: The model has no rotary positions, there is no such layer or head, or the trace lacks one of
            `shown_names` or its model.
    """
    config = trace.config
    if config.position != "rotary":
        raise ConfigError("queries and keys do not turn: this model has position vectors")
    _check("layer", layer, config.num_layers)
    _check("head", head, config.num_heads)
    key_head = head // (config.num_heads // config.num_kv_heads)
    turned = layer not in config.no_rope_layers
    frequency_P = inverse_frequencies(config) if turned else np.zeros(config.head_dim // 2)
    places_T = np.arange(len(trace.token_ids), dtype=np.float64)
    arrays: dict[str, NDArray[Any]] = {"angle": np.outer(places_T, frequency_P), "frequency": frequency_P}
    for name, number in (("q", head), ("k", key_head)):
        before_TC = _normalized(trace, name, layer)[:, number]
        arrays[f"{name}_before"] = _pairs(before_TC, config)
        arrays[name] = _pairs(trace[f"rot_{name}", layer][:, number], config)
    pairs = config.head_dim // 2
    return _frame(arrays, {"layer": layer, "head": head, "pairs": pairs, "layout": config.rope_layout})


def token_pieces(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[dict[str, Any]]:
    """The tokens as a reader sees them, as plain values."""
    return [
        {"id": piece.token_id, "text": piece.text, "part": piece.part, "parts": piece.parts}
        for piece in tokenizer.pieces(token_ids)
    ]


def token_texts(tokenizer: Tokenizer, token_ids: Iterable[int]) -> dict[str, str]:
    """The texts of tokens by id, as `Tokenizer.vocabulary` has them; empty for ids that the tokenizer has not."""
    continued = tokenizer.kind != "words"  # a word's space belongs to the text before it

    def text(token_id: int) -> str:
        if token_id >= tokenizer.vocab_size:
            return ""
        [data] = tokenizer.bytes_of([token_id], continued=continued)
        return text_of(data)

    return {str(token_id): text(token_id) for token_id in sorted(token_ids)}


def edit_code(edits: Sequence[Edit]) -> list[str]:
    """The Python that makes these edits, an expression each; of a vector, only its shape is said."""
    written: list[str] = []
    left = list(edits)
    while left:
        layer = layer_of(left[0].name)
        if layer is not None and tuple(left[:2]) == ablate_layer(layer):
            written.append(f"nextword.ablate_layer({layer})")
            del left[:2]
        else:
            written.append(_python_of(left.pop(0)))
    return written


def _python_of(edit: Edit) -> str:
    layer, places, heads = layer_of(edit.name), edit.positions, edit.heads
    at = "" if places is None else f", positions={list(places)}"
    if layer is not None and heads is not None and len(heads) == 1 and edit == ablate_head(layer, heads[0], places):
        return f"nextword.ablate_head({layer}, {heads[0]}{at})"
    if layer is not None and edit == ablate_mlp(layer, places):
        return f"nextword.ablate_mlp({layer}{at})"
    if edit.action == "embed" and places is not None and len(places) == 1:
        return f"nextword.swap_embedding({places[0]}, {int(edit.value)})"
    function = "set_value" if edit.action == "set" else edit.action
    value = repr(float(edit.value)) if edit.value.ndim == 0 else f"<values of shape {edit.value.shape}>"
    of = "" if heads is None else f", heads={list(heads)}"
    if edit.function is not None:
        return f'nextword.at("{edit.name}"{at}{of})({getattr(edit.function, "__name__", "function")})'
    return f'nextword.{function}("{edit.name}", {value}{at}{of})'


def _frame(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> bytes:
    """Whole numbers travel as 32-bit integers, all others as float32."""
    stored = {
        name: np.ascontiguousarray(array, np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32)
        for name, array in arrays.items()
    }
    metadata = {"version": VERSION, "about": json.dumps(about, ensure_ascii=False)}
    return safetensors.numpy.save(stored, metadata)


def _model_facts(trace: Recording) -> dict[str, Any]:
    """What the architecture says of itself; who made the trace may know more."""
    config, backend = trace.config, trace.backend
    return {
        "name": "",
        "backend": backend.name,
        "dtype": backend.dtype,
        "file": "",
        "layers": config.num_layers,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "d_model": config.d_model,
        "head_dim": config.head_dim,
        "d_ff": config.d_ff,
        "vocab_size": config.vocab_size,
        "context_length": config.context_length,
        "parameters": config.num_parameters,
        "position": config.position,
        "residual": config.residual,
        "norm": config.norm,
        "activation": config.activation,
        "tie_embeddings": config.tie_embeddings,
        "bytes": backend.nbytes,
    }


def _tokenizer(trace: Recording) -> Tokenizer:
    if trace.tokenizer is None:
        raise ConfigError("this trace has no tokenizer", hint="Trace.load(path, lm)")
    return trace.tokenizer


def _normalized(trace: Recording, name: str, layer: int) -> NDArray[Any]:
    """Queries or keys as they are turned: after the projection's norm, where the model has one; [T, H or K, C]."""
    rows_THC, config = trace[name, layer], trace.config
    if not config.qk_norm:
        return rows_THC
    norm = f"blocks.{layer}.attn.{name}_norm"
    weight_C = trace.backend_for(norm).weight(f"{norm}.weight")
    normed_THC: NDArray[Any] = rows_THC / np.sqrt((rows_THC**2).mean(-1, keepdims=True) + config.norm_eps) * weight_C
    return normed_THC


def _pairs(rows_TC: NDArray[Any], config: GPTConfig) -> NDArray[Any]:
    """The two channels of each rotating pair, [T, P, 2]."""
    T = len(rows_TC)
    if config.rope_layout == "interleaved":
        return rows_TC.reshape(T, -1, 2)
    return rows_TC.reshape(T, 2, -1).transpose(0, 2, 1)


def _norms(rows: NDArray[Any]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64), axis=-1)
    return norms


def _check(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise ConfigError(f"there is no {what} {number}", hint=f"{what}s are 0 to {count - 1}")
