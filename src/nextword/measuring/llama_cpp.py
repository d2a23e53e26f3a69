"""A GGUF file in llama.cpp, through the package llama-cpp-python where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.tokens import Tokenizer


class LlamaCppLogits:
    """A model that llama.cpp runs, its cache in float32 (its own default, half precision, differs by 3e-3).

    Args:
        file: The GGUF file.
        context: Tokens at most.
    """

    def __init__(self, file: Path, context: int) -> None:
        import llama_cpp

        self._llama: Any = llama_cpp.Llama(
            str(file), n_ctx=context, n_batch=context, logits_all=True, verbose=False, type_k=0, type_v=0
        )

    def encode(self, text: str, tokenizer: Tokenizer) -> list[int]:
        """The tokens that llama.cpp cuts a text into, with the one before it where `tokenizer` puts it."""
        return list(self._llama.tokenize(text.encode(), add_bos=tokenizer.adds_bos, special=False))

    def logits(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """[T, V], of a fresh text."""
        self._llama.reset()
        self._llama.eval(list(ids))
        return np.array(self._llama.scores[: len(ids)], dtype=np.float64)
