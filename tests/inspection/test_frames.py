"""Frames: every number that the page is sent is the trace's own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as read_arrays

import nextword
from nextword.errors import ConfigError
from nextword.inspection.edits import (
    ablate_head,
    ablate_layer,
    ablate_mlp,
    add,
    scale,
    set_value,
    swap_embedding,
)
from nextword.inspection.frames import Facts, block_frame, edit_code, look_frame, shown_names, turns_frame
from nextword.inspection.patching import patch
from nextword.inspection.trace import Trace
from nextword.language_model import LanguageModel
from nextword.rope import inverse_frequencies
from tests.inspection.models import language_model, some_tokens
from tests.oracle.cases import CASES
from tests.oracle.numpy_gpt import Array

TEXT = "뷁 To be, or not to"
WHICH = ["default", *CASES]


def read(frame: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a frame is about, and its arrays."""
    header = json.loads(frame[8 : 8 + int.from_bytes(frame[:8], "little")])
    assert header["__metadata__"]["version"] == "1"
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} <= {"F32", "I32"}
    return json.loads(header["__metadata__"]["about"]), read_arrays(frame)


def traces(case: str) -> tuple[LanguageModel, Trace]:
    if case == "default":
        lm = nextword.load()
        return lm, lm.trace(TEXT, names=shown_names(lm.config))
    lm = language_model(case)
    return lm, lm.trace(some_tokens(case), names=shown_names(lm.config))


def norm(rows: Array) -> Array:
    return np.sqrt((rows.astype(np.float64) ** 2).sum(-1)).astype(np.float32)


@pytest.mark.parametrize("case", WHICH)
def test_the_look_frame_is_the_trace(case: str) -> None:
    lm, trace = traces(case)
    whole, config = lm.trace(trace.token_ids), lm.config
    about, arrays = read(look_frame(trace))
    L, T = config.num_layers, len(trace.token_ids)
    np.testing.assert_array_equal(arrays["logits"], whole["logits"][-1])
    np.testing.assert_array_equal(arrays["embed"], whole["embed"])
    np.testing.assert_array_equal(arrays["combined"], whole["resid_pre", 0])
    assert ("position" in arrays) == (config.position == "learned")
    if config.position == "learned":
        np.testing.assert_array_equal(arrays["position"], whole["pos_embed"])
        np.testing.assert_array_equal(arrays["embed"] + arrays["position"], arrays["combined"])
    for row in range(L + 1):
        np.testing.assert_allclose(arrays["residual_norm"][row], norm(whole.residual(row)), rtol=1e-6)
    for layer in range(L):
        np.testing.assert_allclose(arrays["attention_norm"][layer], norm(whole["attn_out", layer]), rtol=1e-6)
        np.testing.assert_allclose(arrays["mlp_norm"][layer], norm(whole["mlp_out", layer]), rtol=1e-6)
    lens = whole.lens(top=5)
    np.testing.assert_array_equal(arrays["lens_ids"], lens.token_ids)
    np.testing.assert_array_equal(arrays["lens_rank"], lens.target_rank)
    for name, values in {"probability": lens.probabilities, "kl": lens.kl, "entropy": lens.entropy}.items():
        np.testing.assert_array_equal(arrays[f"lens_{name}"], values.astype(np.float32))
    assert arrays["lens_ids"].shape == (L + 1, T, 5)
    assert arrays["lens_ids"].dtype == arrays["lens_rank"].dtype == np.int32
    assert arrays["lens_ids"][-1, -1].tolist() == [candidate.token_id for candidate in whole.top(top=5)]

    names = lm.tokenizer.vocabulary
    wanted = {*arrays["lens_ids"].ravel().tolist(), *(candidate.token_id for candidate in whole.top(top=50))}
    assert about["texts"] == {str(i): names[i] if i < len(names) else "" for i in wanted}
    assert [(t["id"], t["text"], t["part"], t["parts"]) for t in about["tokens"]] == [
        (piece.token_id, piece.text, piece.part, piece.parts) for piece in whole.tokens
    ]
    assert about["text"] == whole.text
    assert (about["edits"], about["dropped"], about["trace"]) == ([], 0, "")
    model = about["model"]
    assert (model["layers"], model["heads"], model["vocab_size"]) == (L, config.num_heads, config.vocab_size)
    assert (model["position"], model["residual"]) == (config.position, config.residual)
    assert (model["parameters"], model["bytes"]) == (config.num_parameters, lm.nbytes)
    assert (model["backend"], model["dtype"]) == (lm.backend.name, lm.dtype)


def test_a_fragment_of_a_syllable_knows_which_part_it_is() -> None:
    tokens = read(look_frame(traces("default")[1]))[0]["tokens"]
    parts = [token for token in tokens if token["parts"] > 1]
    assert [(token["text"], token["part"], token["parts"]) for token in parts] == [("뷁", n, 3) for n in (1, 2, 3)]


@pytest.mark.parametrize("case", WHICH)
def test_block_frames_are_the_trace_and_its_attribution(case: str) -> None:
    lm, trace = traces(case)
    whole = lm.trace(trace.token_ids)
    for layer in range(lm.config.num_layers):
        about, arrays = read(block_frame(trace, layer))
        np.testing.assert_array_equal(arrays["pattern"], whole.attention(layer))
        np.testing.assert_allclose(arrays["pattern"].sum(-1), 1.0, atol=1e-5)
        np.testing.assert_allclose(arrays["head_norm"], norm(whole["result", layer]), rtol=1e-6)
        np.testing.assert_allclose(arrays["attention_norm"], norm(whole["attn_out", layer]), rtol=1e-6)
        np.testing.assert_allclose(arrays["mlp_norm"], norm(whole["mlp_out", layer]), rtol=1e-6)
        np.testing.assert_allclose(arrays["residual_norm"], norm(whole.residual(layer)), rtol=1e-6)
        best = whole.top(top=1)[0]
        assert (about["layer"], about["target"]) == (layer, {"id": best.token_id, "text": best.text})
        if lm.config.residual == "normalized":
            assert "no residual stream" in about["why_no_contributions"]
            assert not {"head_contribution", "mlp_contribution"} & arrays.keys()
            continue
        parts = whole.attribution()
        assert about["why_no_contributions"] == ""
        np.testing.assert_array_equal(arrays["head_contribution"], parts.heads[layer].astype(np.float32))
        np.testing.assert_array_equal(arrays["mlp_contribution"], parts.mlps[layer : layer + 1].astype(np.float32))


@pytest.mark.parametrize("case", WHICH)
def test_queries_and_keys_turn_by_the_angle_that_is_said(case: str) -> None:
    lm, trace = traces(case)
    config, T = lm.config, len(trace.token_ids)
    if config.position == "learned":
        with pytest.raises(ConfigError, match="position vectors"):
            turns_frame(trace, 0, 0)
        return
    stretch = (config.rope_scaling or {}).get("attention_factor", 1.0)
    group = config.num_heads // config.num_kv_heads
    for layer in range(config.num_layers):
        for head in range(config.num_heads):
            about, arrays = read(turns_frame(trace, layer, head))
            P = config.head_dim // 2
            assert about == {"layer": layer, "head": head, "pairs": P, "layout": config.rope_layout}
            for name, number in (("q", head), ("k", head // group)):
                before_TP2, after_TP2, angle_TP = (arrays[key] for key in (f"{name}_before", name, "angle"))
                rows_TC = trace[f"rot_{name}", layer][:, number]
                interleaved = config.rope_layout == "interleaved"
                firsts, seconds = (
                    (rows_TC[:, ::2], rows_TC[:, 1::2]) if interleaved else (rows_TC[:, :P], rows_TC[:, P:])
                )
                np.testing.assert_array_equal(after_TP2[..., 0], firsts)
                np.testing.assert_array_equal(after_TP2[..., 1], seconds)
                turned = (before_TP2[..., 0] + 1j * before_TP2[..., 1]) * np.exp(1j * angle_TP) * stretch
                if layer in config.no_rope_layers:
                    turned = before_TP2[..., 0] + 1j * before_TP2[..., 1]
                np.testing.assert_allclose(after_TP2[..., 0] + 1j * after_TP2[..., 1], turned, atol=2e-5)
            still = layer in config.no_rope_layers
            frequencies = np.zeros(P) if still else inverse_frequencies(config)
            np.testing.assert_array_equal(arrays["frequency"], frequencies.astype(np.float32))
            np.testing.assert_allclose(arrays["angle"], np.outer(np.arange(T), frequencies), rtol=1e-6)


def test_what_there_is_not_is_refused() -> None:
    lm, trace = traces("qwen3")
    for frame in (lambda: block_frame(trace, 3), lambda: turns_frame(trace, 3, 0), lambda: turns_frame(trace, 0, 6)):
        with pytest.raises(ConfigError, match=r"there is no (layer|head)"):
            frame()
    with pytest.raises(ConfigError, match="does not hold"):
        look_frame(lm.trace(trace.token_ids, names="logits"))
    with pytest.raises(ConfigError, match="no tokenizer"):
        look_frame(Trace("", trace.token_ids, lm.config, {n: trace.tensor(n) for n in trace}, model=lm.reference))


def test_facts_are_told_and_edits_written_as_python() -> None:
    lm = nextword.load()
    edits = [ablate_head(2, 1), *ablate_layer(3), scale(("z", 1), 0.5, heads=[2])]
    trace = lm.edit(edits).trace("To be", names=shown_names(lm.config))
    facts = Facts("abc", {"name": "mine", "backend": "native"}, dropped=3, seconds=0.25)
    about, arrays = read(look_frame(trace, facts))
    assert (about["trace"], about["dropped"], about["seconds"]) == ("abc", 3, 0.25)
    assert (about["model"]["name"], about["model"]["backend"]) == ("mine", "native")
    assert [eval(line) for line in about["edits"]] == [  # noqa: S307  it is Python
        ablate_head(2, 1),
        ablate_layer(3),
        scale("blocks.1.attn.hook_z", 0.5, heads=[2]),
    ]
    np.testing.assert_array_equal(arrays["logits"], lm.edit(edits).trace("To be")["logits"][-1])
    assert read(look_frame(trace, Facts(edits=["mine"])))[0]["edits"] == ["mine"]


def test_python_of_every_kind_of_edit_makes_it_again() -> None:
    lm = nextword.load()
    edits = [
        ablate_head(0, 3, positions=[1, 2]),
        ablate_mlp(4),
        ablate_mlp(5, positions=[0]),
        *ablate_layer(1),
        swap_embedding(2, 17),
        scale("logits", 0.1),
        set_value("hook_embed", 1 / 3, positions=[1]),
        add(("resid_pre", 2), 1e-9),
        *ablate_layer(2, positions=[3]),
    ]
    made = [eval(line) for line in edit_code(edits)]  # noqa: S307
    assert [edit for item in made for edit in (item if isinstance(item, tuple) else (item,))] == edits
    assert edit_code(edits)[3] == "nextword.ablate_layer(1)"
    [line] = edit_code([patch(("resid_pre", 1), lm.trace("To be"), [0])])
    assert "values of shape (1, 256)" in line


def test_a_copy_keeps_what_it_computes_for_itself() -> None:
    _, trace = traces("default")
    size, copy = trace.nbytes, trace.copy()
    first = read(block_frame(copy, 1))[1]
    assert (trace.nbytes, copy.nbytes > size) == (size, True)
    for name, values in read(block_frame(trace, 1))[1].items():
        np.testing.assert_array_equal(values, first[name])
