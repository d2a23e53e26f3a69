"""What a trace of the native backend holds and computes, against its own passes and against torch's, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nextword
from nextword.engine.backend import NativeBackend
from nextword.errors import ConfigError, ModelFileError
from nextword.inspection.edits import Edits
from nextword.inspection.frames import block_frame, look_frame, turns_frame
from nextword.inspection.heads import ablation_map, induction_scores
from nextword.language_model import LanguageModel
from nextword.settings import Activations, CacheFormat
from tests.engine.test_tap import BLOCKS, stored
from tests.inspection.models import language_model, some_tokens
from tests.inspection.test_edited_backend import native_model
from tests.oracle.cases import CASES, random_weights

TEXT = "The children are playing in the"


def quantized(
    kind: str = "Q8_0", activations: Activations = "int16", cache_format: CacheFormat = "float32"
) -> LanguageModel:
    """A model of blocks; its text is letters."""
    tensors = stored(random_weights(BLOCKS), kind)
    backend = NativeBackend(BLOCKS, tensors, activations=activations, cache_format=cache_format)
    return LanguageModel(backend, nextword.Tokenizer.characters("abcdefghijklmnopqrst"), tensors=tensors)


@pytest.mark.parametrize("case", CASES)
def test_every_value_and_what_is_read_from_them_are_torchs(case: str) -> None:
    plain, ids = language_model(case), some_tokens(case)
    native, expected = native_model(plain).trace(ids).materialize(), plain.trace(ids).materialize()
    assert list(native) == list(expected)
    for name in expected:
        scale = max(1.0, float(np.abs(expected[name][np.isfinite(expected[name])]).max(initial=0.0)))
        np.testing.assert_allclose(native[name], expected[name], rtol=0, atol=5e-5 * scale, err_msg=str(name))
    ours, theirs = native.lens(top=3), expected.lens(top=3)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)
    np.testing.assert_allclose(ours.kl, theirs.kl, atol=1e-3)
    if plain.config.residual == "normalized":
        with pytest.raises(ConfigError, match="no residual stream"):
            native.attribution()
    else:
        ours, theirs = native.attribution(3), expected.attribution(3)
        assert ours.labels == theirs.labels
        np.testing.assert_allclose(ours.values, theirs.values, atol=1e-4)
    np.testing.assert_allclose(ablation_map(native_model(plain), ids[:5]), ablation_map(plain, ids[:5]), atol=1e-4)
    native.lens().to_json()
    assert len(block_frame(native, 0)) == len(block_frame(expected, 0))
    if plain.config.position == "rotary":
        assert len(turns_frame(native, 0, 0)) == len(turns_frame(expected, 0, 0))
    assert len(look_frame(native)) > 1000


@pytest.mark.parametrize("cache_format", ["float32", "float16", "int8"])
@pytest.mark.parametrize(("kind", "activations"), [("F32", "int16"), ("Q8_0", "int16"), ("Q4_0", "int8")])
def test_a_trace_is_the_pass_that_predicts_to_the_bit(
    kind: str, activations: Activations, cache_format: CacheFormat
) -> None:
    lm = quantized(kind, activations, cache_format)
    ids = some_tokens("qwen3")
    (logits,) = lm.backend.forward([ids], [lm.backend.new_cache(len(ids))], "all")
    trace = lm.trace(ids)
    np.testing.assert_array_equal(trace["logits"], logits)
    assert (trace.backend, trace.cache_format) == (lm.backend, cache_format)
    lens = trace.lens(top=1)
    np.testing.assert_array_equal(lens.logits(lm.config.num_layers), logits)
    # What is rebuilt is what the pass formed, and each layer's parts sum to what was added.
    asked = lm.trace(ids, names=["attn_scores", "pattern"])
    for layer in range(lm.config.num_layers):
        for name in ("attn_scores", "pattern"):
            np.testing.assert_allclose(trace[name, layer], asked[name, layer], rtol=1e-4, atol=1e-5)
        bound = 8 * lm.backend.eps * np.abs(trace["result", layer]).sum(1).max()
        np.testing.assert_allclose(trace["result", layer].sum(1), trace["attn_out", layer], rtol=0, atol=bound)
    assert trace.attribution().total == pytest.approx(trace.attribution().logit, abs=100 * lm.backend.eps)


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_several_texts_are_traced_at_once_each_as_it_is_alone(backend: str) -> None:
    plain = language_model("qwen3")
    lm = native_model(plain) if backend == "native" else plain
    lm = lm.edit(nextword.scale(("z", 1), 0.5, heads=[0]), nextword.add("logits", 0.25, positions=[1]))
    texts = ["abc", [3, 1, 4, 1, 5, 9], "a"]
    traces = lm.trace(texts, names=["resid_post", "pattern", "logits"])
    assert [trace.text for trace in traces] == ["abc", lm.tokenizer.decode([3, 1, 4, 1, 5, 9]), "a"]
    for text, trace in zip(texts, traces, strict=True):
        alone = lm.trace(text, names=["resid_post", "pattern", "logits"])
        assert list(trace) == list(alone)
        for name in alone:
            np.testing.assert_allclose(trace[name], alone[name], rtol=0, atol=0 if backend == "native" else 1e-6)
    with pytest.raises(ConfigError, match="2 traces of 12 tokens would hold"):
        lm.trace(["abcdef", "abcdef"], max_bytes=1000)
    assert isinstance(lm.trace(np.array([1, 2])), nextword.Trace)


def changes(case: str) -> dict[str, Edits]:
    width = np.linspace(-1, 1, CASES[case].d_model)
    return {
        "stream": nextword.add(("resid_post", 0), width, positions=[1, 3]),
        "final norm": nextword.scale("ln_final.hook_out", 1.5, positions=[2]),
        "logits": nextword.at("logits")(lambda logits, _: logits * 2),
        "pattern": nextword.scale(("pattern", 1), 0.5, heads=[0]),
    }


@pytest.mark.parametrize("change", ["stream", "final norm", "logits", "pattern"])
def test_the_lens_of_an_edited_pass_ends_in_its_own_logits(change: str) -> None:
    plain, ids = language_model("qwen3"), some_tokens("qwen3")
    edit = changes("qwen3")[change]
    native, expected = native_model(plain).edit(edit).trace(ids), plain.edit(edit).trace(ids)
    np.testing.assert_allclose(native["logits"], expected["logits"], atol=1e-4)
    ours, theirs = native.lens(top=3), expected.lens(top=3)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)
    np.testing.assert_array_equal(ours.logits(3), native["logits"])


def test_a_saved_trace_belongs_to_the_model_that_made_it(tmp_path: Path) -> None:
    lm = quantized(cache_format="float16")
    ids = some_tokens("qwen3")
    path = lm.trace(ids).save(tmp_path / "trace")
    again = nextword.Trace.load(path, lm)
    assert again.cache_format == "float16"
    assert again.tokenizer is lm.tokenizer
    for name in lm.trace(ids):
        np.testing.assert_array_equal(again[name], lm.trace(ids)[name])
    assert again.attribution(2).total == lm.trace(ids).attribution(2).total
    nextword.Trace.load(path, quantized(activations="int8")).lens()  # the same weights, computed with otherwise
    weights = random_weights(BLOCKS)
    weights["blocks.0.attn.q_proj.weight"] = weights["blocks.0.attn.q_proj.weight"] * 1.1
    other = NativeBackend(BLOCKS, stored(weights, "Q8_0"), cache_format="float16")
    with pytest.raises(ModelFileError, match="made with other weights"):
        nextword.Trace.load(path, other)
    with pytest.raises(ModelFileError, match="made with another model"):
        nextword.Trace.load(path, native_model(language_model("llama")))
    alone = nextword.Trace.load(path)
    with pytest.raises(ConfigError, match="loaded without its model") as caught:
        alone.lens()
    assert caught.value.hint == "Trace.load(path, lm)"


def test_a_native_trace_has_no_gptmodel_and_says_where_one_is() -> None:
    trace = quantized().trace([1, 2])
    with pytest.raises(ConfigError, match="native backend ran") as caught:
        _ = trace.model
    assert "lm.reference" in caught.value.hint


def test_a_changed_reference_is_no_silent_trace_of_the_file() -> None:
    lm = nextword.load()
    lm.trace("a")
    with torch.no_grad():
        lm.reference.ln_final.weight *= 2
    for look in (lm.trace, lambda text: ablation_map(lm, lm.tokenizer.encode(text))):
        with pytest.raises(ConfigError, match="were changed"):
            look("a")
    lm.use_torch()
    assert lm.trace("a").backend.name == "torch"


def test_a_bare_gptmodel_and_a_backend_are_looked_into_too() -> None:
    lm, ids = language_model("gpt2"), [1, 2, 3, 1, 2, 3]
    for model in (lm, lm.model, lm.backend, native_model(lm).backend):
        np.testing.assert_allclose(induction_scores(model, ids, 3), induction_scores(lm, ids, 3), atol=1e-5)
    with pytest.raises(ConfigError, match="model is "):
        induction_scores("gpt2", ids, 3)  # type: ignore[arg-type]


WITHOUT_TORCH = """
import sys
import nextword
from nextword.inspection.heads import ablation_map, induction_scores
lm = nextword.load()
text = "The children are playing in the"
trace = lm.trace(text)
trace.materialize()
str(trace), trace._repr_html_(), str(trace.lens()), str(trace.attribution()), trace.top()
trace.save("trace")
str(nextword.Trace.load("trace", lm).lens())
edited = lm.edit(nextword.ablate_head(1, 1), nextword.at("resid_post", 0)(lambda x, _: 2 * x))
edited.trace(text).to_html("look.html", plain=trace)
ablation_map(lm, trace.token_ids)
induction_scores(lm, [5, 6, 5, 6], 2)
nextword.compare(lm, edited, text)
from nextword import figures
for figure in (
    figures.embedding_figure(lm, lm.tokenizer, text), figures.attention_figure(trace, 1), figures.lens_figure(trace),
    figures.residual_norms_figure(trace), figures.logit_attribution_figure(trace.attribution()),
):
    figures.save_figure(figure, "figure.png")
from nextword.cli import run
assert run(["look", text, "--layer", "1", "--head", "0", "--ablate", "1.0"]) == 0
assert run(["look", text, "--html", "look.html"]) == 0
import nextword.server.look.traces
print([name for name in sys.modules if name.split(".")[0] == "torch"], file=sys.stderr)
"""


def test_looking_inside_never_imports_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (0, ["[]"]), done.stderr
    assert (tmp_path / "look.html").stat().st_size > 100_000
