"""What ends a text, as llama.cpp decides it: its own list of spellings, whatever type the file gives the token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from nextword import Tokenizer
from nextword.files.gguf import read_gguf_tokenizer
from tests.files.gguf.building import BYTE_TOKENS, LLAMA, File, f32s, i32s, texts, u32
from tests.files.gguf.vocabularies import BYTES, sentencepiece_file, written

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
SPELLINGS = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
]


def _file(added: list[str], kind: int, marks: Mapping[str, int]) -> File:
    """256 bytes, and tokens of one type behind them; marks count from these."""
    tokens = [*BYTE_TOKENS, *added]
    return LLAMA.but(
        texts("tokenizer.ggml.tokens", tokens),
        texts("tokenizer.ggml.merges", []),
        i32s("tokenizer.ggml.token_type", [NORMAL] * 256 + [kind] * len(added)),
        *(u32(f"tokenizer.ggml.{name}_token_id", 256 + place) for name, place in marks.items()),
        without=[f"tokenizer.ggml.{name}_token_id" for name in ("bos", "eos") if name not in marks],
    )


def _ends(tmp_path: Path, added: list[str], kind: int = CONTROL, **marks: int) -> set[str]:
    tokenizer = read_gguf_tokenizer(written(tmp_path / "model.gguf", _file(added, kind, marks)))
    return {added[i - 256] for i in tokenizer.end_ids}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_ends_a_text_whatever_its_type(spelling: str, tmp_path: Path) -> None:
    for kind in (NORMAL, CONTROL, USER_DEFINED, UNUSED):
        assert _ends(tmp_path, ["<s>", spelling, "<end>", "<|im_start|>"], kind) == {spelling}


@pytest.mark.parametrize("kind", [NORMAL, CONTROL, USER_DEFINED, UNUSED])
def test_keys_and_spellings_add_up(kind: int, tmp_path: Path) -> None:
    """Qwen's base files: eos is one of two tokens that both end a text."""
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<x>", "<y>", "<z>"]
    assert _ends(tmp_path, added, kind, eos=2) == {"<|endoftext|>", "<|im_end|>"}
    assert _ends(tmp_path, added, kind, eos=3, eot=4, eom=5) == {"<|endoftext|>", "<|im_end|>", "<x>", "<y>", "<z>"}
    assert _ends(tmp_path, added, kind, fim_pad=3, fim_rep=4, fim_sep=5) >= {"<x>", "<y>", "<z>"}
    assert _ends(tmp_path, [*added, "[PAD]"], kind, fim_pad=3) == {"<|endoftext|>", "<|im_end|>", "<x>"}
    assert _ends(tmp_path, added, kind, fim_pre=3, padding=4) == {"<|endoftext|>", "<|im_end|>"}


@pytest.mark.parametrize(
    ("added", "ends"),
    [
        (["<|return|>", "<|call|>", "<|end|>"], {"<|return|>", "<|call|>"}),  # gpt-oss
        (["<|flush|>", "<|calls|>", "<|end|>"], {"<|flush|>", "<|calls|>"}),  # Solar Open
        (["<|return|>", "<|end|>"], {"<|return|>", "<|end|>"}),
        (["<|call|>", "<|end|>"], {"<|call|>", "<|end|>"}),
        (["<turn|>", "<|tool_response>", "</s>"], {"<turn|>", "<|tool_response>"}),  # Gemma 4
    ],
)
def test_what_ends_a_part_of_an_answer_ends_no_text(added: list[str], ends: set[str], tmp_path: Path) -> None:
    assert _ends(tmp_path, added) == ends


@pytest.mark.parametrize("kind", [NORMAL, CONTROL, USER_DEFINED, UNUSED])
def test_an_end_in_a_text_stays_text(kind: int, tmp_path: Path) -> None:
    file = _file(["<s>", "<|im_end|>"], kind, {"eos": 1})
    _check_end_in_a_text(read_gguf_tokenizer(written(tmp_path / "model.gguf", file)), 257)


def test_so_it_does_for_sentencepiece(tmp_path: Path) -> None:
    """Where merging could arrive at the token too: `</s>` is what a struck-out text in HTML ends with."""
    tokens = ["<unk>", "<s>", "<eos>", *BYTES, *"▁</s>한b", "</", "s>", "</s>"]
    values = [
        texts("tokenizer.ggml.tokens", tokens),
        i32s("tokenizer.ggml.token_type", [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)),
        f32s("tokenizer.ggml.scores", [-float(i) for i in range(len(tokens))]),
    ]
    tokenizer = read_gguf_tokenizer(written(tmp_path / "model.gguf", sentencepiece_file().but(*values)))
    assert tokenizer.end_ids == {2, len(tokens) - 1}
    _check_end_in_a_text(tokenizer, len(tokens) - 1)


def _check_end_in_a_text(tokenizer: Tokenizer, end: int) -> None:
    spelling = tokenizer.vocabulary[end]
    assert tokenizer.encode(spelling, special=True) == [end]
    ids = tokenizer.encode(f"한 {spelling} b")
    assert end not in ids
    assert tokenizer.decode(ids) == f"한 {spelling} b"
