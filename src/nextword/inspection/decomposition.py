"""The residual stream taken apart: which head, feed-forward layer, embedding and edit put what into it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import ConfigError, NextwordError
from nextword.model import eval_mode
from nextword.model.layers import linear_weight

if TYPE_CHECKING:
    from nextword.inspection.trace import Trace

Values = NDArray[np.float64]


def decomposition(trace: Trace, position: int = -1) -> tuple[tuple[str, ...], Values]:
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
    from nextword.inspection.trace import absolute_position

    config, place = trace.config, absolute_position(trace, position)
    if config.residual == "normalized":
        raise ConfigError(
            'this architecture has no residual stream to take apart (residual="normalized"): each sublayer is added to '
            "its normalised input, so that no part reaches the head as it was",
            hint="gradient x input works for it: lm.attribute(text)",
        )
    dtype = trace.model.output_layer.weight.dtype
    parts: dict[str, Values] = {}
    patched_D = np.zeros(config.d_model)
    buffer_DE = np.empty((config.d_model, config.num_heads * config.head_dim))

    def apply_stream_edits(name: str) -> None:
        """What edits of the stream do to everything in it."""
        nonlocal patched_D
        if all(edit.name != name for edit in trace.edits):
            return
        factor_D, shift_D = _edited(trace, name, place, dtype)
        parts.update({label: part_D * factor_D for label, part_D in parts.items()})
        patched_D = patched_D * factor_D + shift_D

    def append_part(label: str, name: str) -> None:
        """What a part gave to the stream, apart from what edits put in its place."""
        nonlocal patched_D
        _, shift_D = _edited(trace, name, place, dtype)
        parts[label] = trace[name][place].astype(np.float64) - shift_D
        patched_D = patched_D + shift_D

    append_part("embed", "hook_embed")
    if config.position == "learned":
        append_part("position", "hook_pos_embed")
    for layer in range(config.num_layers):
        apply_stream_edits(f"blocks.{layer}.hook_resid_pre")
        factor_D, shift_D = _edited(trace, f"blocks.{layer}.hook_attn_out", place, dtype)
        parts.update((label, part_D * factor_D) for label, part_D in _attention_parts(trace, layer, place, buffer_DE))
        patched_D = patched_D + shift_D
        apply_stream_edits(f"blocks.{layer}.hook_resid_mid")
        append_part(f"L{layer} MLP", f"blocks.{layer}.hook_mlp_out")
        apply_stream_edits(f"blocks.{layer}.hook_resid_post")
    if trace.edits:
        parts["edits"] = patched_D

    parts_nD = np.stack(list(parts.values()))
    stream_D = trace.residual(config.num_layers)[place].astype(np.float64)
    parts["rounding"] = rounding_D = stream_D - parts_nD.sum(0)
    size = 8 * (config.num_layers + 4) * torch.finfo(dtype).eps * float(np.abs(parts_nD).sum(0).max())
    if not np.abs(rounding_D).max() <= size:  # not-a-number too
        raise NextwordError(
            f"the parts miss the residual stream by {np.abs(rounding_D).max():.3g} (rounding explains {size:.3g})",
            hint="the trace was made with other weights than its model has now",
        )
    return tuple(parts), np.stack(list(parts.values()))


def _attention_parts(trace: Trace, layer: int, place: int, buffer_DE: Values) -> Iterator[tuple[str, Values]]:
    """Each head's z through its slice of the output projection, then the projection's bias.

    The weights are widened into `buffer_DE`, the same for all layers: new memory each time would take longer.
    """
    name = f"blocks.{layer}.attn.out_proj"
    z_HC = trace["z", layer][place].astype(np.float64)
    model = trace.model_for(name)
    projection = model.get_submodule(name)
    with eval_mode(model):
        w_DE = linear_weight(projection).detach()
    np.copyto(buffer_DE, w_DE.to("cpu", torch.promote_types(w_DE.dtype, torch.float32)).numpy())
    w_DHC = buffer_DE.reshape(-1, *z_HC.shape)
    for head, z_C in enumerate(z_HC):
        yield f"L{layer}H{head}", w_DHC[:, head] @ z_C
    if trace.config.attention_output_bias:
        yield f"L{layer} attention bias", as_array(model.get_parameter(f"{name}.bias"))


def _edited(trace: Trace, name: str, place: int, dtype: torch.dtype) -> tuple[Values, Values]:
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
        value = torch.from_numpy(edit.value.copy()).to(dtype).double().numpy()
        if edit.by_position and edit.positions is not None:
            value = value[edit.positions.index(place)]
        if edit.action == "scale":
            factor_D, shift_D = factor_D * value, shift_D * value
        elif edit.action == "add":
            shift_D = shift_D + value
        else:
            factor_D, shift_D = np.zeros(D), np.broadcast_to(value, (D,))
    return factor_D, shift_D


def as_array(tensor: Tensor) -> Values:
    """Its numbers in float64, cut off from the graph of gradients."""
    return tensor.detach().double().cpu().numpy()
