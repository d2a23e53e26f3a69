"""Running a torch model as the oracle is run, and measuring how far two passes lie apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nextword.config import GPTConfig
from nextword.files.huggingface.config import config_to_json
from nextword.files.huggingface.tensors import tensors_from_family, tensors_to_family
from nextword.files.tensors import RawTensor
from nextword.model import GPTModel
from tests.oracle.numpy_gpt import Array, Ids, Pass


@dataclass(frozen=True)
class Errors:
    """Largest absolute differences of two passes."""

    logits: float
    loss: float
    gradients: float
    worst: str
    """The weight whose gradient differs most."""


def torch_model(config: GPTConfig, weights: Mapping[str, Array], dtype: torch.dtype = torch.float64) -> GPTModel:
    """The package's model with the oracle's weights, in evaluation mode."""
    model = GPTModel.from_config(config, initialized=False).to(dtype)
    model.load_weights({name: torch.from_numpy(weight) for name, weight in weights.items()})
    return model.eval()


def torch_pass(logits_of: Callable[[Tensor], Tensor], parameters: Mapping[str, Tensor], ids: Ids, targets: Ids) -> Pass:
    """Logits, loss and gradients of any torch model, as the oracle gives them; every parameter must get a gradient."""
    for parameter in parameters.values():
        parameter.grad = None
    logits = logits_of(torch.from_numpy(ids))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {}
    for name, parameter in parameters.items():
        assert parameter.grad is not None, f"{name} got no gradient"
        gradients[name] = parameter.grad.double().numpy().copy()
    return Pass(logits.detach().double().numpy(), loss.item(), gradients)


def gpt_pass(model: GPTModel, ids: Ids, targets: Ids) -> Pass:
    """The package's model, run as the oracle is."""
    return torch_pass(model, dict(model.named_parameters()), ids, targets)


def errors(found: Pass, expected: Pass) -> Errors:
    """How far `found` lies from `expected`. Both must have gradients for exactly the same weights."""
    assert found.gradients.keys() == expected.gradients.keys()
    by_name = {name: distance(found.gradients[name], gradient) for name, gradient in expected.gradients.items()}
    worst = max(by_name, key=by_name.__getitem__)
    return Errors(distance(found.logits, expected.logits), abs(found.loss - expected.loss), by_name[worst], worst)


def distance(found: Array, expected: Array) -> float:
    """Largest absolute difference; shapes must be equal and nothing NaN."""
    assert found.shape == expected.shape, f"shapes differ: {found.shape} and {expected.shape}"
    largest = float(np.abs(found - expected).max())
    assert not np.isnan(largest), "NaN"
    return largest


def gap(found: Tensor, expected: Tensor) -> float:
    """`distance` of two tensors."""
    return distance(found.detach().double().numpy(), expected.detach().double().numpy())


# -- transformers ----------------------------------------------------------------------------------------------------


def transformers_model(config: GPTConfig, weights: Mapping[str, Array], attention: str = "eager") -> nn.Module:
    """The same model in transformers, float32.

    Config and weights go through the package's own writer of Hugging Face names, so that is held to account too.
    """
    import transformers

    values = config_to_json(config, dtype="float32", bos_id=None, eos_id=None)
    kind = transformers.AutoConfig.for_model(**values)
    kind._attn_implementation = attention
    twin: nn.Module = getattr(transformers, values["architectures"][0])(kind)
    raw = {name: _raw(name, weight.astype(np.float32)) for name, weight in weights.items()}
    tensors = {name: torch.from_numpy(tensor.bits().copy()) for name, tensor in tensors_to_family(config, raw).items()}
    missing, unexpected = twin.load_state_dict(tensors, strict=False)
    assert unexpected == []
    assert missing == (["lm_head.weight"] if config.tie_embeddings else [])
    return twin.eval()


def transformers_pass(twin: nn.Module, config: GPTConfig, ids: Ids, targets: Ids) -> Pass:
    """The twin's pass, its gradients under this package's names."""
    found = torch_pass(
        lambda ids_BT: twin(input_ids=ids_BT, use_cache=False).logits, dict(twin.named_parameters()), ids, targets
    )
    family = config_to_json(config, dtype="float32", bos_id=None, eos_id=None)["model_type"]
    raw = {name: _raw(name, gradient.astype(np.float32)) for name, gradient in found.gradients.items()}
    gradients = {
        name: tensor.values().astype(np.float64) for name, tensor in tensors_from_family(config, family, raw).items()
    }
    return Pass(found.logits, found.loss, gradients)


def _raw(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> RawTensor:
    return RawTensor.from_bits(name, "F32", values)
