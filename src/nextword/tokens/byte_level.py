"""Byte-level BPE: the alphabet, the pre-tokeniser, the trainer.

Every byte has a printable stand-in character (GPT-2's table), so that a vocabulary of strings can hold any bytes and
no text is ever unknown.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RawTokenizer

from nextword.errors import TextError
from nextword.tokenizers_errors import translate_panics

# How text is cut before pairs are merged: the published pattern of Qwen2, which llama.cpp knows as "qwen2".
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

MAX_WORD_LENGTH = 64
"""Characters of a piece of text that pairs are counted in at most."""
COVERED = 0.97
"""Share of a text's characters beyond ASCII that are to be tokens; the rarer ones stay bytes."""
CHARACTERS_SHARE = 0.75
"""Of all merges, those that may make characters of bytes."""
_UNSPELLED = "\ufdd0"  # a noncharacter: stands for those that stay bytes


def _unicode_to_byte() -> dict[str, int]:
    """GPT-2's table, turned round: printable Latin-1 stands for itself, the other bytes for U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


UNICODE_TO_BYTE = _unicode_to_byte()
_TO_LATIN_1 = dict.fromkeys(range(256), "\uffff") | {ord(one): chr(byte) for one, byte in UNICODE_TO_BYTE.items()}
"""Stand-ins to the characters that Latin-1 writes as their bytes; what stands for nothing, to one that it lacks."""
_BYTE_TO_UNICODE = {byte: stand_in for stand_in, byte in UNICODE_TO_BYTE.items()}


def token_bytes(token: str) -> bytes | None:
    """The bytes that a vocabulary entry stands for, or None if it is not made of stand-ins."""
    try:
        return token.translate(_TO_LATIN_1).encode("latin-1")
    except UnicodeEncodeError:
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


def has_long_words(texts: Iterable[str]) -> bool:
    """Whether a text holds pieces longer than those that a vocabulary is learned from (see `train`)."""
    import regex  # the library takes as long to load as all else here, and only learning a vocabulary asks this

    kinds = (r"\p{L}", r"[^\s\p{L}\p{N}]", r"\s")
    long = regex.compile("|".join(rf"{kind}{{{MAX_WORD_LENGTH + 1}}}" for kind in kinds))
    return any(long.search(text) for text in texts)


def character_merges(texts: Iterable[str]) -> int:
    """Merges that make the most frequent characters of texts of their bytes, as many as `train` would have."""
    return sum(map(len, _character_merges(_count(texts)).values()))


def train(texts: Iterable[str], vocab_size: int, special_tokens: list[str], *, show_progress: bool) -> RawTokenizer:
    """Merges the most frequent pairs until the vocabulary has `vocab_size` entries (fewer if the text runs out).

    Bytes are merged to the characters that occur most, before any two characters are: a pair of frequent bytes, such
    as a blank and the first byte of every Hangul syllable, is no token. Pairs of characters are counted in pieces of
    at most 64 of them, so that a text of one endless word takes no longer than another one.

    Args:
        texts: Are held in memory.
        vocab_size: Entries.
        special_tokens: The first of these.
        show_progress: Draw the library's progress bar.
    """
    documents = list(texts)
    counts = _count(documents)
    room = vocab_size - len(UNICODE_TO_BYTE) - len(special_tokens)
    spelled = _character_merges(counts, round(room * CHARACTERS_SHARE))
    merges = [merge for spelling in spelled.values() for merge in spelling]
    alphabet = {character for character in counts if character.isascii()} | spelled.keys()
    unspelled = {ord(character): _UNSPELLED for character in counts.keys() - alphabet}
    learner = RawTokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"{_UNSPELLED}+"), behavior="removed"),
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.Split(Regex(rf"[\s\S]{{{MAX_WORD_LENGTH}}}"), behavior="isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + room - len(merges), initial_alphabet=sorted(alphabet), show_progress=show_progress
    )
    with translate_panics(lambda said: TextError(f"the library cannot learn a tokenizer from the text: {said}")):
        learner.train_from_iterator((text.translate(unspelled) for text in documents), trainer)
    learned = json.loads(learner.to_str())["model"]["merges"]
    merges += [(_to_unicode(first), _to_unicode(second)) for first, second in learned]
    vocabulary = {token: i for i, token in enumerate([*special_tokens, *sorted(UNICODE_TO_BYTE)])}
    for first, second in merges:
        vocabulary.setdefault(first + second, len(vocabulary))
    raw = RawTokenizer(models.BPE(vocab=vocabulary, merges=merges))
    raw.pre_tokenizer = _pre_tokenizer()
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(special_tokens)
    return raw


def _count(texts: Iterable[str]) -> Counter[str]:
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    return counts


def _character_merges(counts: Mapping[str, int], room: float = math.inf) -> dict[str, list[tuple[str, str]]]:
    """The merges that make each of the most frequent characters of its bytes, as many as there is room for."""
    spelled: dict[str, list[tuple[str, str]]] = {}
    made: set[str] = set()
    beyond = {character: count for character, count in counts.items() if not character.isascii()}
    uncovered = COVERED * sum(beyond.values())
    for character, count in sorted(beyond.items(), key=lambda item: (-item[1], item[0])):
        if character == _UNSPELLED:
            continue
        token, *others = list(_to_unicode(character))
        merges = []
        for other in others:
            if token + other not in made:
                merges.append((token, other))
            token += other
        if uncovered <= 0 or count < 2 or len(made) + len(merges) > room:
            break
        made.update(first + second for first, second in merges)
        spelled[character] = merges
        uncovered -= count
    return spelled


def _to_unicode(text: str) -> str:
    return "".join(_BYTE_TO_UNICODE[byte] for byte in text.encode())
