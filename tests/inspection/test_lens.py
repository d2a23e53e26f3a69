"""The logit lens: the model's own norm and head on every layer, held against NumPy in float64."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch

from nextword.errors import ConfigError, NextwordError, TextError
from nextword.inspection import readout
from nextword.inspection.capture import capture
from nextword.inspection.edits import add, scale
from nextword.inspection.lens import Lens, logit_lens, token_label
from nextword.inspection.readout import rowwise_topk_ids
from nextword.inspection.trace import Trace
from nextword.tokens import Tokenizer
from tests.oracle.cases import CASES, PRESETS, random_tokens, random_weights
from tests.oracle.compare import torch_model
from tests.oracle.numpy_gpt import Array


def traced(case: str, dtype: torch.dtype = torch.float64, **options: object) -> Trace:
    config = CASES[case]
    model = torch_model(config, random_weights(config), dtype)
    return capture(model, None, "", random_tokens(config)[0][0].tolist(), **options)  # type: ignore[arg-type]


def by_hand(trace: Trace, layer: int) -> Array:
    """Row `layer` through norm and head, with nothing but NumPy."""
    config, weights = trace.config, random_weights(trace.config)
    x_TD = trace.residual(layer).astype(np.float64)
    if config.norm == "layernorm":
        x_TD = x_TD - x_TD.mean(-1, keepdims=True)
    unit_TD = x_TD / np.sqrt((x_TD**2).mean(-1, keepdims=True) + config.norm_eps)
    normalized_TD = unit_TD * weights["ln_final.weight"] + weights.get("ln_final.bias", 0.0)
    head_VD = weights["token_embedding.weight" if config.tie_embeddings else "output_layer.weight"]
    logits_TV: Array = normalized_TD @ head_VD.T + weights.get("output_layer.bias", 0.0)
    return logits_TV


def shares(logits_TV: Array) -> Array:
    raised = np.exp(logits_TV - logits_TV.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", CASES)
def test_every_row_is_what_numpy_makes_of_it(case: str) -> None:
    trace = traced(case)
    T, V, L = len(trace.token_ids), trace.config.vocab_size, trace.config.num_layers
    lens = logit_lens(trace, top=3)
    final_TV = shares(by_hand(trace, L))
    targets_T = final_TV.argmax(-1)
    assert lens.token_ids.shape == (L + 1, T, 3)
    assert lens.target_ids.tolist() == targets_T.tolist()
    for row in range(L + 1):
        logits_TV = by_hand(trace, row)
        p_TV = shares(logits_TV)
        assert np.abs(lens.logits(row) - logits_TV).max() < 1e-11
        order_TV = np.argsort(-logits_TV, axis=-1, kind="stable")
        assert lens.token_ids[row].tolist() == order_TV[:, :3].tolist()
        assert np.abs(lens.probabilities[row] - np.take_along_axis(p_TV, order_TV[:, :3], -1)).max() < 1e-12
        assert np.abs(lens.entropy[row] + (p_TV * np.log(p_TV)).sum(-1)).max() < 1e-11
        assert np.abs(lens.kl[row] - (final_TV * np.log(final_TV / p_TV)).sum(-1)).max() < 1e-10
        places_TV = np.argsort(order_TV, axis=-1)
        assert lens.target_rank[row].tolist() == [1 + places_TV[t, targets_T[t]] for t in range(T)]
        assert np.abs(lens.target_probability[row] - p_TV[range(T), targets_T]).max() < 1e-12
    assert lens.kl[L].max() == 0.0
    assert lens.target_rank[L].max() == 1
    assert float(lens.kl[:L].max()) > 1e-3
    assert float(lens.entropy.max()) <= math.log(V) + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", PRESETS)
def test_the_last_row_is_the_models_own_logits(case: str, dtype: torch.dtype) -> None:
    trace = traced(case, dtype)
    lens = logit_lens(trace)
    own = trace["logits"].astype(np.float64)
    bound = 1e-5 if dtype == torch.float32 else 0.05
    assert np.abs(lens.logits(trace.config.num_layers) - own).max() < bound
    assert np.abs(lens.logits(0) - own).max() > 0.2


def test_a_model_that_is_not_the_traces_is_found_out_by_the_last_row() -> None:
    trace = traced("gpt2", torch.float32)
    with torch.no_grad():
        trace.model.ln_final.weight[3] += 0.01
    with pytest.raises(NextwordError, match=r"the weights of ln_final were changed after this trace was made"):
        logit_lens(trace)
    values = {str(name): trace.tensor(name) for name in trace if not str(name).endswith("result")}
    unmarked = Trace(trace.text, trace.token_ids, trace.config, values, model=trace.model)
    with pytest.raises(NextwordError, match=r"lens of the last layer differs from the model's logits by 0\.\d+ "):
        logit_lens(unmarked)


def test_logits_that_are_no_numbers_are_called_so() -> None:
    config = CASES["llama"]
    model = torch_model(config, random_weights(config), torch.float64)
    ids = random_tokens(config)[0][0].tolist()
    huge = capture(model, None, "", ids, edits=(add("blocks.1.hook_resid_post", math.inf),))
    with pytest.raises(NextwordError, match=r"the model's logits are no numbers") as caught:
        logit_lens(huge)
    assert caught.value.hint == "an edit puts what is no number into the forward pass: see trace.edits"
    with torch.no_grad():
        model.ln_final.weight[0] = math.nan
    with pytest.raises(NextwordError, match=r"the model's logits are no numbers") as caught:
        logit_lens(capture(model, None, "", ids))
    assert str(caught.value.hint).startswith("the model's weights are none")


def test_edits_of_the_stream_show_from_there_on_and_those_of_norm_and_logits_in_every_row() -> None:
    plain, steered = traced("llama"), traced("llama", edits=(add("blocks.1.hook_resid_post", np.full(24, 2.0)),))
    before, after = logit_lens(plain), logit_lens(steered)
    assert np.array_equal(before.logits(1), after.logits(1))
    assert np.abs(before.logits(2) - after.logits(2)).max() > 0.1
    for name, factor in (("logits", 0.5), ("ln_final.hook_normalized", 0.5), ("ln_final.hook_scale", 2.0)):
        edited = traced("llama", edits=(scale(name, factor),))
        for row in range(4):  # the llama case's head has no bias
            np.testing.assert_allclose(logit_lens(edited).logits(row), before.logits(row) / 2, rtol=0, atol=1e-12)
        np.testing.assert_allclose(logit_lens(edited).logits(3), edited["logits"], rtol=0, atol=1e-12)


def test_equal_logits_are_ordered_by_id_and_share_a_rank() -> None:
    logits = np.array([[1.0, 3.0, 3.0, 2.0, 3.0, 2.0], [0.0] * 6, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])
    assert rowwise_topk_ids(logits, 2).tolist() == [[1, 2], [0, 1], [0, 1]]
    assert rowwise_topk_ids(logits, 4).tolist() == [[1, 2, 4, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    many = np.random.default_rng(0).integers(0, 7, (50, 400)).astype(np.float32)
    assert rowwise_topk_ids(many, 9).tolist() == np.argsort(-many, axis=-1, kind="stable")[:, :9].tolist()

    trace = traced("gpt2")
    with torch.no_grad():
        trace.model.token_embedding.weight.zero_()  # tied: every logit is 0
    lens = logit_lens(capture(trace.model, None, "", [1, 2]), top=4, targets=[7, 30])
    assert lens.token_ids.tolist() == [[[0, 1, 2, 3]] * 2] * 4
    assert lens.target_rank.tolist() == [[1, 1]] * 4
    assert np.abs(lens.entropy - math.log(31)).max() < 1e-12
    assert np.abs(lens.probabilities - 1 / 31).max() < 1e-15


def test_positions_and_targets_can_be_chosen() -> None:
    trace = traced("qwen3")
    whole, part = logit_lens(trace), logit_lens(trace, positions=[-1, 2], targets=[5, 6])
    assert part.positions == (10, 2)
    assert np.allclose(part.entropy, whole.entropy[:, [10, 2]], atol=1e-12)
    assert part.target_ids.tolist() == [5, 6]
    p_V = shares(by_hand(trace, 1))[2]
    assert part.target_probability[1, 1] == pytest.approx(p_V[6], abs=1e-12)
    assert part.target_rank[1, 1] == 1 + (p_V > p_V[6]).sum()


@pytest.mark.parametrize(
    ("size", "value"), [("_BLOCK_LOGITS", 4 * 3 * 31), ("_BLOCK_LOGITS", 1), ("_CHUNK_LOGITS", 31)]
)
def test_pieces_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch, size: str, value: int) -> None:
    trace = traced("gpt2")
    whole = logit_lens(trace)
    monkeypatch.setattr(readout, size, value)
    pieces = logit_lens(trace)
    for field in ("token_ids", "target_ids", "target_rank"):
        assert np.array_equal(getattr(pieces, field), getattr(whole, field)), field
    for field in ("probabilities", "entropy", "kl", "target_probability"):
        assert np.abs(getattr(pieces, field) - getattr(whole, field)).max() < 1e-12, field


def test_what_does_not_fit_is_refused() -> None:
    trace = traced("gpt2")
    with pytest.raises(ConfigError, match="top is 0"):
        logit_lens(trace, top=0)
    with pytest.raises(ConfigError, match="no position 11"):
        logit_lens(trace, positions=[11])
    with pytest.raises(ConfigError, match="1 targets are given for 11 positions"):
        logit_lens(trace, targets=[1])
    with pytest.raises(TextError, match="token id 31 is not in"):
        logit_lens(trace, positions=[0], targets=[31])
    with pytest.raises(ConfigError, match="no row 4"):
        logit_lens(trace).logits(4)
    assert logit_lens(trace, top=99).token_ids.shape == (4, 11, 31)


def korean() -> Lens:
    """A byte-level vocabulary without merges: every syllable is three tokens."""
    tokenizer = Tokenizer.train_bpe(["가"], 257)
    config = PRESETS["gpt2"].replace(vocab_size=260)
    model = torch_model(config, random_weights(config))
    ids = tokenizer.encode("가 <나")
    return logit_lens(capture(model, tokenizer, "가 <나", ids), top=2)


def test_labels_show_fragments_blanks_and_ids_without_a_text() -> None:
    tokenizer = korean().trace.tokenizer
    assert tokenizer is not None
    fragments = [token_label(tokenizer, token) for token in tokenizer.encode("가")]
    assert fragments == ["⟨EA⟩", "⟨B0⟩", "⟨80⟩"]
    assert token_label(tokenizer, tokenizer.encode(" ")[0]) == "␣"
    assert token_label(tokenizer, 259) == "#259"
    assert token_label(None, 17) == "#17"
    assert token_label(Tokenizer.words(["사과", "배"]), 1) == "배"


def test_it_prints_as_a_grid_in_text_and_html_and_json() -> None:
    lens = korean()
    lens.token_ids.flags.writeable = True
    lens.token_ids[2, -1, 0] = lens.trace.tokenizer.encode("<")[0]  # type: ignore[union-attr]
    assert lens.label(2, 7) == "<"
    text = str(lens)
    assert text.startswith("<Lens: 4 rows, 8 positions>")
    assert "after 4 '<'" in text
    assert f"in {lens.probabilities[0, 0, 0]:7.2%}" in text
    html = lens._repr_html_()
    assert html.count("<tr>") == 5
    assert f"<td>&lt; {lens.probabilities[2, -1, 0]:.1%}</td>" in re.sub(r' style="[^"]*"', "", html)
    values = json.loads(json.dumps(lens.to_json()))
    assert values["rows"] == ["in", "0", "1", "2"]
    assert values["positions"][3]["rows"][1]["kl"] == lens.kl[1, 3]
    assert len(values["positions"][7]["rows"][3]["candidates"]) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        lens.positions = ()  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        lens.kl[0, 0] = 1
