"""The residual stream taken apart: which head, feed-forward layer, embedding and edit put what into it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError, NextwordError
from nextword.inspection.rebuilt import head_rows
from nextword.inspection.recording import Recording, absolute_position

Values = NDArray[np.float64]


def decomposition(trace: Recording, position: int = -1) -> tuple[tuple[str, ...], Values]:
    """The parts that sum to what the final norm reads at a position.

    `embed`, `position` (learned), for each layer `L0H0` and so on (each head through its slice of the output
    projection), `L0 attention bias`, `L0 MLP`; then `edits`, where there are some, and `rounding`: what the model's own
    additions rounded off. Edits inside a part (of a head's z, of a hidden neuron) count as the part's. Edits of what is
    added to the stream, or of the stream itself, scale or wipe out what was there, and what they put in is `edits`.

    Args:
        trace: The run.
        position: Where; negative ones count from the end.

    Returns:
        The labels, and the parts in float64, [n, D].

    Raises:
        ConfigError: The architecture has no residual stream, there is no such position, or the trace lacks a value or
            its model.
        NextwordError: The parts do not sum to the stream.
    """
    config, place = trace.config, absolute_position(trace, position)
    if config.residual == "normalized":
        raise ConfigError(
            'this architecture has no residual stream to take apart (residual="normalized"): each sublayer is added to '
            "its normalised input, so that no part reaches the head as it was",
            hint="gradient x input works for it: lm.attribute(text)",
        )
    backend = trace.backend
    precision = backend.dtype if backend.name == "torch" else "float32"
    parts: dict[str, Values] = {}
    patched_D = np.zeros(config.d_model)

    def apply_stream_edits(name: str) -> None:
        """What edits of the stream do to everything in it."""
        nonlocal patched_D
        if all(edit.name != name for edit in trace.edits):
            return
        factor_D, shift_D = _edited(trace, name, place, precision)
        parts.update({label: part_D * factor_D for label, part_D in parts.items()})
        patched_D = patched_D * factor_D + shift_D

    def append_part(label: str, name: str) -> None:
        """What a part gave to the stream, apart from what edits put in its place."""
        nonlocal patched_D
        _, shift_D = _edited(trace, name, place, precision)
        parts[label] = trace[name][place].astype(np.float64) - shift_D
        patched_D = patched_D + shift_D

    append_part("embed", "hook_embed")
    if config.position == "learned":
        append_part("position", "hook_pos_embed")
    for layer in range(config.num_layers):
        apply_stream_edits(f"blocks.{layer}.hook_resid_pre")
        factor_D, shift_D = _edited(trace, f"blocks.{layer}.hook_attn_out", place, precision)
        parts.update((label, part_D * factor_D) for label, part_D in _attention_parts(trace, layer, place))
        patched_D = patched_D + shift_D
        apply_stream_edits(f"blocks.{layer}.hook_resid_mid")
        append_part(f"L{layer} MLP", f"blocks.{layer}.hook_mlp_out")
        apply_stream_edits(f"blocks.{layer}.hook_resid_post")
    if trace.edits:
        parts["edits"] = patched_D

    parts_nD = np.stack(list(parts.values()))
    stream_D = trace.residual(config.num_layers)[place].astype(np.float64)
    parts["rounding"] = rounding_D = stream_D - parts_nD.sum(0)
    size = 8 * (config.num_layers + 4) * backend.eps * float(np.abs(parts_nD).sum(0).max())
    if not np.abs(rounding_D).max() <= size:  # not-a-number too
        raise NextwordError(
            f"the parts miss the residual stream by {np.abs(rounding_D).max():.3g} (rounding explains {size:.3g})",
            hint="the trace was made with other weights than its model has now",
        )
    return tuple(parts), np.stack(list(parts.values()))


def _attention_parts(trace: Recording, layer: int, place: int) -> Iterator[tuple[str, Values]]:
    """Each head's z through its slice of the output projection, then the projection's bias."""
    name = f"blocks.{layer}.attn.out_proj"
    backend = trace.backend_for(name)
    for head, part_D in enumerate(backend.linear(name, head_rows(trace["z", layer][place][None]))):
        yield f"L{layer}H{head}", part_D.astype(np.float64)
    if trace.config.attention_output_bias:
        yield f"L{layer} attention bias", backend.weight(f"{name}.bias").astype(np.float64)


def _edited(trace: Recording, name: str, place: int, precision: str) -> tuple[Values, Values]:
    """What the edits of a value did to it at a position: it became `value * factor + shift`, [D] each.

    Another token's embedding is an embedding still: it is no shift.
    """
    D = trace.config.d_model
    factor_D, shift_D = np.ones(D), np.zeros(D)
    for edit in trace.edits:
        if edit.name != name or not (edit.positions is None or place in edit.positions):
            continue
        if edit.action not in ("embed", "scale", "add", "set"):
            raise ConfigError(f"{edit.name} is changed by {edit.action}: what was written before is no sum of parts")
        if edit.action == "embed":
            factor_D, shift_D = np.ones(D), np.zeros(D)
            continue
        value = _rounded(edit.value, precision)
        if edit.by_position and edit.positions is not None:
            value = value[edit.positions.index(place)]
        if edit.action == "scale":
            factor_D, shift_D = factor_D * value, shift_D * value
        elif edit.action == "add":
            shift_D = shift_D + value
        else:
            factor_D, shift_D = np.zeros(D), np.broadcast_to(value, (D,))
    return factor_D, shift_D


def _rounded(value: NDArray[Any], precision: str) -> Values:
    """An edit's numbers as the pass holds them: in its model's half precision, or in float32."""
    if precision == "bfloat16":
        bits = value.astype(np.float32).view(np.uint32)
        value = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    elif precision != "float64":
        value = value.astype(np.float16 if precision == "float16" else np.float32)
    return value.astype(np.float64)
