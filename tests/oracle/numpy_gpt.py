"""A GPT in NumPy, float64, forward and backward written out by hand: what the PyTorch model is held against.

It is derived from the formulas, not from `src/`, and shares nothing with it but the names of `GPTConfig`'s fields, of
the weights (`config.parameter_shapes()`) and of the values on the way (`hook_embed` and so on). No autograd: every
operation returns its result together with a function that carries a gradient backward through it,

    y, back = operation(x)          # y = f(x)
    dx = back(dy)                   # dx = dy * df/dx

and that adds the gradients of the weights it used to `self.gradients`. Shapes are written as suffixes:

    B  batch            D  d_model                       H  query heads (K * G)     C  channels of one head
    T  query position   F  feed-forward width            K  key/value heads         V  vocabulary
    S  key position     G  query heads per key head

Sources: Vaswani et al. 2017 (attention), Radford et al. 2019 (GPT-2), Ba et al. 2016 (LayerNorm), Zhang & Sennrich 2019
(RMSNorm), Hendrycks & Gimpel 2016 (GELU), So et al. 2021 (squared ReLU), Shazeer 2020 (SwiGLU), Su et al. 2021 (rotary
positions), Ainslie et al. 2023 (grouped queries), Henry et al. 2020 (QK-norm), Llama 3.1's release (llama3 scaling).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
Back = Callable[[Array], Array]
Tap = Callable[[str, Array], Array]


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass."""

    logits: Array
    """[B, T, V]."""
    loss: float
    """Mean cross-entropy over all B * T targets, in nats."""
    gradients: dict[str, Array]
    """Of the loss by each weight, under the weight's name."""


class NumpyGPT:
    """The model that `config` describes, with these weights.

    Args:
        config: Dropout is ignored.
        weights: Named and shaped as `config.parameter_shapes()`.
        tap: Gets every named value of the forward pass and gives back what the pass goes on with. The backward pass
            takes it for the identity, so change values only where just the logits are wanted.
    """

    def __init__(self, config: GPTConfig, weights: Mapping[str, Array], tap: Tap | None = None) -> None:
        self.config = config
        self.weights = {name: np.asarray(weight, dtype=np.float64) for name, weight in weights.items()}
        self.gradients = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self.tap = tap or (lambda name, value: value)

    # -- the whole model -----------------------------------------------------------------------------------------------

    def logits(self, ids_BT: Ids, mask_TS: Array | None = None) -> Array:
        """[B, T] -> [B, T, V]. `mask_TS` is added to the scores in place of the causal mask."""
        return self._forward(ids_BT, mask_TS)[0]

    def run(self, ids_BT: Ids, targets_BT: Ids, mask_TS: Array | None = None) -> Pass:
        """Logits, loss, and the gradient of the loss by every weight."""
        logits_BTV, back = self._forward(ids_BT, mask_TS)
        loss, dlogits_BTV = cross_entropy(logits_BTV, targets_BT)
        back(dlogits_BTV)
        return Pass(logits_BTV, loss, self.gradients)

    def _forward(self, ids_BT: Ids, mask_TS: Array | None) -> tuple[Array, Callable[[Array], None]]:
        x_BTD, embed_back = self._embed(ids_BT)
        blocks_back: list[Back] = []
        for i in range(self.config.num_layers):
            x_BTD, block_back = self._block(i, x_BTD, mask_TS)
            blocks_back.append(block_back)
        x_BTD, norm_back = self._norm("ln_final", x_BTD, "ln_final.")
        logits_BTV, head_back = self._head(x_BTD)

        def back(dlogits_BTV: Array) -> None:
            dx_BTD = norm_back(head_back(dlogits_BTV))
            for block_back in reversed(blocks_back):
                dx_BTD = block_back(dx_BTD)
            embed_back(dx_BTD)

        return self.tap("logits", logits_BTV), back

    def _embed(self, ids_BT: Ids) -> tuple[Array, Callable[[Array], None]]:
        """A token's row of the embedding, plus its position's row where positions are learned."""
        T = ids_BT.shape[1]
        x_BTD = self.tap("hook_embed", self.weights["token_embedding.weight"][ids_BT])
        learned = self.config.position == "learned"
        if learned:
            rows_TD = self.weights["position_encoding.weight"][:T]
            x_BTD = x_BTD + self.tap("hook_pos_embed", np.broadcast_to(rows_TD, x_BTD.shape))

        def back(dx_BTD: Array) -> None:
            np.add.at(self.gradients["token_embedding.weight"], ids_BT, dx_BTD)  # a token may occur more than once
            if learned:
                self.gradients["position_encoding.weight"][:T] += dx_BTD.sum(axis=0)

        return x_BTD, back

    def _head(self, x_BTD: Array) -> tuple[Array, Back]:
        """One logit for each word: how well the vector fits the word's row of the output matrix."""
        matrix = "token_embedding.weight" if self.config.tie_embeddings else "output_layer.weight"
        return self._linear_with(matrix, "output_layer.bias", x_BTD)

    def _block(self, i: int, x_BTD: Array, mask_TS: Array | None) -> tuple[Array, Back]:
        """x + attention(norm(x)), then x + feed_forward(norm(x)); the lesson adds to norm(x) instead of x."""
        p = f"blocks.{i}."
        pre_BTD = self.tap(p + "hook_resid_pre", x_BTD)
        h1_BTD, ln1_back = self._norm(p + "ln1", pre_BTD, p + "ln1.")
        attn_BTD, attn_back = self._attention(i, h1_BTD, mask_TS)
        to_normalized = self.config.residual == "normalized"
        carried_BTD = h1_BTD if to_normalized else pre_BTD
        mid_BTD = self.tap(p + "hook_resid_mid", carried_BTD + self.tap(p + "hook_attn_out", attn_BTD))
        h2_BTD, ln2_back = self._norm(p + "ln2", mid_BTD, p + "ln2.")
        mlp_BTD, mlp_back = self._feed_forward(i, h2_BTD)
        carried_BTD = h2_BTD if to_normalized else mid_BTD
        post_BTD = self.tap(p + "hook_resid_post", carried_BTD + self.tap(p + "hook_mlp_out", mlp_BTD))

        def back(dpost_BTD: Array) -> Array:
            if to_normalized:
                dmid_BTD = ln2_back(dpost_BTD + mlp_back(dpost_BTD))
                return ln1_back(dmid_BTD + attn_back(dmid_BTD))
            dmid_BTD = dpost_BTD + ln2_back(mlp_back(dpost_BTD))
            return dmid_BTD + ln1_back(attn_back(dmid_BTD))

        return post_BTD, back

    # -- attention -----------------------------------------------------------------------------------------------------

    def _attention(self, i: int, x_BTD: Array, mask_TS: Array | None) -> tuple[Array, Back]:
        """softmax(q k^T / sqrt(C) + mask) v, head by head, then the output projection."""
        p, config, tap = f"blocks.{i}.attn.", self.config, self.tap
        B, T, _ = x_BTD.shape
        H, K, C = config.num_heads, config.num_kv_heads, config.head_dim

        q_BTX, q_back = self._linear(p + "q_proj", x_BTD)
        k_BTX, k_back = self._linear(p + "k_proj", x_BTD)
        v_BTX, v_back = self._linear(p + "v_proj", x_BTD)
        q_BTHC = tap(p + "hook_q", q_BTX.reshape(B, T, H, C))
        k_BTKC = tap(p + "hook_k", k_BTX.reshape(B, T, K, C))
        v_BTKC = tap(p + "hook_v", v_BTX.reshape(B, T, K, C))

        q_norm_back: Back = _identity
        k_norm_back: Back = _identity
        if config.qk_norm:
            q_BTHC, q_norm_back = self._rms_norm(p + "q_norm", q_BTHC)
            k_BTKC, k_norm_back = self._rms_norm(p + "k_norm", k_BTKC)
        q_turn_back: Back = _identity
        k_turn_back: Back = _identity
        if config.position == "rotary" and i not in config.no_rope_layers:
            q_BTHC, q_turn_back = rotate(config, q_BTHC)
            k_BTKC, k_turn_back = rotate(config, k_BTKC)
        q_BTHC = tap(p + "hook_rot_q", q_BTHC)
        k_BTKC = tap(p + "hook_rot_k", k_BTKC)

        # Query head h reads key head h // G: the heads of one group lie side by side.
        q_BTKGC = q_BTHC.reshape(B, T, K, H // K, C)
        scores_BKGTS = np.einsum("btkgc,bskc->bkgts", q_BTKGC, k_BTKC) / math.sqrt(C)
        scores_BKGTS = scores_BKGTS + (causal_mask(T) if mask_TS is None else mask_TS) + window_mask(T, self._window(i))
        scores_BHTS = tap(p + "hook_attn_scores", scores_BKGTS.reshape(B, H, T, T))
        pattern_BHTS = tap(p + "hook_pattern", softmax(scores_BHTS))
        pattern_BKGTS = pattern_BHTS.reshape(B, K, H // K, T, T)
        z_BTKGC = np.einsum("bkgts,bskc->btkgc", pattern_BKGTS, v_BTKC)
        z_BTHC = tap(p + "hook_z", z_BTKGC.reshape(B, T, H, C))
        out_BTD, out_back = self._linear(p + "out_proj", z_BTHC.reshape(B, T, H * C))

        def back(dout_BTD: Array) -> Array:
            dz_BTKGC = out_back(dout_BTD).reshape(z_BTKGC.shape)
            dpattern_BKGTS = np.einsum("btkgc,bskc->bkgts", dz_BTKGC, v_BTKC)
            dv_BTKC = np.einsum("bkgts,btkgc->bskc", pattern_BKGTS, dz_BTKGC)
            # Softmax: each score moves its own probability up and, since they sum to 1, all of the row down.
            row_mean_BKGT1 = (dpattern_BKGTS * pattern_BKGTS).sum(axis=-1, keepdims=True)
            dscores_BKGTS = pattern_BKGTS * (dpattern_BKGTS - row_mean_BKGT1) / math.sqrt(C)
            dq_BTHC = np.einsum("bkgts,bskc->btkgc", dscores_BKGTS, k_BTKC).reshape(B, T, H, C)
            dk_BTKC = np.einsum("bkgts,btkgc->bskc", dscores_BKGTS, q_BTKGC)
            dq_BTX = q_norm_back(q_turn_back(dq_BTHC)).reshape(q_BTX.shape)
            dk_BTX = k_norm_back(k_turn_back(dk_BTKC)).reshape(k_BTX.shape)
            return q_back(dq_BTX) + k_back(dk_BTX) + v_back(dv_BTKC.reshape(v_BTX.shape))

        return out_BTD, back

    def _window(self, i: int) -> int | None:
        return self.config.layer_windows[i] if self.config.layer_windows else None

    # -- feed-forward layer --------------------------------------------------------------------------------------------

    def _feed_forward(self, i: int, x_BTD: Array) -> tuple[Array, Back]:
        """down(act(up(x))), or, with a gate, down(silu(gate(x)) * up(x))."""
        p, hook = f"blocks.{i}.ffn.", f"blocks.{i}.mlp."
        gated = self.config.activation == "swiglu"
        pre_BTF, pre_back = self._linear(p + ("gate" if gated else "up"), x_BTD)
        activated_BTF, slope_BTF = activation_and_slope(self.config.activation, self.tap(hook + "hook_pre", pre_BTF))
        if not gated:
            out_BTD, down_back = self._linear(p + "down", self.tap(hook + "hook_post", activated_BTF))
            return out_BTD, lambda dout_BTD: pre_back(down_back(dout_BTD) * slope_BTF)

        up_BTF, up_back = self._linear(p + "up", x_BTD)
        up_BTF = self.tap(hook + "hook_pre_linear", up_BTF)
        out_BTD, down_back = self._linear(p + "down", self.tap(hook + "hook_post", activated_BTF * up_BTF))

        def back(dout_BTD: Array) -> Array:
            dpost_BTF = down_back(dout_BTD)
            return pre_back(dpost_BTF * up_BTF * slope_BTF) + up_back(dpost_BTF * activated_BTF)

        return out_BTD, back

    # -- parts with weights --------------------------------------------------------------------------------------------

    def _linear(self, name: str, x: Array) -> tuple[Array, Back]:
        return self._linear_with(f"{name}.weight", f"{name}.bias", x)

    def _linear_with(self, weight: str, bias: str, x: Array) -> tuple[Array, Back]:
        """y = x W^T + b: [..., in] -> [..., out]; W is [out, in]; without a bias of that name, none is added."""
        W = self.weights[weight]
        y = x @ W.T + self.weights.get(bias, 0.0)

        def back(dy: Array) -> Array:
            rows_dy, rows_x = dy.reshape(-1, W.shape[0]), x.reshape(-1, W.shape[1])
            self.gradients[weight] += rows_dy.T @ rows_x
            if bias in self.weights:
                self.gradients[bias] += rows_dy.sum(axis=0)
            return dy @ W

        return y, back

    def _norm(self, name: str, x: Array, hook: str) -> tuple[Array, Back]:
        layer_norm = self.config.norm == "layernorm"
        return self._layer_norm(name, x, hook) if layer_norm else self._rms_norm(name, x, hook)

    def _layer_norm(self, name: str, x: Array, hook: str) -> tuple[Array, Back]:
        """y = (x - mean(x)) / sqrt(var(x) + eps) * w + b, over the last axis."""
        w, b = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.config.norm_eps)
        scale = self.tap(hook + "hook_scale", scale)
        unit = self.tap(hook + "hook_normalized", centred / scale)
        y = self.tap(hook + "hook_out", unit * w + b)

        def back(dy: Array) -> Array:
            self.gradients[f"{name}.weight"] += (dy * unit).reshape(-1, w.size).sum(axis=0)
            self.gradients[f"{name}.bias"] += dy.reshape(-1, w.size).sum(axis=0)
            dunit = dy * w
            along_mean = dunit.mean(axis=-1, keepdims=True)  # moving all channels alike changes nothing
            along_unit = unit * (dunit * unit).mean(axis=-1, keepdims=True)  # nor does stretching them
            dx: Array = (dunit - along_mean - along_unit) / scale
            return dx

        return y, back

    def _rms_norm(self, name: str, x: Array, hook: str | None = None) -> tuple[Array, Back]:
        """y = x / sqrt(mean(x^2) + eps) * w, over the last axis. Without `hook` nothing is shown (QK-norm)."""
        w = self.weights[f"{name}.weight"]
        scale = np.sqrt((x**2).mean(axis=-1, keepdims=True) + self.config.norm_eps)
        if hook is not None:
            scale = self.tap(hook + "hook_scale", scale)
        unit = x / scale
        if hook is not None:
            unit = self.tap(hook + "hook_normalized", unit)
        y = unit * w
        if hook is not None:
            y = self.tap(hook + "hook_out", y)

        def back(dy: Array) -> Array:
            self.gradients[f"{name}.weight"] += (dy * unit).reshape(-1, w.size).sum(axis=0)
            dunit = dy * w
            dx: Array = (dunit - unit * (dunit * unit).mean(axis=-1, keepdims=True)) / scale
            return dx

        return y, back


# -- parts without weights -----------------------------------------------------------------------------------------


def cross_entropy(logits_BTV: Array, targets_BT: Ids) -> tuple[float, Array]:
    """Mean of -log softmax(logits)[target], and its gradient (softmax - one_hot) / (B T)."""
    probabilities_BTV = softmax(logits_BTV)
    chosen_BT1 = np.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)
    highest_BT1 = logits_BTV.max(axis=-1, keepdims=True)
    log_sum_BT1 = highest_BT1 + np.log(np.exp(logits_BTV - highest_BT1).sum(axis=-1, keepdims=True))
    one_hot_BTV = np.eye(logits_BTV.shape[-1])[targets_BT]
    return float((log_sum_BT1 - chosen_BT1).mean()), (probabilities_BTV - one_hot_BTV) / targets_BT.size


def softmax(scores: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis; the highest score is subtracted first, so that nothing overflows."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Array = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def causal_mask(T: int) -> Array:
    """[T, T]: -inf where the key is later than the query, else 0."""
    return np.triu(np.full((T, T), -math.inf), k=1)


def window_mask(T: int, window: int | None) -> Array:
    """[T, T]: -inf where the key is `window` tokens behind the query, or more, else 0."""
    return np.zeros((T, T)) if window is None else np.tril(np.full((T, T), -math.inf), k=-window)


def rotate(config: GPTConfig, x_BTXC: Array) -> tuple[Array, Back]:
    """Rotary positions: each pair of channels, read as one complex number, is turned by position * frequency."""
    angles_TP = np.outer(np.arange(x_BTXC.shape[1]), rotary_frequencies(config))  # P: pairs, C / 2
    stretch = (config.rope_scaling or {}).get("attention_factor", 1.0)  # YaRN lengthens what it turns
    turn_T1P = stretch * np.exp(1j * angles_TP)[:, None]

    def turned(values: Array, turn: NDArray[np.complex128]) -> Array:
        half = values.shape[-1] // 2
        first = slice(0, None, 2) if config.rope_layout == "interleaved" else slice(0, half)
        second = slice(1, None, 2) if config.rope_layout == "interleaved" else slice(half, None)
        complex_values = (values[..., first] + 1j * values[..., second]) * turn
        result = np.empty_like(values)
        result[..., first], result[..., second] = complex_values.real, complex_values.imag
        return result

    # The transpose of turning is turning back: gradients do.
    return turned(x_BTXC, turn_T1P), lambda dx_BTXC: turned(dx_BTXC, turn_T1P.conj())


def rotary_frequencies(config: GPTConfig) -> Array:
    """Angle per position of each pair of channels, [C / 2]: theta^(-2 pair / C), then scaled if the config says so."""
    plain = [config.rope_theta ** (-2 * pair / config.head_dim) for pair in range(config.head_dim // 2)]
    scaling = config.rope_scaling
    if scaling is None:
        return np.array(plain)
    factor = float(scaling["factor"])
    if scaling["rope_type"] == "linear":
        return np.array(plain) / factor
    old_context = scaling["original_max_position_embeddings"]
    if scaling["rope_type"] == "yarn":
        # The (fractional) pair that turns so many times within the old context solves
        # theta^(2 pair / C) = context / (2 pi times).
        fast, slow = (
            config.head_dim / 2 * math.log(old_context / (2 * math.pi * scaling[name]), config.rope_theta)
            for name in ("beta_fast", "beta_slow")
        )
        kept, stretched = max(0, math.floor(fast)), min(config.head_dim - 1, math.ceil(slow))
        slowed = np.interp(np.arange(len(plain)), [kept, max(stretched, kept + 0.001)], [0.0, 1.0])
        return np.array([f * (1 - s) + f / factor * s for f, s in zip(plain, slowed, strict=True)])
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    scaled = []
    for frequency in plain:
        wavelength = 2 * math.pi / frequency
        if wavelength < old_context / high:  # many turns within the old context: left as it is
            scaled.append(frequency)
        elif wavelength > old_context / low:  # not even `low` turns: slowed down
            scaled.append(frequency / factor)
        else:  # between: some of both
            kept = (old_context / wavelength - low) / (high - low)
            scaled.append(kept * frequency + (1 - kept) * frequency / factor)
    return np.array(scaled)


def activation_and_slope(activation: str, x: Array) -> tuple[Array, Array]:
    """The non-linearity f(x) and its slope f'(x); for `swiglu` the SiLU of its gate."""
    if activation == "gelu":  # x times the normal distribution's share below x
        share = 0.5 * (1 + _erf(x / math.sqrt(2)))
        density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return x * share, share + x * density
    if activation == "gelu_tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (x + 0.044715 * x**3))
        return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)
    if activation == "relu_squared":
        positive = np.maximum(x, 0)
        return positive**2, 2 * positive
    sigmoid = 1 / (1 + np.exp(-x))
    return x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))


def _erf(x: Array) -> Array:
    return np.array([math.erf(value) for value in x.flat]).reshape(x.shape)


def _identity(dx: Array) -> Array:
    return dx
