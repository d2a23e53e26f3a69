"""The training loop: a step, over and over; now and then a look at the held-out text."""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import torch
import torch.nn.functional as F

from nextword.errors import ModelFileError, NextwordError
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from nextword.training.checkpoint import RunState, load_checkpoint, restore_optimizer, save_checkpoint
from nextword.training.data import Batches, TokenizedText
from nextword.training.evaluate import evaluate
from nextword.training.events import Started, Stepped, Validated, Watcher
from nextword.training.optimizer import make_optimizer
from nextword.training.plan import Plan

CHECKPOINT_SECONDS = 60.0
EVALUATION_EVERY = 0.1
"""Share of the run between two looks at the held-out text, unless looking takes long."""
EVALUATION_COST = 0.1
"""At most this share of the time goes into looking at held-out text (and one look at the end)."""


class Trainer:
    """One run of training on one text.

    Args:
        model: Its weights are trained in place, from where they stand.
        tokenizer: Kept in checkpoints.
        train: The text to learn.
        validation: The text to be judged by, or None.
        plan: Every setting.
        seed: Decides the order of the text.
        checkpoint: Where to keep the state, or None for nowhere.
        watch: Is told what happens.
        sample: Lets the model write something; called after each validation.
    """

    def __init__(
        self,
        model: GPTModel,
        tokenizer: Tokenizer,
        train: TokenizedText,
        validation: TokenizedText | None,
        plan: Plan,
        *,
        seed: int = 0,
        checkpoint: Path | None = None,
        watch: Watcher | None = None,
        sample: Callable[[int], None] | None = None,
    ) -> None:
        self.model = model
        self.plan = plan
        texts = {"text": train, "held-out text": validation}
        hashes = {name: hashlib.sha256(text.tokens.tobytes()).hexdigest() for name, text in texts.items() if text}
        settings = {"plan": asdict(plan), "seed": seed, **dict.fromkeys(texts), **hashes}
        self.state = RunState(settings=settings, next_evaluation=EVALUATION_EVERY)
        self.stopped = False
        """Whether Ctrl-C ended the run."""
        self._tokenizer = tokenizer
        self._train, self._validation = train, validation
        self._checkpoint = checkpoint
        self._watch = watch or (lambda _: None)
        self._sample = sample or (lambda _: None)
        self._batches = Batches(train.tokens, model.config.context_length, plan.batch_size, seed)
        self._device = model.token_embedding.weight.device
        self._optimizer = make_optimizer(model, plan)
        self._best = self._weights()
        self._loss = math.nan
        self._evaluation_seconds = 0.0

    def resume(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            ModelFileError: There is none, or it is damaged.
            NextwordError: It belongs to a run with other settings.
        """
        state, tensors, _ = load_checkpoint(path)
        changed = [name for name, value in self.state.settings.items() if state.settings.get(name) != value]
        if changed:
            raise NextwordError(
                f"the checkpoint {path} was made with another {' and '.join(changed)}", hint="start without --resume"
            )
        try:
            self.model.load_weights(tensors["best"])  # shows that they fit
            self.model.load_weights(tensors["model"])
            restore_optimizer(self._optimizer, tensors["optimizer"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelFileError(f"the checkpoint {path} is damaged: {error}", hint="start without --resume") from None
        self.state = state
        self._best = tensors["best"]

    def run(self) -> None:
        """Trains to the end of the plan, or until Ctrl-C; then the model holds the best weights seen.

        Raises:
            NextwordError: The loss is not finite any more.
        """
        validation_characters = self._validation.characters if self._validation else 0
        self._watch(
            Started(
                self.plan, self.model.config, len(self._train.tokens), self._train.characters, validation_characters
            )
        )
        self.model.train()
        began = last_save = time.monotonic()
        earlier, first_step = self.state.seconds, self.state.step
        with _ctrl_c_sets(self):
            while (progress := self._progress()) < 1 and not self.stopped:
                self._step(progress)
                now = max(time.monotonic(), began + 1e-3)  # a coarse clock may not have moved yet
                self.state.step += 1
                self.state.seconds = earlier + now - began
                rate = (self.state.step - first_step) * self._batches.tokens_per_step / (now - began)
                done = self._progress()
                left = self._seconds_left(done)
                self._watch(Stepped(self.state.step, min(1.0, done), self._loss, rate, left))
                if self._validation and self.state.next_evaluation <= done < 1:
                    self._validate()
                if self._checkpoint and now - last_save >= CHECKPOINT_SECONDS:
                    self.save()
                    last_save = time.monotonic()
                self.state.seconds = earlier + time.monotonic() - began
            if self._validation and self.state.step:
                self._validate()
        if self._validation is None or self.state.best_nats is None:
            self._best = self._weights()
        self.model.load_weights(self._best)
        self.model.eval()

    def save(self) -> None:
        """Writes a checkpoint, if the run keeps one.

        Raises:
            ModelFileError: It cannot be written.
        """
        if self._checkpoint:
            tokenizer = self._tokenizer.to_json()
            save_checkpoint(self._checkpoint, self.state, tokenizer, self._weights(), self._best, self._optimizer)

    def _step(self, progress: float) -> None:
        rate = self.plan.learning_rate_at(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        ids = torch.from_numpy(self._batches.batch(self.state.step)).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.plan.precision == "bfloat16"):
            logits_BTV = self.model(ids[:, :-1])
            loss = F.cross_entropy(logits_BTV.flatten(0, 1).float(), ids[:, 1:].flatten())
        value = loss.item()
        if not math.isfinite(value):
            raise NextwordError(
                f"the loss became {value} at step {self.state.step}", hint="try a smaller --learning-rate"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._loss = value if math.isnan(self._loss) else 0.95 * self._loss + 0.05 * value

    def _progress(self) -> float:
        shares = [0.0]
        if self.plan.steps is not None:
            shares.append(self.state.step / self.plan.steps)
        if self.plan.seconds is not None:
            shares.append((self.state.seconds + self._evaluation_seconds) / self.plan.seconds)
        return max(shares)

    def _seconds_left(self, progress: float) -> float:
        return self.state.seconds * (1 - progress) / progress if progress > 0 else math.inf

    def _validate(self) -> None:
        if self._validation is None:
            return
        began = time.monotonic()
        loss = evaluate(self.model, self._validation)
        self._evaluation_seconds = time.monotonic() - began
        done = self._progress()
        if not math.isfinite(loss.nats):
            raise NextwordError(
                f"the held-out loss became {loss.nats} at step {self.state.step}", hint="try a smaller --learning-rate"
            )
        if self.plan.seconds is None and self.plan.steps is not None:
            # The same looks on every machine; a token costs three times as much to learn as to score.
            learned = 3 * self.plan.steps * self._batches.tokens_per_step
            cost = len(self._validation.tokens) / learned
        else:
            cost = self._evaluation_seconds * done / self.state.seconds  # as a share of the run
        self.state.next_evaluation = done + max(EVALUATION_EVERY, cost / EVALUATION_COST)
        best = self.state.best_nats is None or loss.nats < self.state.best_nats
        if best:
            self.state.best_nats, self.state.best_step = loss.nats, self.state.step
            self._best = self._weights()
        event = Validated(
            self.state.step,
            self.state.seconds,
            loss.nats_per_token,
            loss.nats_per_character,
            loss.bits_per_byte,
            best,
        )
        self.state.validations.append(asdict(event))
        self._watch(event)
        self._sample(self.state.step)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: weight.clone() for name, weight in self.model.weights().items()}


@contextmanager
def _ctrl_c_sets(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C (SIGINT) ends the run after the step under way; a second one is an ordinary KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        trainer.stopped = True
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
