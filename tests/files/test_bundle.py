"""A model directory: what is written comes back, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nextword import GPTConfig, Tokenizer
from nextword.errors import ModelFileError
from nextword.files import Bundle, RawTensor, read_bundle, write_bundle
from nextword.model.backend import TorchBackend
from tests.files.making import (
    BPE,
    CONFIGS,
    SMALL,
    TEXTS,
    WORDS,
    change_json,
    logits_of,
    minimal_bundle,
    open_safetensors,
    put_safetensors,
    random_bundle,
    random_model,
    raw_tensors,
    refusal,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_weights_come_back_bit_for_bit(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    bundle = random_bundle(CONFIGS[name], dtype)
    write_bundle(tmp_path / "model", bundle)
    again = read_bundle(tmp_path / "model")
    assert again.tensors.keys() == bundle.tensors.keys() == CONFIGS[name].parameter_shapes().keys()
    for key, tensor in bundle.tensors.items():
        found = again.tensors[key]
        assert (found.name, found.dtype, found.shape) == (key, tensor.dtype, tensor.shape)
        assert bytes(found.data) == bytes(tensor.data)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_and_tokenizer_come_back(tmp_path: Path, name: str) -> None:
    bundle = random_bundle(CONFIGS[name])
    write_bundle(tmp_path / "model", bundle)
    again = read_bundle(tmp_path / "model")
    assert again.config == bundle.config
    assert again.tokenizer.to_str() == bundle.tokenizer.to_str()
    assert (again.tokenizer.bos_id, again.tokenizer.eos_id) == (bundle.tokenizer.bos_id, bundle.tokenizer.eos_id)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_model_built_from_the_file_gives_bitwise_the_same_logits(
    tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    config = CONFIGS[name]
    model = random_model(config, dtype)
    tokenizer = WORDS if name == "lesson" else BPE
    write_bundle(tmp_path / "model", Bundle(config, raw_tensors(model), tokenizer))
    ids = [i % config.vocab_size for i in range(3, 3 + 7 * 12, 7)]
    before = TorchBackend(model.float())
    [expected] = before.forward([ids], [before.new_cache(len(ids))], logits="all")
    found = logits_of(read_bundle(tmp_path / "model"), ids)
    assert found.shape == (12, config.vocab_size)
    assert np.std(found) > 0.1
    assert found.tobytes() == expected.tobytes()


def test_the_lesson_is_stored_under_this_packages_own_names(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["lesson"]))
    config = json.loads((tmp_path / "model/config.json").read_text())
    header, _ = open_safetensors(tmp_path / "model/model.safetensors")
    assert config["model_type"] == "nextword"
    assert config["gpt_config"]["residual"] == "normalized"
    assert set(header) - {"__metadata__"} == set(CONFIGS["lesson"].parameter_shapes())


def test_any_architecture_can_be_stored(tmp_path: Path) -> None:
    fields = {
        "layer_windows": (8, None),
        "no_rope_layers": (1,),
        "rope_layout": "interleaved",
        "activation": "relu_squared",
    }
    config = GPTConfig.llama(BPE.vocab_size, 64, **SMALL, **fields, norm="layernorm", qkv_bias=True)
    write_bundle(tmp_path / "model", random_bundle(config))
    assert read_bundle(tmp_path / "model").config == config


def test_provenance_and_card_keep_their_korean(tmp_path: Path) -> None:
    provenance = {"자료": "한국어 위키백과", "measured": {"손실": [1.5, 2]}, "emoji": "🙂", "none": None}
    card = "# 작은 모델\n\n토큰에서 단어까지 🙂\n"
    write_bundle(tmp_path / "모델 1", random_bundle(CONFIGS["lesson"], provenance=provenance, card=card))
    again = read_bundle(tmp_path / "모델 1")
    assert again.provenance == provenance
    assert again.card == card
    stored = (tmp_path / "모델 1/nextword.json").read_text(encoding="utf-8")
    assert "한국어 위키백과" in stored  # readable, not escaped
    assert json.loads(stored)["format_version"] == 1


def test_a_model_without_a_card_gets_a_plain_one(tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["gpt2"])
    write_bundle(tmp_path / "model", bundle)
    card = read_bundle(tmp_path / "model").card
    assert f"{CONFIGS['gpt2'].num_parameters:,} parameters" in card
    assert "A gpt2 model" in card


def test_nothing_but_config_weights_and_tokenizer_is_needed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    for name in ("nextword.json", "README.md", "tokenizer_config.json"):
        (tmp_path / "model" / name).unlink()
    again = read_bundle(tmp_path / "model")
    assert (again.provenance, again.card) == ({}, "")
    assert again.config == minimal_bundle().config


def test_the_directory_holds_exactly_these_files(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "nextword.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_writing_the_same_bundle_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    bundle = random_bundle(CONFIGS["gpt2"])
    for name in ("a", "b"):
        write_bundle(tmp_path / name, bundle)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_what_was_read_can_be_written_again(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", random_bundle(CONFIGS["gpt2, head of its own"], torch.bfloat16))
    write_bundle(tmp_path / "b", read_bundle(tmp_path / "a"))
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_a_model_may_be_read_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    monkeypatch.chdir(tmp_path / "model")
    assert read_bundle(Path()).config == minimal_bundle().config


# -- what does not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 0, -1, "1", None, [1], 10**30])
def test_an_unknown_format_version_is_refused(tmp_path: Path, version: object) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/nextword.json", format_version=version)
    assert f"nextword.json: format_version is {version!r}, this nextword reads 1" in refusal(tmp_path / "model")


def test_a_missing_format_version_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/nextword.json", format_version=...)
    assert "format_version is None" in refusal(tmp_path / "model")


def test_provenance_that_is_no_object_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    change_json(tmp_path / "model/nextword.json", provenance=[1])
    assert "provenance should be a JSON object" in refusal(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model" / name).unlink()
    said = refusal(tmp_path / "model")
    assert str(tmp_path / "model") in said
    assert name in said


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "nextword.json", "README.md"])
def test_a_directory_in_a_files_place_is_named(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model" / name).unlink()
    (tmp_path / "model" / name).mkdir()
    assert str(tmp_path / "model" / name) in refusal(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"{", b"nope", b"\xff\xfe{}", b"[]", b"5", b"null", b'"x"', b"[" * 200_000])
@pytest.mark.parametrize("name", ["config.json", "nextword.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model" / name).write_bytes(content)
    assert name in refusal(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "nextword.json"])
def test_deeply_nested_json_is_refused(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model" / name).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert name in refusal(tmp_path / "model")


def test_a_card_that_is_no_text_is_named(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model/README.md").write_bytes("모델".encode("cp949"))
    assert "README.md" in refusal(tmp_path / "model")


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "is not a model directory" in refusal(tmp_path / "file")
    assert "is not a model directory" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model" / name)
    assert "pickled weights, which can run code when loaded" in refusal(tmp_path / "model")


def test_pickled_weights_beside_safetensors_are_left_alone(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model/pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert read_bundle(tmp_path / "model").config == minimal_bundle().config


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    (tmp_path / "model/tokenizer.json").write_text(Tokenizer.characters("abcdefghijk").to_str())
    assert "the tokenizer has 11 tokens, the model 10" in refusal(tmp_path / "model")


def test_a_tokenizer_with_an_id_above_the_models_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    description = json.loads(WORDS.to_str())
    description["model"]["vocab"]["AI"] = 10
    (tmp_path / "model/tokenizer.json").write_text(json.dumps(description))
    assert "the tokenizer has 11 tokens, the model 10" in refusal(tmp_path / "model")


def test_a_tokenizer_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    bundle = minimal_bundle()
    with pytest.raises(ModelFileError, match="the tokenizer has 300 tokens, the model 10"):
        write_bundle(tmp_path / "model", Bundle(bundle.config, bundle.tensors, BPE))
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_a_larger_table_than_its_tokenizer_needs_is_fine(tmp_path: Path) -> None:
    config = GPTConfig.llama(BPE.vocab_size + 20, 64, **SMALL)  # padded for speed, as many published models are
    write_bundle(tmp_path / "model", random_bundle(config))
    assert read_bundle(tmp_path / "model").config.vocab_size == 320


# -- tensors that do not fit the config ----------------------------------------------------------------------------


def _rewrite(path: Path, bundle: Bundle, change: dict[str, RawTensor | None]) -> None:
    """Writes the bundle, then its weights again with tensors changed or, as None, left out."""
    write_bundle(path, bundle)
    header, data = open_safetensors(path / "model.safetensors")
    header.pop("__metadata__")
    parts = {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in header.items()}
    for name, tensor in change.items():
        parts.pop(name, None)
        if tensor is not None:
            parts[name] = (tensor.dtype, list(tensor.shape), bytes(tensor.data))
    entries, blob = {}, b""
    for name, (dtype, shape, content) in parts.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(blob), len(blob) + len(content)]}
        blob += content
    put_safetensors(path / "model.safetensors", entries, blob)


def _filled(shape: tuple[int, ...], value: float = 0.5, dtype: str = "F32") -> RawTensor:
    bits = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
    if dtype == "BF16":
        return RawTensor.from_bits("", dtype, (np.full(shape, value, "<f4").view("<u4") >> 16).astype("<u2"))
    return RawTensor.from_bits("", dtype, np.full(shape, value, bits[dtype]))


def test_rewritten_unchanged_it_still_reads(tmp_path: Path) -> None:
    _rewrite(tmp_path / "model", minimal_bundle(), {})
    assert logits_of(read_bundle(tmp_path / "model"), [1, 2]).tobytes() == logits_of(minimal_bundle(), [1, 2]).tobytes()


def test_a_missing_tensor_is_named_with_its_shape(tmp_path: Path) -> None:
    _rewrite(tmp_path / "model", minimal_bundle(), {"model.layers.0.mlp.up_proj.weight": None})
    assert "tensor blocks.0.ffn.up.weight of shape (12, 8) is missing" in refusal(tmp_path / "model")


def test_an_extra_tensor_is_named(tmp_path: Path) -> None:
    _rewrite(tmp_path / "model", minimal_bundle(), {"model.layers.1.mlp.up_proj.weight": _filled((12, 8))})
    message = refusal(tmp_path / "model")
    assert "tensor 'model.layers.1.mlp.up_proj.weight' is not part of this architecture" in message


@pytest.mark.parametrize("shape", [(8, 12), (12, 7), (96,), (12, 8, 1), (0, 8), ()])
def test_a_tensor_of_the_wrong_shape_is_named_with_both(tmp_path: Path, shape: tuple[int, ...]) -> None:
    _rewrite(tmp_path / "model", minimal_bundle(), {"model.layers.0.mlp.up_proj.weight": _filled(shape)})
    message = refusal(tmp_path / "model")
    assert f"tensor blocks.0.ffn.up.weight should have shape (12, 8), found {shape}" in message


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_named_with_its_tensor(tmp_path: Path, value: float, dtype: str) -> None:
    _rewrite(tmp_path / "model", minimal_bundle(), {"model.norm.weight": _filled((8,), value, dtype)})
    assert "tensor ln_final.weight holds NaN or infinite values" in refusal(tmp_path / "model")


def test_infinities_that_cancel_are_found_too(tmp_path: Path) -> None:
    both = np.array([np.inf, -np.inf, 0, 0, 0, 0, 0, 0], "<f4")
    _rewrite(tmp_path / "model", minimal_bundle(), {"model.norm.weight": RawTensor.from_bits("", "F32", both)})
    assert "ln_final.weight holds NaN" in refusal(tmp_path / "model")


def test_one_nan_among_many_numbers_is_found(tmp_path: Path) -> None:
    values = np.zeros((12, 8), "<f4")
    values[7, 5] = np.nan
    tensor = RawTensor.from_bits("", "F32", values)
    _rewrite(tmp_path / "model", minimal_bundle(), {"model.layers.0.mlp.up_proj.weight": tensor})
    assert "blocks.0.ffn.up.weight holds NaN" in refusal(tmp_path / "model")


def test_the_largest_numbers_are_numbers(tmp_path: Path) -> None:
    _rewrite(tmp_path / "model", minimal_bundle(), {"model.norm.weight": _filled((8,), 3.4e38)})
    assert read_bundle(tmp_path / "model").tensors["ln_final.weight"].values()[0] == np.float32(3.4e38)


def test_a_weight_under_both_names_is_refused(tmp_path: Path) -> None:
    _rewrite(tmp_path / "a", minimal_bundle(), {"ln_final.weight": _filled((8,))})
    assert "'model.norm.weight (the same weight again)' is not part" in refusal(tmp_path / "a")
    _rewrite(tmp_path / "b", random_bundle(CONFIGS["gpt2"]), {"wte.weight": _filled((300, 32))})
    assert "'wte.weight' is not part" in refusal(tmp_path / "b")


@pytest.mark.parametrize(
    "name",
    [
        "transformer.h.0.attn.c_attn.weight.more",
        "x.attn.c_attn.y",
        "transformer.h.9.attn.c_attn.bias",
        "h.00.attn.c_attn.bias",
    ],
)
def test_a_name_that_only_looks_like_gpt2s_is_refused(tmp_path: Path, name: str) -> None:
    _rewrite(tmp_path / "model", random_bundle(CONFIGS["gpt2"]), {name: _filled((96,))})
    assert "is not part of this architecture" in refusal(tmp_path / "model")


@pytest.mark.parametrize("shape", [(), (95,), (96, 1), (0,)])
def test_gpt2s_shared_matrix_of_a_wrong_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    _rewrite(tmp_path / "model", random_bundle(CONFIGS["gpt2"]), {"transformer.h.1.attn.c_attn.bias": _filled(shape)})
    assert "blocks.1.attn.q_proj.bias" in refusal(tmp_path / "model")


def test_constants_that_old_files_hold_are_passed_over(tmp_path: Path) -> None:
    mask = {"transformer.h.0.attn.bias": _filled((1, 1, 64, 64)), "transformer.h.0.attn.masked_bias": _filled(())}
    _rewrite(tmp_path / "a", random_bundle(CONFIGS["gpt2"]), dict(mask))
    assert read_bundle(tmp_path / "a").config == CONFIGS["gpt2"]
    header, data = open_safetensors(tmp_path / "a/model.safetensors")
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    header["transformer.h.1.attn.bias"] = {"dtype": "BOOL", "shape": [1, 4], "data_offsets": [end, end + 4]}
    put_safetensors(tmp_path / "a/model.safetensors", header, data + b"\1\1\0\1")
    assert read_bundle(tmp_path / "a").config == CONFIGS["gpt2"]
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": _filled((4,))}
    _rewrite(tmp_path / "b", random_bundle(CONFIGS["llama"]), dict(frequencies))
    assert read_bundle(tmp_path / "b").config == CONFIGS["llama"]


def test_openais_own_gpt2_names_without_a_prefix_are_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["gpt2"]))
    header, data = open_safetensors(tmp_path / "model/model.safetensors")
    put_safetensors(
        tmp_path / "model/model.safetensors", {k.removeprefix("transformer."): v for k, v in header.items()}, data
    )
    ids = BPE.encode(TEXTS[0])
    expected = logits_of(random_bundle(CONFIGS["gpt2"]), ids)
    assert logits_of(read_bundle(tmp_path / "model"), ids).tobytes() == expected.tobytes()


# -- what it costs -------------------------------------------------------------------------------------------------


def test_importing_files_and_tokens_does_not_import_torch() -> None:
    code = "import sys, nextword.files, nextword.tokens; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_reading_and_writing_does_not_import_torch(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", random_bundle(CONFIGS["gpt2"]))
    code = (
        "import sys; from pathlib import Path; from nextword.files import read_bundle, write_bundle\n"
        "write_bundle(Path('copy'), read_bundle(Path('model'))); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "False"
    assert (tmp_path / "copy/model.safetensors").read_bytes() == (tmp_path / "model/model.safetensors").read_bytes()
