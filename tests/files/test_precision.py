"""Which element type every weight gets, and that a model that is loaded so is the one that is exported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import gguf
import pytest

from nextword import GPTConfig
from nextword.files.gguf import read_gguf, write_gguf
from nextword.files.precision import PRECISIONS, cast_matrices, mixed_types
from nextword.files.quantization import BLOCKS
from nextword.settings import Precision
from tests.files.making import BPE, CONFIGS, random_bundle

MIXES = [precision for precision, kind in PRECISIONS.items() if kind in BLOCKS]
FINER_OF_30 = {0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29}
WIDE = GPTConfig.llama(BPE.vocab_size, 64, d_model=256, num_heads=4, num_layers=2, num_kv_heads=2, d_ff=328)
TIED = GPTConfig.qwen3(
    BPE.vocab_size, 64, d_model=256, num_heads=4, head_dim=64, num_layers=2, d_ff=512, tie_embeddings=True
)
GPT2 = GPTConfig.gpt2(BPE.vocab_size, 64, d_model=256, num_heads=4, num_layers=2)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [  # what llama.cpp makes of this model, counted in its files
        ("q4_k_m", {"Q5_0": 166, "Q4_K": 16, "Q6_K": 14, "Q8_0": 15, "F32": 61}),
        ("q5_k_m", {"Q5_1": 166, "Q5_K": 16, "Q6_K": 14, "Q8_0": 15, "F32": 61}),
        ("q6_k", {"Q8_0": 181, "Q6_K": 30, "F32": 61}),
        ("q5_0", {"Q5_0": 210, "Q8_0": 1, "F32": 61}),
        ("q4_1", {"Q4_1": 210, "Q8_0": 1, "F32": 61}),
        ("q8_0", {"Q8_0": 211, "F32": 61}),
        ("bfloat16", {"BF16": 211, "F32": 61}),
    ],
)
def test_the_mix_of_smollm2_is_that_of_llama_cpp(precision: Precision, expected: dict[str, int]) -> None:
    """Rows of 576, which are no whole super-blocks, but for those of 1,536 where the feed-forward network ends."""
    config = GPTConfig.llama(
        49152, 64, d_model=576, num_heads=9, num_kv_heads=3, num_layers=30, d_ff=1536, tie_embeddings=True
    )
    kinds = mixed_types(config.parameter_shapes(), precision)
    assert Counter(kinds.values()) == expected
    if precision == "q4_k_m":
        found = {int(name.split(".")[1]) for name, kind in kinds.items() if kind == "Q6_K" and "ffn.down" in name}
        assert found == FINER_OF_30
        assert {int(name.split(".")[1]) for name, kind in kinds.items() if kind == "Q8_0" and "v_proj" in name} == found
        assert kinds["token_embedding.weight"] == "Q8_0"


def test_a_head_of_its_own_is_finer_than_the_embedding() -> None:
    kinds = mixed_types(WIDE.parameter_shapes(), "q4_0")
    assert (kinds["output_layer.weight"], kinds["token_embedding.weight"]) == ("Q6_K", "Q4_0")
    assert kinds["blocks.0.ffn.down.weight"] == "F16"  # rows of 328
    assert kinds["blocks.0.ln1.weight"] == "F32"
    kinds = mixed_types(CONFIGS["gpt2"].parameter_shapes(), "float16")
    assert (kinds["position_encoding.weight"], kinds["token_embedding.weight"]) == ("F32", "F16")


@pytest.mark.parametrize("precision", MIXES)
@pytest.mark.parametrize("config", [WIDE, TIED, GPT2], ids=["llama", "qwen3", "gpt2"])
def test_what_is_loaded_so_is_what_is_exported(config: GPTConfig, precision: Precision, tmp_path: Path) -> None:
    """To the bit, through a file whose queries and keys are in another order; written again, it is the same file."""
    bundle = random_bundle(config)
    write_gguf(tmp_path / "model.gguf", bundle, precision)
    rounded, file = cast_matrices(bundle.tensors, precision), read_gguf(tmp_path / "model.gguf")
    for name, tensor in file.tensors.items():
        assert tensor.dtype == rounded[name].dtype
        assert tensor.data.tobytes() == rounded[name].data.tobytes()
    theirs = gguf.GGUFReader(tmp_path / "model.gguf")
    assert {item.tensor_type.name for item in theirs.tensors} == {tensor.dtype for tensor in rounded.values()}
    kind = gguf.LlamaFileType(theirs.fields["general.file_type"].contents())
    assert kind.name == f"MOSTLY_{precision.upper()}"
    first = (tmp_path / "model.gguf").read_bytes()
    write_gguf(tmp_path / "model.gguf", file, precision)
    assert (tmp_path / "model.gguf").read_bytes() == first
