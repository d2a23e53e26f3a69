"""The words that settings are chosen from, and those that they had before."""

from typing import Annotated, Literal

from nextword.arguments import Reader
from nextword.deprecated import warn_deprecated

OLD_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "q8": "q8_0", "q4": "q4_1"}
"""Words of before, and those of now."""


def current_precision(given: object) -> object:
    """A precision as it is called now: in lower case, and in place of an old word, with a warning, the new one."""
    if not isinstance(given, str):
        return given
    word = given.lower()
    if word in OLD_PRECISIONS:
        warn_deprecated(f"precision {given!r}", repr(OLD_PRECISIONS[word]))
    return OLD_PRECISIONS.get(word, word)


Precision = Annotated[
    Literal[
        "auto",
        "float32",
        "float16",
        "bfloat16",
        "q8_0",
        "q6_k",
        "q5_k_m",
        "q5_1",
        "q5_0",
        "q4_k_m",
        "q4_1",
        "q4_0",
    ],
    Reader(current_precision),
]
"""What weights are held as: floats, as torch calls them, or blocks, as llama.cpp calls its mixes of them; auto leaves
them as they are."""
Activations = Literal["float32", "int16", "int8"]
"""What quantised weights are multiplied with: whole numbers of so many bits with a scale for every 32, or floats."""
CacheFormat = Literal["float32", "float16", "int8"]
"""What keys and values are kept as: floats, or whole numbers of 8 bits with a scale for each token and head."""
Backends = Literal["auto", "native", "torch"]
Overflow = Literal["slide", "stop"]
Strategy = Literal["ddp", "fsdp"]
OptimizerName = Literal["adamw", "muon"]
