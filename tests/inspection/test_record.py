"""Values of many texts on disk, against one pass a text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nextword
from nextword.errors import ConfigError, ModelFileError, TextError
from nextword.language_model import LanguageModel
from tests.full_disk import files_of_at_most
from tests.inspection.models import language_model
from tests.inspection.test_edited_backend import native_model

TEXTS = ["abcdefgh", "ba", "hgfedcba", "c", "abcabcabc", "ddddd"]
NAMES = ["resid_post", "*.hook_z", "ln_final.hook_out"]


def expected(lm: nextword.LanguageModel, texts: list[str], name: str) -> np.ndarray:
    return np.concatenate([lm.trace(text, names=[name])[name] for text in texts])


@pytest.mark.parametrize("batch_tokens", [1, 7, 1000])
def test_rows_are_those_of_each_text_alone(tmp_path: Path, batch_tokens: int) -> None:
    lm = language_model("qwen3")
    done: list[tuple[int, int]] = []
    record = lm.record(
        iter(TEXTS),
        tmp_path / "acts",
        NAMES,
        batch_tokens=batch_tokens,
        shard_bytes=2000,
        progress=lambda *n: done.append(n),
    )
    assert len(record) == sum(map(len, TEXTS))
    assert record.texts == len(TEXTS)
    assert done[-1] == (len(TEXTS), len(record))
    assert len(record.files) > 1 if batch_tokens < 1000 else len(record.files) == 1
    for name in record.names:
        assert np.abs(record[name] - expected(lm, TEXTS, name)).max() < 1e-5
    assert record["token_id"].tolist() == [token for text in TEXTS for token in lm.tokenizer.encode_start(text)]
    assert record["text"].tolist() == [i for i, text in enumerate(TEXTS) for _ in text]
    assert record["position"].tolist() == [i for text in TEXTS for i in range(len(text))]
    assert record["resid_post", 1].shape == (len(record), lm.config.d_model)
    again = nextword.Record(tmp_path / "acts")
    assert np.array_equal(again["ln_final.hook_out"], record["ln_final.hook_out"])


def test_positions_and_pieces_of_long_texts(tmp_path: Path) -> None:
    lm = language_model("qwen3")
    text = "abcdefghijklmnopqrst" * 2  # the context holds 11
    record = lm.record([text, "ab"], tmp_path / "acts", "resid_post", layers=1, positions=[0, -1])
    assert record["piece"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert record["position"].tolist() == [0, 10, 0, 10, 0, 10, 0, 6, 0, 1]
    last = lm.trace(text[33:], names=["resid_post"])["resid_post", 1]
    assert np.abs(record["resid_post", 1][6:8] - last[[0, -1]]).max() < 1e-5


def test_what_was_interrupted_goes_on_and_is_the_same_to_the_bit(tmp_path: Path) -> None:
    lm = language_model("qwen3")
    whole = lm.record(TEXTS, tmp_path / "whole", NAMES, batch_tokens=1, shard_bytes=1500)

    def broken():
        yield from TEXTS[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lm.record(broken(), tmp_path / "part", NAMES, batch_tokens=1, shard_bytes=1500)
    assert 0 < nextword.Record(tmp_path / "part").texts <= 4
    record = lm.record(TEXTS, tmp_path / "part", NAMES, batch_tokens=1, shard_bytes=1500)
    for name in (*record.names, "text", "position", "token_id"):
        assert np.array_equal(record[name], whole[name])
    assert lm.record(TEXTS, tmp_path / "part", NAMES).files == record.files  # nothing is left to do
    longer = lm.record([*TEXTS, "ee"], tmp_path / "part", NAMES)
    assert len(longer) == len(record) + 2
    with pytest.raises(ModelFileError, match="from other texts"):
        lm.record(["b", *TEXTS], tmp_path / "part", NAMES)
    with pytest.raises(ModelFileError, match="here are only 2"):
        lm.record(TEXTS[:2], tmp_path / "part", NAMES)
    with pytest.raises(ModelFileError, match="another names"):
        lm.record(TEXTS, tmp_path / "part", "resid_pre")
    with pytest.raises(ModelFileError, match="another config"):
        language_model("gpt2").record(TEXTS, tmp_path / "part", NAMES)


class Counting:
    """A backend that notes the tokens of each of its passes."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.passes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def forward(self, chunks: Any, caches: Any, logits: Any = "last", tap: Any = None) -> Any:
        self.passes.append(sum(map(len, chunks)))
        return self._backend.forward(chunks, caches, logits, tap)


@pytest.mark.parametrize("names", [["resid_post"], ["*.hook_z", "logits"]])
def test_no_pass_reads_many_more_tokens_than_asked_for_and_a_long_text_is_the_same(
    tmp_path: Path, names: list[str]
) -> None:
    plain = native_model(language_model("qwen3"))
    lm = LanguageModel(Counting(plain.backend), plain.tokenizer)
    long = "abcdefghijklmnopqrst" * 5  # of a context of 11
    texts = ["ba", long, "c"]
    record = lm.record(texts, tmp_path / "acts", names, batch_tokens=4, shard_bytes=3000, positions=[0, 5, -1])
    assert max(lm.backend.passes[1:]) <= 4 + 2  # after the one that tells the model; what lay in the batch comes along
    whole = plain.record(texts, tmp_path / "whole", names, positions=[0, 5, -1])
    assert len(record.files) > 2
    assert not all(shard.whole for shard in record.files)
    for name in (*record.names, "text", "piece", "position", "token_id"):
        assert np.array_equal(record[name], whole[name])


def test_within_a_long_text_it_goes_on_with_that_text(tmp_path: Path) -> None:
    plain = native_model(language_model("qwen3"))
    long = "abcdefghijklmnopqrst" * 5
    options: dict[str, Any] = {"batch_tokens": 11, "shard_bytes": 2000}
    whole = plain.record(["ba", long, "c"], tmp_path / "whole", "resid_post", **options)
    lm = LanguageModel(Failing(plain.backend, after=7), plain.tokenizer)
    with pytest.raises(KeyboardInterrupt):
        lm.record(["ba", long, "c"], tmp_path / "part", "resid_post", **options)
    part = nextword.Record(tmp_path / "part")
    assert part.files[-1].whole is False
    record = plain.record(["ba", long, "c"], tmp_path / "part", "resid_post", **options)
    for name in (*record.names, "text", "piece", "position", "token_id"):
        assert np.array_equal(record[name], whole[name])


class Failing(Counting):
    """It is interrupted in a later pass."""

    def __init__(self, backend: Any, after: int) -> None:
        super().__init__(backend)
        self._after = after

    def forward(self, *arguments: Any, **named: Any) -> Any:
        if len(self.passes) == self._after:
            raise KeyboardInterrupt
        return super().forward(*arguments, **named)


def test_what_failed_before_the_first_file_is_gone_on_with_too(tmp_path: Path) -> None:
    plain = native_model(language_model("qwen3"))
    with pytest.raises(KeyboardInterrupt):
        LanguageModel(Failing(plain.backend, after=1), plain.tokenizer).record(TEXTS, tmp_path / "a", "resid_post")
    nothing = nextword.Record(tmp_path / "a")
    assert (len(nothing), nothing.texts) == (0, 0)
    assert (nothing["text"].dtype, nothing["resid_post", 0].shape) == (np.int64, (0, plain.config.d_model))
    assert len(plain.record(TEXTS, tmp_path / "a", "resid_pre")) == sum(map(len, TEXTS))  # nothing was in it


def test_a_full_disk_is_said_in_a_line_and_leaves_what_is_whole(tmp_path: Path) -> None:
    lm = language_model("qwen3")
    first = lm.record(TEXTS[:2], tmp_path / "acts", "resid_post")
    with files_of_at_most(4000), pytest.raises(ModelFileError, match="cannot be written"):
        lm.record([*TEXTS, *TEXTS], tmp_path / "acts", "resid_post")
    assert len(nextword.Record(tmp_path / "acts")) == len(first)
    assert len(lm.record(TEXTS, tmp_path / "acts", "resid_post")) == sum(map(len, TEXTS))


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("weight", ["blocks.0.attn.q_proj.weight", "blocks.2.ffn.down.weight", "ln_final.weight"])
def test_another_models_record_is_not_gone_on_with(tmp_path: Path, backend: str, weight: str) -> None:
    lm, other = language_model("qwen3"), language_model("qwen3")
    other.model.weights()[weight].mul_(1.01)
    models = [native_model(one) if backend == "native" else one for one in (lm, other)]
    models[0].record(TEXTS[:2], tmp_path / "acts", "resid_post")
    with pytest.raises(ModelFileError, match="another model"):
        models[1].record(TEXTS, tmp_path / "acts", "resid_post")
    assert models[0].record(TEXTS, tmp_path / "acts", "resid_post").texts == len(TEXTS)


def test_what_has_no_rows_and_what_is_no_record_is_refused(tmp_path: Path) -> None:
    lm = language_model("qwen3")
    with pytest.raises(ConfigError, match="hook_pattern has no row a token"):
        lm.record(TEXTS, tmp_path / "acts", "pattern")
    with pytest.raises(TextError, match="text 1 is empty"):
        lm.record(["a", ""], tmp_path / "acts", "resid_post")
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelFileError, match="is no record"):
        lm.record(TEXTS, tmp_path / "other", "resid_post")
    assert not any((tmp_path / "other").iterdir())
    record = lm.record(TEXTS, tmp_path / "acts", "resid_post", layers=0)
    with pytest.raises(ConfigError, match=r"does not hold blocks\.1\.hook_resid_post"):
        record["resid_post", 1]
    shard = tmp_path / "acts" / record.files[0].file
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(ModelFileError, match="missing or damaged"):
        record["resid_post", 0]
    index = tmp_path / "acts" / "index.json"
    about = json.loads(index.read_text())
    about["shards"][0]["file"] = "../x"
    index.write_text(json.dumps(about))
    with pytest.raises(ModelFileError, match="outside the directory"):
        nextword.Record(tmp_path / "acts")


def test_a_record_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, nextword\n"
        f"out = {str(tmp_path / 'acts')!r}\n"
        "record = nextword.load().record(['밥을 먹고', 'The children'], out, 'resid_post', layers=2)\n"
        "print(record['resid_post', 2].shape, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    tokens = sum(len(nextword.load().tokenizer.encode_start(text)) for text in ("밥을 먹고", "The children"))
    assert out.split(") ")[-1].strip() == "False"
    assert out.startswith(f"({tokens}, ")
