"""What TransformerLens computes: `python -m tests.transformer_lens.record` writes it into values.safetensors.

It needs an environment in which TransformerLens is installed; `make test-transformer-lens` makes one.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile

import numpy as np
import torch
from safetensors.numpy import save_file

from nextword import LanguageModel
from nextword.inspection.hook_names import hook_shapes
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from tests.transformer_lens.cases import RECORDED, RECORDED_CASES, Values, case_of


def their_values(model: GPTModel, ids: torch.Tensor) -> Values:
    """The values of a bridge in compatibility mode without processing, as far as we have a value of the same name."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model lies in a directory
    from transformer_lens import TransformerBridge

    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        LanguageModel.from_model(model, Tokenizer.characters("abcdefgh")).export(directory)
        bridge = TransformerBridge.boot_transformers(directory, device="cpu", dtype=torch.float32)
    bridge.enable_compatibility_mode(no_processing=True, disable_warnings=True)
    bridge.set_use_attn_result(True)
    with torch.inference_mode():
        logits, cache = bridge.eval().run_with_cache(ids)
    names = hook_shapes(model.config, 1)
    kept = {name: value.float().numpy() for name, value in cache.items() if name in names}
    return kept | {"logits": logits.float().numpy()}


def main() -> None:
    """Records every case."""
    tensors = {
        f"{case}/{name}": np.ascontiguousarray(value)
        for case in RECORDED_CASES
        for name, value in their_values(*case_of(case)).items()
    }
    save_file(tensors, RECORDED)


if __name__ == "__main__":
    main()
