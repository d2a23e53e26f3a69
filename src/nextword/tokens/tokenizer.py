"""Tokenizer: words, characters, byte-level or SentencePiece's BPE, over the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RawTokenizer

from nextword.arguments import checked
from nextword.deprecated import warn_deprecated
from nextword.errors import ConfigError, ContextOverflowError, ModelFileError, TextError
from nextword.formatting import pluralize
from nextword.text_file import read_text
from nextword.tokenizers_errors import not_encodable, translate_panics
from nextword.tokens import byte_level, sentencepiece, word_level
from nextword.tokens.description import (
    TokenizerKind,
    bos_of_post_processor,
    check_added_tokens,
    check_changes,
    count_ids,
    describe,
    has_unbounded_tokens,
    max_bytes_per_byte,
    read_added_tokens,
    spellings_by_id,
    strips_leading_space,
    tokenizer_kind,
)
from nextword.tokens.pieces import Piece, group_pieces
from nextword.tokens.special_tokens import SpecialTokens, read_special_tokens
from nextword.tokens.surrogates import refuse_surrogates, without_surrogates
from nextword.tokens.visible import text_of
from nextword.tokens.vocabulary_files import read_vocabulary_files
from nextword.tokens.word_level import unique_ids

END_OF_TEXT = "<|endoftext|>"
"""The special token that stands before every document and ends it."""


class Tokenizer:
    """Text to token ids and back.

    Make one with `Tokenizer.words`, `.characters`, `.train_bpe` or `.load`.

    Attributes:
        kind: `words`, `characters`, `bytes` (byte-level BPE) or `sentencepiece` (BPE over characters, bytes for the
            unknown ones, as Llama 2 and Mistral have it).
        bos_id: The token before a document, or None if the vocabulary has none.
        eos_id: The token that ends a text, or None.
        end_ids: Every token that ends what the model writes: `eos_id`, and for some chat models the end of a turn.
        adds_bos: Whether the model was trained with `bos_id` before every text, so that a prompt begins with it.
    """

    @checked
    def __init__(
        self,
        raw: RawTokenizer,
        *,
        bos: str | int | None = None,
        eos: str | int | None = None,
        ends: Iterable[int] = (),
    ) -> None:
        self._raw = raw
        raw.encode_special_tokens = True  # the spelling of a special token in a text is plain text
        raw.no_truncation()  # a file may ask to cut or fill up every text: here nothing is dropped or added
        raw.no_padding()
        self._description = describe(raw)
        self.kind: TokenizerKind = tokenizer_kind(self._description)
        check_changes(self._description, self.kind)
        self._strips_leading_space = self.kind == "sentencepiece" and strips_leading_space(self._description)
        if self.kind == "bytes":
            raw.model.dropout = None  # a training device: it would make the ids of a text random
        vocabulary = raw.get_vocab(with_added_tokens=True)
        self._vocab_size = count_ids(vocabulary, self.kind)
        self._spellings = spellings_by_id(vocabulary, self._vocab_size)
        self._added = frozenset(raw.get_added_tokens_decoder())
        first = bos_of_post_processor(self._description)
        self.bos_id = self._id_of(bos if first is None else first)
        self.adds_bos = first is not None and self.bos_id is not None
        self.eos_id = self._id_of(eos)
        self._continuations: dict[int, bytes] = {}
        there = {token for token in ends if token < self._vocab_size}  # libraries write their own defaults
        self.end_ids = frozenset(there) | ({self.eos_id} if self.eos_id is not None else set())

    # -- making one ------------------------------------------------------------------------------------------------

    @classmethod
    @checked
    def words(cls, vocabulary: Sequence[str], *, unknown: str | None = None) -> Tokenizer:
        """The lesson's tokenizer: text is cut at white space, ids are positions in `vocabulary`.

        Args:
            vocabulary: The words.
            unknown: A word of the vocabulary that stands for all others; None refuses them.

        Raises:
            ConfigError: The vocabulary is empty, repeats a word or holds white space; `unknown` is not in it.
            TextError: A word holds a lone surrogate.
        """
        return cls(word_level.words(vocabulary, unknown))

    @classmethod
    @checked
    def characters(cls, text: str) -> Tokenizer:
        """One token a character (Unicode code point) that occurs in `text`, in sorted order.

        Raises:
            TextError: The text is empty.
        """
        return cls(word_level.characters(text))

    @classmethod
    @checked
    def train_bpe(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        *,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        show_progress: bool = False,
    ) -> Tokenizer:
        """Byte-level BPE learned from texts, cut as Qwen2 cuts; it encodes any string and gives it back.

        Args:
            texts: The documents; a single string is one document.
            vocab_size: Entries wanted: 256 bytes, the special tokens, the rest merges. A short text yields fewer.
            special_tokens: Tokens that only code inserts; `<|endoftext|>` marks documents if it is among them.
            show_progress: Draw the library's progress bar.

        Raises:
            ConfigError: `vocab_size` has no room for the bytes and the special tokens, or a special token is empty,
                there twice, or a word that texts hold (`user`: its id could not be told from the text's).
            TextError: A text holds a lone surrogate.
        """
        smallest = 256 + len(special_tokens)
        if vocab_size < smallest:
            raise ConfigError(f"vocab_size is {vocab_size}, byte-level BPE needs at least {smallest}")
        for token in unique_ids(special_tokens):
            refuse_surrogates(token)
            if byte_level.is_one_piece(token):
                raise ConfigError(f"{token!r} cannot be a special token", hint="spell it like <|name|>")
        documents = without_surrogates([texts] if isinstance(texts, str) else texts)
        raw = byte_level.train(documents, vocab_size, list(special_tokens), show_progress=show_progress)
        document_end = END_OF_TEXT if END_OF_TEXT in special_tokens else None
        return cls(raw, bos=document_end, eos=document_end)

    @classmethod
    @checked
    def load(cls, path: str | Path) -> Tokenizer:
        """The tokenizer in a `tokenizer.json`, or in a model directory (there, vocab.json and merges.txt will do).

        Raises:
            ModelFileError: The file is missing or is no tokenizer that nextword can run.
        """
        place = Path(path)
        try:
            directory, file = (place, place / "tokenizer.json") if place.is_dir() else (place.parent, place)
            special = read_special_tokens(directory)
            if place.is_dir() and not file.exists() and (place / "vocab.json").exists():
                return cls._checked(read_vocabulary_files(place, special), str(place), special)
            if not file.exists():
                raise ModelFileError(f"{file} does not exist", hint="a model directory holds a tokenizer.json")
        except OSError as error:
            raise ModelFileError(f"{file} cannot be read: {error}") from None
        text = read_text(file)
        return cls.from_str(text, source=str(file), **special)

    @classmethod
    @checked
    def from_str(
        cls,
        text: str,
        *,
        source: str = "tokenizer.json",
        bos: str | int | None = None,
        eos: str | int | None = None,
        ends: Iterable[int] = (),
    ) -> Tokenizer:
        """The tokenizer that a `tokenizer.json` describes; its post-processor says whether `bos` begins a text.

        Raises:
            ModelFileError: The text is no tokenizer that nextword can run.
        """
        with translate_panics(lambda said: ModelFileError(f"{source} is no valid tokenizer: {said}")):
            raw = RawTokenizer.from_str(text)
        try:
            check_added_tokens(raw, read_added_tokens(text))
        except ModelFileError as error:
            raise ModelFileError(f"{source}: {error.message}", hint=error.hint) from None
        return cls._checked(raw, source, SpecialTokens(bos=bos, eos=eos, ends=tuple(ends)))

    @classmethod
    def _checked(cls, raw: RawTokenizer, source: str, special: SpecialTokens) -> Tokenizer:
        try:
            with translate_panics(lambda said: ModelFileError(f"it is no valid tokenizer: {said}")):
                return cls(raw, **special)
        except ModelFileError as error:
            raise ModelFileError(f"{source}: {error.message}", hint=error.hint) from None

    def to_str(self) -> str:
        """The content of a `tokenizer.json`, which the `tokenizers` library, transformers and others read."""
        return self._raw.to_str(pretty=True)

    @classmethod
    def from_json(cls, text: str, **special: Any) -> Tokenizer:
        """Deprecated: `from_str`, as the library tokenizers calls it."""
        warn_deprecated("Tokenizer.from_json", "Tokenizer.from_str")
        return cls.from_str(text, **special)

    def to_json(self) -> str:
        """Deprecated: `to_str`. Elsewhere `to_json` gives plain values."""
        warn_deprecated("Tokenizer.to_json", "Tokenizer.to_str")
        return self.to_str()

    def settings(self) -> dict[str, Any]:
        """The content of a `tokenizer_config.json`."""
        names = {"bos_token": self.bos_id, "eos_token": self.eos_id}
        special = {key: self._raw.id_to_token(i) for key, i in names.items() if i is not None}
        return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}

    # -- using it --------------------------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones and those that no token has included: one more than the highest."""
        return self._vocab_size

    @property
    def extent(self) -> str:
        """The vocabulary's size and kind in words: `8,192 byte-level tokens`."""
        units = {"bytes": "byte-level tokens", "sentencepiece": "SentencePiece tokens"}
        return f"{self.vocab_size:,} {units.get(self.kind, self.kind)}"

    @cached_property
    def vocabulary(self) -> list[str]:
        """The text of every token, in the order of their ids; parts of characters are written as `⟨EA·B0⟩`."""
        return [text_of(self._bytes_of_id(token_id)) for token_id in range(self._vocab_size)]

    @checked
    def text_of(self, token_id: int) -> str:
        """The text of one token, as `vocabulary` has it; empty for an id beyond the vocabulary, as some models have."""
        return text_of(self._bytes_of_id(token_id)) if 0 <= token_id < self._vocab_size else ""

    @checked
    def encode(self, text: str, special: bool = False) -> list[int]:
        """Token ids of a text. Nothing is added to it, nothing of it is dropped.

        Args:
            text: Any text.
            special: Whether the spelling of a special token stands for that token; otherwise it is plain text.

        Raises:
            TextError: The text holds a lone surrogate, or words that are not in the vocabulary.
        """
        self._refuse_absent_bytes(text)
        raw = self._raw_special if special else self._raw
        with translate_panics(lambda said: self._encode_error([text], said)):
            # Unlike `encode`, this lets other threads of Python run.
            ids: list[int] = raw.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return ids

    @checked
    def refuse_longer(self, text: str, num_tokens: int) -> None:
        """Refuses a text that is more than so many tokens however it is encoded: encoding megabytes takes seconds.

        Raises:
            ContextOverflowError: It has more bytes than so many tokens can stand for; names the fewest it can be.
        """
        max_bytes = self.max_token_bytes
        if max_bytes is None or 4 * len(text) <= max_bytes * num_tokens:  # a character has at most four bytes
            return
        fewest = -(-len(text.encode("utf-8", errors="replace")) // max_bytes)
        if fewest > num_tokens:
            raise ContextOverflowError(fewest, num_tokens, at_least=True)

    @checked
    def encode_start(self, text: str) -> list[int]:
        """Token ids of a text that begins a document: `bos_id`, where the model was trained with it, then the text's.

        Raises:
            TextError: As `encode`.
        """
        ids = self.encode(text)
        return [self.bos_id, *ids] if ids and self.adds_bos and self.bos_id is not None else ids

    @checked
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts at once, on all processors.

        Raises:
            TextError: As `encode`.
        """
        for text in texts:
            self._refuse_absent_bytes(text)
        with translate_panics(lambda said: self._encode_error(texts, said)):
            return [encoding.ids for encoding in self._raw.encode_batch_fast(list(texts), add_special_tokens=False)]

    @checked
    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD.

        Raises:
            TextError: An id is not in the vocabulary.
        """
        return b"".join(self.bytes_of(token_ids)).decode("utf-8", errors="replace")

    @cached_property
    def max_token_bytes(self) -> int | None:
        """Bytes of a text that one token can stand for, at most; None where a token can swallow any number of them.

        A text of more bytes than so many times the context cannot fit into it.
        """
        if self.kind == "words" or not self._spells_every_byte or has_unbounded_tokens(self._description):
            return None
        lengths = (len(self._bytes_of_id(token_id)) for token_id in range(self._vocab_size))
        return max(4, *lengths) * max_bytes_per_byte(self._description, self.kind)

    @property
    def most_bytes(self) -> int | None:
        """Deprecated: `max_token_bytes`."""
        warn_deprecated("Tokenizer.most_bytes", "Tokenizer.max_token_bytes")
        return self.max_token_bytes

    @checked
    def pieces(self, token_ids: Sequence[int]) -> list[Piece]:
        """The text of each token, grouped to whole graphemes, fragments marked."""
        return group_pieces(token_ids, self.bytes_of(token_ids))

    @checked
    def bytes_of(self, token_ids: Iterable[int], *, continued: bool = False) -> list[bytes]:
        """The bytes that each token adds to the text.

        Args:
            token_ids: The tokens.
            continued: Whether text stands before them: a word then brings the space before it.

        Raises:
            TextError: An id is not in the vocabulary.
        """
        pieces: list[bytes] = []
        started = continued
        for token_id in token_ids:
            if not 0 <= token_id < self._vocab_size:
                raise TextError(f"token id {token_id} is not in the vocabulary of {self._vocab_size} tokens")
            data = self._bytes_of_id(token_id)
            if self.kind == "words" and started:
                data = b" " + data
            elif self._strips_leading_space and not started:
                data = data.removeprefix(b" ")  # encoding put it there
            pieces.append(data)
            started = started or token_id != self.bos_id
        return pieces

    def continuation_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to the text before it, kept: every token that is written asks for them.

        Nothing for an id beyond the vocabulary: a model may have more ids than its tokenizer has tokens.
        """
        if (data := self._continuations.get(token_id)) is None:
            known = token_id < self._vocab_size
            data = self._continuations[token_id] = self.bytes_of([token_id], continued=True)[0] if known else b""
        return data

    def __repr__(self) -> str:
        return f"<Tokenizer {self.kind}, {pluralize(self.vocab_size, 'tokens')}>"

    def _bytes_of_id(self, token_id: int) -> bytes:
        """The bytes of a token of the vocabulary; an id that no token has is empty."""
        spelling = self._spellings[token_id]
        if token_id not in self._added:
            if self.kind == "sentencepiece":
                return sentencepiece.token_bytes(spelling)
            if self.kind == "bytes" and (stood_for := byte_level.token_bytes(spelling)) is not None:
                return stood_for
        return spelling.encode()

    @cached_property
    def _raw_special(self) -> RawTokenizer:
        raw = RawTokenizer.from_str(self._raw.to_str())
        raw.encode_special_tokens = False
        return raw

    @checked
    def special_id(self, token: str) -> int | None:
        """The id of a special token, or None if there is no special token of this name."""
        return next(
            (i for i, t in self._raw.get_added_tokens_decoder().items() if t.special and t.content == token), None
        )

    def _id_of(self, token: str | int | None) -> int | None:
        if token is None:
            return None
        if isinstance(token, int):
            return token if 0 <= token < self._vocab_size else None  # a default of config.json that means no token here
        found: int | None = self._raw.token_to_id(token)
        if found is None:
            raise ModelFileError(f"the special token {token!r} is not in the vocabulary")
        return found

    @cached_property
    def _spells_every_byte(self) -> bool:
        """Whether no text has a part that the vocabulary cannot spell; characters refuse such a text."""
        known = self._raw.model.token_to_id
        if self.kind == "sentencepiece":
            return all(known(f"<0x{byte:02X}>") is not None for byte in range(256))
        return self.kind != "bytes" or all(known(token) is not None for token in byte_level.UNICODE_TO_BYTE)

    @cached_property
    def _absent_bytes(self) -> frozenset[int]:
        """The bytes that a byte-level vocabulary has no token for; nearly always none."""
        known = self._raw.model.token_to_id
        if self.kind != "bytes" or known(self._raw.model.unk_token or "") is not None:
            return frozenset()
        return frozenset(byte for token, byte in byte_level.UNICODE_TO_BYTE.items() if known(token) is None)

    def _refuse_absent_bytes(self, text: str) -> None:
        """Refuses lone surrogates, and bytes that the library would drop without a word."""
        refuse_surrogates(text)
        if self._absent_bytes and (unknown := self._absent_bytes.intersection(text.encode())):
            raise self._unknown([bytes([byte]) for byte in sorted(unknown)])

    def _encode_error(self, texts: Sequence[str], said: str) -> TextError:
        """Why the library would not encode: the words that the vocabulary does not have, or its own words."""
        unknown: dict[str, None] = {}
        if self.kind in ("words", "characters"):
            with translate_panics(not_encodable):
                for text in texts:
                    plain = text if self._raw.normalizer is None else self._raw.normalizer.normalize_str(text)
                    parts = [part for part, _ in self._raw.pre_tokenizer.pre_tokenize_str(plain)]
                    unknown |= {part: None for part in parts if self._raw.model.token_to_id(part) is None}
        return self._unknown(list(unknown)) if unknown else not_encodable(said)

    def _unknown(self, parts: Sequence[str | bytes]) -> TextError:
        shown = ", ".join(map(repr, parts[:5])) + (", ..." if len(parts) > 5 else "")
        return TextError(
            f"not in the vocabulary of {self.extent}: {shown}",
            hint="use known ones, declare an unknown token, or train a byte-level BPE tokenizer: it knows any text",
        )
