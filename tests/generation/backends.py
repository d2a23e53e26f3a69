"""Backends with a known distribution, and small tokenizers: what generation/ is driven with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers

from nextword import GPTConfig, GPTModel, LanguageModel, Tokenizer
from nextword.backend_input import Tap
from nextword.generation import Sampling
from nextword.generation.backend import Logits
from nextword.generation.context import window_start
from nextword.tokens.byte_level import UNICODE_TO_BYTE
from tests.oracle.cases import random_weights
from tests.oracle.compare import torch_model

END = "<|endoftext|>"
LETTERS = Tokenizer.characters("abcdefgh .,;")
GREEDY = Sampling(temperature=0.0)

SMALL: dict[str, GPTConfig] = {
    "learned positions": GPTConfig.lesson(12, 16, 4, 2, 0.0, 9),
    "rotary positions": GPTConfig.qwen3(12, 9, d_model=16, num_heads=4, num_kv_heads=2, num_layers=2, d_ff=24),
}


class TableCache:
    """Remembers the tokens themselves."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.tokens: list[int] = []

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        return 8 * self.capacity

    def truncate(self, length: int) -> None:
        assert length <= len(self.tokens)
        del self.tokens[length:]

    def fork(self) -> TableCache:
        copy = TableCache(self.capacity)
        copy.tokens = list(self.tokens)
        return copy


class TableBackend:
    """Its logits are a function of the tokens that the model sees."""

    name, reason, bitwise_invariant = "table", "a test", True
    nbytes, dtype, eps = 0, "float32", 2.0**-23

    def __init__(
        self, vocab_size: int, rule: Callable[[Sequence[int]], Sequence[float]], context_length: int = 1000
    ) -> None:
        self.config = GPTConfig.lesson(vocab_size, 4, 1, 1, 0.0, context_length)
        self._rule = rule

    def new_cache(self, capacity: int, origin: int = 0) -> TableCache:
        return TableCache(capacity)

    def owns(self, cache: object) -> bool:
        return isinstance(cache, TableCache)

    def forward(
        self,
        chunks: Sequence[Sequence[int]],
        caches: Sequence[TableCache],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[Logits]:
        assert logits != "none", "a table has no values to look at"
        assert tap is None, "a table has no values to look at"
        results = []
        for chunk, cache in zip(chunks, caches, strict=True):
            assert chunk, "an empty chunk"
            rows = []
            for token in chunk:
                cache.tokens.append(token)
                rows.append(np.array(self._rule(cache.tokens), np.float32))
            assert cache.length <= min(cache.capacity, self.config.context_length), "more tokens than there is room for"
            results.append(np.stack(rows) if logits == "all" else rows[-1])
        return results

    def forward_from(
        self, layer: int, rows_TD: Any, caches: Any, logits: Any = "last", tap: Tap | None = None
    ) -> list[Logits]:
        raise AssertionError("a table has no layers")

    def unembed(self, rows_PD: NDArray[Any], tap: Tap | None = None) -> NDArray[Any]:
        raise AssertionError("a table has no residual stream")

    def linear(self, name: str, x_NE: NDArray[Any]) -> NDArray[Any]:
        raise AssertionError("a table has no weights")

    def weight(self, name: str, rows: Sequence[int] | None = None) -> NDArray[Any]:
        raise AssertionError("a table has no weights")


def always(probabilities: Sequence[float], context_length: int = 1000) -> TableBackend:
    """The same distribution, whatever came before."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.array(probabilities))
    return TableBackend(len(probabilities), lambda _: logits, context_length)


def writes(tokenizer: Tokenizer, prompt: str, script: Sequence[int]) -> LanguageModel:
    """A model that is certain to write `script` after `prompt`, over and over."""
    start = len(tokenizer.encode(prompt))

    def rule(tokens: Sequence[int]) -> list[float]:
        wanted = script[(len(tokens) - start) % len(script)]
        return [0.0 if i == wanted else -1000.0 for i in range(tokenizer.vocab_size)]

    return LanguageModel(TableBackend(tokenizer.vocab_size, rule), tokenizer)


def byte_tokenizer(pieces: Sequence[bytes], *, end: bool = True) -> Tokenizer:
    """A byte-level vocabulary of exactly these pieces, none of which merges, and the end token behind them."""
    stand_in = {byte: character for character, byte in UNICODE_TO_BYTE.items()}
    vocabulary = {"".join(stand_in[byte] for byte in piece): i for i, piece in enumerate(pieces)}
    raw = RawTokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    if end:
        raw.add_special_tokens([END])
    return Tokenizer(raw, bos=END if end else None, eos=END if end else None)


def random_model(config: GPTConfig, seed: int = 0, dtype: torch.dtype = torch.float64) -> GPTModel:
    """Double precision: cached and plain passes then give the same float32 logits, and the same draws."""
    return torch_model(config, random_weights(config, seed), dtype)


def plain_logits(model: GPTModel, ids: Sequence[int]) -> Logits:
    """The next token's logits by one forward pass over everything, without a cache."""
    with torch.no_grad():
        row = model(torch.tensor([list(ids)]))[0, -1]
    logits: Logits = row.float().numpy()
    return logits


def write_uncached(model: GPTModel, ids: Sequence[int], count: int, sampling: Sampling, seed: int) -> list[int]:
    """`count` tokens after `ids`, the whole window computed anew for each."""
    context = model.config.context_length
    begin = window_start(len(ids), context) if len(ids) > context else 0
    tokens, rng = list(ids[begin:]), np.random.default_rng(seed)
    prompt, begin = len(tokens), 0
    for _ in range(count):
        if len(tokens) - begin > context:
            begin = window_start(len(tokens), context)
        tokens.append(sampling.draw(plain_logits(model, tokens[begin:]), tokens, rng))
    return tokens[prompt:]
