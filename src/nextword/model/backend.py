"""TorchBackend: the reference model behind the interface that generation drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from nextword.arguments import Device, checked
from nextword.backend_input import (
    StoredTensor,
    Tap,
    check_chunks,
    check_logits,
    check_matrix,
    check_residual,
    check_rows,
    check_weight,
)
from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.model.cache import KVCache
from nextword.model.evaluation import eval_mode
from nextword.model.gpt import GPTModel
from nextword.model.layers import linear_weight
from nextword.model.tap import ArrayTapAdapter, PassStoppedError, scope, tap_point

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPE_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class TorchBackend:
    """Runs a GPTModel for generation: one forward pass a sequence, a KV cache each, float32 logits out.

    Args:
        model: The model; it is put into evaluation mode, and runs without dropout whatever mode it is in later.
        reason: Why this backend was chosen, in words.
    """

    name = "torch"
    bitwise_invariant = False  # a matrix product's rounding may depend on how many rows it has

    @checked
    def __init__(self, model: GPTModel, reason: str = "") -> None:
        self.model = model.eval()
        self.config = model.config
        self.reason = reason

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

    @property
    def eps(self) -> float:
        """How far what a product adds up is rounded, relative to it."""
        return torch.finfo(self.model.token_embedding.weight.dtype).eps

    def __repr__(self) -> str:
        return f"<TorchBackend {self.dtype} on {self.model.token_embedding.weight.device}: {self.reason}>"

    def new_cache(self, capacity: int, origin: int = 0) -> KVCache:
        """An empty cache for one sequence of up to `capacity` tokens, the first of them token `origin` of its text."""
        weight = self.model.token_embedding.weight
        cache = KVCache(self.config, capacity, dtype=weight.dtype, device=weight.device, origin=origin)
        cache.bind(self.model)
        return cache

    def owns(self, cache: object) -> bool:
        """Whether it made this cache: another model's keys and values mean nothing to it."""
        return isinstance(cache, KVCache) and cache.model is self.model

    def forward(
        self,
        chunks: Sequence[Sequence[int]],
        caches: Sequence[KVCache],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[NDArray[np.float32]]:
        """Runs each chunk of tokens behind its cache.

        Args:
            chunks: New token ids, at least one a sequence; lengths may differ.
            caches: One per chunk; each grows by its chunk, unless no logits are wanted.
            logits: Only the last position's, all, or none: a pass then stops behind the last value that the tap wants.
            tap: Sees, and may change, named values of the passes. Values of half precision are widened to float32.

        Returns:
            Per chunk float32 logits, [V], [T_new, V] or [0, V].

        Raises:
            ContextOverflowError: A sequence becomes longer than its cache or the context; no cache has grown then.
            TextError: A chunk is empty, or holds an id that is not in the vocabulary.
            ConfigError: A cache was not made by this backend, two chunks have the same one, or the tap gave back a
                value of another shape.
        """
        check_logits(logits)
        check_chunks(self, chunks, caches)
        names = frozenset(() if tap is None else tap.names)
        lengths, results = [cache.length for cache in caches], []
        try:
            with eval_mode(self.model), torch.inference_mode():
                for number, (chunk, cache) in enumerate(zip(chunks, caches, strict=True)):
                    if logits == "none":
                        if tap is not None and names:
                            self._run_without_logits(chunk, cache, ArrayTapAdapter(tap, names, number, stops=True))
                        results.append(np.empty((0, self.config.vocab_size), np.float32))
                        continue
                    own = None if tap is None else ArrayTapAdapter(tap, names, number)
                    results.append(self._run(chunk, cache, logits, own).float().cpu().numpy())
        finally:
            if len(results) < len(chunks):  # a tap raised, or Ctrl-C: the caches are as they were
                for cache, length in zip(caches, lengths, strict=True):
                    cache.truncate(length)
        return results

    def forward_from(
        self,
        layer: int,
        rows_TD: Sequence[NDArray[Any]],
        caches: Sequence[KVCache],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[NDArray[np.float32]]:
        """Runs each chunk from a block on, behind its cache, which does not grow; see `Backend.forward_from`."""
        check_logits(logits)
        rows_TD = check_residual(self, layer, rows_TD, caches)
        names = frozenset(() if tap is None else tap.names)
        results = []
        with eval_mode(self.model), torch.inference_mode():
            for number, (rows, cache) in enumerate(zip(rows_TD, caches, strict=True)):
                own = None if tap is None else ArrayTapAdapter(tap, names, number)
                length = cache.length
                try:
                    hidden_TD = self.model.hidden_from(layer, self._rows(rows)[None], cache=cache, tap=own)[0]
                finally:
                    cache.truncate(length)
                if logits == "none":
                    results.append(np.empty((0, self.config.vocab_size), np.float32))
                    continue
                read_TD = hidden_TD if logits == "all" else hidden_TD[-1:]
                logits_TV = tap_point(own, "logits", self.model.output_layer(read_TD)[None])[0]
                results.append((logits_TV if logits == "all" else logits_TV[0]).float().cpu().numpy())
        return results

    def unembed(self, rows_PD: NDArray[Any], tap: Tap | None = None) -> NDArray[Any]:
        """Rows of the residual stream through the final norm and the head, as `forward` reads the last block's.

        Args:
            rows_PD: The rows, [P, D].
            tap: Sees, and may change, the values of `ln_final` and the logits, of chunk 0.

        Returns:
            Logits, [P, V]: float32, or float64 of a model of that precision.

        Raises:
            ConfigError: The tap gave back a value of another shape.
        """
        check_rows(rows_PD, self.config.d_model)
        with eval_mode(self.model), torch.inference_mode():
            own = None if tap is None else ArrayTapAdapter(tap, frozenset(tap.names), 0)
            read_1PD = self.model.ln_final(self._rows(rows_PD)[None], scope(own, "ln_final."))
            logits_PV = tap_point(own, "logits", self.model.output_layer(read_1PD))[0]
            return _widened(logits_PV)

    def linear(self, name: str, x_NE: NDArray[Any]) -> NDArray[Any]:
        """What a weight matrix makes of rows, without its bias.

        Args:
            name: The layer, such as `blocks.3.attn.out_proj`.
            x_NE: The rows, [N, E].

        Returns:
            [N, D]: float32, or float64 of a model of that precision.

        Raises:
            ConfigError: The model has no such matrix.
        """
        check_matrix(self.config, name, x_NE)
        with eval_mode(self.model), torch.inference_mode():
            layer, x = self.model.get_submodule(name), self._rows(x_NE)
            if isinstance(layer, nn.Linear) and type(layer) is not nn.Linear:  # with adapters beside its weight
                moved: torch.Tensor = layer(x)
                return _widened(moved if layer.bias is None else moved - layer.bias)
            return _widened(F.linear(x, layer.get_parameter("weight")))

    def weight(self, name: str, rows: Sequence[int] | None = None) -> NDArray[Any]:
        """The numbers of a weight, or of some of its rows, with adapters beside it; see `Backend.weight`."""
        check_weight(self.config, name)
        module, _, kind = name.rpartition(".")
        layer = self.model.get_submodule(module)
        with eval_mode(self.model), torch.inference_mode():
            if kind == "weight" and isinstance(layer, nn.Linear):
                weight = linear_weight(layer)
            else:
                weight = layer.get_parameter(kind)
            return _widened(weight if rows is None else weight[list(rows)])

    def _run(
        self, chunk: Sequence[int], cache: KVCache, logits: Literal["last", "all"], tap: ArrayTapAdapter | None
    ) -> torch.Tensor:
        """One pass: [V] or [T_new, V]."""
        ids_1T = self._ids(chunk)
        if logits == "all":
            return self.model(ids_1T, cache=cache, tap=tap)[0]  # type: ignore[no-any-return]
        last_1D = self.model.hidden(ids_1T, cache=cache, tap=tap)[:, -1]
        logits_1V: torch.Tensor = self.model.output_layer(last_1D)
        return tap_point(tap, "logits", logits_1V[:, None])[0, 0]

    def _run_without_logits(self, chunk: Sequence[int], cache: KVCache, tap: ArrayTapAdapter) -> None:
        """One pass as far as the tap wants something of it; the cache stays as it is."""
        length = cache.length
        try:
            if tap.wants("logits"):
                self.model(self._ids(chunk), cache=cache, tap=tap)
            else:
                self.model.hidden(self._ids(chunk), cache=cache, tap=tap)
        except PassStoppedError:
            pass
        finally:
            cache.truncate(length)

    def _ids(self, chunk: Sequence[int]) -> torch.Tensor:
        """[1, T], where the weights are."""
        return torch.tensor([list(chunk)], dtype=torch.long, device=self.model.token_embedding.weight.device)

    def _rows(self, rows: NDArray[Any]) -> torch.Tensor:
        """An array where the weights are, in their precision."""
        weight = self.model.token_embedding.weight
        return torch.tensor(rows, dtype=weight.dtype, device=weight.device)


def _widened(tensor: torch.Tensor) -> NDArray[Any]:
    """float32 or wider, on the CPU."""
    array: NDArray[Any] = tensor.to("cpu", torch.promote_types(tensor.dtype, torch.float32)).numpy()
    return array


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
