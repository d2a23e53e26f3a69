"""Attribution: gradient x input against finite differences, and parts of a logit that sum to it."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from nextword.errors import ConfigError, ContextOverflowError, NextwordError, TextError
from nextword.inspection.attribution import logit_attribution
from nextword.inspection.capture import capture
from nextword.inspection.decomposition import decomposition
from nextword.inspection.edits import (
    Edits,
    ablate_head,
    ablate_layer,
    ablate_mlp,
    add,
    flatten,
    scale,
    set_value,
    swap_embedding,
)
from nextword.inspection.gradient import gradient_x_input
from nextword.inspection.patching import patch
from nextword.inspection.trace import Trace
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import torch_model
from tests.oracle.numpy_gpt import Array

STREAMS = [case for case, config in CASES.items() if config.residual == "stream"]
NORMALIZED = [case for case in CASES if case not in STREAMS]


def model_and_ids(case: str, dtype: torch.dtype = torch.float64) -> tuple[GPTModel, list[int]]:
    config = CASES[case]
    return torch_model(config, random_weights(config), dtype), random_tokens(config)[0][0].tolist()


def traced(case: str, *edits: Edits, dtype: torch.dtype = torch.float64, **options: object) -> Trace:
    model, ids = model_and_ids(case, dtype)
    return capture(model, None, "", ids, edits=flatten(edits), **options)  # type: ignore[arg-type]


class Put:
    """A tap that puts given embeddings in place of those of the tokens."""

    def __init__(self, embeddings_TD: Tensor) -> None:
        self.embeddings_TD = embeddings_TD

    def wants(self, name: str) -> bool:
        return name == "hook_embed"

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        return self.embeddings_TD[None]


# -- gradient x input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_gradient_times_input_is_the_slope_of_the_logit_when_a_token_is_scaled(case: str) -> None:
    model, ids = model_and_ids(case)
    found = gradient_x_input(model, None, "", ids, target=4)
    embeddings_TD = model.token_embedding.weight.detach()[ids]
    step = 1e-5
    for place in range(len(ids)):
        logits = []
        for sign in (1, -1):  # d logit / d s where the token's embedding is s * e, at s = 1
            scaled_TD = embeddings_TD.clone()
            scaled_TD[place] *= 1 + sign * step
            with torch.no_grad():
                logits.append(float(model(torch.tensor([ids]), tap=Put(scaled_TD))[0, -1, 4]))
        assert found.scores[place] == pytest.approx((logits[0] - logits[1]) / (2 * step), abs=1e-7)
    # A block that normalises what it carries, and no position in it: an embedding's length is lost but for norm_eps.
    blind = model.config.residual == "normalized" and model.config.position == "rotary"
    assert (float(np.abs(found.scores).max()) > 1e-3) is not blind
    assert found.logit == pytest.approx(float(capture(model, None, "", ids)["logits"][-1, 4]), abs=1e-12)


@pytest.mark.parametrize(
    "edit",
    [ablate_head(0, 1), swap_embedding(3, 7), scale("embed", 0.5, [2]), add(("resid_post", 1), [0.5] * 24), "pattern"],
)
def test_under_an_edit_it_is_the_edited_pass_that_is_differentiated(edit: Edits | str) -> None:
    model, ids = model_and_ids("llama")
    if isinstance(edit, str):
        edit = patch(("pattern", 1), capture(model, None, "", ids[::-1]))
    edits = flatten([edit])
    found = gradient_x_input(model, None, "", ids, target=4, edits=edits)
    step, count = 1e-5, len(ids)
    logit = float(capture(model, None, "", ids, edits=edits)["logits"][-1, 4])
    assert found.logit == pytest.approx(logit, abs=1e-12)
    for place in range(count):
        up, down = (
            float(capture(model, None, "", ids, edits=(*edits, scale("embed", s, [place])))["logits"][-1, 4])
            for s in (1 + step, 1 - step)
        )
        assert found.scores[place] == pytest.approx((up - down) / (2 * step), abs=1e-7)
    assert np.abs(found.scores - gradient_x_input(model, None, "", ids, target=4).scores).max() > 1e-4


def test_a_stream_that_is_overwritten_leans_on_no_token() -> None:
    model, ids = model_and_ids("gpt2")
    for parameters_learn in (True, False):
        model.requires_grad_(parameters_learn)
        found = gradient_x_input(model, None, "", ids, edits=(set_value(("resid_post", 0), 1.0),))
        assert found.scores.tolist() == [0.0] * 11


def test_edited_logits_are_differentiated_too() -> None:
    model, ids = model_and_ids("gpt2")
    plain = gradient_x_input(model, None, "", ids, target=2)
    tripled = gradient_x_input(model, None, "", ids, target=2, edits=(scale("logits", 3.0),))
    assert np.abs(tripled.scores - 3 * plain.scores).max() < 1e-12
    assert tripled.logit == pytest.approx(3 * plain.logit, abs=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(training: bool) -> None:
    model, ids = model_and_ids("qwen3")
    model.train(training)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.inference_mode():
        found = gradient_x_input(model, None, "", ids)
    assert model.training is training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert found.target == int(capture(model, None, "", ids)["logits"][-1].argmax())
    model.eval()
    assert np.array_equal(found.scores, gradient_x_input(model, None, "", ids).scores)
    assert float(np.abs(found.scores).max()) > 1e-2


@pytest.mark.parametrize("case", ["gpt2", "llama", "qwen3", "interleaved rotary, some layers without"])
def test_a_model_that_has_predicted_before_can_still_be_differentiated(case: str) -> None:
    model, ids = model_and_ids(case)
    fresh = gradient_x_input(model, None, "", ids, target=1).scores
    used, _ = model_and_ids(case)
    with torch.inference_mode():  # as generation does; rotary models keep tables that this pass makes
        used(torch.tensor([ids]))
    assert np.array_equal(gradient_x_input(used, None, "", ids, target=1).scores, fresh)


def test_threads_with_different_edits_do_not_see_each_other() -> None:
    model, ids = model_and_ids("llama", torch.float32)
    edits = [flatten([ablate_head(layer, head)]) for layer in range(3) for head in range(6)]
    alone = [gradient_x_input(model, None, "", ids, target=3, edits=edit).scores for edit in edits]
    together: dict[int, list[Array]] = {i: [] for i in range(len(edits))}

    def run(numbers: Sequence[int]) -> None:
        for i in numbers:
            together[i].append(gradient_x_input(model, None, "", ids, target=3, edits=edits[i]).scores)

    numbers = list(range(len(edits)))
    threads = [threading.Thread(target=run, args=(order,)) for order in (numbers, numbers[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, scores in together.items():
        assert len(scores) == 2
        assert all(np.array_equal(found, alone[i]) for found in scores)
    assert len({scores.tobytes() for scores in alone}) == len(edits)


def test_targets_are_ids_or_texts_of_one_token() -> None:
    tokenizer = Tokenizer.train_bpe(["가"], 257)
    config = CASES["gpt2"].replace(vocab_size=257)
    model = torch_model(config, random_weights(config))
    ids = tokenizer.encode("가 b")
    found = gradient_x_input(model, tokenizer, "가 b", ids, target="<")
    assert (found.target, found.target_text) == (tokenizer.encode("<")[0], "<")
    assert [piece.label for piece in found.tokens] == ["가 1/3", "가 2/3", "가 3/3", " ", "b"]
    with pytest.raises(TextError, match='target "나" is 3 tokens'):
        gradient_x_input(model, tokenizer, "가 b", ids, target="나")
    with pytest.raises(TextError, match="token id 257 is not in"):
        gradient_x_input(model, tokenizer, "가 b", ids, target=257)
    with pytest.raises(ConfigError, match="not a text"):
        gradient_x_input(model, None, "", ids, target="<")
    with pytest.raises(TextError, match="empty"):
        gradient_x_input(model, tokenizer, "", [])
    with pytest.raises(ContextOverflowError):
        gradient_x_input(model, tokenizer, "", [1] * 12)
    with pytest.raises(ConfigError, match="no head 5"):
        gradient_x_input(model, tokenizer, "가 b", ids, edits=(ablate_head(0, 5),))

    text = str(found)
    assert f"{found.scores[2]:+9.4f}" in text
    assert "'가 3/3'" in text
    shown = found._repr_html_()
    assert "gradient x input for &lt;" in shown
    assert f"<td>가 1/3</td><td>{found.scores[0]:+.4f}</td>" in unstyled(shown)
    values = json.loads(json.dumps(found.to_json()))
    assert values["tokens"][1] == {"id": ids[1], "text": "가", "part": 2, "parts": 3, "score": found.scores[1]}
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.logit = 0.0  # type: ignore[misc]


# -- direct logit attribution --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", STREAMS)
def test_the_parts_sum_to_the_logit_at_every_position(case: str, dtype: torch.dtype) -> None:
    trace = traced(case, dtype=dtype)
    config, bound = trace.config, (1e-11 if dtype == torch.float64 else 1e-4)
    for place in range(len(trace.token_ids)):
        found = logit_attribution(trace, position=place)
        assert found.target == int(trace["logits"][place].argmax())
        assert abs(found.total - float(trace["logits"][place, found.target])) < bound
        difference = logit_attribution(trace, 1, place, against=2)
        row = trace["logits"][place].astype(np.float64)
        assert abs(difference.total - (row[1] - row[2])) < bound
        assert difference.logit == row[1] - row[2]
    assert found.heads.shape == (config.num_layers, config.num_heads)
    assert found.mlps.shape == (config.num_layers,)
    assert (found.pos is not None) is (config.position == "learned")
    assert len(set(found.labels)) == len(found.values)
    assert "edits" not in found.labels
    assert abs(found.values[found.labels.index("rounding")]) < bound
    assert float(np.abs(found.heads).min()) > 0
    assert float(np.abs(found.mlps).min()) > 0


def through_a_frozen_norm(trace: Trace, stream_D: Array, token: int) -> float:
    """The logit of another stream, where the final norm divides by what it divided by in the trace; NumPy alone."""
    config, weights = trace.config, random_weights(trace.config)
    own_D = trace.residual(config.num_layers)[-1]
    if config.norm == "layernorm":
        own_D, stream_D = own_D - own_D.mean(), stream_D - stream_D.mean()
    scale = np.sqrt((own_D**2).mean() + config.norm_eps)
    normalized_D = stream_D / scale * weights["ln_final.weight"] + weights.get("ln_final.bias", 0.0)
    head_VD = weights["token_embedding.weight" if config.tie_embeddings else "output_layer.weight"]
    bias_V = weights.get("output_layer.bias", np.zeros(config.vocab_size))
    return float(normalized_D @ head_VD[token] + bias_V[token])


@pytest.mark.parametrize("case", STREAMS)
def test_without_a_part_the_logit_falls_by_exactly_its_value(case: str) -> None:
    trace = traced(case)
    config, weights = trace.config, random_weights(trace.config)
    token, L, C = 3, config.num_layers, config.head_dim
    found = logit_attribution(trace, token)
    stream_D = trace.residual(L)[-1]
    full = through_a_frozen_norm(trace, stream_D, token)
    assert full == pytest.approx(float(trace["logits"][-1, token]), abs=1e-11)
    for layer in range(L):
        out_DX = weights[f"blocks.{layer}.attn.out_proj.weight"]
        for head in range(config.num_heads):
            added_D = out_DX[:, head * C : (head + 1) * C] @ trace["z", layer][-1, head]
            without = through_a_frozen_norm(trace, stream_D - added_D, token)
            assert full - without == pytest.approx(found.heads[layer, head], abs=1e-11)
        without = through_a_frozen_norm(trace, stream_D - trace["mlp_out", layer][-1], token)
        assert full - without == pytest.approx(found.mlps[layer], abs=1e-11)
    without = through_a_frozen_norm(trace, stream_D - trace["embed"][-1], token)
    assert full - without == pytest.approx(found.embed, abs=1e-11)
    if found.pos is not None:
        without = through_a_frozen_norm(trace, stream_D - trace["pos_embed"][-1], token)
        assert full - without == pytest.approx(found.pos, abs=1e-11)
    assert through_a_frozen_norm(trace, 0 * stream_D, token) == pytest.approx(found.constant, abs=1e-11)


@pytest.mark.parametrize("case", STREAMS)
def test_the_heads_of_the_decomposition_are_those_that_the_trace_shows(case: str) -> None:
    trace = traced(case)
    labels, parts_nD = decomposition(trace, 4)
    by_label = dict(zip(labels, parts_nD, strict=True))
    assert np.abs(parts_nD.sum(0) - trace.residual(trace.config.num_layers)[4]).max() < 1e-12
    for layer in range(trace.config.num_layers):
        result_HD = trace["result", layer][4]
        for head in range(trace.config.num_heads):
            assert np.abs(by_label[f"L{layer}H{head}"] - result_HD[head]).max() < 1e-12
        bias_D = by_label.get(f"L{layer} attention bias", np.zeros(trace.config.d_model))
        assert np.abs(result_HD.sum(0) + bias_D - trace["attn_out", layer][4]).max() < 1e-12
    assert np.abs(by_label["rounding"]).max() < 1e-13


EDITS: dict[str, Edits] = {
    "a head": ablate_head(1, 2),
    "a feed-forward layer": ablate_mlp(1),
    "a layer": ablate_layer(1),
    "a value inside": scale(("post", 0), 2.0),
    "attention's output": add(("attn_out", 1), np.linspace(-1, 1, 15)),
    "attention's output, scaled": scale(("attn_out", 1), 0.3),
    "the stream, steered": add(("resid_mid", 1), np.linspace(-1, 1, 15)),
    "the stream, set": set_value(("resid_pre", 1), np.linspace(-1, 1, 15)),
    "the stream, scaled channel by channel": scale(("resid_post", 0), np.linspace(0, 2, 15)),
    "several at once": (add(("resid_post", 0), 1.0), scale(("resid_post", 0), 0.5), add(("resid_pre", 1), 0.25)),
    "added, then scaled": (add(("resid_pre", 0), np.linspace(-1, 1, 15)), scale(("resid_post", 1), 0.5)),
    "elsewhere": set_value(("resid_post", 1), 0.0, positions=[0, 5]),
    "another token": (add("embed", 3.0), swap_embedding(10, 7)),
    "the position": set_value("pos_embed", np.linspace(0, 1, 15), positions=[10]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", EDITS)
def test_under_any_edit_the_parts_sum_to_the_logit_with_nothing_left_over(name: str, dtype: torch.dtype) -> None:
    trace, bound = traced("gpt2", EDITS[name], dtype=dtype), (1e-11 if dtype == torch.float64 else 1e-4)
    found = logit_attribution(trace, 6)
    assert abs(found.total - float(trace["logits"][-1, 6])) < bound
    assert abs(found.values[found.labels.index("rounding")]) < bound
    if name != "elsewhere":  # at other positions, which this layer's attention is about to read
        assert abs(found.logit - logit_attribution(traced("gpt2"), 6).logit) > 1e-3


def value(found: object, label: str) -> float:
    return float(found.values[found.labels.index(label)])  # type: ignore[attr-defined]


def test_an_ablated_part_adds_nothing() -> None:
    head, mlp, layer = (
        logit_attribution(traced("gpt2", EDITS[n])) for n in ("a head", "a feed-forward layer", "a layer")
    )
    assert head.heads[1, 2] == 0.0
    assert np.count_nonzero(head.heads) == 14
    assert mlp.mlps.tolist()[1] == 0.0
    assert np.count_nonzero(mlp.mlps) == 2
    assert layer.heads[1].tolist() == [0.0] * 5
    assert value(layer, "L1 attention bias") == 0.0
    assert layer.mlps[1] == 0.0
    assert [value(found, "edits") for found in (head, mlp, layer)] == [0.0, 0.0, 0.0]


def test_what_an_edit_puts_into_the_stream_is_counted_as_its_own() -> None:
    steering_D = np.linspace(-1, 1, 15)
    trace = traced("gpt2", EDITS["the stream, steered"])
    found = logit_attribution(trace, 6)
    stream_D = trace.residual(3)[-1]
    without = through_a_frozen_norm(trace, stream_D - steering_D, 6)
    assert value(found, "edits") == pytest.approx(through_a_frozen_norm(trace, stream_D, 6) - without, abs=1e-11)
    assert abs(value(found, "edits")) > 1e-3

    wiped = dict(zip(*decomposition(traced("gpt2", EDITS["the stream, set"])), strict=True))
    gone = [label for label, part_D in wiped.items() if not part_D.any()]
    assert gone == ["embed", "position", *(f"L0H{head}" for head in range(5)), "L0 attention bias", "L0 MLP"]
    assert np.array_equal(wiped["edits"], steering_D)

    halved = dict(zip(*decomposition(traced("gpt2", EDITS["several at once"])), strict=True))
    plain = dict(zip(*decomposition(traced("gpt2")), strict=True))
    assert np.abs(halved["embed"] - plain["embed"] / 2).max() < 1e-15
    assert halved["edits"].tolist() == [0.75] * 15

    model, _ = model_and_ids("gpt2")
    swapped = dict(zip(*decomposition(traced("gpt2", EDITS["another token"])), strict=True))
    assert np.array_equal(swapped["embed"], model.weights()["token_embedding.weight"][7].numpy())
    assert not swapped["edits"].any()


def test_a_patch_from_another_text_is_counted_position_by_position() -> None:
    model, ids = model_and_ids("gpt2")
    other = capture(model, None, "", ids[::-1])
    trace = capture(model, None, "", ids, edits=(patch(("resid_post", 1), other, positions=[9, 4]),))
    for place in (9, 4):
        parts = dict(zip(*decomposition(trace, place), strict=True))
        assert np.array_equal(parts["edits"], other["resid_post", 1][place])
        assert not parts["embed"].any()
    here = dict(zip(*decomposition(trace, 8), strict=True))
    assert not here["edits"].any()
    assert np.array_equal(here["embed"], trace["embed"][8])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["gpt2", "llama", "qwen3"])
def test_half_precision_rounds_and_says_how_much(case: str, dtype: torch.dtype) -> None:
    found = logit_attribution(traced(case, dtype=dtype))
    assert abs(found.total - found.logit) < 0.1
    assert 0 < abs(value(found, "rounding")) < 0.1


@pytest.mark.parametrize("case", NORMALIZED)
def test_the_lessons_architecture_is_refused_with_the_reason(case: str) -> None:
    with pytest.raises(ConfigError, match="no residual stream") as refused:
        logit_attribution(traced(case))
    assert "gradient x input" in refused.value.hint


def test_what_cannot_be_split_is_refused() -> None:
    for name in ("logits", "ln_final.hook_scale", "ln_final.hook_normalized"):
        with pytest.raises(ConfigError, match=f"{name} is edited"):
            logit_attribution(traced("gpt2", scale(name, 1.5)))
    with pytest.raises(ConfigError, match=r"does not hold blocks\.0\.attn\.hook_z"):
        logit_attribution(traced("gpt2", names=["resid_post", "hook_embed", "hook_pos_embed"]))
    with pytest.raises(ConfigError, match="no position 11"):
        logit_attribution(traced("gpt2"), position=11)
    without_logits = traced("gpt2", names=["hook_embed", "hook_pos_embed", "z", "mlp_out", "resid_post"])
    assert logit_attribution(without_logits).logit == pytest.approx(logit_attribution(traced("gpt2")).logit, abs=1e-12)


def test_other_weights_than_those_that_ran_are_found_out() -> None:
    trace = traced("gpt2", dtype=torch.float32)
    with torch.no_grad():
        trace.model.blocks[1].attn.out_proj.weight[0, 0] += 0.1
    with pytest.raises(NextwordError, match=r"the weights of blocks\.1\.attn\.out_proj were changed after"):
        logit_attribution(trace)
    trace = traced("gpt2", dtype=torch.float32)
    with torch.no_grad():
        trace.model.ln_final.weight *= 1.01
    with pytest.raises(NextwordError, match=r"the weights of ln_final were changed after"):
        logit_attribution(trace)


def test_it_prints_its_largest_parts_first() -> None:
    found = logit_attribution(traced("gpt2"), 6, against=7)
    largest = int(np.abs(found.values).argmax())
    lines = str(found).splitlines()
    assert lines[0] == f"<LogitAttribution of '#6' (6) minus '#7' (7) after position 10: {found.logit:.4f}>"
    assert lines[1].split()[0] == f"{found.values[largest]:+.4f}"
    assert lines[1].endswith(found.labels[largest])
    assert lines[-1] == f"  {found.total:+9.4f} {'':20} sum"
    assert f"<td>{found.labels[largest]}</td><td>{found.values[largest]:+.4f}</td>" in unstyled(found._repr_html_())
    values = json.loads(json.dumps(found.to_json()))
    assert sum(part["value"] for part in values["parts"]) == pytest.approx(values["logit"], abs=1e-11)
    assert values["against_id"] == 7
    with pytest.raises(ValueError, match="read-only"):
        found.heads[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.logit = 0.0  # type: ignore[misc]


def unstyled(html: str) -> str:
    return re.sub(r' style="[^"]*"', "", html)
