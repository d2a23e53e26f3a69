"""What is exported here runs in llama.cpp with the same numbers; what is read here is what llama.cpp reads."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import gguf
import numpy as np
import pytest

import nextword
from nextword import GPTConfig, LanguageModel
from nextword.files import read_model, read_tokenizer, write_bundle
from nextword.files.gguf import write_gguf
from nextword.files.k_quants import K_QUANTS
from nextword.files.precision import PRECISIONS
from nextword.files.quantization import BLOCKS
from nextword.files.sources.resolving import SHIPPED_MODEL
from nextword.measuring.llama_cpp import LlamaCppLogits
from nextword.measuring.verification import verify
from nextword.settings import Precision
from tests.conftest import Trained
from tests.files.making import BPE, CONFIGS, random_bundle
from tests.published import smollm2_gguf
from tests.test_smollm2 import PROMPTS

MIXES = [precision for precision, kind in PRECISIONS.items() if kind in BLOCKS]
KNOWN = ["The children are playing in the", "배가 고파서 밥을", "To be, or not to", "모든 국민은 법 앞에", "🙂 is"]
TWINS: dict[str, GPTConfig] = {
    name: CONFIGS[name] for name in ("qwen3", "llama", "llama, scaled", "llama, every bias", "gpt2")
} | {
    "qwen2": CONFIGS["qwen2"].replace(rope_scaling=None),
    "qwen2, yarn": CONFIGS["qwen2"].replace(
        rope_scaling={
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "attention_factor": 1.138629436111989,
        }
    ),
    "llama, linear": CONFIGS["llama"].replace(rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "smollm3": CONFIGS["smollm3"].replace(num_layers=8, no_rope_layers=(3, 7)),
}


def _greedy(theirs: LlamaCppLogits, ids: list[int], count: int, ends: frozenset[int]) -> list[int]:
    """Always the most probable token, until one that ends the text."""
    token = int(theirs.logits(ids)[-1].argmax())
    llama, written = theirs._llama, list[int]()
    while len(written) < count and token not in ends:
        written.append(token)
        llama.eval([token])
        token = int(llama.scores[llama.n_tokens - 1].argmax())
    return written


def _logits(lm: LanguageModel, ids: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return lm.backend.forward([ids], [lm.backend.new_cache(len(ids))], logits="all")[0]


@pytest.mark.parametrize("name", TWINS)
def test_random_weights_give_the_same_logits_and_greedy_tokens(tmp_path: Path, name: str) -> None:
    bundle = random_bundle(TWINS[name])
    write_gguf(tmp_path / "model.gguf", bundle, "f32")
    write_bundle(tmp_path / "model", bundle)
    lm, theirs = nextword.load(tmp_path / "model"), LlamaCppLogits(tmp_path / "model.gguf", 64)
    ids = BPE.encode("the quick brown 토큰 입력 🙂")[:40]
    ours, found = _logits(lm, ids), theirs.logits(ids)
    # llama.cpp looks tanh-GELU up in a table of half precision: GPT-2 is less exact there.
    tolerance = 2e-3 if name == "gpt2" else 1e-5
    error = float(np.abs(ours - found).max() / np.abs(ours).max())
    print(f"{name}: logits differ by {error:.1e} of the largest")
    assert error < tolerance
    if name != "gpt2":
        written = lm.generate("the quick 토큰", 40, temperature=0.0, overflow="stop")
        assert list(written.token_ids) == _greedy(
            theirs, list(written.prompt_token_ids), len(written.token_ids), frozenset()
        )


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", *MIXES])
def test_the_default_model_writes_the_same_text(tmp_path: Path, precision: Precision) -> None:
    """Its weights are stored in half precision: float16 loses nothing; others do, and are held against their own file.

    llama.cpp rounds what blocks and bfloat16 are multiplied with: there, texts may part.
    """
    lm = nextword.load()
    file = lm.export(tmp_path / f"{precision}.gguf", format="gguf", precision=precision)
    rounds = precision not in ("float32", "float16")
    reread, theirs = nextword.load(file), LlamaCppLogits(file, 256)
    for prompt in KNOWN:
        ids = lm.tokenizer.encode(prompt)
        assert theirs.encode(prompt, lm.tokenizer) == reread.tokenizer.encode_start(prompt) == ids
        written = reread.generate(prompt, 40, temperature=0.0)
        found = _greedy(theirs, ids, len(written.token_ids), lm.tokenizer.end_ids)
        same = next((i for i, (a, b) in enumerate(zip(written.token_ids, found, strict=False)) if a != b), len(found))
        print(f"{precision} {prompt!r} -> {written.text!r}, the same for {same} tokens")
        if not rounds:
            assert list(written.token_ids) == found, prompt
            assert written.text == lm.generate(prompt, 40, temperature=0.0).text
        error = np.abs(_logits(reread, ids) - theirs.logits(ids)).max()
        print(f"{precision} {prompt!r}: logits differ by {error:.1e}")
        assert error < {"float32": 1e-4, "float16": 0.05}.get(precision, 1.0)


def _quantized_by_llama_cpp(source: Path, precision: str) -> gguf.GGUFReader:
    """The same model as llama.cpp's own quantiser writes it."""
    import llama_cpp

    # What llama-cpp-python prints with fails on tokens that are parts of a letter.
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = gguf.LlamaFileType[f"MOSTLY_{precision.upper()}"].value
    file = source.with_name(f"{precision} of llama.cpp.gguf")
    code = llama_cpp.llama_model_quantize(bytes(source), bytes(file), ctypes.byref(parameters))
    llama_cpp.llama_log_set(llama_cpp._logger.llama_log_callback, ctypes.c_void_p())
    assert code == 0
    return gguf.GGUFReader(file)


WIDE = {"d_model": 256, "num_heads": 4, "num_layers": 9}
QUANTIZED = {
    "default": None,
    "head of its own, odd rows": GPTConfig.llama(BPE.vocab_size, 64, **WIDE, num_kv_heads=2, d_ff=328),
    "queries, keys and values in one": GPTConfig.gpt2(BPE.vocab_size, 64, **WIDE),
}


@pytest.mark.parametrize("model", QUANTIZED)
@pytest.mark.parametrize("precision", MIXES)
def test_files_are_mixed_as_llama_cpp_mixes_them_with_no_more_error(
    tmp_path: Path, model: str, precision: Precision
) -> None:
    config = QUANTIZED[model]
    bundle = read_model(SHIPPED_MODEL) if config is None else random_bundle(config)
    for name in ("f32", precision):
        write_gguf(tmp_path / f"{name}.gguf", bundle, name)
    exact, ours = (gguf.GGUFReader(tmp_path / f"{name}.gguf") for name in ("f32", precision))
    theirs = _quantized_by_llama_cpp(tmp_path / "f32.gguf", precision)
    assert ours.fields["general.file_type"].contents() == theirs.fields["general.file_type"].contents()
    reference, peers = ({tensor.name: tensor for tensor in reader.tensors} for reader in (exact, theirs))
    for tensor in ours.tensors:
        peer = peers[tensor.name]
        assert tensor.tensor_type == peer.tensor_type, tensor.name
        if tensor.tensor_type.name in K_QUANTS:
            values = reference[tensor.name].data
            errors = [
                np.square(gguf.quants.dequantize(one.data, one.tensor_type) - values).mean() for one in (tensor, peer)
            ]
            assert errors[0] <= 1.02**2 * errors[1], tensor.name
        else:
            assert tensor.data.tobytes() == peer.data.tobytes(), tensor.name


def test_a_model_trained_here_writes_the_same_text(tmp_path: Path, trained: Trained) -> None:
    lm = trained.run.model
    theirs = LlamaCppLogits(lm.export(tmp_path, format="gguf"), lm.config.context_length)
    for prompt in ["한국의", "The", "a"]:
        written = lm.generate(prompt, 20, temperature=0.0, overflow="stop")
        ids = list(written.prompt_token_ids)
        assert list(written.token_ids) == _greedy(theirs, ids, len(written.token_ids), lm.tokenizer.end_ids)


def test_smollm2_beside_llama_cpp(capsys: pytest.CaptureFixture[str]) -> None:
    """On the blocks, llama.cpp rounds activations to 8 bits: logits differ, and some greedy texts part."""
    file = smollm2_gguf()
    lm, theirs = nextword.load(file), LlamaCppLogits(file, 256)
    with capsys.disabled():
        for prompt in PROMPTS:
            written = lm.generate(prompt, 40, temperature=0.0)
            ids = list(written.prompt_token_ids)
            assert theirs.encode(prompt, lm.tokenizer) == ids
            found = _greedy(theirs, ids, 40, lm.tokenizer.end_ids)
            same = next((i for i, (a, b) in enumerate(zip(written.token_ids, found, strict=False)) if a != b), None)
            error = np.abs(_logits(lm, ids) - theirs.logits(ids)).max()
            print(f"\n{prompt!r}: logits differ by {error:.2f}; greedy texts part at token {same}")
            print(f"  here:      {written.text!r}\n  llama.cpp: {lm.tokenizer.decode(found)!r}")
            assert error < 5.0


def test_smollm2_unpacked_is_the_same_model_in_llama_cpp(tmp_path: Path) -> None:
    bundle = read_model(smollm2_gguf())
    write_gguf(tmp_path / "f32.gguf", bundle, "f32")
    lm = nextword.load(smollm2_gguf(), activations="float32")
    theirs = LlamaCppLogits(tmp_path / "f32.gguf", 256)
    for prompt in PROMPTS:
        written = lm.generate(prompt, 40, temperature=0.0)
        ids = list(written.prompt_token_ids)
        error = np.abs(_logits(lm, ids) - theirs.logits(ids)).max()
        print(f"{prompt!r}: logits differ by {error:.1e}")
        assert error < 1e-3
        assert list(written.token_ids) == _greedy(theirs, ids, len(written.token_ids), lm.tokenizer.end_ids)


@pytest.mark.parametrize("model", ["default", "smollm2"])
def test_random_texts_are_cut_into_the_same_tokens(tmp_path: Path, model: str) -> None:
    file = (
        smollm2_gguf() if model == "smollm2" else nextword.load().export(tmp_path, format="gguf", precision="float16")
    )
    tokenizer, theirs = read_tokenizer(file), LlamaCppLogits(file, 32)
    rng = random.Random(1)  # noqa: S311
    kinds = [(32, 126), (0xAC00, 0xD7A3), (0x20, 0x2FFF), (9, 13), (0x1F300, 0x1F9FF), (0x4E00, 0x9FFF)]
    for _ in range(3000):
        text = "".join(chr(rng.randint(*rng.choice(kinds))) for _ in range(rng.randint(1, 30)))
        assert theirs.encode(text, tokenizer) == tokenizer.encode_start(text), repr(text)


def test_verify_holds_a_model_against_llama_cpp_too_and_says_when_it_cannot(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", random_bundle(CONFIGS["qwen3"]))
    measured = verify(tmp_path / "a")
    rows = [row for row in measured.comparisons if row.against == "llama.cpp"]
    assert (len(rows), measured.left_out) == (5, "")
    assert all(row.same_tokens and row.top1 == 1.0 and row.logits_max < 1e-3 for row in rows)
    write_bundle(tmp_path / "b", random_bundle(CONFIGS["mistral"]))
    measured = verify(tmp_path / "b")
    assert {row.against for row in measured.comparisons} == {"transformers"}
    assert "GPTConfig.layer_windows is (9, 9)" in measured.left_out
    assert "llama-cpp-python" not in measured.versions
