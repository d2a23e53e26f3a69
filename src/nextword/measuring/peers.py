"""Engines that run a model: ours, and those that people would pick instead, called alike so that they can be timed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from nextword.files import Bundle
from nextword.files.huggingface.families import misfit
from nextword.generation import Memory
from nextword.loading import load
from nextword.settings import Activations, CacheFormat, Precision


class Engine(Protocol):
    """Something that runs a model."""

    name: str

    def read(self, ids: Sequence[int]) -> None:
        """Runs the model over a prompt, as far as the logits behind it."""
        ...

    def write(self, ids: Sequence[int], count: int) -> int:
        """Reads a prompt and writes on from it; the number of tokens written."""
        ...


class NativeEngine:
    """The native backend, as `lm.generate` drives it."""

    name = "nextword"

    def __init__(
        self,
        path: Path,
        threads: int | None,
        precision: Precision = "auto",
        activations: Activations | None = None,
        cache: CacheFormat | None = None,
    ) -> None:
        self.lm = load(
            path, backend="native", threads=threads, precision=precision, activations=activations, cache=cache
        )

    def read(self, ids: Sequence[int]) -> None:
        """Into a fresh cache."""
        self.lm.backend.forward([ids], [self.lm.backend.new_cache(len(ids))])

    def write(self, ids: Sequence[int], count: int) -> int:
        """With nothing remembered."""
        generation = self.lm.generate(
            ids, count, temperature=0.8, top_p=0.95, seed=0, speculative=False, memory=Memory()
        )
        return len(generation.token_ids) + (generation.finish_reason == "stop")  # the end token was drawn as well


class Transformers:
    """transformers' generate, in float32."""

    label = name = "transformers"

    @staticmethod
    def unavailable_reason(bundle: Bundle) -> str:
        """Why it cannot run; empty if it can."""
        if find_spec("transformers") is None or find_spec("torch") is None:
            return "not installed"
        field_ = misfit(bundle.config)
        return f"has no architecture with GPTConfig.{field_}" if field_ else ""

    @classmethod
    @contextmanager
    def start(cls, path: Path, bundle: Bundle, threads: int) -> Iterator[Transformers]:
        """With the model from a directory that it reads; torch's threads are afterwards as they were."""
        import torch

        from nextword.files.bundle import write_bundle

        with tempfile.TemporaryDirectory() as scratch:
            directory = path
            if path.is_file():
                directory = Path(scratch) / "model"
                write_bundle(directory, bundle)
            before = torch.get_num_threads()
            try:
                yield cls(directory, threads)
            finally:
                torch.set_num_threads(before)

    def __init__(self, directory: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from nextword.measuring.transformers_model import silence_transformers

        torch.set_num_threads(threads)
        options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
        self._torch = torch
        with silence_transformers():
            self._model: Any = AutoModelForCausalLM.from_pretrained(directory, **options)  # in evaluation mode

    def read(self, ids: Sequence[int]) -> None:
        """The last row of logits only."""
        with self._torch.inference_mode():
            self._model(self._torch.tensor([list(ids)]), logits_to_keep=1)

    def write(self, ids: Sequence[int], count: int) -> int:
        """Also past an end token."""
        sampling = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "top_k": 0}
        input_ids = self._torch.tensor([list(ids)])
        mask = self._torch.ones_like(input_ids)
        with self._torch.inference_mode():
            found = self._model.generate(
                input_ids, attention_mask=mask, max_new_tokens=count, min_new_tokens=count, pad_token_id=0, **sampling
            )
        return int(found.shape[1]) - len(ids)


class LlamaCpp:
    """llama.cpp through llama-cpp-python: a GGUF file itself; of a directory one in float16 or float32."""

    label = name = "llama.cpp"

    @staticmethod
    def unavailable_reason(bundle: Bundle) -> str:  # noqa: ARG004
        """Why it cannot run; empty if it can."""
        return "" if find_spec("llama_cpp") else "llama-cpp-python is not installed"

    @classmethod
    @contextmanager
    def start(cls, path: Path, bundle: Bundle, threads: int) -> Iterator[LlamaCpp]:
        """With the model from a GGUF file."""
        from nextword.files.gguf import write_gguf

        with tempfile.TemporaryDirectory() as scratch:
            file = path
            if path.is_dir():
                kinds = {tensor.dtype for tensor in bundle.tensors.values() if len(tensor.shape) > 1}
                file = Path(scratch) / "model.gguf"
                write_gguf(file, bundle, "f16" if kinds == {"F16"} else "f32")
            yield cls(file, bundle.config.context_length, threads)

    def __init__(self, file: Path, context: int, threads: int) -> None:
        import llama_cpp

        context = min(context, 2048)
        options: dict[str, Any] = {
            "n_threads": threads,
            "n_threads_batch": threads,
            "n_batch": min(512, context),
            "verbose": False,
        }
        self._llama: Any = llama_cpp.Llama(str(file), n_ctx=context, **options)

    def read(self, ids: Sequence[int]) -> None:
        """Into an empty cache."""
        self._llama.reset()
        self._llama.eval(list(ids))

    def write(self, ids: Sequence[int], count: int) -> int:
        """Also past an end token."""
        self._llama.reset()
        tokens = self._llama.generate(list(ids), temp=0.8, top_p=0.95, top_k=0, reset=True)
        for _ in range(count):
            next(tokens)
        return count
