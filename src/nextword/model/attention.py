"""Attention: every token gathers from the tokens before it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.config import GPTConfig
from nextword.model.cache import KVCache
from nextword.model.layers import Norm
from nextword.model.rope import Rotation
from nextword.model.tap import Tap, tap_point


class Attention(nn.Module):
    """Causal multi-head attention with grouped keys and values.

    `softmax(q k^T / sqrt(C) + mask) v`, head by head, then the output projection. It runs fused; scores and pattern
    exist only when a tap wants them.
    """

    def __init__(self, config: GPTConfig, layer: int = 0) -> None:
        super().__init__()
        d, c = config.d_model, config.head_dim
        self.layer = layer
        self.head_dim = c
        self.window = config.layer_windows[layer] if config.layer_windows else None
        self.q_proj = nn.Linear(d, config.num_heads * c, config.qkv_bias)
        self.k_proj = nn.Linear(d, config.num_kv_heads * c, config.qkv_bias)
        self.v_proj = nn.Linear(d, config.num_kv_heads * c, config.qkv_bias)
        self.q_norm = Norm(config.replace(norm="rmsnorm"), c) if config.qk_norm else None
        self.k_norm = Norm(config.replace(norm="rmsnorm"), c) if config.qk_norm else None
        self.out_proj = nn.Linear(config.num_heads * c, d, config.attention_output_bias)
        # The lesson drops attention weights (as nn.MultiheadAttention does), the other models the sublayer's output.
        lesson = config.residual == "normalized"
        self.weight_dropout = config.dropout if lesson else 0.0
        self.dropout = nn.Dropout(0.0 if lesson else config.dropout)

    def forward(
        self,
        x_BTD: Tensor,
        mask: Tensor | None = None,
        *,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D]. `mask` as nn.MultiheadAttention's `attn_mask`; None is causal."""
        q_BTHC = tap_point(tap, "hook_q", self.q_proj(x_BTD).unflatten(-1, (-1, self.head_dim)))
        k_BTKC = tap_point(tap, "hook_k", self.k_proj(x_BTD).unflatten(-1, (-1, self.head_dim)))
        v_BTKC = tap_point(tap, "hook_v", self.v_proj(x_BTD).unflatten(-1, (-1, self.head_dim)))

        if self.q_norm is not None and self.k_norm is not None:
            q_BTHC, k_BTKC = self.q_norm(q_BTHC), self.k_norm(k_BTKC)
        if rotation is not None:
            q_BTHC, k_BTKC = rotation(q_BTHC), rotation(k_BTKC)
        q_BHTC = tap_point(tap, "hook_rot_q", q_BTHC).transpose(1, 2)
        k_BKSC = tap_point(tap, "hook_rot_k", k_BTKC).transpose(1, 2)
        v_BKSC = v_BTKC.transpose(1, 2)

        if cache is not None:
            k_BKSC, v_BKSC = cache.append(self.layer, k_BKSC, v_BKSC)
        z_BHTC = self._attend(q_BHTC, k_BKSC, v_BKSC, mask, tap)

        z_BTHC = tap_point(tap, "hook_z", z_BHTC.transpose(1, 2))
        out_BTD: Tensor = self.dropout(self.out_proj(z_BTHC.flatten(-2)))
        return out_BTD

    def _attend(self, q_BHTC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, mask: Tensor | None, tap: Tap | None) -> Tensor:
        T, S = q_BHTC.shape[2], k_BKSC.shape[2]
        windowed = self.window is not None and self.window < S
        plain_causal = mask is None and not windowed and T == S
        bias = None if plain_causal else attention_bias(mask, q_BHTC, S, self.window)

        if tap is not None and (tap.wants("hook_attn_scores") or tap.wants("hook_pattern")):
            if plain_causal:
                bias = attention_bias(None, q_BHTC, S, None)
            edited_z_BHTC = _explicit_attention(q_BHTC, k_BKSC, v_BKSC, bias, tap)
            if edited_z_BHTC is not None:
                return edited_z_BHTC
        return F.scaled_dot_product_attention(
            q_BHTC,
            k_BKSC,
            v_BKSC,
            attn_mask=None if plain_causal else bias,
            is_causal=plain_causal and T > 1,
            dropout_p=self.weight_dropout if self.training else 0.0,
            enable_gqa=k_BKSC.shape[1] != q_BHTC.shape[1],
        )


def _explicit_attention(q_BHTC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, bias: Tensor | None, tap: Tap) -> Tensor | None:
    """Shows scores and pattern to the tap; gives attention's output only if the tap changed one of them."""
    scores_BHTS = attention_scores(q_BHTC, k_BKSC, bias)
    edited_scores_BHTS = tap_point(tap, "hook_attn_scores", scores_BHTS)
    if not tap.wants("hook_pattern") and edited_scores_BHTS is scores_BHTS:
        return None
    pattern_BHTS = attention_pattern(edited_scores_BHTS)
    edited_pattern_BHTS = tap_point(tap, "hook_pattern", pattern_BHTS)
    edited = edited_scores_BHTS is not scores_BHTS or edited_pattern_BHTS is not pattern_BHTS
    return edited_pattern_BHTS @ repeat_kv(v_BKSC, q_BHTC.shape[1]) if edited else None


def attention_scores(q_BHTC: Tensor, k_BKSC: Tensor, bias: Tensor | None) -> Tensor:
    """`q k^T / sqrt(C) + bias`, [B, H, T, S]: what the softmax turns into the pattern."""
    k_BHSC = repeat_kv(k_BKSC, q_BHTC.shape[1])
    # In place: at a long context each copy of the scores is as large as the rest of the pass.
    scores_BHTS = (q_BHTC @ k_BHSC.transpose(-1, -2)).div_(math.sqrt(q_BHTC.shape[-1]))
    return scores_BHTS if bias is None else scores_BHTS.add_(bias)


def attention_pattern(scores: Tensor) -> Tensor:
    """`softmax(scores)` over the keys, the last axis: how much each token looks at each.

    A token that may look at nothing gathers nothing, as in the fused kernel; softmax alone would give NaN.
    """
    fully_masked = (scores == -math.inf).all(-1, keepdim=True)
    return scores.softmax(-1).masked_fill(fully_masked, 0.0)


def repeat_kv(x_BKSC: Tensor, num_heads: int) -> Tensor:
    """Each key/value head once for every query head that uses it, [B, H, S, C]."""
    group = num_heads // x_BKSC.shape[1]
    return x_BKSC if group == 1 else x_BKSC.repeat_interleave(group, dim=1)


def attention_bias(mask: Tensor | None, q_BHTC: Tensor, S: int, window: int | None) -> Tensor | None:
    """What is added to the scores, [T, S] or [B, H, T, S]: 0 where a token may look, -inf where it may not.

    Args:
        mask: None (causal), [T, S] or [B * H, T, S]; True is blocked, a float is added.
        q_BHTC: The queries; they are the last T of the S tokens.
        S: Number of keys.
        window: Newest tokens that may be looked at, or None for all.

    Returns:
        None when every key may be looked at.
    """
    B, H, T, _ = q_BHTC.shape
    if mask is None and T == 1 and (window is None or window >= S):
        return None
    distance_TS = torch.arange(S - T, S, device=q_BHTC.device)[:, None] - torch.arange(S, device=q_BHTC.device)
    blocked_TS = torch.zeros_like(distance_TS, dtype=torch.bool) if mask is not None else distance_TS < 0
    if window is not None:
        blocked_TS = blocked_TS | (distance_TS >= window)
    bias = torch.zeros(T, S, dtype=q_BHTC.dtype, device=q_BHTC.device).masked_fill(blocked_TS, -math.inf)
    if mask is None:
        return bias
    mask = mask.reshape(B, H, T, S) if mask.dim() == 3 else mask
    if mask.dtype == torch.bool:
        return bias.masked_fill(mask, -math.inf)
    return bias + mask.to(bias.dtype)
