"""These tests are asked for by name, and then llama-cpp-python has to be there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextword.tokens import Tokenizer


class LlamaCpp:
    """A GGUF file in llama.cpp, its cache in float32 (its own default, half precision, differs by 3e-3)."""

    def __init__(self, file: Path, context: int = 256) -> None:
        import llama_cpp

        self._llama: Any = llama_cpp.Llama(
            str(file), n_ctx=context, n_batch=context, logits_all=True, verbose=False, type_k=0, type_v=0
        )

    def encode(self, text: str, tokenizer: Tokenizer) -> list[int]:
        return list(self._llama.tokenize(text.encode(), add_bos=tokenizer.adds_bos, special=False))

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """[T, V]."""
        self._llama.reset()
        self._llama.eval(list(ids))
        return np.array(self._llama.scores[: len(ids)])

    def greedy(self, ids: Sequence[int], count: int, ends: frozenset[int]) -> list[int]:
        """Always the most probable token, until one that ends the text."""
        self._llama.reset()
        self._llama.eval(list(ids))
        written: list[int] = []
        while len(written) < count:
            token = int(self._llama.scores[self._llama.n_tokens - 1].argmax())
            if token in ends:
                break
            written.append(token)
            self._llama.eval([token])
        return written


@pytest.fixture(scope="session")
def llama_cpp() -> type[LlamaCpp]:
    return LlamaCpp
