"""run_with_cache and run_with_hooks do what TransformerLens's do, on our own models."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nextword.errors import ConfigError, TextError
from nextword.inspection.edits import ablate_head
from nextword.inspection.hook_names import hook_shapes
from nextword.inspection.hooks import HookPoint, run_with_cache, run_with_hooks
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import gap, torch_model

ARCHITECTURES = ["gpt2", "llama", "qwen3", "lesson"]


def model_and_ids(case: str, dtype: torch.dtype = torch.float32) -> tuple[GPTModel, Tensor]:
    config = CASES[case]
    model = torch_model(config, random_weights(config), dtype).requires_grad_(False)
    return model, torch.from_numpy(random_tokens(config, batch_size=2)[0])


def nothing(tensor: Tensor, hook: HookPoint) -> None:
    return None


def everything(name: str) -> bool:
    return True


# -- run_with_cache ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_the_cache_holds_every_value_and_looking_changes_no_bit(case: str) -> None:
    model, ids = model_and_ids(case)
    logits, cache = run_with_cache(model, ids)
    B, T = ids.shape
    expected = {name: (B, *shape) for name, shape in hook_shapes(model.config, T).items() if "hook_result" not in name}
    assert {name: tuple(value.shape) for name, value in cache.items()} == expected
    assert torch.equal(logits, model(ids))
    assert torch.equal(cache["logits"], logits)


def test_short_forms_lead_to_the_same_values() -> None:
    model, ids = model_and_ids("gpt2")
    _, cache = run_with_cache(model, ids)
    pattern = cache["blocks.2.attn.hook_pattern"]
    assert pattern.data_ptr() == cache["pattern", 2].data_ptr() == cache["pattern", -1].data_ptr()
    assert cache["pattern2"].data_ptr() == cache["attn", 2].data_ptr() == pattern.data_ptr()
    assert cache["scale", 1, "ln2"] is cache["blocks.1.ln2.hook_scale"] is cache["scale1ln2"]
    assert cache["resid_post", 0] is cache["blocks.0.hook_resid_post"]
    assert cache["scale",] is cache["ln_final.hook_scale"]
    assert cache["embed"] is cache["hook_embed"]
    assert ("pattern", 2) in cache
    assert ("pattern", 9) not in cache
    assert 3 not in cache


@pytest.mark.parametrize(
    ("names_filter", "kept"),
    [
        ("blocks.1.hook_resid_post", ["blocks.1.hook_resid_post"]),
        (["hook_embed", "blocks.0.attn.hook_pattern"], ["hook_embed", "blocks.0.attn.hook_pattern"]),
        (lambda name: name.endswith("hook_z"), [f"blocks.{i}.attn.hook_z" for i in range(3)]),
        (["blocks.0.attn.hook_result"], ["blocks.0.attn.hook_result"]),
    ],
    ids=["one name", "several", "a function", "head results"],
)
def test_the_filter_chooses_what_is_kept(names_filter: object, kept: list[str]) -> None:
    model, ids = model_and_ids("gpt2")
    logits, cache = run_with_cache(model, ids, names_filter=names_filter)  # type: ignore[arg-type]
    assert list(cache) == kept
    assert torch.equal(logits, model(ids))


def test_the_heads_results_add_up_to_attentions_output() -> None:
    for case in ARCHITECTURES:
        model, ids = model_and_ids(case, torch.float64)
        _, cache = run_with_cache(model, ids, ["blocks.1.attn.hook_result", "blocks.1.hook_attn_out"])
        bias = model.blocks[1].attn.out_proj.bias
        whole = cache["result", 1].sum(2) + (0 if bias is None else bias)
        assert cache["result", 1].shape[2] == model.config.num_heads
        assert gap(whole, cache["attn_out", 1]) < 1e-12


def test_the_batch_axis_can_be_left_out() -> None:
    model, ids = model_and_ids("gpt2")
    logits, cache = run_with_cache(model, ids[0], remove_batch_dim=True)
    assert logits.shape == (1, ids.shape[1], model.config.vocab_size)
    assert torch.equal(cache["logits"], logits[0])
    with pytest.raises(ConfigError, match="for one text, here are 2"):
        run_with_cache(model, ids, remove_batch_dim=True)


def test_a_value_that_was_not_kept_says_so() -> None:
    model, ids = model_and_ids("gpt2")
    _, cache = run_with_cache(model, ids, "hook_embed")
    with pytest.raises(ConfigError, match=r"blocks\.0\.attn\.hook_z was not kept"):
        cache["z", 0]
    with pytest.raises(ConfigError, match="no value"):
        cache["zz", 0]


def test_kept_values_are_cut_off_from_the_graph() -> None:
    model, ids = model_and_ids("gpt2")
    logits, cache = run_with_cache(model.requires_grad_(), ids)
    assert logits.requires_grad
    assert not any(value.requires_grad for value in cache.values())


# -- run_with_hooks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_hooks_that_change_nothing_change_no_bit(case: str) -> None:
    model, ids = model_and_ids(case)
    seen: list[str] = []

    def give_back(tensor: Tensor, hook: HookPoint) -> Tensor:
        seen.append(hook.name)
        return tensor.clone()

    logits = run_with_hooks(model, ids, [(everything, nothing), (everything, give_back)])
    assert torch.equal(logits, model(ids))
    assert sorted(seen) == sorted(name for name in hook_shapes(model.config, 1) if "hook_result" not in name)


def test_a_value_that_is_not_a_number_is_no_change_either() -> None:
    model, ids = model_and_ids("gpt2")
    with torch.no_grad():
        model.blocks[0].attn.q_proj.weight[0, 0] = math.nan
    called = []

    def look(tensor: Tensor, hook: HookPoint) -> None:
        called.append(bool(tensor.isnan().any()))

    logits = run_with_hooks(model, ids, [(("pattern", 0), look)])
    assert called == [True]
    assert torch.equal(logits.view(torch.int32), model(ids).view(torch.int32))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("case", ARCHITECTURES)
def test_a_head_set_to_zero_equals_zeroed_weights(case: str, in_place: bool) -> None:
    model, ids = model_and_ids(case, torch.float64)

    def ablate(tensor: Tensor, hook: HookPoint) -> Tensor | None:
        changed = tensor if in_place else tensor.clone()
        changed[:, :, 2] = 0
        return None if in_place else changed

    before = model(ids)
    logits = run_with_hooks(model, ids, [("blocks.1.attn.hook_z", ablate)])
    width = model.config.head_dim
    model.blocks[1].attn.out_proj.weight[:, 2 * width : 3 * width] = 0
    assert gap(logits, model(ids)) < 1e-12
    assert gap(logits, before) > 1e-3


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_writing_into_a_pattern_reaches_the_logits(case: str) -> None:
    model, ids = model_and_ids(case, torch.float64)

    def blind(tensor: Tensor, hook: HookPoint) -> None:
        tensor.zero_()

    blinded = run_with_hooks(model, ids, [(("pattern", 0), blind)])
    without = run_with_hooks(model, ids, [(("z", 0), blind)])
    assert gap(blinded, without) < 1e-12
    assert gap(blinded, model(ids)) > 1e-3


def test_hooks_of_one_value_are_called_in_order_each_with_what_the_last_left() -> None:
    model, ids = model_and_ids("gpt2", torch.float64)
    final: list[Tensor] = []

    def add(tensor: Tensor, hook: HookPoint) -> None:
        tensor += 3

    def double(tensor: Tensor, hook: HookPoint) -> Tensor:
        return tensor * 2

    def look(tensor: Tensor, hook: HookPoint) -> None:
        final.append(tensor)

    logits = run_with_hooks(model, ids, [("logits", add), ("logits", double), ("logits", look)])
    assert gap(logits, (model(ids) + 3) * 2) == 0
    assert torch.equal(final[0], logits)


def test_a_hook_knows_its_name_and_layer() -> None:
    assert HookPoint("blocks.11.attn.hook_z").layer() == 11
    with pytest.raises(ConfigError, match="hook_embed belongs to no block"):
        HookPoint("hook_embed").layer()


def test_values_patched_in_from_another_run_give_its_logits() -> None:
    model, ids = model_and_ids("llama", torch.float64)
    clean, cache = run_with_cache(model, ids[:1])
    patched = run_with_hooks(model, ids[1:], [("blocks.1.hook_resid_pre", lambda tensor, hook: cache[hook.name])])
    assert torch.equal(patched, clean)
    assert gap(patched, model(ids[1:])) > 1e-3


def test_the_loss_is_the_mean_surprise_of_each_next_token() -> None:
    model, ids = model_and_ids("gpt2", torch.float64)
    logits, loss = run_with_hooks(model, ids, return_type="both")
    by_hand = -torch.stack(
        [logits[b, t].log_softmax(-1)[ids[b, t + 1]] for b in range(2) for t in range(ids.shape[1] - 1)]
    ).mean()
    assert gap(loss, by_hand) < 1e-12
    assert torch.equal(run_with_hooks(model, ids, return_type="loss"), loss)
    assert run_with_hooks(model, ids, return_type=None) is None
    with pytest.raises(TextError, match="two tokens or more"):
        run_with_hooks(model, [1], return_type="loss")


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["blocks.0.hook_resid_post", "blocks.1.attn.hook_pattern", "ln_final.hook_scale"])
def test_a_hook_can_keep_a_values_gradient(name: str) -> None:
    model, ids = model_and_ids("gpt2", torch.float64)
    model.requires_grad_()
    kept: list[Tensor] = []

    def keep(tensor: Tensor, hook: HookPoint) -> None:
        tensor.retain_grad()
        kept.append(tensor)

    run_with_hooks(model, ids, [(name, keep)], return_type="loss").backward()  # type: ignore[union-attr]
    gradient = kept[0].grad
    assert gradient is not None
    place = tuple(int(index) for index in torch.unravel_index(gradient.abs().argmax(), gradient.shape))

    def loss_when_moved(step: float) -> float:
        def move(tensor: Tensor, hook: HookPoint) -> None:
            tensor[place] += step

        with torch.no_grad():
            return float(run_with_hooks(model, ids, [(name, move)], return_type="loss"))  # type: ignore[arg-type]

    by_differences = (loss_when_moved(1e-5) - loss_when_moved(-1e-5)) / 2e-5
    assert float(gradient[place]) == pytest.approx(by_differences, rel=1e-5)


def test_no_graph_is_built_where_the_caller_wants_none() -> None:
    model, ids = model_and_ids("gpt2")
    model.requires_grad_()
    assert run_with_hooks(model, ids, [(everything, nothing)]).requires_grad  # type: ignore[union-attr]
    for quiet in (torch.no_grad(), torch.inference_mode()):
        with quiet:
            logits = run_with_hooks(model, ids, [(everything, nothing)])
            assert not logits.requires_grad  # type: ignore[union-attr]
            assert torch.equal(logits, model(ids))


# -- input and errors ----------------------------------------------------------------------------------------------


def test_a_language_model_reads_text_and_keeps_its_edits() -> None:
    model, _ = model_and_ids("gpt2")
    tokenizer = Tokenizer.characters("abcdefghijklmnopqrstuvwxyz ")
    lm = SimpleNamespace(reference=model, tokenizer=tokenizer, edits=())
    edited = SimpleNamespace(reference=model, tokenizer=tokenizer, edits=(ablate_head(1, 2),))
    ids = tokenizer.encode_start("hello you")
    assert torch.equal(run_with_hooks(lm, "hello you"), run_with_hooks(model, ids))
    logits, cache = run_with_cache(edited, "hello you")
    assert float(cache["z", 1][:, :, 2].abs().max()) == 0
    assert float(cache["z", 1][:, :, 1].abs().max()) > 0

    def ablate(tensor: Tensor, hook: HookPoint) -> None:
        tensor[:, :, 2] = 0

    assert torch.equal(logits, run_with_hooks(model, ids, [(("z", 1), ablate)]))
    assert torch.equal(logits, run_with_hooks(edited, ids))
    assert not torch.equal(logits, run_with_hooks(lm, ids))


def test_tokens_come_as_a_list_a_row_or_a_batch() -> None:
    model, ids = model_and_ids("gpt2")
    whole = model(ids)
    assert torch.equal(run_with_hooks(model, ids.tolist()), whole)
    assert torch.equal(run_with_hooks(model, ids.int()), whole)
    assert torch.equal(run_with_hooks(model, ids[0].tolist()), run_with_hooks(model, ids[0]))
    assert run_with_hooks(model, ids[0]).shape == (1, *whole.shape[1:])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("some text", ConfigError, "reads token ids, not text"),
        ([], TextError, "no tokens"),
        ([[1, 2], [3]], ConfigError, "equal length"),
        ([0.5, 1.0], ConfigError, "whole numbers"),
        ([0, 31], TextError, "not in the vocabulary of 31"),
        ([-1, 3], TextError, "not in the vocabulary of 31"),
    ],
)
def test_tokens_that_cannot_be_read_are_refused(given: object, error: type[Exception], message: str) -> None:
    model, _ = model_and_ids("gpt2")
    for run in (run_with_cache, run_with_hooks):
        with pytest.raises(error, match=message):
            run(model, given)  # type: ignore[operator]


def test_unknown_names_are_refused_with_the_nearest_one() -> None:
    model, ids = model_and_ids("gpt2")
    with pytest.raises(ConfigError, match="hook_patern") as caught:
        run_with_hooks(model, ids, [("blocks.0.attn.hook_patern", nothing)])
    assert "blocks.0.attn.hook_pattern" in caught.value.hint
    with pytest.raises(ConfigError, match="hook_patern"):
        run_with_cache(model, ids, "blocks.0.attn.hook_patern")
    with pytest.raises(ConfigError, match="return_type is 'tokens'"):
        run_with_hooks(model, ids, return_type="tokens")  # type: ignore[arg-type]


def test_a_heads_result_cannot_be_hooked_and_the_error_says_why() -> None:
    model, ids = model_and_ids("gpt2")
    with pytest.raises(ConfigError, match="adds the heads up in one product") as caught:
        run_with_hooks(model, ids, [(("result", 0), nothing)])
    assert "hook_z" in caught.value.hint


@pytest.mark.parametrize("wrong", [lambda tensor: 3.0, lambda tensor: tensor[:, :1], lambda tensor: tensor.double()])
def test_a_hook_that_returns_something_else_is_refused(wrong: object) -> None:
    model, ids = model_and_ids("gpt2")
    with pytest.raises(ConfigError, match=r"hook of blocks\.0\.hook_mlp_out returned"):
        run_with_hooks(model, ids, [(("mlp_out", 0), lambda tensor, hook: wrong(tensor))])  # type: ignore[operator]
