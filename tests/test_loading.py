"""load: which backend runs a model and why, in which precision; what needs torch and what does not."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nextword
from nextword import ConfigError, ModelFileError, load
from nextword.cli import run
from nextword.cli.options import model_path
from nextword.cli.serve import named
from nextword.engine.backend import NativeBackend
from nextword.files import read_model, resolve_model, write_bundle
from nextword.files.precision import computable
from nextword.files.quantization import BLOCKS, quantize
from nextword.files.tensors import RawTensor
from nextword.inspection.hooks import run_with_cache
from nextword.loading import DEFAULT_MODEL
from tests.files.gguf.building import LLAMA, File, byte_level_values, llama_tensors, llama_values, u32
from tests.files.gguf.test_quantization import random_blocks
from tests.files.making import CONFIGS, random_bundle

PROMPTS = ("To be, or not to", "대한민국의 주권은 국민에게 있고,", "I ❤️ 🐈")


def logits(lm: nextword.LanguageModel, text: str) -> np.ndarray:
    ids = lm.tokenizer.encode_start(text)
    (rows,) = lm.backend.forward([ids], [lm.backend.new_cache(len(ids))], "all")
    return rows


def test_native_is_taken_unless_something_else_is_asked_for() -> None:
    assert nextword.load().backend.name == "native"
    assert nextword.load(device="cpu").backend.name == "native"
    assert nextword.load(backend="native").backend.reason == "asked for"
    asked = nextword.load(backend="torch").backend
    assert (asked.name, asked.reason) == ("torch", "asked for")
    double = nextword.load(dtype="float64").backend
    assert (double.name, double.reason) == ("torch", "dtype float64 was asked for")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="backend is 'fast', it must be auto, native or torch"):
        nextword.load(backend="fast")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="native cannot be used: dtype bfloat16"):
        nextword.load(backend="native", dtype="bfloat16")
    with pytest.raises(ConfigError, match="native cannot be used: device cuda"):
        nextword.load(backend="native", device="cuda")
    with pytest.raises(ConfigError, match="precision is 'q5'"):
        nextword.load(precision="q5")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="activations is 'int4'"):
        nextword.load(activations="int4")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "why"), [({"backend": "torch"}, "asked for"), ({"device": "cpu:0", "dtype": "float64"}, "device cpu:0")]
)
def test_torch_takes_float32_activations_only(where: Any, why: str) -> None:
    for activations in ("int16", "int8"):
        with pytest.raises(ConfigError, match=f"^activations is '{activations}', which the torch.* [(]{why}"):
            nextword.load(activations=activations, **where)  # type: ignore[arg-type]
    assert nextword.load(backend="torch", activations="float32").backend.reason == "asked for"


@pytest.mark.parametrize("text", PROMPTS)
def test_both_backends_give_the_same_logits_and_the_same_text(text: str) -> None:
    native, reference = nextword.load(), nextword.load(backend="torch")
    assert np.abs(logits(native, text) - logits(reference, text)).max() < 1e-4
    for temperature in (0.0, 0.8):
        texts = [lm.generate(text, 60, temperature=temperature, seed=3).text for lm in (native, reference)]
        assert texts[0] == texts[1]


def test_predicting_generating_and_scoring_never_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys, nextword; lm = nextword.load(); lm.predict('To be'); lm.predict('To be', unit='word');"
        "lm.generate('To be', 5); lm.score('To be, or not to be'); lm.save(sys.argv[1]); "
        "lm.export(sys.argv[2], 'gguf');"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules], lm.backend.name)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, "model", "exported"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert out.stdout.split("\n")[0] == "[] native"


def test_a_saved_model_keeps_the_element_type_of_its_file(tmp_path: Path) -> None:
    lm = nextword.load()
    lm.save(tmp_path / "same")
    lm.save(tmp_path / "wider", precision="float32")
    stored, again = read_model(DEFAULT_MODEL).tensors, read_model(tmp_path / "same").tensors
    assert {name: (t.dtype, bytes(t.data)) for name, t in again.items()} == {
        name: (t.dtype, bytes(t.data)) for name, t in stored.items()
    }
    assert {t.dtype for t in read_model(tmp_path / "wider").tensors.values()} == {"F32"}
    assert np.array_equal(logits(nextword.load(tmp_path / "wider"), PROMPTS[0]), logits(lm, PROMPTS[0]))


def test_looking_inside_leaves_the_backend() -> None:
    lm = nextword.load()
    trace = lm.trace(PROMPTS[1])
    assert np.abs(np.asarray(trace["logits"]) - logits(lm, PROMPTS[1])).max() < 1e-4
    edited = lm.edit(nextword.ablate_head(2, 1))
    assert edited.backend.name == "native"
    assert lm.backend.name == "native"


def test_hooks_and_the_reference_leave_the_backend_too() -> None:
    lm = nextword.load()
    rows, cache = run_with_cache(lm, PROMPTS[0])
    assert np.abs(rows[0].detach().numpy() - logits(lm, PROMPTS[0])).max() < 1e-4
    assert "blocks.0.attn.hook_z" in cache
    assert lm.reference.config == lm.config
    assert lm.backend.name == "native"


def test_the_number_of_threads_can_be_said() -> None:
    backend = nextword.load(threads=3).backend
    assert isinstance(backend, NativeBackend)
    assert backend.threads == 3


class Counting:
    """A backend that counts the tokens it reads."""

    def __init__(self, backend: NativeBackend) -> None:
        self._backend = backend
        self.read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def forward(self, chunks: Any, caches: Any, logits: Any = "last") -> Any:
        self.read += sum(len(chunk) for chunk in chunks)
        return self._backend.forward(chunks, caches, logits)


def test_a_text_that_begins_like_the_last_one_is_read_on_from_there() -> None:
    lm, fresh = nextword.load(), nextword.load()
    counting = Counting(lm.backend)  # type: ignore[arg-type]
    lm.backend = counting  # type: ignore[assignment]
    for text in (PROMPTS[0], PROMPTS[0] + " be", PROMPTS[0] + " be: that", PROMPTS[0]):
        counting.read = 0
        assert np.array_equal(lm.predict(text).logits, fresh.backend.forward(*_fresh(fresh, text))[0])
        assert counting.read <= (len(lm.tokenizer.encode_start(text)) if text == PROMPTS[0] else 4)
    assert counting.read == 1  # the last time all but one token were in the cache
    assert lm.generate(PROMPTS[0], 9, seed=1) == fresh.generate(PROMPTS[0], 9, seed=1)


def _fresh(lm: nextword.LanguageModel, text: str) -> tuple[list[list[int]], list[Any]]:
    ids = lm.tokenizer.encode_start(text)
    return [ids], [lm.backend.new_cache(len(ids))]


def test_asking_for_the_gptmodel_leaves_the_backend_alone() -> None:
    lm = nextword.load()
    before, backend = lm.predict(PROMPTS[0]), lm.backend
    assert lm.model is lm.reference
    assert lm.backend is backend
    assert backend.name == "native"
    assert np.array_equal(lm.predict(PROMPTS[0]).logits, before.logits)


def test_weights_that_are_changed_beside_the_native_backend_are_no_silent_loss(tmp_path: Path) -> None:
    lm = nextword.load()
    before = lm.predict(PROMPTS[0]).logits
    with torch.no_grad():
        lm.reference.output_layer.weight.mul_(0.5)
    for ask in (
        lambda: lm.predict(PROMPTS[0]),
        lambda: lm.predict(PROMPTS[0], unit="word"),
        lambda: lm.generate(PROMPTS[0], 2),
        lambda: lm.score(PROMPTS[0]),
        lambda: lm.save(tmp_path / "lost"),
    ):
        with pytest.raises(ConfigError, match="the native backend runs those of the file") as refused:
            ask()
        assert "use_torch" in refused.value.hint
    assert not (tmp_path / "lost").exists()
    lm.use_torch()
    np.testing.assert_allclose(lm.predict(PROMPTS[0]).logits, before / 2, rtol=0, atol=1e-4)

    past = nextword.load()
    past.reference.blocks[0].ffn.up.weight.data.mul_(0.5)  # past PyTorch's own count of changes
    with pytest.raises(ConfigError, match="were changed"):
        past.export(tmp_path / "lost")


def test_torch_runs_the_changed_gptmodel_once_it_is_told_to(tmp_path: Path) -> None:
    lm = nextword.load()
    before = lm.predict(PROMPTS[0])[0].probability
    lm.use_torch()
    assert lm.backend.name == "torch"
    assert "use_torch" in lm.backend.reason
    lm.reference.output_layer.weight.data.mul_(0.5)
    after = lm.predict(PROMPTS[0])[0].probability
    assert after < 0.7 * before
    lm.save(tmp_path / "changed")
    assert nextword.load(tmp_path / "changed").predict(PROMPTS[0])[0].probability == pytest.approx(after, abs=1e-5)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-12), ("float16", 1e-12), ("bfloat16", 5e-3), ("q8_0", 1e-3), ("q4_1", 0.2)],  # the file has float16
)
def test_a_rounded_model_predicts_nearly_the_same(precision: str, tolerance: float) -> None:
    exact, rounded = nextword.load(), nextword.load(precision=precision)  # type: ignore[arg-type]
    for text in PROMPTS:
        p, q = (np.exp(x - x.max(-1, keepdims=True)) for x in (logits(exact, text), logits(rounded, text)))
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        divergence = (p * np.log(p / q)).sum(-1).mean()
        assert abs(divergence) <= tolerance
    other = nextword.load(precision=precision, backend="torch")  # type: ignore[arg-type]
    exact = nextword.load(precision=precision, activations="float32")  # type: ignore[arg-type]
    assert np.abs(logits(other, PROMPTS[0]) - logits(exact, PROMPTS[0])).max() < 1e-4


def test_a_precision_is_taken_in_any_case_as_models_tell_it() -> None:
    lm = nextword.load(precision="q8_0")
    assert lm.dtype == "Q8_0"
    again = nextword.load(precision=lm.dtype)  # type: ignore[arg-type]
    assert logits(again, PROMPTS[0]).tobytes() == logits(lm, PROMPTS[0]).tobytes()
    assert nextword.load(precision="Float32").dtype == "float32"  # type: ignore[arg-type]


def test_what_does_not_fit_into_float16_is_refused_by_name(tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["llama"])
    name = "token_embedding.weight"
    values = bundle.tensors[name].values().copy()
    values[3, 2] = 65520.0  # the first that rounds to infinity
    wide = replace(bundle, tensors={**bundle.tensors, name: RawTensor.from_bits(name, "F32", values)})
    write_bundle(tmp_path / "wide", wide)
    with pytest.raises(ModelFileError, match=rf"^tensor {name} has values too large for float16\n") as caught:
        nextword.load(tmp_path / "wide", precision="float16")
    assert caught.value.hint == "choose bfloat16 or float32"
    assert nextword.load(tmp_path / "wide", precision="bfloat16").dtype == "bfloat16"
    values[3, 2] = 65519.0
    write_bundle(tmp_path / "fits", wide)
    assert nextword.load(tmp_path / "fits", precision="float16").dtype == "float16"


KINDS = {12: "Q4_K", 16: "IQ2_XXS", 10: "Q2_K", 6: "Q5_0"}


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    """A layer whose matrices have blocks of several kinds, one of which is not computed with."""
    file = File((*llama_values(width=256), *byte_level_values()), llama_tensors(259, width=256))
    kinds = iter([12, 16, 10, 6] * 3)
    changed = []
    for item in file.tensors:
        if len(item.dims) > 1 and item.dims[0] % 256 == 0:
            kind = next(kinds)
            block = BLOCKS[KINDS[kind]]
            count = math.prod(item.dims) // block.elements
            changed.append(replace(item, kind=kind, data=random_blocks(KINDS[kind], count).tobytes()))
    path = tmp_path / "model.gguf"
    path.write_bytes(file.but_tensor(*changed).written())
    return path


def test_what_is_rounded_again_is_said_and_what_blocks_meet(
    quantised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = nextword.load(quantised)
    again = "blocks of IQ2_XXS are rounded again, to Q8_0"
    half = "keys and values are kept as float16"
    assert lm.backend.reason == f"the fastest on a CPU; {again}; blocks meet int16 activations; {half}"
    for activations, cache in (("float32", ""), ("int8", f"; {half}")):
        reason = nextword.load(quantised, activations=activations).backend.reason  # type: ignore[arg-type]
        assert reason == f"the fastest on a CPU; {again}; blocks meet {activations} activations{cache}"
    for chosen, said in (("float32", ""), ("int8", "; keys and values are kept as int8")):
        reason = nextword.load(quantised, cache=chosen).backend.reason  # type: ignore[arg-type]
        assert reason == f"the fastest on a CPU; {again}; blocks meet int16 activations{said}"
    reason = nextword.load(activations="int8").backend.reason
    assert reason == "the fastest on a CPU; there are no blocks for int8 activations"
    assert nextword.load(quantised, precision="float32").backend.reason == "the fastest on a CPU"
    assert nextword.load(quantised, backend="torch").backend.reason == "asked for; blocks are unpacked"
    assert nextword.load().backend.reason == "the fastest on a CPU"
    assert run(["info", str(quantised), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backend"] == {"name": "native", "reason": lm.backend.reason}


def test_a_smaller_cache_is_said_and_moves_logits_a_little() -> None:
    exact = nextword.load()
    ids = exact.tokenizer.encode("The children are playing in the garden")
    [expected] = exact.backend.forward([ids], [exact.backend.new_cache(64)], logits="all")
    for cache, limit, share in (("float16", 0.02, 0.5), ("int8", 0.5, 0.32)):
        lm = nextword.load(cache=cache)  # type: ignore[arg-type]
        assert lm.backend.reason == f"the fastest on a CPU; keys and values are kept as {cache}"
        kept = lm.backend.new_cache(64)
        [rows] = lm.backend.forward([ids], [kept], logits="all")
        assert 0 < np.abs(rows - expected).max() < limit
        assert kept.nbytes <= share * exact.backend.new_cache(64).nbytes
    with pytest.raises(ConfigError, match="cache is 'float16', which the torch backend does not keep"):
        nextword.load(backend="torch", cache="float16")


def test_what_was_passed_over_is_kept_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(LLAMA.but(u32("llama.pooling_type", 3)).written())
    [note] = nextword.load(path).notes
    assert note == "passed over, because it says nothing about the next token: llama.pooling_type"
    assert nextword.load(path).edit(nextword.ablate_head(0, 1)).notes == (note,)
    assert nextword.load().notes == ()
    assert run(["info", str(path)]) == 0
    assert f"note: {note}" in " ".join(capsys.readouterr().out.split())
    assert run(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [note]


def test_nbytes_is_what_is_held_not_what_the_file_has(quantised: Path) -> None:
    shapes = read_model(quantised).config.parameter_shapes().values()
    vectors = sum(4 * shape[0] for shape in shapes if len(shape) == 1)
    matrices = [shape for shape in shapes if len(shape) > 1]
    stored = [tensor for tensor in read_model(quantised).tensors.values() if len(tensor.shape) > 1]
    lm = nextword.load(quantised)
    again = [math.prod(tensor.shape) // 32 * 34 for tensor in stored if tensor.dtype == "IQ2_XXS"]
    assert len(again) == 2
    assert lm.nbytes == vectors + sum(again) + sum(len(one.data) for one in stored if one.dtype != "IQ2_XXS")
    assert lm.dtype == "Q4_K"
    lm = nextword.load(quantised, precision="float32")
    assert lm.nbytes == vectors + sum(4 * math.prod(shape) for shape in matrices)
    assert lm.dtype == "float32"
    lm = nextword.load(quantised, backend="torch")
    assert (lm.nbytes, lm.dtype) == (4 * lm.config.num_parameters, "float32")
    lm = nextword.load(quantised, dtype="bfloat16")
    assert (lm.nbytes, lm.dtype) == (2 * lm.config.num_parameters, "bfloat16")


def test_blocks_that_are_not_computed_with_become_q8_0() -> None:
    values = np.random.default_rng(0).standard_normal((4, 512)).astype(np.float32)
    tensor = RawTensor("w", "Q5_0", values.shape, np.ascontiguousarray(quantize("Q5_0", values)).reshape(-1).data)
    found = computable({"w": tensor}, ("F32", "Q8_0"))["w"]
    assert found.dtype == "Q8_0"
    assert np.abs(found.values() - tensor.values()).max() <= np.abs(tensor.values()).max() / 127


def test_the_model_that_ships_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = load().predict("모든 국민은", 3)
    for folder in ("elsewhere", "nextword/src"):  # the second as where this project's own source lies
        (tmp_path / folder).mkdir(parents=True)
        lm = load("nextword")
        assert [candidate.token_id for candidate in lm.predict("모든 국민은", 3)] == [one.token_id for one in wanted]
        assert resolve_model("nextword") == DEFAULT_MODEL
    with pytest.raises(ConfigError, match="it has no revision main"):
        load("nextword", revision="main")
    with pytest.raises(ModelFileError):
        load(tmp_path / "nextword")  # a Path is never a name
    lm.save(tmp_path / "a model")
    (tmp_path / "nextword" / "src").rmdir()
    (tmp_path / "nextword").rmdir()
    (tmp_path / "a model").rename(tmp_path / "nextword")
    assert resolve_model("nextword") == Path("nextword")  # a model of one's own comes first
    assert model_path(None) == DEFAULT_MODEL
    assert named("nextword").path == Path("nextword")
    (tmp_path / "nextword").rename(tmp_path / "other")
    assert named("nextword") == named(None) == ("nextword", "default_model", DEFAULT_MODEL)
    assert named("mine=nextword") == ("mine", "nextword", DEFAULT_MODEL)


def test_an_empty_name_is_no_model() -> None:
    with pytest.raises(ModelFileError, match="the name of a model is empty"):
        nextword.load("")
