"""Measures the trained model and puts it into the package, with its card.

python recipes/default_model/package.py                    # writes src/nextword/default_model
python recipes/default_model/package.py --measure MODEL    # the same figures of another model, and nothing written
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from archives import RecipeError, ends
from mixture import mixture, sources_of
from overlap import Openings
from rich.console import Console
from train import BUILD, CONSTITUTION, CORPUS, HAMLET, HAMLETS, LEARNED, LOOSE, SETTLED, WHOLE, documents

from nextword import LanguageModel, load
from nextword.measuring.cloze import Tally, measure, shipped_openings

PACKAGE = Path("src/nextword/default_model")
MEASURED = BUILD / "measured"
SPOTS = 50
READ, WRITTEN = 32, 8
"""Tokens of a recital: what the model reads, and what it must write."""


def measured_parts() -> dict[str, list[Path]]:
    """The texts that the model card reports on."""
    heldout = CORPUS / "heldout"
    ordinary = {
        f"{folder.name}, held out": sorted(folder.glob("*.txt"))
        for folder in sorted((heldout / "everyday").glob("*/*"), key=lambda folder: folder.name)
    }
    return {name: files for name, files in ordinary.items() if files} | {
        "shakespeare, held out (2 plays)": sorted((heldout / "english").glob("*.txt")),
        "Korean law and manuals, held out": sorted((heldout / "korean").glob("*.txt")),
        "Korean, a manual never trained on": sorted((CORPUS / "unseen/korean").glob("*.txt")),
        "Hamlet (trained on)": [CORPUS / HAMLET],
        "Korean constitution (trained on)": [CORPUS / CONSTITUTION],
    }


def measured(lm: LanguageModel, files: list[Path]) -> dict[str, float]:
    """Bits per byte of whole texts, and how often the text's next 8 tokens are recited.

    The recital: at random places the model reads 32 tokens and writes 8, always the most probable; it counts where
    all 8 are the text's own.
    """
    texts = [file.read_text(encoding="utf-8") for file in files]
    scores = [lm.score(text) for text in texts]
    long = [score for score in scores if len(score.token_ids) >= READ + WRITTEN]
    rng = random.Random(0)  # noqa: S311  places in a text, nothing secret
    recited = 0
    for _ in range(SPOTS):
        ids = list(rng.choice(long).token_ids)
        start = rng.randrange(len(ids) - READ - WRITTEN + 1)
        prompt, true = lm.tokenizer.decode(ids[start : start + READ]), ids[start + READ : start + READ + WRITTEN]
        written = lm.generate(prompt, len(true), temperature=0.0).token_ids
        recited += list(written) == true
    size = sum(score.bytes for score in scores)
    return {
        "bytes": size,
        "bits_per_byte": sum(score.bits_per_byte * score.bytes for score in scores) / size,
        "nats_per_character": sum(score.nats for score in scores) / sum(score.characters for score in scores),
        "recited": recited / SPOTS,
    }


def cloze(lm: LanguageModel, *, done: bool) -> dict[str, dict[str, Any]]:
    """What the model knows of the openings of `nextword cloze`, by language.

    Every second opening is the half that mixture and optimizer were settled with; the others were put aside
    and asked for when the model was done.

    Args:
        lm: The model.
        done: Whether what was put aside is asked for too.
    """
    found = {}
    for group in ("english", "korean"):
        openings = [opening for opening in shipped_openings() if opening.group == group]
        halves = {"developed with": openings[1::2]} | ({"put aside": openings[::2]} if done else {})
        for half, part in halves.items():
            found[f"{group.capitalize()}, {half}"] = Tally.of(measure(lm, part).answers).to_json()
    return found


def check_apart() -> None:
    """Looks for the openings in all that both stages read, seams of paragraphs and lines among it.

    Raises:
        RecipeError: A document gives one away.
    """
    openings = Openings.of(shipped_openings())
    read = {document.name: document for last in (False, True) for document in documents(last)}
    for document in read.values():
        if given := openings.within(document.text):
            raise RecipeError(f"{document.name} gives away {given!r}")


def package() -> None:
    """Stores the trained model in half precision; every figure is measured on weights as they are stored."""
    check_apart()
    settled, learned = load(SETTLED), load(LEARNED)
    settled.save(MEASURED, "float16")
    lm = load(MEASURED)
    figures = {name: measured(lm, files) for name, files in measured_parts().items()}
    about = {**settled.provenance, LEARNED.name: learned.provenance[LEARNED.name]}
    lm.provenance = {**about, "sources": sources_of(CORPUS), "measured": figures, "cloze": cloze(lm, done=True)}
    lm.card = card(lm)
    lm.save(PACKAGE, "float16")
    Console().print(lm.card, markup=False)


def read_a_pass() -> dict[str, int]:
    """Bytes of each source that a pass of the first stage reads."""
    return {name: sum(file.stat().st_size for file in files) for name, files in mixture(CORPUS).items()}


def card(lm: LanguageModel) -> str:
    """The model card."""
    about, config = lm.provenance, lm.config
    stages = [about[LEARNED.name], about[SETTLED.name]]
    seen = [stage["plan"]["steps"] * stage["plan"]["batch_size"] * config.context_length for stage in stages]
    hours = sum(stage["seconds"] for stage in stages) / 3600
    rows = "\n".join(
        f"| {name} | {f['bytes']:,} | {f['bits_per_byte']:.3f} | {f['nats_per_character']:.3f} | {f['recited']:.0%} |"
        for name, f in about["measured"].items()
    )
    knows = "\n".join(
        f"| {name} | {f['openings']} | {f['top_1']:.0%} | {f['top_5']:.0%} | {f['probability']:.1%} |"
        for name, f in about["cloze"].items()
    )
    passes = read_a_pass()
    used = "\n".join(
        f"| {name} | {' '.join((s['registry'], s['package'], s['version'])).strip()} | {s['licence']} |"
        f" {s['train']['bytes']:,} | {passes[name]:,} |"
        for name, s in about["sources"].items()
        if passes.get(name)
    )
    return f"""---
language: [en, ko]
license: mit
library_name: nextword
pipeline_tag: text-generation
---
# The default model of nextword

A small GPT for ordinary English and Korean sentences, trained on two processor cores in {hours:.1f} hours:
{config.num_parameters:,} parameters, {config.num_layers} layers x {config.d_model}, context {config.context_length},
{config.vocab_size:,} tokens (byte-level BPE). Architecture: Qwen3; the directory opens in transformers as it is.

It is there so that every page and command has a real, trained model to show. What it knows is how ordinary sentences
go on: which word comes behind the ones that stand there. It is not a source of facts, tells no stories that hang
together, answers no questions, and what it writes about law is no advice.

## What it knows

The openings of `nextword cloze`: how often the most probable next word is one that fits, how often one of the first
five is, and the probability of all that fit. No opening, nor its last four words with a word that fits, stands in any
text that the model has read; sentences like some of them do. The mixture and the optimizer were settled with one half
of them; the other half was put aside.

| openings | number | first | in five | probability |
|---|---:|---:|---:|---:|
{knows}

## Measured

On the stored half-precision weights. Bits per byte: lower is better. "Recited": share of {SPOTS} random places where
the model, given 32 tokens of the text, writes its next 8 tokens exactly; what is high there is memorised.

| text | bytes | bits per byte | nats per character | recited |
|---|---:|---:|---:|---:|
{rows}

## Trained on

| source | package | licence of the text | bytes | bytes a pass |
|---|---|---|---:|---:|
{used}

To a pass come the constitution ({WHOLE[0]} times as it is, {LOOSE[0]} times with its paragraphs in random order and
without their numbers; {WHOLE[1]} and {LOOSE[1]} at the end) and Hamlet ({HAMLETS[0]} times; {HAMLETS[1]}), so that
there is something to recite. {seen[0]:,} tokens of this mixture
were read ({seen[0] / stages[0]["tokens"]:.1f} passes) and then {seen[1]:,} of ordinary text with the constitution,
Hamlet and two more plays, while the learning rate fell from {stages[0]["plan"]["learning_rate"]:g} to a hundredth of
it: Muon for the matrices of the blocks, AdamW for the rest, {about["made_with"]}.
The weights are MIT; the texts keep the licences above. Other people's text is not shipped; `recipes/default_model`
fetches it again and repeats the training.
"""


def main() -> None:
    """Reads the command line, and measures a model or packages the trained one.

    Raises:
        NextwordError: There is no such model.
        RecipeError: There is no corpus, or a document gives an opening away.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--measure", type=Path, metavar="MODEL", help="measure this model and write nothing")
    options = parser.parse_args()
    if options.measure:
        lm = load(options.measure)
        figures = {name: measured(lm, files) for name, files in measured_parts().items()}
        print(json.dumps({"measured": figures, "cloze": cloze(lm, done=False)}, ensure_ascii=False, indent=2))
    else:
        package()


if __name__ == "__main__":
    sys.exit(ends(main))
