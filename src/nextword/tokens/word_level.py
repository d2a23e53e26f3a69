"""The lesson's tokenizers: a vocabulary of words, or of characters, each of them one token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer

from nextword.errors import ConfigError, TextError
from nextword.tokens.surrogates import refuse_surrogates


def words(vocabulary: Sequence[str], unknown: str | None) -> RawTokenizer:
    """Text cut at white space; see `Tokenizer.words`."""
    if not vocabulary:
        raise ConfigError("the vocabulary is empty")
    for word in vocabulary:
        refuse_surrogates(word)
        if word.split() != [word]:
            raise ConfigError(f"{word!r} is not one word", hint="a word has at least one character, no white space")
    ids = unique_ids(vocabulary)
    if unknown is not None and unknown not in ids:
        raise ConfigError(f"the unknown token {unknown!r} is not in the vocabulary")
    raw = RawTokenizer(_word_level(ids, unknown))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return raw


def characters(text: str) -> RawTokenizer:
    """One token a character; see `Tokenizer.characters`."""
    if not text:
        raise TextError("cannot take characters from an empty text")
    refuse_surrogates(text)
    raw = RawTokenizer(_word_level(unique_ids(sorted(set(text))), None))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    raw.decoder = decoders.Fuse()
    return raw


def unique_ids(words: Iterable[str]) -> dict[str, int]:
    """Ids in the order of the words.

    Raises:
        ConfigError: A word is there twice.
    """
    ids: dict[str, int] = {}
    for word in words:
        if word in ids:
            raise ConfigError(f"the vocabulary has {word!r} twice")
        ids[word] = len(ids)
    return ids


def _word_level(ids: dict[str, int], unknown: str | None) -> models.WordLevel:
    # The library always has an unknown token; "" can be no entry, so that nothing maps to it.
    return models.WordLevel(ids, unk_token=unknown or "")
