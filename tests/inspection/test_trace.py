"""A trace holds every named value as the pass computed it, computes the rest on demand, and survives the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import Tensor

import nextword
from nextword import Trace
from nextword.errors import ConfigError, ContextOverflowError, ModelFileError, TextError
from nextword.inspection.hook_names import full_name, hook_shapes, is_lazy, resolve, select
from tests.inspection.models import language_model, some_tokens
from tests.oracle.cases import CASES, PRESETS


class Store:
    """Keeps everything, scores and patterns too: the model then rebuilds them during its pass."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def wants(self, name: str) -> bool:
        return True

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        self.seen[name] = tensor
        return tensor


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_value_is_the_models_own(case: str) -> None:
    lm, ids, store = language_model(case), some_tokens(case), Store()
    with torch.inference_mode():
        lm.model(torch.tensor([ids]), tap=store)
    trace = lm.trace(ids)
    shapes = hook_shapes(lm.config, len(ids))
    assert set(trace) == set(shapes) == {*store.seen, *(name for name in shapes if name.endswith("hook_result"))}
    for name, value in store.seen.items():
        assert trace[name].shape == shapes[name], name
        if name.endswith(("attn_scores", "pattern")):  # rebuilt from queries and keys, in NumPy
            np.testing.assert_allclose(trace[name], value[0].numpy(), rtol=1e-6, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(trace[name], value[0].numpy(), err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_the_rebuilt_pattern_gathers_what_the_fused_kernel_gathered(case: str) -> None:
    lm, ids = language_model(case), some_tokens(case)
    trace = lm.trace(ids)
    group = lm.config.num_heads // lm.config.num_kv_heads
    for layer in range(lm.config.num_layers):
        v_TKC = np.repeat(trace["v", layer], group, axis=1)
        z_THC = np.einsum("hts,shc->thc", trace["pattern", layer], v_TKC)
        assert np.abs(z_THC - trace["z", layer]).max() < 1e-6 * max(1.0, np.abs(trace["z", layer]).max())
        np.testing.assert_allclose(trace["pattern", layer].sum(-1), 1, atol=1e-6)
        assert (np.triu(trace["pattern", layer], 1) == 0).all()


@pytest.mark.parametrize("case", CASES)
def test_the_heads_results_and_the_bias_are_what_attention_added(case: str) -> None:
    lm, ids = language_model(case, torch.float64), some_tokens(case)
    trace = lm.trace(ids)
    for layer in range(lm.config.num_layers):
        bias = lm.model.blocks[layer].attn.out_proj.bias
        added = trace["result", layer].sum(1) + (0 if bias is None else bias.detach().numpy())
        np.testing.assert_allclose(added, trace["attn_out", layer], rtol=0, atol=1e-12)


def test_logits_and_top_are_those_of_predict() -> None:
    lm, ids = language_model("qwen3"), some_tokens("qwen3")
    trace, prediction = lm.trace(ids), lm.predict(lm.tokenizer.decode(ids), 4)
    np.testing.assert_allclose(trace["logits"][-1], prediction.logits, atol=2e-6)
    assert [c.token_id for c in trace.top(top=4)] == [c.token_id for c in prediction]
    assert trace.top(0, 1)[0].token_id == int(trace["logits"][0].argmax())


def test_the_residual_stream_is_counted_from_what_the_first_block_reads() -> None:
    trace = language_model("gpt2").trace(some_tokens("gpt2"))
    np.testing.assert_array_equal(trace.residual(0), trace["embed"] + trace["pos_embed"])
    np.testing.assert_array_equal(trace.residual(1), trace["resid_post", 0])
    np.testing.assert_array_equal(trace.residual(3), trace["resid_post", 2])


def test_attention_is_the_pattern_and_one_heads_part_of_it() -> None:
    trace = language_model("llama").trace(some_tokens("llama"))
    assert trace.attention(1).shape == (6, len(trace.token_ids), len(trace.token_ids))
    np.testing.assert_array_equal(trace.attention(1, 2), trace["blocks.1.attn.hook_pattern"][2])
    with pytest.raises(ConfigError, match="no head 6"):
        trace.attention(1, 6)


def test_half_precision_is_widened_and_nothing_else() -> None:
    lm, ids = language_model("llama", torch.bfloat16), some_tokens("llama")
    values = lm.trace(ids)["resid_post", 1]
    assert values.dtype == np.float32
    assert torch.equal(torch.tensor(values).bfloat16().float(), torch.tensor(values))


def test_tracing_leaves_a_model_that_is_being_trained_as_it_was() -> None:
    lm, ids = language_model("gpt2"), some_tokens("gpt2")
    lm.model.train()
    lm.trace(ids)
    assert lm.model.training


def test_arrays_cannot_be_written_into() -> None:
    trace = language_model("llama").trace(some_tokens("llama"))
    with pytest.raises(ValueError, match="read-only"):
        trace["embed"][0] = 0


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("pattern", 3), "blocks.3.attn.hook_pattern"),
        (("attn", 3), "blocks.3.attn.hook_pattern"),
        (("scores", 0), "blocks.0.attn.hook_attn_scores"),
        (("q", 1, "attn"), "blocks.1.attn.hook_q"),
        (("post", 2), "blocks.2.mlp.hook_post"),
        (("pre", 2, "mlp"), "blocks.2.mlp.hook_pre"),
        (("resid_mid", 0), "blocks.0.hook_resid_mid"),
        (("scale", 1, "ln2"), "blocks.1.ln2.hook_scale"),
        (("normalized", 1), "blocks.1.ln1.hook_normalized"),
        (("out", 1, "ln2"), "blocks.1.ln2.hook_out"),
        (("out",), "ln_final.hook_out"),
        (("scale",), "ln_final.hook_scale"),
        ("embed", "hook_embed"),
        (("pos_embed",), "hook_pos_embed"),
        ("logits", "logits"),
    ],
)
def test_short_names_mean_what_they_mean_in_transformerlens(key: nextword.inspection.hook_names.Key, name: str) -> None:
    assert full_name(key) == name


def test_an_unknown_name_is_refused_with_its_neighbours() -> None:
    trace = language_model("llama").trace(some_tokens("llama"))
    with pytest.raises(ConfigError) as caught:
        trace["blocks.0.attn.hook_patern"]
    assert "blocks.0.attn.hook_pattern" in caught.value.hint
    for absent in ("hook_pos_embed", ("pattern", 3), ("pattern", -4), "nothing", 7, ()):
        assert absent not in trace
    assert trace.get(("pattern", 9)) is None


def test_lazy_names_are_in_the_trace_before_they_are_computed() -> None:
    trace = language_model("llama").trace(some_tokens("llama"))
    before = trace.nbytes
    assert ("pattern", 1) in trace
    assert ("result", 1) in trace
    assert trace.nbytes == before
    assert trace.materialize().nbytes > before


def test_names_and_layers_choose_what_is_kept() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    whole = lm.trace(ids)
    few = lm.trace(ids, names=["resid_post", "*.hook_z", "logits"], layers=[0, 2])
    assert set(few) == {
        *(f"blocks.{i}.{name}" for i in (0, 2) for name in ("hook_resid_post", "attn.hook_z", "attn.hook_result")),
        "logits",
    }
    np.testing.assert_array_equal(few["resid_post", 2], whole["resid_post", 2])
    with pytest.raises(ConfigError, match=r"does not hold blocks\.0\.hook_resid_pre"):
        few["resid_pre", 0]
    patterns = lm.trace(ids, names="pattern")
    assert list(patterns) == [f"blocks.{i}.attn.hook_pattern" for i in range(3)]
    np.testing.assert_allclose(patterns["pattern", 2], whole["pattern", 2], rtol=1e-6, atol=1e-6)  # that is rebuilt
    assert set(select(lm.config, None, 1)) >= {"blocks.1.hook_resid_pre", "hook_embed", "logits"}


def test_wrong_names_and_layers_are_refused() -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    with pytest.raises(ConfigError, match="no layer 3"):
        lm.trace(ids, layers=3)
    with pytest.raises(ConfigError, match="there is no value 'hook_nothing'"):
        lm.trace(ids, names="hook_nothing")
    with pytest.raises(ConfigError):
        resolve(("pattern", 3), lm.config)


# -- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PRESETS)
def test_the_estimate_is_no_less_than_what_is_held_and_the_limit_is_kept(case: str) -> None:
    lm, ids = language_model(case), some_tokens(case)
    kept = [name for name in hook_shapes(lm.config, 1) if not is_lazy(name)]
    estimate = nextword.inspection.capture.estimate_nbytes(lm.backend, kept, len(ids))
    trace = lm.trace(ids, max_bytes=estimate)
    assert 0.5 * estimate < trace.nbytes <= estimate
    with pytest.raises(ConfigError, match="the limit is") as caught:
        lm.trace(ids, max_bytes=estimate - 1)
    assert "layers=" in caught.value.hint


def test_empty_and_foreign_texts_are_refused_and_of_long_ones_the_newest_part_is_seen(tmp_path: Path) -> None:
    lm = language_model("llama")
    with pytest.raises(TextError):
        lm.trace("")
    with pytest.raises(ContextOverflowError):
        lm.trace("a" * 12, overflow="stop")
    newest = lm.trace("a" * 12)
    assert (len(newest.token_ids), newest.dropped_tokens) == (5, 7)
    assert "7 older tokens not seen" in repr(newest)
    lean = lm.attribute("a" * 12)
    assert (len(lean.token_ids), lean.dropped_tokens) == (5, 7)
    with pytest.raises(ContextOverflowError):
        lm.attribute("a" * 12, overflow="stop")
    again = nextword.Trace.load(newest.save(tmp_path / "newest"))
    assert again.dropped_tokens == 7
    with pytest.raises(TextError, match="vocabulary"):
        nextword.inspection.capture.capture(lm.model, None, "", [99])


# -- on disk -------------------------------------------------------------------------------------------------------


def test_a_saved_trace_comes_back_with_every_bit(tmp_path: Path) -> None:
    lm, ids = language_model("qwen3", torch.float64), some_tokens("qwen3")
    edited = lm.edit(nextword.scale(("pattern", 1), 0.5), nextword.add(("resid_pre", 1), [0.25] * 20, positions=[2]))
    trace = edited.trace(ids)
    assert trace.save(tmp_path / "trace") == tmp_path / "trace"
    loaded = Trace.load(tmp_path / "trace", lm.model, lm.tokenizer)
    assert (loaded.text, loaded.token_ids, loaded.config) == (trace.text, trace.token_ids, trace.config)
    assert loaded.edits == trace.edits
    assert set(loaded) == set(trace)
    for name in trace:
        np.testing.assert_array_equal(loaded[name], trace[name], err_msg=str(name))
    trace.save(tmp_path / "trace")  # a trace may be replaced


def test_a_trace_of_version_1_opens_with_the_meaning_that_its_names_had(tmp_path: Path) -> None:
    lm, ids, path = language_model("gpt2"), some_tokens("gpt2"), tmp_path / "trace"
    trace = lm.edit(nextword.scale(("out", 1, "ln2"), 0.5)).trace(ids, names=["out", "scale", "logits"])
    trace.save(path)
    file, about = path / "values.safetensors", json.loads((path / "trace.json").read_text(encoding="utf-8"))
    values = safetensors.numpy.load_file(file)
    safetensors.numpy.save_file({k.replace("hook_out", "hook_normalized"): v for k, v in values.items()}, file)
    about["format_version"] = 1
    del about["edits"][0]["version"]
    about["edits"][0]["name"] = "blocks.1.ln2.hook_normalized"
    (path / "trace.json").write_text(json.dumps(about), encoding="utf-8")
    loaded = Trace.load(path, lm.reference, lm.tokenizer)
    assert loaded.edits == trace.edits
    assert set(loaded) == set(trace)
    assert ("normalized", 1) not in loaded
    np.testing.assert_array_equal(loaded["out", 1, "ln2"], trace["out", 1, "ln2"])


def test_without_model_and_tokenizer_a_trace_says_what_it_lacks(tmp_path: Path) -> None:
    lm, ids = language_model("llama"), some_tokens("llama")
    lm.trace(ids).save(tmp_path / "trace")
    loaded = Trace.load(tmp_path / "trace")
    np.testing.assert_array_equal(loaded["pattern", 0], lm.trace(ids)["pattern", 0])
    assert ("result", 0) not in loaded
    with pytest.raises(ConfigError, match="without its model"):
        _ = loaded.model
    with pytest.raises(ConfigError, match="without a tokenizer"):
        _ = loaded.tokens
    assert loaded.top(top=1)[0].text == ""


def test_a_trace_of_another_model_and_damaged_files_are_refused(tmp_path: Path) -> None:
    lm, ids, path = language_model("llama"), some_tokens("llama"), tmp_path / "trace"
    lm.trace(ids).save(path)
    other = language_model("llama")
    other.model.token_embedding.weight.mul_(1.5)
    with pytest.raises(ModelFileError, match="another model"):
        Trace.load(path, other.model)
    with pytest.raises(ModelFileError, match="another model"):
        Trace.load(path, language_model("qwen3").model)
    about = json.loads((path / "trace.json").read_text(encoding="utf-8"))
    for change in ({"format_version": 3}, {"token_ids": [1.5]}, {"token_ids": ids[:-1]}, {"edits": [{}]}, {"text": 3}):
        (path / "trace.json").write_text(json.dumps({**about, **change}), encoding="utf-8")
        with pytest.raises(ModelFileError):
            Trace.load(path)
    with pytest.raises(ModelFileError):
        Trace.load(tmp_path / "nowhere")


def test_saving_over_something_else_leaves_it_alone(tmp_path: Path) -> None:
    trace = language_model("llama").trace(some_tokens("llama"))
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ModelFileError, match="no trace"):
        trace.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


# -- how it looks --------------------------------------------------------------------------------------------------


def test_it_prints_names_shapes_and_facts() -> None:
    trace = language_model("qwen3").edit(nextword.ablate_mlp(0)).trace(some_tokens("qwen3"))
    shown = str(trace)
    assert "11 tokens, 3 layers" in shown
    assert "1 edit>" in shown or "1 edit\n" in shown
    assert "blocks.*.attn.hook_rot_q           11 x 6 x 8" in shown


def test_its_notebook_form_escapes_the_tokens() -> None:
    lm = nextword.load()
    shown = lm.trace("<b> 대한민국")._repr_html_()
    assert "<b>" not in shown
    assert "대한" in shown
    assert "hook_resid_mid" in shown
    assert "<b>" not in lm.predict("<b>", 2)._repr_html_()
