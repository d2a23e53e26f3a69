"""Metadata of a GGUF file, asked for by name and kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ModelFileError
from nextword.files.gguf.header import Value, quoted

# What is recommended for sampling: generation_config.json's names -> those behind `general.sampling.`.
SAMPLING = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
}


class Metadata:
    """The values of a file. It remembers what was asked for, so that what nobody understood can be refused.

    Attributes:
        source: What errors call the file.
        layers: Blocks of the model, where they are known: a list of so many equal numbers is that number.
        notes: What was passed over or assumed, a sentence each.
    """

    def __init__(self, source: str, values: Mapping[str, Value]) -> None:
        self.source = source
        self.layers = 0
        self.notes: list[str] = []
        self._values = values
        self._understood: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; without a default it must be there."""
        value = self._single(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self._refuse(key, "a whole number", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; without a default it must be there."""
        value = self._single(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self._refuse(key, "a finite number", value)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self._refuse(key, "true or false", value)
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string; without a default it must be there."""
        value = self._get(key, default)
        if not isinstance(value, str):
            self._refuse(key, "a string", value)
        return value

    def texts(self, key: str) -> list[str]:
        """A list of strings, which must be there."""
        value = self._get(key, None)
        if not isinstance(value, list):
            self._refuse(key, "a list of strings", value)
        return value

    def numbers(self, key: str, length: int) -> NDArray[np.generic]:
        """A list of `length` numbers, which must be there."""
        value = self._get(key, None)
        if not isinstance(value, np.ndarray) or value.dtype == np.bool_:
            self._refuse(key, "a list of numbers", value)
        if len(value) != length:
            raise ModelFileError(f"{self.source}: {key} should have {length} entries, found {len(value)}")
        return value

    def expect(self, key: str, *neutral: Value) -> None:
        """Refuses a value that would change what the model computes; none, or a neutral one, passes."""
        value = self._single(key, neutral[0])
        if isinstance(value, list | np.ndarray) or value not in neutral:
            raise ModelFileError(
                f"{self.source}: {key} is {_shown(value)}; nextword computes only {' or '.join(map(str, neutral))}"
            )

    def expect_empty(self, key: str) -> None:
        """Refuses a list or text that holds anything."""
        value = self._get(key, "")
        if not isinstance(value, str | list | np.ndarray) or len(value):
            raise ModelFileError(f"{self.source}: {key} is {_shown(value)}, which is not supported")

    def refuse_rest(self, prefix: str, *, but: str | None = None) -> None:
        """Refuses keys with this beginning (`but` this ending) that nothing has asked for: they could mean anything."""
        for key in self._values:
            if key.startswith(prefix) and key not in self._understood and not (but and key.endswith(but)):
                raise ModelFileError(f"{self.source}: the key {quoted(key)} is not understood")

    def ignore(self, *keys: str) -> None:
        """Marks keys that say nothing about the numbers as understood."""
        self._understood.update(keys)

    def pass_over(self, why: str, *patterns: str) -> None:
        """Marks the keys that fit these shell patterns as understood, and notes those that are there."""
        found = [key for key in self._values if any(fnmatchcase(key, pattern) for pattern in patterns)]
        self.ignore(*found)
        if found:
            self.notes.append(f"passed over, because {why}: {', '.join(found)}")

    def label(self, key: str) -> str:
        """A string that only describes the model; empty where there is none, or something else."""
        value = self._values.get(key, "")
        return value if isinstance(value, str) else ""

    def labels(self, key: str) -> list[str]:
        """Strings that only describe the model; none where there are none, or something else."""
        value = self._values.get(key)
        return value if isinstance(value, list) else []

    def _single(self, key: str, default: Value | None) -> Value:
        """The value; of a list that says the same for every layer, what it says."""
        value = self._get(key, default)
        if isinstance(value, np.ndarray) and 0 < len(value) == self.layers and bool((value == value[0]).all()):
            number: Value = value[0].item()
            return number
        return value

    def _get(self, key: str, default: Value | None) -> Value:
        self._understood.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise ModelFileError(f"{self.source}: the key {key!r} is missing")
        return value

    def _refuse(self, key: str, expected: str, value: Value) -> NoReturn:
        raise ModelFileError(f"{self.source}: {key} should be {expected}, found {_shown(value)}")


def _shown(value: Value) -> str:
    if isinstance(value, list | np.ndarray):
        return f"a list of {len(value)}"
    return quoted(value) if isinstance(value, str) else repr(value)
