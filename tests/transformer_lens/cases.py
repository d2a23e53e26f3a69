"""The models and texts on which TransformerLens's values are recorded, and ours under the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.engine.backend import NativeBackend
from nextword.files.tensors import RawTensor
from nextword.inspection.capture import capture
from nextword.inspection.hook_names import hook_shapes
from nextword.inspection.hooks import run_with_cache
from nextword.model import GPTModel
from nextword.model.backend import stored_tensors
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import torch_model

RECORDED = Path(__file__).parent / "values.safetensors"
VERSION = "4.3.0"
"""Of TransformerLens; the Makefile installs it."""
RECORDED_CASES = ("gpt2", "llama", "qwen3")
LIVE_CASES = (*RECORDED_CASES, "qwen2", "llama, every bias", "mistral, sliding", "qwen3, untied")
TOKENS = 4

Values = dict[str, NDArray[np.float32]]


def case_of(name: str) -> tuple[GPTModel, torch.Tensor]:
    """A small model with the oracle's random weights, and token ids [1, T]."""
    config = CASES[name]
    ids = torch.from_numpy(random_tokens(config, batch_size=1)[0])[:, :TOKENS]
    return torch_model(config, random_weights(config), torch.float32).requires_grad_(False), ids


def our_values(model: GPTModel, ids: torch.Tensor) -> Values:
    """Everything that can be kept, each head's result too, and the logits."""
    names = [name for name in hook_shapes(model.config, 1) if name != "logits"]
    logits, cache = run_with_cache(model, ids, names_filter=names)
    return {name: value.numpy() for name, value in cache.items()} | {"logits": logits.numpy()}


def native_values(model: GPTModel, ids: torch.Tensor) -> Values:
    """The same of the native backend, with a batch axis."""
    stored = stored_tensors(model)
    tensors = {name: RawTensor(name, kind, shape, memoryview(data)) for name, (kind, shape, data) in stored.items()}
    trace = capture(
        NativeBackend(model.config, tensors), None, "", ids[0].tolist(), names=list(hook_shapes(model.config, 1))
    )
    return {str(name): trace[name][None] for name in trace}


def compare(ours: Values, theirs: Values) -> None:
    """Every common name has the same shape and the same numbers; -inf stands in the same places."""
    common = ours.keys() & theirs.keys()
    assert {name.rsplit("hook_", 1)[-1] for name in common} >= KINDS
    for name in common:
        assert ours[name].shape == theirs[name].shape, name
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=3e-5, err_msg=name)


KINDS = {
    *("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "logits"),
    *("scale", "normalized", "out"),
    *("q", "k", "v", "attn_scores", "pattern", "z", "result"),
    *("pre", "post"),
}
"""What must be among the common names in every family; rotary ones add rot_q and rot_k, gated ones pre_linear."""
