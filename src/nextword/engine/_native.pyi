from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nextword.backend_input import Tap

Ids = NDArray[np.int32]

def kernels() -> list[str]:
    """Kernels that this processor can run, best first."""

def read_speed(threads: int, size: int, kernels: str = "") -> float:
    """Bytes a second at which a buffer of `size` bytes is read."""

def multiply_speed(threads: int, kernels: str = "") -> float:
    """float32 operations a second."""

def dequantize(kind: str, rows: int, columns: int, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The numbers of a matrix as a file has it."""

def is_finite(kind: str, data: NDArray[np.uint8]) -> bool:
    """Whether every number of a matrix is finite."""

class Cache:
    @property
    def length(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    origin: int
    def truncate(self, length: int) -> None: ...
    def fork(self) -> Cache: ...

class Model:
    def __init__(
        self,
        config: dict[str, object],
        matrices: dict[str, tuple[str, NDArray[np.uint8]]],
        vectors: dict[str, NDArray[np.float32]],
        rope_frequencies: NDArray[np.float64],
        rope_attention_factor: float,
        rope_layers: list[bool],
        windows: list[int],
        threads: int,
        kernels: str,
        activations: str,
        packs: bool,
    ) -> None: ...
    @property
    def is_packed(self) -> bool: ...
    @property
    def kernels(self) -> str: ...
    @property
    def threads(self) -> int: ...
    def owns(self, cache: Cache) -> bool: ...
    def new_cache(self, capacity: int, cache_format: str) -> Cache: ...
    def forward(
        self, ids: Sequence[NDArray[np.int32]], caches: Sequence[Cache], logits: str, tap: Tap | None = None
    ) -> NDArray[np.float32]: ...
    def forward_from(
        self,
        layer: int,
        residual: Sequence[NDArray[np.float32]],
        caches: Sequence[Cache],
        logits: str,
        tap: Tap | None = None,
    ) -> NDArray[np.float32]: ...
    def unembed(self, residual: NDArray[np.float32], tap: Tap | None = None) -> NDArray[np.float32]: ...
    def linear(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]: ...

class Sampler:
    def __init__(
        self,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repetition_penalty: float,
        presence_penalty: float,
        frequency_penalty: float,
        logit_bias: Sequence[tuple[int, float]],
        kernels: str,
    ) -> None: ...
    def read(self, ids: Sequence[int]) -> None: ...
    def accept(self, id: int) -> None: ...  # noqa: A002
    def draw(self, logits: NDArray[np.float32], random: float) -> int: ...
