"""Structure-aware mutation of a whole model directory: refused in one line, or a model that runs."""

from __future__ import annotations

import functools
import json
import struct
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from nextword import GPTConfig
from nextword.errors import ModelFileError
from nextword.files import Bundle, read_bundle, write_bundle
from tests.files.making import (
    LLAMA3,
    WORDS,
    YARN,
    content_of,
    logits_of,
    minimal_bundle,
    random_model,
    raw_tensors,
    write_in_several_files,
)

NARROW = {"d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 12}


@functools.cache
def _models() -> list[dict[str, bytes]]:
    """The files of seven small models, one an architecture, and of one whose weights lie in two files."""
    configs = [
        minimal_bundle().config,
        GPTConfig.llama(10, 16, **NARROW, rope_scaling=LLAMA3),
        GPTConfig.gpt2(10, 16, **NARROW),
        GPTConfig.lesson(10, 8, 2, 1, 0.1, 16),
        GPTConfig.llama(10, 16, **NARROW, layer_windows=(5,)),
        GPTConfig.llama(10, 16, **NARROW, qkv_bias=True, rope_scaling=YARN),
        GPTConfig.llama(10, 16, **NARROW, no_rope_layers=(0,)),
    ]
    about: dict[str, Any] = {"chat_template": "{{ messages }}", "generation": {"top_k": 5}}
    models = []
    with tempfile.TemporaryDirectory() as directory:
        for i, config in enumerate(configs):
            path = Path(directory) / str(i)
            write_bundle(path, Bundle(config, raw_tensors(random_model(config)), WORDS, {"a": [1, {"b": 2}]}, **about))
            models.append(content_of(path))
        write_in_several_files(Path(directory) / "several", 2)
        models.append(content_of(Path(directory) / "several"))
    return models


INTEGERS = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 4, 7, 8, 10, 12, 16, 2**31, 2**32, 2**63, 2**64, 10**30, 10**400])
WORDS_OF_HEADERS = st.sampled_from(
    [
        *("F32", "F16", "BF16", "I64", "gpt2", "llama", "qwen3", "mistral", "qwen2", "smollm3", "nextword", "default"),
        *("yarn", "sliding_attention", "full_attention", "model-00001-of-00002.safetensors", "\n\x1b", ""),
    ]
)
VALUES = st.recursive(
    st.one_of(INTEGERS, st.none(), st.booleans(), st.floats(), WORDS_OF_HEADERS, st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS_OF_HEADERS, inner, max_size=2),
    max_leaves=4,
)


def _mutate_json(data: st.DataObject, root: Any) -> None:
    """Changes, takes out, doubles or renames one value at any depth."""
    where = root
    for _ in range(8):
        keys = sorted(where) if isinstance(where, dict) else list(range(len(where)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(where[key], dict | list) and data.draw(st.integers(0, 3)):
            where = where[key]
            continue
        kind = data.draw(st.sampled_from(["set", "set", "set", "drop", "rename", "copy"]))
        if kind == "drop":
            del where[key]
        elif kind == "rename" and isinstance(where, dict):
            where[data.draw(st.text(max_size=4))] = where.pop(key)
        elif kind == "copy" and isinstance(where, dict):
            where[key] = where[data.draw(st.sampled_from(keys))]
        else:
            where[key] = data.draw(VALUES)
        return


def _mutate_bytes(data: st.DataObject, content: bytes) -> bytes:
    """Changes, cuts out or puts in some bytes."""
    start = data.draw(st.integers(0, len(content)))
    end = min(len(content), start + data.draw(st.sampled_from([0, 1, 2, 8, 64, 10**6])))
    return content[:start] + data.draw(st.binary(max_size=9)) + content[end:]


def _mutate(data: st.DataObject, files: dict[str, bytes]) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    content = files[name]
    kind = data.draw(st.sampled_from(["structure", "structure", "structure", "bytes", "gone"]))
    untouched = any(content == model.get(name) for model in _models())
    if kind == "gone":
        del files[name]
    elif kind == "bytes" or name == "README.md" or not untouched:
        files[name] = _mutate_bytes(data, content)
    elif name.endswith(".safetensors"):
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        _mutate_json(data, header)
        text = json.dumps(header).encode()
        files[name] = struct.pack("<Q", len(text)) + text + content[8 + size :]
    else:
        values = json.loads(content)
        _mutate_json(data, values)
        files[name] = json.dumps(values).encode()


@given(data=st.data())
@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_mutated_model_is_refused_in_one_line_or_runs(data: st.DataObject) -> None:
    files = dict(_models()[data.draw(st.integers(0, len(_models()) - 1))])
    for _ in range(data.draw(st.integers(1, 2))):
        if files:
            _mutate(data, files)
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            (Path(directory) / name).write_bytes(content)
        refused = ""
        tracemalloc.start()
        try:
            bundle = read_bundle(Path(directory))
        except ModelFileError as error:
            refused = error.message
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 5_000_000 + 20 * sum(map(len, files.values()))
    if refused:
        event("refused")
        assert len(refused.splitlines()) == 1
        assert directory in refused
        return
    event("runs")
    with np.errstate(all="ignore"):
        logits = logits_of(bundle, [0])
    assert logits.shape == (1, bundle.config.vocab_size)
    assert {name: tensor.shape for name, tensor in bundle.tensors.items()} == bundle.config.parameter_shapes()
    assert bundle.tokenizer.vocab_size <= bundle.config.vocab_size


def test_unmutated_every_model_runs(tmp_path: Path) -> None:
    for i, files in enumerate(_models()):
        (tmp_path / str(i)).mkdir()
        for name, content in files.items():
            (tmp_path / str(i) / name).write_bytes(content)
        assert logits_of(read_bundle(tmp_path / str(i)), [1, 2]).shape == (2, 10)
