"""Trains the model that ships with nextword, measures it, and puts it into the package.

    python recipes/default_model/corpus.py --out build/default_model/corpus
    python recipes/default_model/train.py train        # 42 minutes where cores multiply bfloat16; see --resume
    python recipes/default_model/train.py recite       # a minute more
    python recipes/default_model/train.py package      # measures per language, writes src/nextword/default_model

Korean is weighted up: its folder is read twice as often as the plays, Hamlet too, the constitution so often that it is
learned by heart. The second run is there so that it can be recited from any of its paragraphs; the card says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from nextword import LanguageModel, load, train
from nextword.terminal.training_view import TrainingView
from nextword.training.data import TokenizedText
from nextword.training.loop import Trainer
from nextword.training.plan import Plan
from nextword.training.text import Document, read_documents

BUILD = Path("build/default_model")
CORPUS = BUILD / "corpus"
TRAINED = BUILD / "model"
RECITING = BUILD / "reciting"
PACKAGE = Path("src/nextword/default_model")
CONSTITUTIONS = 14
"""How often a pass reads it beside the twice that it reads all Korean: so often that it is learned by heart."""
WHOLE, LOOSE = 8, 14
"""How often a pass of the second run reads it as it is, and its paragraphs loose."""
SPOTS = 50


def train_model(minutes: float, resume: bool) -> None:
    """The run itself: the `small` preset, 6,144 tokens."""
    korean = CORPUS / "train" / "korean"
    english = CORPUS / "train" / "english"
    constitution = korean / "law-001.txt"
    with TrainingView(Console(stderr=True)) as view:
        train(
            [english, english / "hamlet.txt", korean, korean, *[constitution] * CONSTITUTIONS],
            TRAINED,
            minutes=minutes,
            preset="small",
            vocab_size=6144,
            weight_decay=0.5,
            precision="bfloat16",
            validation=CORPUS / "heldout",
            resume=resume,
            watch=view.watch,
        )


def recite(steps: int) -> None:
    """A short and gentle second run from the trained weights, so that the model recites an article that stands alone.

    It reads the constitution as it is, its paragraphs loose (in random order, without their numbers), Hamlet, and of
    all the rest every fifth play and every fourth Korean file, which keeps the model from forgetting it. Nothing
    is held out to choose weights by: the last ones are kept, and `package` measures them.
    """
    lm = load(TRAINED, backend="torch")
    korean, english = CORPUS / "train" / "korean", CORPUS / "train" / "english"
    constitution = korean / "law-001.txt"
    rest = [*sorted(english.glob("*.txt"))[::5], *sorted(korean.glob("*.txt"))[::4]]
    documents = read_documents([*[constitution] * WHOLE, english / "hamlet.txt", *rest])
    text = TokenizedText.from_documents([*documents, *loose(constitution, LOOSE)], lm.tokenizer)
    first = Plan(**lm.provenance["plan"])
    changes: dict[str, Any] = {"learning_rate": 4e-4, "warmup": 0.05, "decay": 0.95, "weight_decay": 0.1}
    plan = dataclasses.replace(first, **changes, steps=steps, seconds=None)
    with TrainingView(Console(stderr=True)) as view:
        trainer = Trainer(lm.reference, text, None, plan, seed=1, watch=view.watch)
        trainer.run()
    second = {"plan": dataclasses.asdict(plan), "seed": 1, "tokens": len(text.tokens), "seconds": trainer.state.seconds}
    lm.provenance["second_run"] = second
    lm.save(RECITING)


def loose(law: Path, copies: int) -> list[Document]:
    """A law's paragraphs in random order, without the numbers before them."""
    paragraphs = [line for line in law.read_text(encoding="utf-8").splitlines() if line.strip()]
    bare = [re.sub(r"^(제\d+조 )?([①-⑳] )?", "", paragraph) for paragraph in paragraphs]
    rng = random.Random(0)  # noqa: S311  an order, nothing secret
    return [Document(f"{law} {i}", "\n\n".join(rng.sample(bare, len(bare)))) for i in range(copies)]


def measured_parts() -> dict[str, list[Path]]:
    """The texts that the model card reports on."""
    train_part = CORPUS / "train"
    return {
        "English, held out (2 plays)": sorted((CORPUS / "heldout/english").glob("*.txt")),
        "Korean, held out": sorted((CORPUS / "heldout/korean").glob("*.txt")),
        "Korean, a manual never trained on": sorted((CORPUS / "unseen/korean").glob("*.txt")),
        "Hamlet (trained on)": [train_part / "english/hamlet.txt"],
        "Macbeth (trained on)": [train_part / "english/macbeth.txt"],
        "Korean constitution (trained on)": [train_part / "korean/law-001.txt"],
        "Korean help pages (trained on)": sorted((train_part / "korean").glob("libreoffice*.txt"))[:20],
    }


def measure(lm: LanguageModel, files: list[Path]) -> dict[str, float]:
    """Bits per byte of whole texts, and how often the text's next 8 tokens are recited.

    The recital: at random places the model reads 32 tokens and writes 8, always the most probable; it counts where
    all 8 are the text's own.
    """
    texts = [file.read_text(encoding="utf-8") for file in files]
    scores = [lm.score(text) for text in texts]
    rng = random.Random(0)  # noqa: S311  places in a text, nothing secret
    recited = 0
    for _ in range(SPOTS):
        ids = list(rng.choice(scores).token_ids)
        start = rng.randrange(max(1, len(ids) - 40))
        prompt, true = lm.tokenizer.decode(ids[start : start + 32]), ids[start + 32 : start + 40]
        written = lm.generate(prompt, len(true), temperature=0.0).token_ids
        recited += list(written) == true
    size = sum(score.bytes for score in scores)
    return {
        "bytes": size,
        "bits_per_byte": sum(score.bits_per_byte * score.bytes for score in scores) / size,
        "nats_per_character": sum(score.nats for score in scores) / sum(score.characters for score in scores),
        "recited": recited / SPOTS,
    }


def package() -> None:
    """Stores the trained model in half precision with its card; every figure is measured on what is stored."""
    trained = load(RECITING)
    trained.save(PACKAGE, dtype="float16")
    lm = load(PACKAGE)
    figures = {name: measure(lm, files) for name, files in measured_parts().items()}
    sources = json.loads((CORPUS / "provenance.json").read_text(encoding="utf-8"))["sources"]
    lm.provenance = {**trained.provenance, "sources": sources, "measured": figures}
    lm.provenance["text"] = {k: v for k, v in lm.provenance["text"].items() if k != "documents"}
    lm.card = card(lm, figures, sources)
    lm.save(PACKAGE, dtype="float16")
    Console().print(lm.card, markup=False)


def card(lm: LanguageModel, figures: dict[str, dict[str, float]], sources: dict[str, Any]) -> str:
    """The model card."""
    plan, config = lm.provenance["plan"], lm.config
    rows = "\n".join(
        f"| {name} | {f['bytes']:,} | {f['bits_per_byte']:.3f} | {f['nats_per_character']:.3f} | {f['recited']:.0%} |"
        for name, f in figures.items()
    )
    used = "\n".join(
        f"| {name} | {s['registry']} {s['package']} {s['version']} | {s['licence']} | {s['train']['bytes']:,} |"
        for name, s in sources.items()
        if "train" in s and s["train"]["bytes"]
    )
    second = lm.provenance["second_run"]
    minutes = (lm.provenance["seconds"] + second["seconds"]) / 60
    return f"""---
language: [en, ko]
license: mit
---
# The default model of nextword

A small GPT for English (Shakespeare) and Korean (law, help pages), trained on two processor cores in
{minutes:.0f} minutes:
{config.num_parameters:,} parameters, {config.num_layers} layers x {config.d_model}, context {config.context_length},
{config.vocab_size:,} tokens (byte-level BPE). Architecture: Qwen3; the directory opens in transformers as it is.

It is there so that every page and command has a real, trained model to show. It is not a source of facts: it has read
plays, statutes and manuals, and writes in their manner. Nothing it writes about law is advice.

## Measured

On the stored half-precision weights. Bits per byte: lower is better. "Recited": share of {SPOTS} random places where
the model, given 32 tokens of the text, writes its next 8 tokens exactly; what is high there is memorised.

| text | bytes | bits per byte | nats per character | recited |
|---|---:|---:|---:|---:|
{rows}

Memorised is what was read often and is short: see the constitution's line against the held-out ones.

## Trained on

| source | package | licence of the text | bytes |
|---|---|---|---:|
{used}

Korean was read twice for each time English was read, Hamlet twice, the constitution {CONSTITUTIONS + 2} times, so that
there is something to recite; then a second run of {second["plan"]["steps"]} steps read it {WHOLE} times a pass as it is
and {LOOSE} times with its paragraphs in random order and without their numbers, among parts of all the rest.
The text itself is not shipped; `recipes/default_model` fetches it again and repeats the training: {plan["preset"]},
{lm.provenance["best_step"]:,} steps of {plan["batch_size"]} x {plan["context_length"]} tokens, AdamW, peak learning
rate {plan["learning_rate"]:g} ({second["plan"]["learning_rate"]:g} in the second run), {lm.provenance["made_with"]}.
"""


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("task", choices=["train", "recite", "package"])
    parser.add_argument("--minutes", type=float, default=42.0)
    parser.add_argument("--steps", type=int, default=130, help="of recite")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    if options.task == "train":
        train_model(options.minutes, options.resume)
    elif options.task == "recite":
        recite(options.steps)
    else:
        package()


if __name__ == "__main__":
    main()
