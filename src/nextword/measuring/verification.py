"""Proof that a model file is computed as transformers and llama.cpp compute it: the same weights, number by number."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.engine import is_built
from nextword.errors import ConfigError, missing_extra
from nextword.files import Bundle, read_model
from nextword.files.gguf import write_gguf
from nextword.files.huggingface.families import misfit
from nextword.measuring.llama_cpp import LlamaCppLogits
from nextword.measuring.transformers_model import reference_model, reference_tokenize, silence_transformers
from nextword.measuring.verification_file import INT16, Comparison, Rounding, Verification
from nextword.model import TorchBackend

PROMPTS = {
    "English": "The quick brown fox jumps over the lazy dog because",
    "Korean": "목이 말라서 물을 마시려고 부엌에 갔는데",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "emoji": "I ❤️ 🐈 and 👨‍👩‍👧‍👦, naïve café 🇰🇷",
}
_LONG = 256
"""Tokens of the long prompt, which the four above make together, over and over."""


def verify(path: Path, watch: Callable[[str], None] = lambda _: None) -> Verification:
    """Runs a model here and in transformers, in float32 and float64, and in llama.cpp if llama-cpp-python is there.

    The native engine is held against transformers too, and what rounding the weights costs on it is measured.

    Args:
        path: A model directory or a .gguf file; transformers reads the same one.
        watch: Is told what is being done.

    Raises:
        ModelFileError: The model cannot be read.
        ConfigError: transformers is not installed, or has no such architecture; names the field.
    """
    if find_spec("transformers") is None:
        raise missing_extra("transformers", "verify", "verifying a model")
    if path.is_file() and find_spec("accelerate") is None:
        raise missing_extra("accelerate", "verify", "reading a .gguf file in transformers")
    bundle = read_model(path)
    if (field := misfit(bundle.config)) is not None:
        raise ConfigError(
            f"transformers has no architecture with GPTConfig.{field} = {getattr(bundle.config, field)!r}",
            hint="the project's own tests hold such models against an independent implementation in float64",
        )
    import transformers

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    prompts = _prompts(bundle)
    rows: list[Comparison] = []
    watch("transformers")
    with silence_transformers():
        try:
            their_ids, theirs = reference_tokenize(path), reference_model(path, bundle)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"transformers cannot read {path}: {' '.join(str(error).split())}",
                hint="hold its conversion against transformers: nextword convert, then verify the directory",
            ) from None
        rows += _against_transformers(bundle, prompts, theirs, their_ids, watch)
    left_out = ""
    if find_spec("llama_cpp") is not None:
        import llama_cpp

        watch("llama.cpp")
        try:
            rows += _against_llama_cpp(path, bundle, prompts, watch)
            versions["llama-cpp-python"] = llama_cpp.__version__
        except ConfigError as error:  # no file can be written that llama.cpp would open
            left_out = f"not held against llama.cpp: {error.message}"
    roundings: list[Rounding] = []
    bits = None
    if is_built():
        from nextword.measuring.bits import hash_bits
        from nextword.measuring.rounding import loaded_backend, rounding_losses

        roundings = rounding_losses(bundle, watch)
        watch("the hash of its bits")
        bits = hash_bits(
            loaded_backend(bundle.config, bundle.tensors), [ids for name, (_, ids) in prompts.items() if name != "long"]
        )
    return Verification(versions, tuple(rows), left_out, tuple(roundings), bits)


def _prompts(bundle: Bundle) -> dict[str, tuple[str, list[int]]]:
    """Name -> text and tokens. The long one, which is cut, has no text to be cut into tokens again."""
    context = bundle.config.context_length
    prompts = {name: (text, bundle.tokenizer.encode_start(text)[:context]) for name, text in PROMPTS.items()}
    together = [token for _, ids in prompts.values() for token in ids]
    length = min(_LONG, context)
    prompts["long"] = ("", (together * (1 + length // len(together)))[:length])
    return prompts


# -- transformers --------------------------------------------------------------------------------------------------


def _against_transformers(
    bundle: Bundle,
    prompts: dict[str, tuple[str, list[int]]],
    theirs: Any,
    their_ids: Callable[[str], list[int]],
    watch: Callable[[str], None],
) -> Iterator[Comparison]:
    """In float32, then in float64 (where transformers still computes norms and rotations in float32)."""
    ours = TorchBackend.from_stored(bundle.config, bundle.dequantized(), device="cpu").model
    engines: dict[str, Any] = {}
    if is_built():
        from nextword.measuring.rounding import exact_backend, loaded_backend

        engines["native"] = exact_backend(bundle)
        if any(tensor.is_quantized for tensor in bundle.tensors.values()):
            engines[INT16] = loaded_backend(bundle.config, bundle.tensors)
    natives: list[Comparison] = []
    for dtype in (torch.float32, torch.float64):
        theirs, ours = theirs.to(dtype).eval(), ours.to(dtype)
        for name, (text, ids) in prompts.items():
            watch(f"transformers: {name}, {str(dtype).removeprefix('torch.')}")
            ids_1T = torch.tensor([ids])
            residuals = _Residuals()
            with torch.inference_mode():
                logits_TV = ours(ids_1T, tap=residuals)[0].double().numpy()
                output = theirs(ids_1T, output_hidden_states=True, use_cache=False)
            pairs = list(zip(residuals.seen, output.hidden_states, strict=True))
            yield _compare(
                "transformers",
                str(dtype).removeprefix("torch."),
                name,
                ids,
                not text or their_ids(text)[: len(ids)] == ids,
                logits_TV,
                output.logits[0].double().numpy(),
                residual=tuple(float((mine.double() - other.double()).abs().max()) for mine, other in pairs),
                largest_residual=tuple(float(other.abs().max()) for _, other in pairs),
            )
            for label, engine in engines.items() if dtype == torch.float32 else ():
                [found_TV] = engine.forward([ids], [engine.new_cache(len(ids))], "all")
                found, wanted_TV = found_TV.astype(np.float64), output.logits[0].double().numpy()
                natives.append(_compare("transformers", label, name, ids, True, found, wanted_TV))
        yield from sorted(natives, key=lambda row: list(engines).index(row.precision))
        natives.clear()


class _Residuals:
    """A tap that keeps what transformers calls hidden states."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def wants(self, name: str) -> bool:
        return name.endswith("hook_resid_pre") or name == "ln_final.hook_out"

    def __call__(self, name: str, tensor: Tensor) -> Tensor:  # noqa: ARG002
        self.seen.append(tensor)
        return tensor


def _compare(
    against: str,
    precision: str,
    prompt: str,
    ids: Sequence[int],
    same_tokens: bool,
    ours_TV: NDArray[np.float64],
    theirs_TV: NDArray[np.float64],
    residual: tuple[float, ...] = (),
    largest_residual: tuple[float, ...] = (),
) -> Comparison:
    error_TV = np.abs(ours_TV - theirs_TV)
    return Comparison(
        against,
        precision,
        prompt,
        len(ids),
        same_tokens,
        residual,
        largest_residual,
        float(error_TV.max()),
        float(error_TV.mean()),
        float(np.abs(theirs_TV).max()),
        float((ours_TV.argmax(-1) == theirs_TV.argmax(-1)).mean()),
    )


# -- llama.cpp -----------------------------------------------------------------------------------------------------


def _against_llama_cpp(
    path: Path, bundle: Bundle, prompts: dict[str, tuple[str, list[int]]], watch: Callable[[str], None]
) -> Iterator[Comparison]:
    """The model as a float32 file; quantised files also as they are, where llama.cpp rounds activations to 8 bits."""
    backend = TorchBackend.from_stored(bundle.config, bundle.dequantized(), device="cpu")
    ours = {
        name: backend.forward([ids], [backend.new_cache(len(ids))], logits="all")[0].astype(np.float64)
        for name, (_, ids) in prompts.items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = Path(scratch) / "model.gguf"
        write_gguf(unpacked, bundle, "f32")
        files = {"float32": unpacked}
        if path.is_file() and any(tensor.is_quantized for tensor in bundle.tensors.values()):
            files["8-bit activations"] = path
        for precision, file in files.items():
            theirs = LlamaCppLogits(file, max(len(ids) for _, ids in prompts.values()))
            for name, (text, ids) in prompts.items():
                watch(f"llama.cpp: {name}, {precision}")
                same = not text or theirs.encode(text, bundle.tokenizer)[: len(ids)] == ids
                yield _compare("llama.cpp", precision, name, ids, same, ours[name], theirs.logits(ids))
