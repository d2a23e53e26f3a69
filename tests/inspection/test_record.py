"""Values of many texts on disk, against one pass a text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nextword
from nextword.errors import ConfigError, ModelFileError, TextError
from tests.inspection.models import language_model

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
