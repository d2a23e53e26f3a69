"""Writes ordinary English sentences with SmolLM2-135M-Instruct (Apache-2.0), in this project's own engine.

    nextword pull smollm2
    python recipes/default_model/writer.py write --parts 400     # 10 MB: some hours on two cores; go on whenever
    python recipes/default_model/writer.py pack                   # what is good, into generated.txt.xz beside this file

A part is a file of its own, written from its number as a seed: a run that was killed goes on with the next part. The
model reads four sentences written for this project, so that it writes as plainly, and goes on from openers.
"""

import argparse
import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import written
from everyday_text import tidy
from openers import openers
from rich.console import Console
from sieve import Sieve

from nextword import LanguageModel, load
from nextword.generation import Sampling
from nextword.generation.memory import Memory
from nextword.generation.stream import TextStream

PARTS = Path("build/default_model/generated")
WRITTEN = Path(__file__).parent / "written/en.txt.xz"
PACKED = Path(__file__).parent / "generated.txt.xz"
SENTENCES = 1000
"""Openers of a part."""
EXAMPLES = 4
SHOWN_WORDS = 9
"""Of an example at least: after short ones the model writes short ones."""
TOGETHER = 128
"""Texts that are written at once, and openers that follow the same examples, which are read once for them."""
LONGEST = 40
"""Tokens of a sentence."""
END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\d)[.!?]\"?$")
SAMPLING = Sampling(temperature=0.75, min_p=0.1)
LEAST_LOGPROB = -1.8
"""Mean log-probability of a token that a sentence must reach."""


@dataclass
class Sentence:
    """One that is being written."""

    opener: str
    stream: TextStream
    text: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be drawn."""
        return self.stream.finish_reason is not None or END.search(self.text) is not None

    @property
    def logprob(self) -> float:
        """Mean of its tokens."""
        values = [item.logprob for item in self.stream.logprobs]
        return sum(values) / len(values) if values else 0.0


def examples() -> list[str]:
    """Plain sentences of the text written for this project."""
    paragraphs = written.read(WRITTEN)
    sentences = (s for paragraph in paragraphs for s in re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph))
    return [s for s in sentences if 5 <= len(s.split()) <= 20 and '"' not in s and END.search(s)]


def begun(lm: LanguageModel, plain: list[str], part: int) -> Iterator[Sentence]:
    """The sentences of a part, each with its examples read."""
    rng = random.Random(part)  # noqa: S311  sentences, nothing secret
    seeds = itertools.count(part * SENTENCES)
    wanted = itertools.islice(openers(plain, part), SENTENCES)
    longer = [sentence for sentence in plain if len(sentence.split()) >= SHOWN_WORDS]
    while group := list(itertools.islice(wanted, TOGETHER)):
        shown = "\n".join(rng.sample(longer, EXAMPLES)) + "\n"
        ids = lm.tokenizer.encode(shown)
        read = Memory()
        lm.backend.forward([read.reuse_prefix(lm.backend, ids, len(ids) + 3 * LONGEST)], [read.cache])
        read.ids = ids
        for opener in group:
            memory = Memory(list(ids), read.cache.fork(), read.capacity)
            stream = TextStream(
                lm.backend,
                lm.tokenizer,
                shown + opener,
                max_new_tokens=LONGEST,
                sampling=SAMPLING,
                seed=next(seeds),
                stop="\n",
                logprobs=1,
                memory=memory,
                speculative=False,
            )
            yield Sentence(opener, stream)


def write_part(lm: LanguageModel, plain: list[str], part: int) -> str:
    """The sentences of a part, a line each: mean log-probability, then the text."""
    coming = begun(lm, plain, part)
    busy: list[Sentence] = []
    lines: list[str] = []
    while busy := [*busy, *itertools.islice(coming, TOGETHER - len(busy))]:
        chunks = [sentence.stream.next_batch() for sentence in busy]
        rows = lm.backend.forward(chunks, [sentence.stream.cache for sentence in busy])
        for sentence, row in zip(busy, rows, strict=True):
            sentence.stream.feed_logits(row)
            sentence.text += sentence.stream.sample_next()
        lines += [f"{s.logprob:.2f}\t{s.opener}{s.text}" for s in busy if s.ended]
        busy = [sentence for sentence in busy if not sentence.ended]
    return "\n".join(lines) + "\n"


def write(parts: int) -> None:
    """Writes the parts that are not there yet."""
    lm, plain = load("smollm2", precision="q8_0"), examples()
    PARTS.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        file = PARTS / f"part-{part:04}.tsv"
        if not file.exists():
            text = write_part(lm, plain, part)
            beside = file.with_suffix(".new")
            beside.write_text(text, encoding="utf-8")
            beside.replace(file)
            Console().print(f"{file}: {len(text.encode()):,} bytes")


def good(line: str) -> str | None:
    """A sentence that is whole and plain, or nothing."""
    logprob, _, text = line.partition("\t")
    words = re.findall(r"[A-Za-z']+", text.lower())
    triples = list(zip(words, words[1:], words[2:], strict=False))
    plain = re.fullmatch(r"[A-Za-z0-9 ,.;:'\"!?$%-]+", text) is not None and text.count('"') % 2 == 0
    odd = re.search(r"\d{5}|https?:|(?i:\b(language model|assistant|smollm|english language|sentence)\b)", text)
    whole = END.search(text) is not None and 4 <= len(words) <= 32
    repeating = len(set(triples)) < len(triples) or any(a == b for a, b in itertools.pairwise(words))
    return text if whole and plain and not odd and not repeating and float(logprob) >= LEAST_LOGPROB else None


def pack() -> None:
    """Puts the good sentences of all parts that pass the sieve, so each once, into one file."""
    files = sorted(PARTS.glob("part-*.tsv"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    sieve = Sieve()
    kept = list(sieve.passed(tidy(text) for line in lines if (text := good(line))))
    written.pack(kept, PACKED)
    size = sum(len(text.encode()) + 1 for text in kept)
    Console().print(f"{len(kept):,} of {len(lines):,} sentences, {size:,} bytes, packed {PACKED.stat().st_size:,}")
    Console().print(sieve.counts())


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("task", choices=["write", "pack"])
    parser.add_argument("--parts", type=int, default=400)
    options = parser.parse_args()
    if options.task == "write":
        write(options.parts)
    else:
        pack()


if __name__ == "__main__":
    main()
