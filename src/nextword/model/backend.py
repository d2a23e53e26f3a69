"""TorchBackend: the reference model behind the interface that generation drives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.arguments import Device, checked
from nextword.backend_input import StoredTensor, check_chunks
from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.model.cache import KVCache
from nextword.model.evaluation import eval_mode
from nextword.model.gpt import GPTModel
from nextword.model.tap import Tap

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPE_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class TorchBackend:
    """Runs a GPTModel for generation: one forward pass a sequence, a KV cache each, float32 logits out.

    Args:
        model: The model; it is put into evaluation mode, and runs without dropout whatever mode it is in later.
        reason: Why this backend was chosen, in words.
        tap: Makes what sees, and may change, a forward pass: given the number of tokens of the text before it, so that
            it knows which positions it is shown. Each pass has its own.
    """

    name = "torch"
    bitwise_invariant = False  # a matrix product's rounding may depend on how many rows it has

    @checked
    def __init__(self, model: GPTModel, reason: str = "", tap: Callable[[int], Tap] | None = None) -> None:
        self.model = model.eval()
        self.config = model.config
        self.reason = reason
        self._tap = tap

    @classmethod
    def from_stored(
        cls,
        config: GPTConfig,
        tensors: Mapping[str, StoredTensor],
        *,
        device: Device = "auto",
        dtype: str | None = None,
        reason: str = "",
    ) -> TorchBackend:
        """A model with the weights of a file (names as `config.parameter_shapes()`, already checked against it).

        Raises:
            ConfigError: The device is not there, or the dtype has no such name.
        """
        place = torch.device(choose_device(device))
        model = GPTModel.from_config(config, initialized=False).to(_dtype(dtype))
        for name, weight in model.weights().items():  # one after the other: a reader may unpack each when it is asked
            weight.copy_(_tensor(name, tensors[name]))
        return cls(model.to(place), reason)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take."""
        return sum(weight.nbytes for weight in self.model.weights().values())

    @property
    def dtype(self) -> str:
        """The element type of the weights."""
        return str(self.model.token_embedding.weight.dtype).removeprefix("torch.")

    def __repr__(self) -> str:
        return f"<TorchBackend {self.dtype} on {self.model.token_embedding.weight.device}: {self.reason}>"

    def new_cache(self, capacity: int, origin: int = 0) -> KVCache:
        """An empty cache for one sequence of up to `capacity` tokens, the first of them token `origin` of its text."""
        weight = self.model.token_embedding.weight
        cache = KVCache(self.config, capacity, dtype=weight.dtype, device=weight.device, origin=origin)
        cache.bind(self.model)
        cache.edits = self._tap
        return cache

    def owns(self, cache: object) -> bool:
        """Whether it made this cache: keys and values of another model, or of other edits, mean nothing to it."""
        return isinstance(cache, KVCache) and cache.model is self.model and cache.edits is self._tap

    def forward(
        self,
        chunks: Sequence[Sequence[int]],
        caches: Sequence[KVCache],
        logits: Literal["last", "all"] = "last",
    ) -> list[NDArray[np.float32]]:
        """Runs each chunk of tokens behind its cache.

        Args:
            chunks: New token ids, at least one a sequence; lengths may differ.
            caches: One per chunk; each grows by its chunk.
            logits: Only the last position's, or all.

        Returns:
            Per chunk float32 logits, [V] or [T_new, V].

        Raises:
            ContextOverflowError: A sequence becomes longer than its cache or the context; no cache has grown then.
            TextError: A chunk is empty, or holds an id that is not in the vocabulary.
            ConfigError: A cache was not made by this backend, or two chunks have the same one.
        """
        check_chunks(self, chunks, caches)
        device = self.model.token_embedding.weight.device
        results = []
        with eval_mode(self.model), torch.inference_mode():
            for chunk, cache in zip(chunks, caches, strict=True):
                ids_1T = torch.tensor([list(chunk)], dtype=torch.long, device=device)
                if logits == "all" or self._tap is not None:
                    tap = None if self._tap is None else self._tap(cache.origin + cache.length)
                    rows_TV = self.model(ids_1T, cache=cache, tap=tap)[0]
                else:
                    rows_TV = self.model.output_layer(self.model.hidden(ids_1T, cache=cache)[:, -1])
                rows = rows_TV.float().cpu().numpy()
                results.append(rows if logits == "all" else rows[-1])
        return results


def choose_device(device: str) -> str:
    """`auto` becomes the fastest device that is there.

    Raises:
        ConfigError: The device asked for is not available here.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        available.append("cuda")
    if torch.backends.mps.is_available():
        available.append("mps")
    if device == "auto":
        return available[-1]
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = "no device"
    if kind not in available:
        raise ConfigError(f"device {device!r} is not available here", hint=f"available: {', '.join(available)}")
    return device


def stored_tensors(model: GPTModel, dtype: str | None = None) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The model's weights for a file writer: name -> (safetensors dtype, shape, little-endian bytes).

    Raises:
        ConfigError: There is no dtype of that name, or the model has parameters that its architecture has not, as
            adapters are: left out in silence, they would be lost.
    """
    known = model.config.parameter_shapes()
    if beyond := next((name for name, _ in model.named_parameters() if name not in known), None):
        raise ConfigError(
            f"{beyond} is no part of the model's architecture and would not be saved",
            hint="merge_lora folds adapters into the weights; save_adapter keeps them alone",
        )
    stored = {}
    for name, weight in model.weights().items():
        tensor = (weight if dtype is None else weight.to(_dtype(dtype))).cpu().contiguous()
        kind = next(key for key, dtype in DTYPES.items() if dtype == tensor.dtype)
        stored[name] = (kind, tuple(tensor.shape), tensor.view(torch.uint8).numpy().tobytes())
    return stored


def _tensor(name: str, stored: StoredTensor) -> torch.Tensor:
    if stored.dtype not in DTYPES:
        raise ModelFileError(f"tensor {name} has element type {stored.dtype}", hint=f"supported: {', '.join(DTYPES)}")
    data = bytearray(stored.data) if stored.data.readonly else stored.data  # frombuffer wants writable memory
    return torch.frombuffer(data, dtype=DTYPES[stored.dtype]).reshape(stored.shape)


def _dtype(name: str | None) -> torch.dtype:
    if name is None:
        return torch.float32
    if name not in DTYPE_NAMES:
        raise ConfigError(f"there is no dtype {name!r}", hint=f"dtypes: {', '.join(DTYPE_NAMES)}")
    return DTYPES[DTYPE_NAMES[name]]
