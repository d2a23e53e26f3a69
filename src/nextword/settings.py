"""The settings of nextword: their names, what they mean, their defaults and ranges, each said once.

The docstring below a field is what the command line's help and the reference say of it, so it stands in words that both
Python and the shell have. The hints are types, not texts (no `from __future__ import annotations`): classes of the
command line inherit the fields, and Cyclopts reads a hint where the class stands.
"""

import inspect
import math
from collections.abc import Callable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar, cast

from nextword.arguments import Device, check_fields, type_hints
from nextword.config import GPTConfig
from nextword.deprecated import warn_deprecated
from nextword.errors import ConfigError

Call = TypeVar("Call", bound=Callable[..., Any])

OLD_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "q8": "q8_0", "q4": "q4_1"}
"""Words of before, and those of now."""


def current_precision(given: object) -> object:
    """A precision as it is called now: in lower case, and in place of an old word, with a warning, the new one."""
    if not isinstance(given, str):
        return given
    word = given.lower()
    if word in OLD_PRECISIONS:
        warn_deprecated(f"precision {given!r}", repr(OLD_PRECISIONS[word]))
    return OLD_PRECISIONS.get(word, word)


Precision = Annotated[Literal["auto", "float32", "float16", "bfloat16", "q8_0", "q4_1"], current_precision]
"""What weights are held as: floats, as torch calls them, or ggml's blocks; auto leaves them as they are."""
Backends = Literal["auto", "native", "torch"]
Overflow = Literal["slide", "stop"]
Strategy = Literal["ddp", "fsdp"]
OptimizerName = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that are given by name, held against the types of their fields.

    `**settings` hands them on: `nextword.train("my.txt", "my-model", **settings)`.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    def keys(self) -> KeysView[str]:
        """The names, in the order in which the fields stand: what `**` and `dict` ask for, with `settings[name]`."""
        return vars(self).keys()

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]


def takes_settings(kind: type[Settings]) -> Callable[[Call], Call]:
    """Spells `**settings` out in a call's signature, for people, editors and `checked`, which stands above it."""

    def spelled_out(call: Call) -> Call:
        signature, hints = inspect.signature(call), type_hints(kind)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        defaults = dict(kind())
        spelled = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=defaults[field.name], annotation=hints[field.name]
            )
            for field in fields(kind)
        ]
        cast(Any, call).__signature__ = signature.replace(parameters=[*own, *spelled])
        return call

    return spelled_out


@dataclass(frozen=True)
class SamplingSettings(Settings):
    """How the next token is chosen. The defaults leave the model's own distribution as it is.

    Raises:
        ConfigError: A value is out of range; the message names it.
    """

    temperature: float = 1.0
    """Below 1 sharpens, above 1 flattens; 0 always takes the most probable token."""
    top_k: int | None = None
    """Only the k most probable tokens."""
    top_p: float = 1.0
    """Only the most probable tokens that together reach this probability."""
    min_p: float = 0.0
    """Only tokens at least this share as probable as the best one."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that are already in the text less probable."""
    presence_penalty: float = 0.0
    """Taken from the logits of tokens that were written before."""
    frequency_penalty: float = 0.0
    """Taken from the logits of tokens once for each time that they were written before."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id -> what is added to its logit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = {
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_k": (self.top_k is None or self.top_k >= 1, "at least 1"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
        }
        for name, (holds, must_be) in checks.items():
            if not holds:
                raise ConfigError(f"{name} is {self[name]}, it must be {must_be}")


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(SamplingSettings):
    """What `generate`, `stream`, `chat` and `stream_chat` take besides text and length.

    Raises:
        ConfigError: A setting is of another type or out of range.
    """

    temperature: float = 0.8
    """Below 1 sharpens, above 1 flattens; 0 always takes the most probable token."""
    top_p: float = 0.95
    """Only the most probable tokens that together reach this probability."""
    seed: int | None = None
    """The same seed writes the same text; different every time if left out."""
    stop: str | Sequence[str] = ()
    """Strings that end the text; they are not part of it."""
    logprobs: int = 0
    """Alternatives to record a token; 0 records nothing."""
    overflow: Overflow = "slide"
    """When the context is full: slide goes on with its newest half, stop ends."""
    speculative: bool = True
    """Whether the native backend checks several tokens in one pass where the text repeats itself; the text stays the
    same."""
    score_prompt: bool = False
    """Record the prompt's tokens too, as those that are written."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("logprobs", "seed"):
            if self[name] is not None and self[name] < 0:
                raise ConfigError(f"{name} is {self[name]}, it must be 0 or more")


class SamplingKeywords(TypedDict, total=False):
    """`SamplingSettings` as `**settings`, for editors and type checkers."""

    temperature: float
    top_k: int | None
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]


class GenerationKeywords(SamplingKeywords, total=False):
    """`GenerationSettings` as `**settings`."""

    seed: int | None
    stop: str | Sequence[str]
    logprobs: int
    overflow: Overflow
    speculative: bool
    score_prompt: bool


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """What a run of training is asked to be. What is left at None is derived from the text, the time and the machine.

    Raises:
        ConfigError: A setting is of another type or out of range, or contradicts another one.
    """

    minutes: float | None = None
    """Time for everything, from the start to the model on disk (2 if no steps are given)."""
    steps: int | None = None
    """Optimizer steps, where the clock should not decide; without minutes nothing depends on the machine's speed."""
    preset: str | None = None
    """tiny, small, medium or large; chosen by text, time and machine if left out."""
    from_model: str | Path | None = None
    """Start from this model, with its tokenizer, instead of from random weights."""
    lora_rank: int | None = None
    """Learn adapters of this rank beside the weights of the model to start from, which stand still; they also go to
    OUT.adapter, for peft."""
    validation: float | str | Path | None = 0.1
    """What to judge by: a share of the text (500 kB at most; whole documents, of long ones their end), a file or
    directory, or none."""
    encoding: str | None = None
    """Of the files, if it is not UTF-8; for example cp949."""
    text_field: str | None = None
    """The field of .jsonl, .csv and .parquet rows that holds the text; if left out text, content or the only one with
    words."""
    exclude: str | Sequence[str] = ()
    """Files, directories or patterns (drafts, "*.csv") that are not read."""
    compose: bool = False
    """Compose Hangul that is spelled as letters, as macOS writes it."""
    vocab_size: int | None = None
    """Tokens in the vocabulary."""
    context_length: int | None = None
    """Tokens the model can look at."""
    batch_size: int | None = None
    """Windows of text a step, over all processes."""
    accumulation: int | None = None
    """Parts in which a process computes its share of a batch, one after the other, to save memory."""
    learning_rate: float | None = None
    """Its peak."""
    weight_decay: float | None = None
    """How strongly matrices shrink, as AdamW counts it."""
    dropout: float | None = None
    """Share of activations dropped while training."""
    bpe_dropout: float | None = None
    """Share of the tokenizer's merges left out while training, others for each pass over the text."""
    precision: str | None = None
    """float32, or bfloat16 for the matrix products (faster where the processor has it)."""
    strategy: str | None = None
    """With several processes, ddp (each holds all weights) or fsdp (each holds a shard)."""
    activation_checkpointing: bool | None = None
    """Compute activations twice instead of keeping them: less memory, more time."""
    compile: bool | None = None
    """Let torch.compile make faster kernels: half a minute at the start; needs a C++ compiler."""
    evaluate_every: int | None = None
    """Steps between two looks at the held-out text; by the time that they take if left out."""
    seed: int = 0
    """Decides first weights and order of the text."""
    device: Device = "auto"
    """auto, cpu, cuda or mps."""
    checkpoint_seconds: float = 60.0
    """How often the state of the run is saved, in OUT.checkpoint."""
    snapshots: bool = False
    """Keep the model of steps 0, 1, 2, 4, 8 and so on, and the newest, in OUT.steps: model directories, which stay, and
    which the page shows one after the other."""
    log: str | None = None
    """tensorboard writes event files to OUT.logs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.from_model is not None:
            object.__setattr__(self, "from_model", str(self.from_model))
        exclude = (self.exclude,) if isinstance(self.exclude, str) else tuple(self.exclude)
        object.__setattr__(self, "exclude", exclude)
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(f"checkpoint_seconds is {self.checkpoint_seconds}, it must be 0 or more")
        if self.log not in (None, "tensorboard"):
            raise ConfigError(f"log is {self.log!r}, it must be tensorboard")
        counts = ("steps", "lora_rank", "vocab_size", "context_length", "batch_size", "accumulation", "evaluate_every")
        for name in counts:
            value = self[name]
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, it must be at least 1")
            if value is not None and value > _MAX.get(name, value):
                raise ConfigError(f"{name} is {value}, it must be at most {_MAX[name]:,}")
        for name in ("minutes", "learning_rate"):
            if self[name] is not None and not 0 < self[name] < math.inf:
                raise ConfigError(f"{name} is {self[name]}, it must be above 0 and finite")
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay is {self.weight_decay}, it must be 0 or more and finite")
        for name in ("dropout", "bpe_dropout"):
            if self[name] is not None and not 0 <= self[name] < 1:
                raise ConfigError(f"{name} is {self[name]}, it must be at least 0 and below 1")
        if self.precision not in (None, "float32", "bfloat16"):
            raise ConfigError(f"precision is {self.precision!r}, it must be float32 or bfloat16")
        if self.strategy not in (None, "ddp", "fsdp"):
            raise ConfigError(f"strategy is {self.strategy!r}, it must be ddp or fsdp")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}, it must be 0 or more and below 2**63")
        if self.preset is not None:
            GPTConfig.preset(self.preset, 1, 1)  # refuses one that is not there
        if self.lora_rank is not None and self.from_model is None:
            raise ConfigError("LoRA adapts a model that is there", hint="name it with from_model=...")
        for name in ("preset", "vocab_size"):
            if self.from_model is not None and self[name] is not None:
                raise ConfigError(
                    f"{name} cannot be chosen with from_model: the model has its own", hint=f"leave out {name}=..."
                )

    @property
    def time_limit(self) -> float | None:
        """Minutes that the run may take; None is no limit."""
        return 2.0 if self.minutes is None and self.steps is None else self.minutes


_MAX = {"vocab_size": 1 << 20, "batch_size": 1 << 20, "accumulation": 1 << 20, "lora_rank": 1 << 16}
"""Far beyond what is of use: one digit too many is told at once, and not by the machine that runs out of memory."""


class TrainingKeywords(TypedDict, total=False):
    """`TrainingSettings` as `**settings`, for editors and type checkers."""

    minutes: float | None
    steps: int | None
    preset: str | None
    from_model: str | Path | None
    lora_rank: int | None
    validation: float | str | Path | None
    encoding: str | None
    text_field: str | None
    exclude: str | Sequence[str]
    compose: bool
    vocab_size: int | None
    context_length: int | None
    batch_size: int | None
    accumulation: int | None
    learning_rate: float | None
    weight_decay: float | None
    dropout: float | None
    bpe_dropout: float | None
    precision: str | None
    strategy: str | None
    activation_checkpointing: bool | None
    compile: bool | None
    evaluate_every: int | None
    seed: int
    device: Device
    checkpoint_seconds: float
    snapshots: bool
    log: str | None


@dataclass(frozen=True, kw_only=True)
class Placement(Settings):
    """Where a model runs, and what its weights are held as."""

    device: Device = "auto"
    """auto, cpu, cuda or mps; the latter two with torch."""
    precision: Precision = "auto"
    """What weights are rounded to; auto leaves them as the file has them, but rounds to q8_0 what is not computed with
    as it lies (the K-quants of GGUF files)."""


@dataclass(frozen=True, kw_only=True)
class LoadingSettings(Placement):
    """How a model is loaded.

    Raises:
        ConfigError: A setting is of another type, or there is no such precision.
    """

    backend: Backends = "auto"
    """native (fast, on the CPU, without torch), torch, or auto: native where it was built and neither another device
    nor a dtype is asked for."""
    dtype: str | None = None
    """What torch computes in: float32 if left out, float64, bfloat16 or float16."""
    threads: int | None = None
    """Of the native backend; one for each physical core, or NEXTWORD_THREADS, if left out."""
    revision: str | None = None
    """A branch, tag or commit of the hub."""


class LoadingKeywords(TypedDict, total=False):
    """`LoadingSettings` as `**settings`, for editors and type checkers."""

    device: Device
    precision: Precision
    backend: Backends
    dtype: str | None
    threads: int | None
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Settings):
    """How models are served over HTTP.

    Raises:
        ConfigError: A setting is of another type or out of range.
    """

    host: str = "127.0.0.1"
    """Where to listen: this machine only, unless told otherwise."""
    port: int = 8000
    """0 takes any that is free."""
    allow_origin: tuple[str, ...] = ()
    """A web page's origin (https://example.org) that may ask from a browser; may be given several times."""
    allow_host: tuple[str, ...] = ()
    """A name besides its own that it answers to, such as a proxy's; may be given several times. For others, behind a
    key, it answers to every name."""
    sampling: Literal["openai", "recommended"] = "openai"
    """How tokens are chosen where a request does not say: OpenAI's way, or as the model's makers recommend."""
    temperature: float | None = None
    """Where a request gives none; OpenAI's default is 1."""
    top_k: int | None = None
    """Where a request gives none: only the k most probable tokens."""
    top_p: float | None = None
    """Where a request gives none: only the most probable tokens that together reach this probability."""
    min_p: float | None = None
    """Where a request gives none: only tokens at least this share as probable as the best one."""
    repetition_penalty: float | None = None
    """Where a request gives none: above 1 makes tokens that are already in the text less probable."""
    presence_penalty: float | None = None
    """Where a request gives none: taken from the logits of tokens that were written before."""
    frequency_penalty: float | None = None
    """Where a request gives none: taken from them once for each time that they were written."""
    context: int | None = None
    """Tokens of a text at most, with what is written; what the model can look at, if left out."""
    slots: int = 16
    """Texts of a model that are written at once."""
    queue: int = 256
    """Texts that may wait; more are told to come back (429)."""
    request_seconds: float = 600.0
    """How long a request may take."""
    drain_seconds: float = 3.0
    """Time for texts that are being written when the server is told to end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}, it must be between 0 and 65,535")
        for name in self.allow_host:
            if not name or not set(name).isdisjoint("/:@ "):
                raise ConfigError(
                    f"{name!r} is no name of a host", hint="give the name alone, without https:// and port"
                )
        if self.context is not None and self.context < 2:
            raise ConfigError(f"context is {self.context}, it must be 2 or more: a token to read and one to write")
        for name in ("slots", "queue"):
            if self[name] < 1:
                raise ConfigError(f"{name} is {self[name]}, it must be at least 1")
        for name in ("request_seconds", "drain_seconds"):
            if not self[name] >= 0:
                raise ConfigError(f"{name} is {self[name]}, it must be 0 or more")
        SamplingSettings(**self.sampling_fields({}, {}))  # refuses what is out of range

    def sampling_fields(self, recommended: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, Any]:
        """Which of SamplingSettings hold: a request's own, then the server's, then what a model's makers recommend."""
        makers = recommended if self.sampling == "recommended" else {}
        own = {name: self[name] for name in SAMPLING_FIELDS if self[name] is not None}
        found = {**{name: makers[name] for name in SAMPLING_FIELDS if name in makers}, **own, **requested}
        if found.get("top_k") in (0, -1):  # many files' and clients' word for all
            del found["top_k"]
        return found


SAMPLING_FIELDS = tuple(one.name for one in fields(SamplingSettings) if one.name != "logit_bias")
"""What the server or a model's makers may say of sampling, besides a request."""
