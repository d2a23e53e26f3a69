"""Measures what the lesson's residual costs: sublayers added to their normalised input, or to the residual stream.

    python recipes/lesson_residual.py my.txt

Trains the lesson's architecture (4 layers x 128, learned positions, LayerNorm, GELU) twice for each seed, the same but
for `residual`, and prints the held-out loss. docs/lab-notes.md holds the figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from nextword import GPTConfig, GPTModel, Tokenizer
from nextword.config import Residual
from nextword.training.corpus.text import Document, read_documents
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.planning.plan import Plan
from nextword.training.run.evaluate import evaluate
from nextword.training.run.initialization import init_weights
from nextword.training.run.loop import Trainer

KINDS: tuple[Residual, ...] = ("normalized", "stream")


def held_out_loss(path: Path, residual: Residual, layers: int, seed: int, steps: int) -> float:
    """Nats per character after training."""
    [document] = read_documents([path])
    cut = int(0.9 * len(document.text))  # as nanoGPT splits
    parts = document.text[:cut], document.text[cut:]
    tokenizer = Tokenizer.train_bpe(parts[0], 1024)
    train_text, held_out_text = (TokenizedText.from_documents([Document(path.name, part)], tokenizer) for part in parts)
    plan = Plan("lesson", tokenizer.vocab_size, 64, 12, learning_rate=1e-3, dropout=0.0, steps=steps)
    torch.manual_seed(seed)
    config = GPTConfig.lesson(tokenizer.vocab_size, 128, 4, layers, 0.0, plan.context_length)
    model = GPTModel.from_config(config.replace(residual=residual))
    init_weights(model)
    Trainer(model, train_text, held_out_text, plan, seed=seed).run()
    return evaluate(model, held_out_text).nats_per_character


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print("layers  residual    nats per character, one figure a seed")
    for layers in (4, 12):
        for residual in KINDS:
            losses = [
                held_out_loss(options.text, residual, layers, seed, options.steps) for seed in range(options.seeds)
            ]
            print(f"{layers:6}  {residual:10}  {'  '.join(f'{loss:.4f}' for loss in losses)}", flush=True)


if __name__ == "__main__":
    main()
