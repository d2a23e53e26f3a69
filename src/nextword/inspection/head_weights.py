"""What each head multiplies with, and the circuits that its matrices form.

Axes are TransformerLens's: rows of the residual stream stand on the left, `q = x @ W_Q`. Nothing is folded or centred:
where a norm has a weight, it stands between the stream and these matrices, as in the pass.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError
from nextword.generation.backend import Backend
from nextword.inspection.inspectable import InspectableModel, unpack_backend

if TYPE_CHECKING:
    from nextword.model import GPTModel

Array = NDArray[Any]
Composition = Literal["Q", "K", "V"]


@dataclass(frozen=True, eq=False, repr=False)
class LowRankMatrix:
    """A product `A @ B` of matrices, [..., M, R] and [..., R, N], that is never multiplied out unless asked."""

    A: Array
    B: Array

    def __repr__(self) -> str:
        *batch, rows, rank = self.A.shape
        return f"<LowRankMatrix {batch} of {rows} x {self.B.shape[-1]}, rank {rank}>"

    def __getitem__(self, index: Any) -> LowRankMatrix:
        """Some of the matrices: `QK[3, 1]` is that of layer 3, head 1."""
        return LowRankMatrix(self.A[index], self.B[index])

    @property
    def T(self) -> LowRankMatrix:  # noqa: N802  as NumPy calls it
        """Each transposed."""
        return LowRankMatrix(self.B.swapaxes(-1, -2), self.A.swapaxes(-1, -2))

    def __matmul__(self, other: LowRankMatrix) -> LowRankMatrix:
        """The product of two."""
        return LowRankMatrix(self.A, (self.B @ other.A) @ other.B)

    def product(self) -> Array:
        """Multiplied out: [..., M, N]."""
        product: Array = self.A @ self.B
        return product

    def eigenvalues(self) -> Array:
        """Those that are not 0 because of the rank, complex: [..., R]. `A @ B` has the ones of `B @ A`.

        Raises:
            ConfigError: The matrices are not square.
        """
        if self.A.shape[-2] != self.B.shape[-1]:
            raise ConfigError("only a square matrix has eigenvalues")
        values: Array = np.linalg.eigvals(self.B @ self.A)
        return values

    def norm(self) -> Array:
        """The Frobenius norm of each: [...]. It is the root of the trace of `(A^T A) (B B^T)`."""
        gram_A = self.A.swapaxes(-1, -2) @ self.A
        gram_B = self.B @ self.B.swapaxes(-1, -2)
        norm: Array = np.sqrt(np.maximum(np.einsum("...ij,...ji->...", gram_A, gram_B), 0.0))
        return norm


class HeadWeights:
    """A model's weights, head by head, in float64; heads that share keys and values have a copy each.

    Args:
        model: A LanguageModel, a backend or a GPTModel. Edits change no weights.

    Attributes:
        config: The architecture.
    """

    def __init__(self, model: InspectableModel | Backend | GPTModel) -> None:
        self._backend = unpack_backend(model)[0]
        self.config = self._backend.config

    @cached_property
    def W_E(self) -> Array:  # noqa: N802
        """The token embedding, [V, D]."""
        return self._weight("token_embedding.weight")

    @cached_property
    def W_U(self) -> Array:  # noqa: N802
        """The head that the logits come from, [D, V]."""
        return self._weight("output_layer.weight").T

    @cached_property
    def W_Q(self) -> Array:  # noqa: N802
        """[L, H, D, C]."""
        return self._heads("q_proj.weight").swapaxes(-1, -2)

    @cached_property
    def W_K(self) -> Array:  # noqa: N802
        """[L, H, D, C]."""
        return self._heads("k_proj.weight").swapaxes(-1, -2)

    @cached_property
    def W_V(self) -> Array:  # noqa: N802
        """[L, H, D, C]."""
        return self._heads("v_proj.weight").swapaxes(-1, -2)

    @cached_property
    def W_O(self) -> Array:  # noqa: N802
        """[L, H, C, D]."""
        config = self.config
        whole_LDE = np.stack([self._weight(f"blocks.{i}.attn.out_proj.weight") for i in range(config.num_layers)])
        by_head = whole_LDE.reshape(config.num_layers, config.d_model, config.num_heads, config.head_dim)
        return by_head.transpose(0, 2, 3, 1)

    @cached_property
    def b_Q(self) -> Array:  # noqa: N802
        """[L, H, C]; zeros where the model has none, as the other biases are."""
        return self._biases("q_proj.bias")

    @cached_property
    def b_K(self) -> Array:  # noqa: N802
        """[L, H, C]."""
        return self._biases("k_proj.bias")

    @cached_property
    def b_V(self) -> Array:  # noqa: N802
        """[L, H, C]."""
        return self._biases("v_proj.bias")

    @cached_property
    def b_O(self) -> Array:  # noqa: N802
        """[L, D]."""
        name = "blocks.{}.attn.out_proj.bias"
        if name.format(0) not in self.config.parameter_shapes():
            return np.zeros((self.config.num_layers, self.config.d_model))
        return np.stack([self._weight(name.format(i)) for i in range(self.config.num_layers)])

    @property
    def OV(self) -> LowRankMatrix:  # noqa: N802
        """What a head writes for what it looks at: `W_V @ W_O`, [L, H, D, D]."""
        return LowRankMatrix(self.W_V, self.W_O)

    @property
    def QK(self) -> LowRankMatrix:  # noqa: N802
        """What makes a token look at another: `W_Q @ W_K^T`, [L, H, D, D].

        Rotary positions turn queries and keys in between, and a norm of theirs divides them: this is the matrix of two
        tokens at the same place, before such a norm.
        """
        return LowRankMatrix(self.W_Q, self.W_K.swapaxes(-1, -2))

    def composition_scores(self, kind: Composition) -> Array:
        """How much of what a head writes a later one reads: `|M N| / (|M| |N|)`, [L, H, L, H]; 0 if it is not later.

        Args:
            kind: What is read with: `Q` and `K` through the later head's QK, `V` through its OV.

        Raises:
            ConfigError: There is no such kind.
        """
        if kind not in get_args(Composition):
            raise ConfigError(f"kind is {kind!r}, it must be Q, K or V")
        L, H = self.config.num_layers, self.config.num_heads
        writes, reads = self.OV, {"Q": self.QK, "K": self.QK.T, "V": self.OV}[kind]
        wrote_LH, read_LH = writes.norm(), reads.norm()
        scores_LHLH = np.zeros((L, H, L, H))
        for early in range(L):
            for head in range(H):
                for late in range(early + 1, L):
                    together_H = (writes[early, head] @ reads[late]).norm()
                    scores_LHLH[early, head, late] = together_H / (wrote_LH[early, head] * read_LH[late])
        return scores_LHLH

    def _weight(self, name: str) -> Array:
        return self._backend.weight(name).astype(np.float64)

    def _heads(self, name: str) -> Array:
        """[L, H, C, ...] of a projection, with the heads that share keys and values side by side."""
        config = self.config
        whole = np.stack([self._weight(f"blocks.{i}.attn.{name}") for i in range(config.num_layers)])
        by_head = whole.reshape(config.num_layers, -1, config.head_dim, *whole.shape[2:])
        return np.repeat(by_head, config.num_heads // by_head.shape[1], axis=1)

    def _biases(self, name: str) -> Array:
        config = self.config
        if f"blocks.0.attn.{name}" not in config.parameter_shapes():
            return np.zeros((config.num_layers, config.num_heads, config.head_dim))
        return self._heads(name)
