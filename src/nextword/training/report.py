"""What is told about a run afterwards: its provenance and the model card."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nextword import __version__
from nextword.config import GPTConfig
from nextword.training.data import TokenizedText
from nextword.training.loop import Trainer
from nextword.training.plan import Plan
from nextword.training.text import Document


def provenance_of(
    plan: Plan,
    seed: int,
    trainer: Trainer,
    documents: Sequence[Document],
    text: TokenizedText,
    validation: TokenizedText | None,
) -> dict[str, Any]:
    """Where the model comes from: plan, text, and every look at the held-out part. Plain JSON values."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.text.encode())
    state = trainer.state
    return {
        "made_with": f"nextword {__version__}, torch {torch.__version__}",
        "plan": asdict(plan),
        "seed": seed,
        "text": {
            "documents": [Path(document.name).name for document in documents],
            "characters": text.characters,
            "bytes": text.bytes,
            "tokens": len(text.tokens),
            "sha256": digest.hexdigest(),
        },
        "validation_characters": validation.characters if validation else 0,
        "steps": state.step,
        "best_step": state.best_step if validation else state.step,
        "seconds": round(state.seconds, 1),
        "stopped_early": trainer.stopped,
        "validations": state.validations,
    }


def model_card(name: str, provenance: dict[str, Any], config: GPTConfig) -> str:
    """What the model is and what it was measured to do, as Markdown."""
    text = provenance["text"]
    looks = [look for look in provenance["validations"] if look["best"]]
    judged = (
        f"On {provenance['validation_characters']:,} held-out characters: "
        f"{looks[-1]['nats_per_character']:.4f} nats per character, "
        f"{looks[-1]['bits_per_byte']:.4f} bits per byte (step {provenance['best_step']:,})."
        if looks
        else "No text was held out: nothing tells how well it does on other text."
    )
    trained = (
        f"Trained for {provenance['steps']:,} steps ({provenance['seconds']:,.0f} s) on {text['characters']:,} "
        f"characters of text ({len(text['documents'])} documents), with {provenance['made_with']}."
    )
    return (
        f"# {name}\n\n"
        f"A {provenance['plan']['preset']} GPT (Qwen3 architecture): {config.num_parameters:,} parameters, "
        f"{config.num_layers} layers x {config.d_model}, context {config.context_length}, "
        f"{config.vocab_size:,} tokens (byte-level BPE).\n\n"
        f"{trained}\n\n{judged}\n\n"
        f'```python\nimport nextword\nlm = nextword.load("{name}")\nprint(lm.predict("..."))\n```\n'
    )
