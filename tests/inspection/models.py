"""Small models of every architecture with the oracle's random weights, as language models over letters."""

from __future__ import annotations

import string

import torch

from nextword.language_model import LanguageModel
from nextword.tokens import Tokenizer
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import torch_model


def letters(case: str) -> Tokenizer:
    """Up to twenty letters, from a on."""
    return Tokenizer.characters(string.ascii_lowercase[: min(20, CASES[case].vocab_size)])


def language_model(case: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The model of that case; its text is letters from a to t."""
    config = CASES[case]
    return LanguageModel.from_model(
        torch_model(config, random_weights(config), dtype).requires_grad_(False), letters(case)
    )


def some_tokens(case: str, count: int | None = None, seed: int = 0) -> list[int]:
    """Token ids that the tokenizer has, as many as the case's context allows, or `count`."""
    ids = [int(token) % letters(case).vocab_size for token in random_tokens(CASES[case], batch_size=2 + seed)[0][seed]]
    return ids if count is None else ids[:count]
