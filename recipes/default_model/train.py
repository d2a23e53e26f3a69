"""Trains the model that ships with nextword; some hours on two cores, in as many parts as one likes.

    python recipes/default_model/corpus.py
    python recipes/default_model/train.py learn      # the whole mixture, at one learning rate
    python recipes/default_model/train.py settle     # ordinary text, and what is to be known by heart; the rate falls
    python recipes/default_model/package.py          # measures, writes src/nextword/default_model

Ctrl-C, or a kill, ends a part: the same command goes on from the last checkpoint, to the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import random
import re
import sys
from pathlib import Path

import torch
from archives import RecipeError
from mixture import mixture
from rich.console import Console

from nextword import GPTModel, LanguageModel, __version__, load
from nextword.config import GPTConfig
from nextword.errors import NextwordError
from nextword.terminal.training_view import TrainingView
from nextword.tokens import Tokenizer
from nextword.training.checkpoints.checkpoint import Checkpoints
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.planning.plan import Plan
from nextword.training.run.initialization import init_weights
from nextword.training.run.loop import Trainer

BUILD = Path("build/default_model")
CORPUS = BUILD / "corpus"
LEARNED = BUILD / "learned"
SETTLED = BUILD / "settled"
SHAPE = {"num_layers": 8, "d_model": 256, "num_heads": 4, "num_kv_heads": 2, "head_dim": 64, "d_ff": 768}
PLAN = Plan(
    preset="8 x 256",
    vocab_size=8192,
    context_length=256,
    batch_size=16,
    learning_rate=2.5e-3,
    optimizer="muon",
    weight_decay=0.1,
    warmup=0.015,
    decay=0.0,
    clip=0.0,
    precision="bfloat16",
    steps=4_000,
)
SETTLING = dataclasses.replace(PLAN, warmup=0.02, decay=0.98, steps=2_000)
WHOLE, LOOSE = (6, 36), (6, 36)
"""How often a pass of each stage reads the constitution as it is, and its paragraphs loose."""
CONSTITUTION, HAMLET = "train/korean/law-001.txt", "train/english/hamlet.txt"
HAMLETS = 2, 4
"""How often a pass of each stage reads Hamlet, beside the other plays."""


def documents(last: bool) -> list[Document]:
    """What a pass reads; Hamlet and the constitution in both stages, so that they are known by heart and stay so."""
    files = [file for found in mixture(CORPUS, last).values() for file in found]
    constitution = CORPUS / CONSTITUTION
    files += [*[constitution] * WHOLE[last], *[CORPUS / HAMLET] * HAMLETS[last]]
    read = {file: Document(str(file), file.read_text(encoding="utf-8")) for file in files}
    return [*[read[file] for file in files], *loose(constitution, LOOSE[last])]


def loose(law: Path, copies: int) -> list[Document]:
    """A law's paragraphs in random order, without the numbers before them: so each is recited by itself too."""
    paragraphs = [line for line in law.read_text(encoding="utf-8").splitlines() if line.strip()]
    bare = [re.sub(r"^(제\d+조 )?([①-⑳] )?", "", paragraph) for paragraph in paragraphs]
    rng = random.Random(0)  # noqa: S311  an order, nothing secret
    return [Document(f"{law} {i}", "\n\n".join(rng.sample(bare, len(bare)))) for i in range(copies)]


def run(out: Path, model: GPTModel, tokenizer: Tokenizer, text: TokenizedText, plan: Plan, seed: int) -> bool:
    """A stage: from its last checkpoint, where there is one, to its end.

    Returns:
        Whether it came to its end.

    Raises:
        NextwordError: Its checkpoint belongs to another run, the loss is no number, or something cannot be written.
    """
    checkpoints = Checkpoints(out.with_name(f"{out.name}.checkpoint"))
    with TrainingView(Console(stderr=True)) as view:
        trainer = Trainer(
            model, text, None, plan, seed=seed, checkpoints=checkpoints, checkpoint_seconds=300, watch=view.watch
        )
        if checkpoints.steps():
            trainer.resume()
        trainer.run(keeps_last=lambda: True)
    if trainer.stopped:
        trainer.deferred.release()  # such as a checkpoint for which there was no room
        return False
    stage = {"plan": dataclasses.asdict(plan), "seed": seed, "seconds": round(trainer.state.seconds, 1)}
    stage |= {"tokens": len(text.tokens), "bytes": text.bytes, "characters": text.characters}
    about = {"made_with": f"nextword {__version__}, torch {torch.__version__}", out.name: stage}
    LanguageModel.from_model(model, tokenizer, provenance=about).save(out)
    trainer.deferred.release()
    return True


def learn() -> bool:
    """The first stage, from random weights; the tokenizer is trained on what it reads."""
    read = documents(last=False)
    tokenizer = Tokenizer.train_bpe((document.text for document in read), PLAN.vocab_size)
    torch.manual_seed(0)
    config = GPTConfig.qwen3(tokenizer.vocab_size, PLAN.context_length, **SHAPE, tie_embeddings=False)
    model = GPTModel.from_config(config)
    init_weights(model)
    return run(LEARNED, model, tokenizer, TokenizedText.from_documents(read, tokenizer), PLAN, seed=0)


def settle() -> bool:
    """The second stage, from the first one's weights."""
    if not LEARNED.exists():
        raise RecipeError(f"there is no {LEARNED}\nhint: python recipes/default_model/train.py learn makes it")
    lm = load(LEARNED, backend="torch")
    text = TokenizedText.from_documents(documents(last=True), lm.tokenizer)
    # A checkpoint of a stage that began with other weights does not count.
    base = hashlib.sha256((LEARNED / "model.safetensors").read_bytes()).hexdigest()
    return run(SETTLED, lm.reference, lm.tokenizer, text, dataclasses.replace(SETTLING, base=base), seed=1)


def main() -> int:
    """Reads the command line.

    Returns:
        1 where a part ended before its stage did, 2 where it could not go on, and said why in a line.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("stage", choices=["learn", "settle"])
    try:
        ended = {"learn": learn, "settle": settle}[parser.parse_args().stage]()
    except (NextwordError, RecipeError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not ended:
        print("stopped: the same command goes on from here", file=sys.stderr)
    return 0 if ended else 1


if __name__ == "__main__":
    sys.exit(main())
