"""How fast a model runs here, how near that is to what the machine can do, and what other engines make of it.

Engines take turns, so that what else the machine does falls on all of them; figures are medians. Every engine has the
same weights, samples at temperature 0.8 and top-p 0.95, and ours does not speculate: guesses flatter texts that repeat
themselves.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nextword.config import GPTConfig
from nextword.engine import is_built
from nextword.errors import ConfigError
from nextword.files import RawTensor, read_model, resolve_model
from nextword.files.precision import cast_matrices, computable
from nextword.generation import Backend
from nextword.loading import DEFAULT_MODEL
from nextword.measuring.peers import Engine, LlamaCpp, NativeEngine, Transformers
from nextword.settings import Activations, CacheFormat, Precision

SHORT_PROMPT = 16
STREAMS = 8


@dataclass
class Speed:
    """What was measured of one engine; medians."""

    engine: str
    load_seconds: float
    first_token: list[float] = field(default_factory=list)
    """Seconds to read a short prompt and write one token."""
    prompt: list[float] = field(default_factory=list)
    """Tokens a second of a long prompt."""
    writing: list[float] = field(default_factory=list)
    """Tokens a second of a whole call, which reads a short prompt first."""

    def medians(self) -> dict[str, float]:
        """Name -> figure."""
        names = ("first_token", "prompt", "writing")
        return {"load_seconds": self.load_seconds, **{name: statistics.median(getattr(self, name)) for name in names}}


@dataclass
class Bench:
    """Everything that `nextword bench` shows."""

    threads: int
    kernels: str
    prompt_tokens: int
    written_tokens: int
    weight_bytes: int
    """That are read for every token."""
    prompt_operations: float
    """float32 operations for one token of the long prompt."""
    read_speed: float
    """Bytes a second at which this machine reads as many bytes as the weights have."""
    multiply_speed: float
    """float32 operations a second at most."""
    streams: dict[int, float]
    """Sequences at once -> tokens a second of all together."""
    speeds: list[Speed]
    left_out: list[str]

    @property
    def memory_share(self) -> float:
        """How much of the memory's speed writing reaches."""
        return self.speeds[0].medians()["writing"] * self.weight_bytes / self.read_speed

    @property
    def arithmetic_share(self) -> float:
        """How much of the arithmetic peak reading a long prompt reaches."""
        return self.speeds[0].medians()["prompt"] * self.prompt_operations / self.multiply_speed

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shares = {"memory_share": self.memory_share, "arithmetic_share": self.arithmetic_share}
        return {**asdict(self), **shares, "medians": {speed.engine: speed.medians() for speed in self.speeds}}


def bench(
    source: str | Path | None,
    *,
    rounds: int = 5,
    count: int = 64,
    prompt: int = 512,
    threads: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    activations: Activations | None = None,
    cache: CacheFormat | None = None,
    peers: bool = True,
    watch: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Measures a model on the native engine, and on transformers and llama.cpp where they are installed.

    Args:
        source: As `nextword.load` takes it.
        rounds: How often every engine has its turn.
        count: Tokens to write.
        prompt: Tokens of the long prompt; no more than the context has room for.
        threads: Of every engine; None is the performance cores.
        device: `auto` or `cpu`: where the native engine runs.
        precision: As `nextword.load` takes it; other engines take the weights as the file has them, or no part.
        activations: As `nextword.load` takes it.
        cache: As `nextword.load` takes it.
        peers: Whether other engines are measured too.
        watch: Is told what is being done.

    Raises:
        ModelFileError: The model cannot be read.
        ConfigError: The native backend was not built, or a number is out of range.
    """
    if not is_built():
        raise ConfigError("bench measures the native backend, which was not built", hint="install with a C++ compiler")
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"device is {device}, bench measures the native backend, which runs on the CPU", hint="leave out device=..."
        )
    if min(rounds, count, prompt) < 1:
        raise ConfigError("rounds, tokens and prompt must be 1 or more")
    from nextword.engine.limits import multiply_speed, read_speed
    from nextword.engine.weights import FORMATS

    path = resolve_model(DEFAULT_MODEL if source is None else source)
    watch("the native engine")
    ours = _load_timed(lambda: NativeEngine(path, threads, precision, activations, cache))
    lm, config = ours.engine.lm, ours.engine.lm.config
    backend: Any = lm.backend
    count = max(1, min(count, config.context_length - SHORT_PROMPT))
    prompt = min(prompt, config.context_length)
    bundle = read_model(path)
    tensors = cast_matrices(bundle.tensors, precision)
    rounded = any(tensors[name].dtype != tensor.dtype for name, tensor in bundle.tensors.items())
    with ExitStack() as stack:
        engines, left_out = [ours], list[str]()
        for make in (Transformers, LlamaCpp) if peers else ():
            watch(make.label)
            reason = f"has the file's weights, not those in {precision}" if rounded else make.unavailable_reason(bundle)
            if reason:
                left_out.append(f"{make.label}: {reason}")
            else:
                engines.append(_load_timed(partial(stack.enter_context, make.start(path, bundle, backend.threads))))
        speeds = [Speed(timed.engine.name, timed.seconds) for timed in engines]
        rng = np.random.default_rng(0)
        for round_ in range(rounds + 1):
            watch(f"round {round_} of {rounds}" if round_ else "warming up")
            ids = rng.integers(lm.tokenizer.vocab_size, size=max(prompt, SHORT_PROMPT)).tolist()
            for timed, speed in zip(engines, speeds, strict=True):
                found = _benchmark_round(timed.engine, ids, prompt, count)
                if round_:
                    for name, value in found.items():
                        getattr(speed, name).append(value)
    watch("several sequences at once")
    streams = {n: batched_decode_speed(backend, n, count) for n in (1, STREAMS)}
    watch("what the machine can do")
    weight_bytes = bytes_per_token(config, computable(tensors, FORMATS))
    operations = flops_per_token(config, prompt)
    threads, kernels = backend.threads, backend.kernels
    return Bench(
        threads,
        kernels,
        prompt,
        count,
        weight_bytes,
        operations,
        peak(partial(read_speed, threads, weight_bytes, kernels), [rate * weight_bytes for rate in speeds[0].writing]),
        peak(partial(multiply_speed, threads, kernels), [rate * operations for rate in speeds[0].prompt]),
        streams,
        speeds,
        left_out,
    )


def peak(measure: Callable[[], float], reached: Sequence[float]) -> float:
    """What the machine can do: the best of three tries, and no less than what a model was seen to reach."""
    return max([*(measure() for _ in range(3)), *reached])


def bytes_per_token(config: GPTConfig, tensors: Mapping[str, RawTensor]) -> int:
    """Bytes of the weights that one token's pass reads: all but the rows of the embeddings that it does not look up."""
    looked_up = {"position_encoding.weight"} | (set() if config.tie_embeddings else {"token_embedding.weight"})
    return sum(len(tensor.data) for name, tensor in tensors.items() if name not in looked_up)


def flops_per_token(config: GPTConfig, tokens: int) -> float:
    """float32 operations for one token of a prompt: two a weight, and attention over half of it on average.

    The head runs behind the last token only.
    """
    outside = ("token_embedding", "position_encoding", "output_layer")
    shapes = config.parameter_shapes().items()
    inner = sum(math.prod(shape) for name, shape in shapes if not name.startswith(outside) and len(shape) > 1)
    attention = 4 * config.num_layers * config.num_heads * config.head_dim * (tokens + 1) / 2
    head = 2 * config.vocab_size * config.d_model / tokens
    return 2 * inner + attention + head


def _benchmark_round(engine: Engine, ids: list[int], prompt: int, count: int) -> dict[str, float]:
    short = ids[:SHORT_PROMPT]
    first = seconds(lambda: engine.write(short, 1))
    reading = seconds(lambda: engine.read(ids[:prompt]))
    start = time.perf_counter()
    written = engine.write(short, count)
    return {"first_token": first, "prompt": prompt / reading, "writing": written / (time.perf_counter() - start)}


def batched_decode_speed(backend: Backend, streams: int, count: int) -> float:
    """Tokens a second of several sequences that are written side by side, the most probable token each."""
    caches = [backend.new_cache(SHORT_PROMPT + count) for _ in range(streams)]
    chunks = [[(7 * i + j) % backend.config.vocab_size for j in range(SHORT_PROMPT)] for i in range(streams)]
    rows = backend.forward(chunks, caches)
    start = time.perf_counter()
    for _ in range(count):
        rows = backend.forward([[int(row.argmax())] for row in rows], caches)
    return streams * count / (time.perf_counter() - start)


@dataclass
class _Timed:
    """An engine, and how long it took to start."""

    engine: Any
    seconds: float


def _load_timed(make: Callable[[], Any]) -> _Timed:
    start = time.perf_counter()
    engine = make()
    return _Timed(engine, time.perf_counter() - start)


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
