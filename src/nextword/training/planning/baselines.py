"""What counting and compressing alone reach on the held-out text: what a model has to beat."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.training.corpus.tokenized_text import document_start

if TYPE_CHECKING:
    from nextword.tokens import Tokenizer
    from nextword.training.corpus.tokenized_text import TokenizedText

PRIOR = 50.0
"""How many occurrences the unigrams count as, beside a token's own followers. On English, Korean and Python texts of
30 kB to 1.3 MB, with vocabularies of 512 and 1,024, every text's best value of 10, 30, 100, 300 and 1,000 was 30 or
100, and they were within 4 % of each other."""
GZIP_WINDOW = 32768
"""Bytes that deflate looks back."""
_CHUNK = 1 << 20  # tokens counted at once


@dataclass(frozen=True)
class Baselines:
    """Scores of the held-out text, in bits per byte.

    Unigram and bigram are tables over the model's own tokens, and score what the model scores: every token but the
    first. Each is a probability distribution over the whole vocabulary, fitted on the training text.
    """

    unigram: float
    """Every token as probable as it is frequent, one occurrence added to each."""
    bigram: float
    """Every token as probable as after the token before it; the fewer occurrences, the more like the unigrams."""
    gzip: float
    """What the held-out text adds to the size of the training text's last 32 KiB, which is all that gzip can see."""
    gzip_alone: float
    """The held-out text compressed by itself, with the file's header."""
    bytes_per_character: float
    """Of the held-out text."""

    def nats_per_character(self, bits_per_byte: float) -> float:
        """The same score in the unit of the loss."""
        return bits_per_byte * math.log(2) * self.bytes_per_character


def measure_baselines(train: TokenizedText, held_out: TokenizedText, tokenizer: Tokenizer) -> Baselines:
    """Fits the tables on the training text and scores the held-out text.

    Args:
        train: May be mapped from disk: it is read once, in pieces.
        held_out: At least two tokens.
        tokenizer: Of both.
    """
    before = _text(train.tokens[-GZIP_WINDOW:], tokenizer)[-GZIP_WINDOW:]
    text = _text(held_out.tokens, tokenizer)
    per_byte = 1 / math.log(2) / held_out.bytes
    unigram, bigram = token_nats(train.tokens, held_out.tokens, tokenizer.vocab_size)
    return Baselines(
        unigram * per_byte,
        bigram * per_byte,
        gzip_bits_per_byte(text, before),
        gzip_bits_per_byte(text),
        held_out.bytes / held_out.characters,
    )


def _text(tokens: NDArray[Any], tokenizer: Tokenizer) -> bytes:
    """The text of tokens, without what stands between documents."""
    return tokenizer.decode(tokens[~np.isin(tokens, document_start(tokenizer))].tolist()).encode()


def token_nats(train: NDArray[Any], held_out: NDArray[Any], vocab_size: int) -> tuple[float, float]:
    """Nats of all held-out tokens but the first, under unigrams and under bigrams.

    With n occurrences of token b in N tokens of V kinds, P(b) = (n + 1) / (N + V). With m occurrences of a followed
    by b among M of a, P(b after a) = (m + k P(b)) / (M + k), k being `PRIOR`: the Dirichlet prior of MacKay and Peto
    (1995).

    Args:
        train: Token ids, [N]; read once, in pieces.
        held_out: Token ids, [T].
        vocab_size: V.
    """
    before, after = held_out[:-1].astype(np.int64), held_out[1:].astype(np.int64)
    pairs, places = np.unique(before * vocab_size + after, return_inverse=True)  # only these need counting
    ones = np.zeros(vocab_size, np.int64)
    twos = np.zeros(len(pairs), np.int64)
    for start in range(0, len(train), _CHUNK):
        chunk = np.asarray(train[start : start + _CHUNK + 1], np.int64)  # one more: the last one's next
        ones += np.bincount(chunk[:_CHUNK], minlength=vocab_size)
        seen = np.sort(chunk[:-1] * vocab_size + chunk[1:])  # looking sorted keys up is many times as fast
        at = np.minimum(np.searchsorted(pairs, seen), len(pairs) - 1)
        twos += np.bincount(at[pairs[at] == seen], minlength=len(pairs))
    followed = ones.copy()
    followed[int(train[-1])] -= 1  # nothing follows the last token
    unigram = (ones[after] + 1) / (len(train) + vocab_size)
    bigram = (twos[places] + PRIOR * unigram) / (followed[before] + PRIOR)
    return float(-np.log(unigram).sum()), float(-np.log(bigram).sum())


def gzip_bits_per_byte(text: bytes, before: bytes = b"") -> float:
    """Bits that gzip, at its best, needs for each byte of a text, where it has seen another text before."""
    return (_gzip_size(before + text) - (_gzip_size(before) if before else 0)) * 8 / len(text)


def _gzip_size(text: bytes) -> int:
    return len(gzip.compress(text, 9, mtime=0))
