"""The same text, cut into other tokens: nothing is lost, and a seed decides everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextword import Tokenizer
from nextword.errors import ConfigError
from nextword.training import train
from nextword.training.corpus.bpe_dropout import bpe_dropout_copies
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from tests.training.sample_text import FEW_STEPS, TEXT, write_text

TOKENIZER = Tokenizer.train_bpe(TEXT, 400)
TEXTS = (TEXT, "나는 오늘 👩‍👩‍👧 학교에 <|endoftext|> 가서\n", "é")
TOKENS = TokenizedText.from_documents([Document("a", text) for text in TEXTS], TOKENIZER).tokens


def varied(copies: int = 1, dropout: float = 0.1, seed: int = 0) -> list[int]:
    return [
        i for text in bpe_dropout_copies(TOKENS, TOKENIZER, copies=copies, dropout=dropout, seed=seed) for i in text.ids
    ]


def test_every_copy_is_the_whole_text_document_by_document() -> None:
    ids = varied(copies=3, dropout=0.3)
    assert [i for i in ids if i == TOKENIZER.bos_id] == [TOKENIZER.bos_id] * 9
    parts, part = [], list[int]()
    for i in ids:
        if i == TOKENIZER.bos_id:
            parts.append(part)
            part = []
        else:
            part.append(i)
    assert [TOKENIZER.decode(ids) for ids in [*parts[1:], part]] == list(TEXTS) * 3


def test_fewer_merges_make_more_tokens_and_none_left_out_make_the_same() -> None:
    counts = [len(varied(dropout=dropout)) for dropout in (0.0, 0.1, 0.5)]
    assert counts == sorted(counts)
    assert varied(dropout=0.0) == TOKENS.tolist()
    assert counts[1] > 1.02 * len(TOKENS)


def test_copies_and_seeds_differ_and_a_seed_gives_the_same_again() -> None:
    once, twice = varied(), varied(copies=2)
    assert twice[: len(once)] == once
    assert twice[len(once) :] != once
    assert varied(seed=1) != once
    assert varied() == once


def test_characters_and_bytes_are_those_of_the_text() -> None:
    pieces = list(bpe_dropout_copies(TOKENS, TOKENIZER, copies=2, dropout=0.2, seed=0))
    assert sum(piece.characters for piece in pieces) == 2 * sum(map(len, TEXTS))
    assert sum(piece.bytes for piece in pieces) == 2 * sum(len(text.encode()) for text in TEXTS)


def test_a_run_reads_variants_and_judges_the_text_as_it_is(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    runs = [
        train(text, tmp_path / name, **FEW_STEPS, **settings)
        for name, settings in {"a": {"bpe_dropout": 0.3}, "b": {"bpe_dropout": 0.3}, "plain": {}}.items()
    ]
    assert runs[0].state == runs[1].state != runs[2].state
    assert runs[0].plan.bpe_dropout == 0.3
    assert runs[2].plan.bpe_dropout == 0.0
    kept = [run.model.provenance["text"] for run in runs]
    assert kept[0] == kept[2]
    assert runs[0].model.tokenizer.encode(TEXT) == runs[2].model.tokenizer.encode(TEXT)


def test_a_text_that_is_read_often_is_varied_unless_told_otherwise(tmp_path: Path) -> None:
    text = write_text(tmp_path, TEXT[:1500])
    often = {**FEW_STEPS, "steps": 250}
    assert train(text, tmp_path / "often", **often).plan.bpe_dropout == 0.1
    assert train(text, tmp_path / "told", **{**often, "bpe_dropout": 0.0}).plan.bpe_dropout == 0.0


def test_it_is_refused_where_there_are_no_merges_to_leave_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^bpe_dropout is 1\.0, it must be at least 0 and below 1$"):
        train(write_text(tmp_path), tmp_path / "out", bpe_dropout=1.0, **FEW_STEPS)
    assert np.isin(TOKENS, [TOKENIZER.bos_id]).sum() == 3
