"""Byte-level BPE: the alphabet, the pre-tokeniser, the trainer.

Every byte has a printable stand-in character (GPT-2's table), so that a vocabulary of strings can hold any bytes and
no text is ever unknown.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RawTokenizer

# How text is cut before pairs are merged: the published pattern of Qwen2, which llama.cpp knows as "qwen2".
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_of_stand_in() -> dict[str, int]:
    """GPT-2's table, turned round: printable Latin-1 stands for itself, the other bytes for U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


BYTE_OF_STAND_IN = _byte_of_stand_in()


def token_bytes(token: str) -> bytes | None:
    """The bytes that a vocabulary entry stands for, or None if it is not made of stand-ins."""
    try:
        return bytes(BYTE_OF_STAND_IN[character] for character in token)
    except KeyError:
        return None


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def is_one_piece(token: str) -> bool:
    """Whether the pre-tokeniser leaves `token` whole, so that merges of plain text could arrive at it (or it is "")."""
    return len(_pre_tokenizer().pre_tokenize_str(token)) <= 1


def train(texts: Iterable[str], vocab_size: int, special_tokens: list[str], *, show_progress: bool) -> RawTokenizer:
    """Merges the most frequent pairs until the vocabulary has `vocab_size` entries (fewer if the text runs out)."""
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = _pre_tokenizer()
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        initial_alphabet=sorted(BYTE_OF_STAND_IN),
        show_progress=show_progress,
    )
    raw.train_from_iterator(texts, trainer)
    return raw
