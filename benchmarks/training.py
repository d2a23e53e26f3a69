"""How fast a model is trained on tinyshakespeare: a plain transformers loop, its Trainer, and nextword, in turns.

All are judged by nats per character over the whole held-out tenth (nanoGPT's 90/10 split), in windows that do not
overlap; the time that takes is left out of the loops' seconds and is in the whole command's. Ratios are ratios of
medians. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, TrainerCallback, TrainingArguments
from transformers import Trainer as TheirTrainer

from nextword import train
from nextword.config import GPTConfig
from nextword.model import GPTModel
from nextword.training import Event, Plan, Sampled, Started, Stepped, Validated
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.planning.flops import measure_flops
from nextword.training.run.batches import evaluation_windows
from nextword.training.run.loop import Trainer
from record import record

CONTEXT, BATCH, LAYERS, HEADS, WIDTH = 64, 12, 4, 4, 128  # nanoGPT's settings for a CPU, with those below
PEAK, LOWEST, WARMUP, BETAS, DECAY, CLIP = 1e-3, 1e-4, 100, (0.9, 0.99), 0.1, 1.0
TARGET = 1.88  # nats per character; what nanoGPT's README says its CPU settings reach
FLOPS = 6 * LAYERS * 12 * WIDTH**2 + 12 * LAYERS * CONTEXT * WIDTH  # a token, forward and backward; the head left out
NANO_SHAPED = ("transformers, plain loop", "transformers, Trainer", "nextword, same model")
PUBLISHED = 16_000  # tokens/s, nanoGPT itself with these settings on two cores of a server


@dataclass
class Result:
    """One run."""

    seconds: float
    """In the loop, looks at the held-out text left out; for the command, all of it."""
    tokens_per_second: float | None
    seconds_to_target: float | None
    nats_per_character: float


@dataclass
class Clock:
    """Loop seconds, and when the target was reached; looks at the held-out text do not count."""

    began: float = field(default_factory=time.perf_counter)
    aside: float = 0.0
    to_target: float | None = None
    nats: float = math.inf
    last_step: float = 0.0

    def seconds(self) -> float:
        """In the loop so far."""
        return time.perf_counter() - self.began - self.aside

    def look(self, score: Callable[[], float]) -> None:
        """Stops while `score` gives nats per character."""
        began = time.perf_counter()
        self.note(score(), self.seconds())
        self.aside += time.perf_counter() - began

    def note(self, nats: float, seconds: float) -> None:
        """Keeps what a look found `seconds` into the loop."""
        self.nats = nats
        if nats <= TARGET and self.to_target is None:
            self.to_target = seconds

    def watch(self, event: Event) -> None:
        """The same from nextword's events: what follows a step up to a look or a sample is no training."""
        if isinstance(event, Stepped):
            self.last_step = self.seconds()
            return
        if isinstance(event, Started):
            self.began, self.aside = time.perf_counter(), 0.0
        elif isinstance(event, Validated):
            self.note(event.nats_per_character, self.last_step)
        if isinstance(event, Validated | Sampled):
            self.aside += self.seconds() - self.last_step

    def result(self, tokens: int) -> Result:
        """Of a run of `tokens` that ended with its last look."""
        seconds = self.last_step or self.seconds()
        return Result(seconds, tokens / seconds, self.to_target, self.nats)


class Characters:
    """The text as nanoGPT cuts it: one token a character, the last tenth held out."""

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        self.vocabulary = sorted(set(text))
        numbers = {character: number for number, character in enumerate(self.vocabulary)}
        self.ids = torch.tensor([numbers[character] for character in text])
        self.cut = int(len(text) * 0.9)

    def windows(self, count: int) -> tuple[Tensor, Tensor]:
        """Random windows of the part to learn, and the characters after theirs."""
        starts = torch.randint(self.cut - CONTEXT, (count,)).tolist()
        pieces = torch.stack([self.ids[start : start + CONTEXT + 1] for start in starts])
        return pieces[:, :-1], pieces[:, 1:]

    def part(self, held_out: bool) -> TokenizedText:
        """The part to learn or the part to be judged by, for nextword."""
        ids = (self.ids[self.cut :] if held_out else self.ids[: self.cut]).numpy().astype(np.int64)
        return TokenizedText(ids, len(ids), len(ids))

    @torch.inference_mode()
    def score(self, model: Any) -> float:
        """Nats per character of the held-out part under a transformers model."""
        model.eval()
        held_out, nats = self.part(held_out=True), 0.0
        for windows in evaluation_windows(held_out.tokens, CONTEXT, 128):
            ids = torch.from_numpy(windows)
            logits = model(input_ids=ids[:, :-1]).logits
            nats += F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
        model.train()
        return nats / held_out.characters


def main() -> int:
    """Runs the benchmark."""
    options = arguments()
    torch.set_num_threads(options.threads)
    text = Characters(options.text)
    runs: dict[str, Callable[[], Result]] = {
        "transformers, plain loop": lambda: plain_loop(text, options),
        "transformers, Trainer": lambda: their_trainer(text, options),
        "nextword, same model": lambda: same_model(text, options),
        "nextword, recipe": lambda: recipe(options),
        "nextword, command": lambda: command(options),
    }
    runs = {name: run for name, run in runs.items() if not options.only or any(part in name for part in options.only)}
    results: dict[str, list[Result]] = {name: [] for name in runs}
    peak = 0.0
    for number in range(options.rounds):
        for name, run in runs.items():
            torch.manual_seed(number)
            peak = max(peak, measure_flops())
            results[name].append(run())
            print(f"round {number + 1}, {name}: {results[name][-1]}", file=sys.stderr, flush=True)
    report = {
        "threads": options.threads,
        "steps": options.steps,
        "activation": options.activation,
        "target": TARGET,
        "nanoGPT, published tokens/s": PUBLISHED,
        "matrix products, FLOP/s": peak,
        "runs": {name: [asdict(result) for result in each] for name, each in results.items()},
        "ratios": ratios(results),
    }
    shown = table(results, report["ratios"], peak)
    print(record(shown, report) if options.json else shown)
    return 0


def their_model(text: Characters, activation: str) -> Any:
    """A transformers GPT-2 of nanoGPT's shape."""
    config = GPT2Config(
        vocab_size=len(text.vocabulary),
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        activation_function={"gelu": "gelu", "gelu_tanh": "gelu_new"}[activation],
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    return GPT2LMHeadModel(config).train()


def rate_at(step: int, steps: int) -> float:
    """The learning rate of a step, as nanoGPT sets it."""
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    return LOWEST + 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP))) * (PEAK - LOWEST)


def plain_loop(text: Characters, options: argparse.Namespace) -> Result:
    """A transformers GPT-2 in a loop like nanoGPT's."""
    model = their_model(text, options.activation)
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.dim() >= 2], "weight_decay": DECAY},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=BETAS)
    clock = Clock()
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options.steps)
        inputs, targets = text.windows(BATCH)
        logits = model(input_ids=inputs).logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % options.evaluate_every == 0 or step + 1 == options.steps:
            clock.look(lambda: text.score(model))
    return clock.result(options.steps * BATCH * CONTEXT)


def their_trainer(text: Characters, options: argparse.Namespace) -> Result:
    """The same with the Trainer of transformers."""

    class Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return int(options.steps) * BATCH

        def __getitem__(self, _: int) -> dict[str, Tensor]:
            ids = text.windows(1)[0][0]
            return {"input_ids": ids, "labels": ids}  # the model itself shifts them: 63 predictions of 64

    clock = Clock()

    class Look(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> Any:
            if state.global_step % options.evaluate_every == 0 or state.global_step == options.steps:
                clock.look(lambda: text.score(parts["model"]))
            return super().on_step_end(args, state, control, **parts)

    with tempfile.TemporaryDirectory() as directory:
        settings = TrainingArguments(
            output_dir=directory,
            max_steps=options.steps,
            per_device_train_batch_size=BATCH,
            learning_rate=PEAK,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr": LOWEST},
            warmup_steps=min(WARMUP, options.steps),
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            weight_decay=DECAY,
            max_grad_norm=CLIP,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = TheirTrainer(
            their_model(text, options.activation), settings, train_dataset=Windows(), callbacks=[Look()]
        )
        trainer.train()
    return clock.result(options.steps * BATCH * CONTEXT)


def same_model(text: Characters, options: argparse.Namespace) -> Result:
    """Nextword's loop on nanoGPT's model, batch and characters."""
    config = GPTConfig.gpt2(
        len(text.vocabulary),
        CONTEXT,
        d_model=WIDTH,
        num_heads=HEADS,
        num_layers=LAYERS,
        activation=options.activation,
    )
    plan = Plan(
        preset="gpt2",
        vocab_size=config.vocab_size,
        context_length=CONTEXT,
        batch_size=BATCH,
        learning_rate=PEAK,
        steps=options.steps,
        evaluate_every=options.evaluate_every,
    )
    clock = Clock()
    model, known, held_out = GPTModel.from_config(config), text.part(held_out=False), text.part(held_out=True)
    clock.began = time.perf_counter()
    Trainer(model, known, held_out, plan, watch=clock.watch).run()
    return clock.result(options.steps * BATCH * CONTEXT)


def recipe(options: argparse.Namespace) -> Result:
    """What nextword ships: its tokenizer, model and settings, through the library."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        run = train(
            options.text,
            Path(directory) / "model",
            steps=options.recipe_steps,
            preset=options.preset,
            evaluate_every=options.recipe_evaluate_every,
            watch=clock.watch,
        )
    return clock.result(run.steps * run.plan.batch_size * run.plan.context_length)


def command(options: argparse.Namespace) -> Result:
    """The whole `nextword train`, from the start of the process to the model on disk."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "model"
        began = time.perf_counter()
        words = ["train", str(options.text), "--out", str(out), "--minutes", str(options.minutes), "--json"]
        told = subprocess.run(
            [sys.executable, "-m", "nextword", *words],
            check=True,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        ).stdout
        seconds = time.perf_counter() - began
    looks = json.loads(told)["validations"]
    nats = min(look["nats_per_character"] for look in looks)
    return Result(seconds, None, seconds if nats <= TARGET else None, nats)


def ratios(results: dict[str, list[Result]]) -> dict[str, dict[str, float]]:
    """How many times faster than the plain loop: by tokens a second and by seconds to the target."""
    base = results.get("transformers, plain loop", [])
    found: dict[str, dict[str, float]] = {}
    for name, each in results.items():
        mine, theirs = median(each, "tokens_per_second"), median(base, "tokens_per_second")
        soon, late = median(each, "seconds_to_target"), median(base, "seconds_to_target")
        found[name] = {}
        if mine and theirs:
            found[name]["tokens_per_second"] = mine / theirs
        if soon and late:
            found[name]["seconds_to_target"] = late / soon
    return found


def median(results: list[Result], name: str) -> float | None:
    """None if a run has no such figure."""
    values = [getattr(result, name) for result in results]
    return statistics.median(values) if values and None not in values else None


def table(results: dict[str, list[Result]], found: dict[str, dict[str, float]], peak: float) -> str:
    """One line a run, medians; the share of the peak is that of nanoGPT's model alone, whose arithmetic is known."""
    reached = f"s to {TARGET}"
    lines = [f"| | tokens/s | x as fast | {reached} | x as soon | s in all | nats/character |"]
    lines.append(f"|---|{'---:|' * 6}")
    for name, each in results.items():
        cells = []
        for figure, places in (("tokens_per_second", 0), ("seconds_to_target", 1)):
            value, ratio = median(each, figure), found[name].get(figure)
            cells.append("-" if value is None else f"{value:,.{places}f}")
            cells.append("-" if ratio is None else f"{ratio:.2f}")
        seconds, nats = median(each, "seconds"), median(each, "nats_per_character")
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.1f} | {nats:.4f} |")
    lines.append(f"| nanoGPT, as published | {PUBLISHED:,} | - | - | - | - | {TARGET} |")
    lines.append(f"\nMatrix products reach {peak / 1e9:.0f} GFLOP/s on these threads.")
    for name, each in results.items():
        if (speed := median(each, "tokens_per_second")) and name in NANO_SHAPED:
            lines.append(f"{name}: {speed * FLOPS / 1e9:.0f} GFLOP/s, {speed * FLOPS / peak:.0%} of it")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("text", type=Path, help="tinyshakespeare.txt (1,115,394 characters)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--only", nargs="*", help="parts of the names of the runs wanted: plain Trainer same recipe command"
    )
    parser.add_argument("--steps", type=int, default=2000, help="of nanoGPT's settings")
    parser.add_argument("--evaluate-every", type=int, default=100, help="steps of the transformers runs")
    parser.add_argument("--activation", choices=("gelu", "gelu_tanh"), default="gelu", help="nanoGPT's, or GPT-2's")
    parser.add_argument("--preset", default="tiny", help="of the recipe run")
    parser.add_argument("--recipe-steps", type=int, default=125)
    parser.add_argument("--recipe-evaluate-every", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=0.75, help="of the command")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
