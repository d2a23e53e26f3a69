"""LoRA adapters on disk, held against peft on transformers' twin of the same base."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nextword import GPTModel
from nextword.errors import ConfigError, ModelFileError
from nextword.files.huggingface.families import family_of
from nextword.training.adapters import load_adapter, save_adapter
from nextword.training.adapters.lora import LoRA, add_lora, attach, lora_layers, matrices, merge_lora
from tests.files.making import change_json, open_safetensors, put_safetensors
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import gap, torch_model, transformers_model
from tests.training.adapters.test_lora import logits, lora_parameters, taught

FAMILIES = ["gpt2", "qwen3", "smollm3", "llama, every bias", "mistral, sliding", "qwen2"]
LLAMA_NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
GPT2_NAMES = ["c_attn", "c_proj", "c_fc"]
TOLERANCE = 1e-5  # of the largest logit: float32


def ours(case: str) -> GPTModel:
    return torch_model(CASES[case], random_weights(CASES[case]), torch.float32)


def twin(case: str) -> nn.Module:
    return transformers_model(CASES[case], random_weights(CASES[case]), "sdpa")


def names_of(case: str) -> list[str]:
    return GPT2_NAMES if case == "gpt2" else LLAMA_NAMES


def their_adapter(case: str, **settings: Any) -> Any:
    """peft's adapter on the twin, with random numbers in A and B."""
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 6, "target_modules": names_of(case), **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Conv1D's layout, which it then corrects by itself
        theirs = get_peft_model(twin(case), LoraConfig(task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "lora_" in name:
                weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return theirs.eval()


def opened_in_peft(case: str, path: Path, trainable: bool = False) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theirs = PeftModel.from_pretrained(twin(case), path, is_trainable=trainable)
    assert not [warning for warning in caught if "missing" in str(warning.message)]
    return theirs.eval()


def their_logits(theirs: Any, case: str) -> Tensor:
    result: Tensor = theirs(input_ids=torch.from_numpy(random_tokens(CASES[case])[0]), use_cache=False).logits
    return result


def apart(found: Tensor, expected: Tensor) -> float:
    return gap(found, expected) / expected.abs().max().item()


def test_every_family_is_tried() -> None:
    assert {family_of(CASES[case]) for case in FAMILIES} == {"gpt2", "qwen3", "smollm3", "llama", "mistral", "qwen2"}


# -- from here to peft ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("case", FAMILIES)
def test_what_is_saved_here_says_the_same_in_peft(case: str, rslora: bool, tmp_path: Path) -> None:
    model = ours(case)
    plain = logits(model)
    add_lora(model, rank=3, alpha=5, rslora=rslora)
    expected = logits(taught(model))
    assert gap(expected, plain) > 0.05
    save_adapter(model, tmp_path / "adapter", "the base")
    assert apart(their_logits(opened_in_peft(case, tmp_path / "adapter"), case), expected) < TOLERANCE
    values = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert values["base_model_name_or_path"] == "the base"
    assert values["use_rslora"] is rslora
    if case == "gpt2":
        assert values["target_modules"] == ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]
        assert (values["r"], values["rank_pattern"]) == (3, {"c_attn": 9})
    else:
        assert sorted(values["target_modules"]) == sorted(LLAMA_NAMES)  # short, as vLLM and llama.cpp expect them
        assert (values["r"], values["lora_alpha"], values["rank_pattern"]) == (3, 5, {})


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("case", ["gpt2", "qwen3"])
def test_matrices_of_unequal_ranks_and_layers_left_out_keep_their_numbers_in_peft(
    case: str, rslora: bool, tmp_path: Path
) -> None:
    model = ours(case)
    chosen = [name for name in matrices(model) if "blocks.1" in name or name.endswith(("q_proj", "up"))]
    ranks = {name: 2 + ("v_proj" in name) + 3 * ("blocks.2" in name) for name in chosen}
    scale = LoRA(2, 3, rslora=rslora)
    attach(model, {name: scale.of_rank(rank) for name, rank in ranks.items()})
    expected = logits(taught(model))
    save_adapter(model, tmp_path, "base")
    assert apart(their_logits(opened_in_peft(case, tmp_path), case), expected) < TOLERANCE
    again = ours(case)
    load_adapter(again, tmp_path)
    assert gap(logits(again), expected) < 1e-6
    assert {name: layer.lora.rank for name, layer in lora_layers(again)} == ranks


@pytest.mark.parametrize("case", ["qwen3", "mistral, sliding"])
def test_the_gradients_of_a_and_b_are_pefts(case: str, tmp_path: Path) -> None:
    model = ours(case)
    add_lora(model, rank=3, rslora=True)
    taught(model)
    save_adapter(model, tmp_path, "base")
    theirs = opened_in_peft(case, tmp_path, trainable=True)
    ids, targets = map(torch.from_numpy, random_tokens(CASES[case]))
    for logits_BTV in (model(ids), their_logits(theirs, case)):
        nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets.flatten()).backward()  # type: ignore[no-untyped-call]
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    found = lora_parameters(model)
    assert len(expected) == len(found) == 14 * CASES[case].num_layers
    named = {"attn.out_proj": "self_attn.o_proj", "attn.": "self_attn.", "ffn.": "mlp.", "blocks.": "model.layers."}
    for name, parameter in found.items():
        module, kind = name.rsplit(".", 1)
        for here, there in named.items():
            module = module.replace(here, there) if there not in module else module
        module += "_proj" if "mlp" in module else ""
        assert parameter.grad is not None
        their_gradient = expected[f"base_model.model.{module}.{kind}.default.weight"]
        assert their_gradient is not None
        assert gap(parameter.grad, their_gradient) < 1e-5 * max(1.0, float(their_gradient.abs().max())), name
    assert all(p.grad is None for name, p in model.named_parameters() if "lora_" not in name)


# -- from peft to here ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "lora_dropout": 0.25},
        {"target_modules": "all-linear"},
        {"rank_pattern": {"^.*layers.1.*": 7, "v_proj": 2, "c_attn": 5}, "alpha_pattern": {"k_proj|c_attn": 11.5}},
        {"target_modules": r".*\.[1-9]\..*(q_proj|down_proj|c_fc)", "use_rslora": True},
        {"exclude_modules": ["up_proj", "mlp.c_proj"]},
        {"exclude_modules": r".*\.0\..*", "target_modules": "all-linear"},
        {"init_lora_weights": "gaussian", "target_modules": ["q_proj", "attn.c_proj", "no_such_module"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("case", ["gpt2", "qwen3"])
def test_what_peft_saved_says_the_same_here_merged_or_not(case: str, settings: Any, tmp_path: Path) -> None:
    theirs = their_adapter(case, **settings)
    expected = their_logits(theirs, case).detach()
    theirs.save_pretrained(tmp_path)
    model = ours(case)
    plain = logits(model)
    load_adapter(model, tmp_path)
    assert gap(plain, expected) > 0.01
    assert apart(logits(model), expected) < TOLERANCE
    assert all(layer.lora.dropout == settings.get("lora_dropout", 0.0) for _, layer in lora_layers(model))
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(lora_parameters(model))
    merge_lora(model)
    assert apart(logits(model), expected) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_element_type_is_read(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = their_adapter("qwen3")
    for name, weight in theirs.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(dtype)
    theirs.save_pretrained(tmp_path)
    model = ours("qwen3")
    load_adapter(model, tmp_path)
    assert apart(logits(model), their_logits(theirs.float(), "qwen3").detach()) < TOLERANCE


def test_an_adapter_that_learned_nothing_yet_keeps_its_rank_in_gpt2(tmp_path: Path) -> None:
    model = ours("gpt2")
    add_lora(model, rank=3, targets=["q_proj"])
    plain = logits(model)
    save_adapter(model, tmp_path, "base")
    again = ours("gpt2")
    load_adapter(again, tmp_path)
    assert torch.equal(logits(again), plain)
    assert {layer.lora_A.shape[0] for _, layer in lora_layers(again)} == {3}


def test_saving_what_was_loaded_gives_the_same_files(tmp_path: Path) -> None:
    for case in ("gpt2", "qwen3", "lesson"):
        model, again = ours(case), ours(case)
        add_lora(model, rank=2)
        save_adapter(taught(model), tmp_path / "first", "base")
        load_adapter(again, tmp_path / "first")
        assert torch.equal(logits(again), logits(model))
        save_adapter(again, tmp_path / "second", "base")
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            assert (tmp_path / "second" / file).read_bytes() == (tmp_path / "first" / file).read_bytes()


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = ours("qwen3")
    add_lora(model, rank=2)
    save_adapter(taught(model), tmp_path / "adapter", "base")
    return tmp_path / "adapter"


def refusal(path: Path) -> str:
    """The one line that says why; the model stays as it was."""
    model = ours("qwen3")
    with pytest.raises(ModelFileError) as caught:
        load_adapter(model, path)
    assert not lora_parameters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert len(caught.value.message.splitlines()) == 1
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is ['lm_head']"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"layers_to_transform": [0]}, "layers_to_transform is [0]"),
        ({"layers_to_transform": 0}, "layers_to_transform is 0"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is [1]"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"a_setting_of_tomorrow": "on"}, "a_setting_of_tomorrow is 'on'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"peft_type": ...}, "peft_type is None"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'"),
        ({"use_rslora": 1}, "use_rslora is 1"),
        ({"r": ...}, "r should be a whole number, found None"),
        ({"r": True}, "r should be a whole number, found True"),
        ({"r": 0}, "rank of the adapter is 0"),
        ({"r": 3}, "(3, 20), found (2, 20)"),
        ({"r": 10**15}, "found (2, 20)"),
        ({"lora_alpha": "16"}, "lora_alpha should be a number, found '16'"),
        ({"lora_alpha": float("nan")}, "alpha is nan"),
        ({"lora_dropout": 2}, "dropout of the adapter is 2"),
        ({"target_modules": None}, "target_modules should be a list"),
        ({"target_modules": ["q_proj", 1]}, "target_modules should be a list"),
        ({"target_modules": ["c_attn"]}, "target_modules is ['c_attn'], which this model has none of"),
        ({"target_modules": ["q_proj"]}, "is not part of this architecture"),
        ({"target_modules": "("}, "no regular expression"),
        ({"target_modules": "a" * 2000}, "too long"),
        ({"target_modules": "(?:(?:a{999}){999}){999}"}, "counts with braces"),
        ({"target_modules": "(" * 490 + ")" * 490}, "no regular expression"),
        ({"target_modules": ["embed_tokens", *LLAMA_NAMES], "rank_pattern": []}, None),
        ({"rank_pattern": [1]}, "rank_pattern should be a JSON object"),
        ({"rank_pattern": {"q_proj": "4"}}, "rank_pattern should be a whole number"),
        ({"rank_pattern": {"q_proj": 4}}, "(4, 20), found (2, 20)"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern should be a number"),
    ],
    ids=str,
)
def test_settings_that_are_not_supported_are_refused_by_name(
    changes: dict[str, Any], named: str | None, saved: Path
) -> None:
    change_json(saved / "adapter_config.json", **changes)
    if named is None:  # names that mean nothing here, and no tensors either
        load_adapter(ours("qwen3"), saved)
        return
    assert named in refusal(saved)


def test_settings_that_are_off_are_no_obstacle(saved: Path) -> None:
    change_json(saved / "adapter_config.json", use_dora=False, modules_to_save=None, loftq_config={}, revision="main")
    load_adapter(ours("qwen3"), saved)


def test_files_that_are_missing_or_damaged_are_one_error(saved: Path) -> None:
    weights, config = saved / "adapter_model.safetensors", saved / "adapter_config.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-5])
    assert "damaged" in refusal(saved)
    weights.write_bytes(b"")
    refusal(saved)
    weights.unlink()
    assert "adapter_model.safetensors" in refusal(saved)
    (saved / "adapter_model.bin").write_bytes(b"\x80\x04.")
    assert "pickled" in refusal(saved)
    weights.write_bytes(whole)
    for content in ("", "[]", '{"r": ', "[" * 100_000, "\ud800"):
        config.write_text(content, encoding="utf-8", errors="surrogatepass")
        refusal(saved)
    config.unlink()
    assert "does not exist" in refusal(saved)
    assert "does not exist" in refusal(saved / "nowhere")


def test_tensors_that_do_not_fit_are_named(saved: Path) -> None:
    header, data = open_safetensors(saved / "adapter_model.safetensors")
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    first, last = header[name]["data_offsets"]

    nan = bytearray(data)
    nan[first : first + 4] = b"\x00\x00\xc0\x7f"
    put_safetensors(saved / "adapter_model.safetensors", header, bytes(nan))
    assert f"{name} holds NaN" in refusal(saved)

    renamed = {("base_model.model.lm_head.lora_B.weight" if key == name else key): v for key, v in header.items()}
    put_safetensors(saved / "adapter_model.safetensors", renamed, data)
    assert f"{name} of shape (27, 2) is missing" in refusal(saved)

    turned = {**header, name: {**header[name], "shape": [2, 27]}}
    put_safetensors(saved / "adapter_model.safetensors", turned, data)
    assert "should have shape (27, 2), found (2, 27)" in refusal(saved)

    extra = "base_model.model.model.embed_tokens.lora_embedding_A"
    more = {**header, extra: {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}}
    put_safetensors(saved / "adapter_model.safetensors", more, data + bytes(4))
    assert extra in refusal(saved)
    assert last > first


def test_an_adapter_for_another_model_is_refused(saved: Path) -> None:
    with pytest.raises(ModelFileError, match="should have shape"):
        load_adapter(ours("qwen2"), saved)
    with pytest.raises(ModelFileError, match="which this model has none of"):
        load_adapter(ours("gpt2"), saved)


def test_nothing_is_saved_without_adapters_nor_over_other_things(tmp_path: Path) -> None:
    model = ours("qwen3")
    with pytest.raises(ConfigError, match="no adapters"):
        save_adapter(model, tmp_path / "adapter", "base")
    add_lora(model, rank=1)
    (tmp_path / "thesis.txt").write_text("논문", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"thesis\.txt, which would be lost"):
        save_adapter(model, tmp_path, "base")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ModelFileError):
        save_adapter(model, tmp_path / "thesis.txt", "base")
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "논문"
