"""The training loop: a step, over and over; now and then a look at the held-out text."""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import FrameType

import numpy as np
import torch
from torch import Tensor

from nextword.errors import ConfigError, ModelFileError, NextwordError
from nextword.model import GPTModel
from nextword.training.adapters.lora import attach, lora_layers
from nextword.training.checkpoints.checkpoint import Checkpoints, Loaded, RunState
from nextword.training.checkpoints.optimizer_state import optimizer_tensors, restore_optimizers, state_hash
from nextword.training.checkpoints.snapshots import Snapshots
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.events import Interrupted, Resumed, Stepped, Validated, Watcher
from nextword.training.planning.plan import Plan
from nextword.training.run.batches import Batches
from nextword.training.run.evaluate import evaluate
from nextword.training.run.late_errors import LateErrors
from nextword.training.run.optimizer import make_optimizers
from nextword.training.run.parallel import Parallel
from nextword.training.run.prefetch import Prefetcher
from nextword.training.run.ranks import Ranks

EVALUATION_EVERY = 0.1
"""Share of the run between two looks at the held-out text, unless looking takes long."""
_SLOW_STEP = 0.5  # seconds
EVALUATION_COST = 0.1
"""At most this share of the time goes into looking at held-out text (and one look at the end)."""

Weights = dict[str, Tensor]


class NotFiniteError(NextwordError):
    """The loss is not finite any more."""


class Trainer:
    """One run of training on one text. The weights that require gradients are trained in place.

    Args:
        model: Trained from where its weights stand.
        train: The text to learn.
        validation: The text to be judged by, or None.
        plan: Every setting.
        seed: Decides the order of the text.
        ranks: The processes that share the work; None is this one alone.
        checkpoints: Where to keep the state, or None for nowhere.
        checkpoint_seconds: How often.
        watch: Is told what happens.
        sample: Lets the model write something; called after each validation.
        snapshots: Keeps the model of some steps, or None for none; the same on every process.
    """

    def __init__(
        self,
        model: GPTModel,
        train: TokenizedText,
        validation: TokenizedText | None,
        plan: Plan,
        *,
        seed: int = 0,
        ranks: Ranks | None = None,
        checkpoints: Checkpoints | None = None,
        checkpoint_seconds: float = 60.0,
        watch: Watcher | None = None,
        sample: Callable[[int], None] | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.model = model
        self.plan = plan
        self.stopped = False
        """Whether Ctrl-C ended the run."""
        self.hash = ""
        """Of weights, optimizers and step, when the run ended."""
        self.late = LateErrors()
        """What went wrong after the last step: to be raised when the model is saved."""
        texts = {"text": train, "held-out text": validation}
        hashes = {name: hashlib.sha256(text.tokens.data).hexdigest() for name, text in texts.items() if text}
        self.state = RunState(
            settings={"plan": asdict(plan), "seed": seed, **dict.fromkeys(texts), **hashes},
            next_evaluation=EVALUATION_EVERY,
        )
        self._validation = validation
        learned = len(train.tokens) if train.weights is None else int(train.weights.sum(dtype=np.int64))
        self._tokens_per_character = learned / max(1, train.characters)
        self._tokens_per_byte = learned / max(1, train.bytes)
        self._seed = seed
        self._device = model.token_embedding.weight.device
        self.ranks = ranks or Ranks(str(self._device))
        self._rows = self.ranks.rows(plan.batch_size, plan.accumulation)
        self._checkpoints, self._checkpoint_seconds = checkpoints, checkpoint_seconds
        self._watch = watch or (lambda _: None)
        self._sample = sample or (lambda _: None)
        self._snapshots = snapshots
        self._batches = Batches(train.tokens, plan.context_length, plan.batch_size, seed, train.weights)
        self._parallel = Parallel(
            model,
            self.ranks,
            strategy=plan.strategy,
            checkpointing=plan.activation_checkpointing,
            precision=plan.precision,
            compiled=plan.compile,
        )
        if plan.optimizer == "muon" and self._parallel.sharded:
            raise ConfigError("Muon needs whole matrices, fsdp cuts them into shards", hint="use ddp, or AdamW")
        self._optimizers = make_optimizers(model, plan)
        self._best = self._weights()
        self._evaluation_seconds = 0.0

    def resume(self) -> None:
        """Goes on from the newest checkpoint that is whole.

        Raises:
            ModelFileError: There is none.
            NextwordError: It belongs to a run with other settings.
        """
        if self._checkpoints is None:
            raise ModelFileError("this run keeps no checkpoints")
        loaded = self._checkpoints.load()
        saved = loaded.state.settings
        plan = Plan.from_record(saved["plan"], loaded.directory / "state.json")
        wanted = {**self.state.settings, "plan": asdict(replace(self.plan, seconds=plan.seconds))}
        saved = {**saved, "plan": asdict(plan)}
        changed = [name for name, value in wanted.items() if saved.get(name) != value]
        if changed:
            raise NextwordError(
                f"the checkpoint in {self._checkpoints.directory} was made with another {' and '.join(changed)}",
                hint="start with restart=True instead of resume=True",
            )
        try:
            kinds = self._own_parts(loaded)
            self._best = {name: kinds["best"][name].to(self._device) for name in self._trained()}
            self._set_weights(self._best)  # shows that they fit
            self._set_weights(kinds["model"])
            restore_optimizers(self._optimizers, kinds["optimizer"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"the checkpoint in {self._checkpoints.directory} does not fit: {error}",
                hint="start with restart=True instead of resume=True",
            ) from None
        self.state = loaded.state
        self.plan = replace(self.plan, seconds=plan.seconds)
        self._watch(Resumed(self.state.step, self.state_hash(), loaded.skipped))

    @property
    def tokens_per_step(self) -> int:
        """Predictions a step, over all processes."""
        return self._batches.tokens_per_step

    def set_seconds(self, seconds: float) -> None:
        """Gives the run this much time, from its first step on."""
        self.plan = replace(self.plan, seconds=seconds)
        self.state.settings = {**self.state.settings, "plan": asdict(self.plan)}

    def measure_speed(self) -> float:
        """Tokens a second, from gradients that are thrown away: of one row, or of a whole step if that is quick."""
        ids_BT = torch.from_numpy(self._batches.batch(self.state.step)).to(self._device)
        self.model.train()

        def seconds(rows: Tensor) -> float:
            began = time.perf_counter()
            self._parallel.backward(rows, None, 1.0).item()
            for optimizer in self._optimizers:
                optimizer.zero_grad(set_to_none=True)
            return self.ranks.agree(time.perf_counter() - began)

        share = ids_BT[self._rows[0]]
        tokens = self._batches.window * self.ranks.world
        with torch.compiler.set_stance("force_eager"):  # for a single row nothing is compiled
            one = seconds(share[:1])
            if one * len(share) > _SLOW_STEP:
                return tokens / min(one, seconds(share[:1]))  # the first also paid for fresh memory
            return max(tokens * len(share) / seconds(share) for _ in range(2))

    def whole_model(self) -> GPTModel | None:
        """The trained model in one piece, on rank 0; None on the others, which have to take part."""
        if not self._parallel.sharded:
            return self.model if self.ranks.is_main else None
        weights = self._parallel.whole({**self.model.weights(), **self._trained()})
        if not self.ranks.is_main:
            return None
        model = GPTModel.from_config(self.model.config, initialized=False)
        attach(model, {name: layer.lora for name, layer in lora_layers(self.model)})
        model.load_weights(weights)
        return model.eval()

    def run(self, keeps_last: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end of the plan, or until Ctrl-C; then the model holds the best weights seen.

        Args:
            keeps_last: Asked after the last step, on every process: whether to save where the run stands, so that it
                can be ended another time. After Ctrl-C that is done in any case.

        Raises:
            NextwordError: The loss is not finite any more, and no weights were good before; else `late` keeps it.
        """
        try:
            self._learn(keeps_last)
        except NotFiniteError as error:
            if not self._has_learned():
                raise
            self.late.add(error)
            self.stopped = True
            self.hash = self.state_hash()
        self._set_weights(self._best)
        self.model.eval()

    def _learn(self, keeps_last: Callable[[], bool]) -> None:
        self.model.train()
        began = last_save = time.monotonic()
        earlier, first_step = self.state.seconds, self.state.step
        with _ctrl_c_sets(self), Prefetcher(self._batches, first_step) as batches:
            if self._validation and self.plan.base and not self.state.step:
                self._validate(0.0)  # what the model knows already; if nothing is better, it stays
            if not self.state.step:
                self._keep_model()
            progress = self.ranks.agree(self._progress())
            while (progress < 1 or self.state.step == 0) and not self.stopped:  # one step at least
                self._step(progress, *batches.take())
                now = max(time.monotonic(), began + 1e-3)  # a coarse clock may not have moved yet
                self.state.step += 1
                self.state.seconds = earlier + now - began
                # One meeting: rank 0's clock counts, and a request to stop that reached any process stops all.
                main = self.ranks.is_main
                progress, save, stop = self.ranks.sums(
                    [
                        self._progress() if main else 0.0,
                        float(main and now - last_save >= self._checkpoint_seconds),
                        float(self.stopped),
                    ]
                )
                self.stopped = stop > 0
                rate = (self.state.step - first_step) * self._batches.tokens_per_step / (now - began)
                left = 0.0 if self.stopped else self._seconds_left(progress)
                seconds, nats = self.state.seconds, self._nats_per_character
                self._watch(Stepped(self.state.step, min(1.0, progress), self._loss, rate, left, seconds, nats))
                if self._validation and self._look_is_due(progress):
                    self._validate(progress)
                if save or (self._snapshots is not None and self._snapshots.is_due(self.state.step)):
                    self._keep_model()
                if save:
                    self.save()
                    last_save = time.monotonic()
                self.state.seconds = earlier + time.monotonic() - began
            self._watch, self._sample = self.late.wait()(self._watch), self.late.wait()(self._sample)
            if (self.ranks.any(keeps_last()) or self.stopped) and self.state.step > first_step:
                with self.late.wait():
                    self.save()  # before the last look: an undisturbed run has none here
            with self.late.wait():
                self._keep_model()
            self.hash = self.state_hash()
            if self.stopped:
                self._watch(Interrupted(self.state.step, self.hash))
            if self._validation and self.state.step and not self._just_validated():
                self._validate(progress)
        if self._validation is None or self.state.best_nats is None:
            self._best = self._weights()

    def save(self) -> None:
        """Writes a checkpoint, if the run keeps any.

        Raises:
            ModelFileError: It cannot be written.
        """
        if self._checkpoints is None:
            return
        kinds = {"model": self._trained(), "best": self._best, "optimizer": optimizer_tensors(self._optimizers)}
        shards = None
        if self._parallel.sharded:
            from nextword.training.checkpoints.sharded import write_shards

            shards = write_shards(self._checkpoints.directory, kinds, self.ranks)
        if self.ranks.is_main:
            self._checkpoints.save(self.state, {} if shards else kinds, shards)
        self.ranks.barrier()

    def _keep_model(self) -> None:
        """Writes the model as it is now, where the run keeps the model of some steps."""
        if self._snapshots is None:
            return
        model = self.whole_model()
        if model is not None:
            self._snapshots.save(model, self.state.step)

    def close(self) -> None:
        """Ends the training; to be called before the processes part."""
        self._parallel.close()

    def state_hash(self) -> str:
        """One hash of all that decides how the run goes on; equal for equal runs, resumed or not, on the CPU."""
        model = self._parallel.whole(self._trained())
        return state_hash(self.state.step, model, self._parallel.whole(optimizer_tensors(self._optimizers)))

    def _step(self, progress: float, ids_BT: Tensor, weights_BT: Tensor | None) -> None:
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.plan.learning_rate_at(progress)
        if self.plan.dropout:
            torch.manual_seed(self.ranks.seed(self._seed, self.state.step))
        total = ids_BT[:, 1:].numel() if weights_BT is None else int(weights_BT[:, 1:].sum())
        nats = torch.zeros((), device=self._device)
        for number, rows in enumerate(self._rows, start=1):
            weights = None if weights_BT is None else weights_BT[rows].to(self._device)
            last = number == len(self._rows)
            nats += self._parallel.backward(ids_BT[rows].to(self._device), weights, max(1, total), last=last)
        value = self.ranks.sum(nats.item()) / max(1, total)
        if not math.isfinite(value):
            raise self._not_finite("loss", value)
        if self.plan.clip:
            self._parallel.clip(self.plan.clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.state.loss = value if self.state.loss is None else 0.95 * self.state.loss + 0.05 * value

    @property
    def _loss(self) -> float:
        return math.nan if self.state.loss is None else self.state.loss

    @property
    def _nats_per_character(self) -> float:
        return self._loss * self._tokens_per_character

    def _progress(self) -> float:
        shares = [0.0]
        if self.plan.steps is not None:
            shares.append(self.state.step / self.plan.steps)
        if self.plan.seconds is not None:
            shares.append((self.state.seconds + self._evaluation_seconds) / self.plan.seconds)
        return max(shares)

    def _seconds_left(self, progress: float) -> float:
        return self.state.seconds * (1 - progress) / progress if progress > 0 else math.inf

    def _look_is_due(self, progress: float) -> bool:
        if self.plan.evaluate_every:
            return self.state.step % self.plan.evaluate_every == 0
        return self.state.next_evaluation <= progress < 1

    def _has_learned(self) -> bool:
        """Whether some weights were seen that do better than guessing."""
        guessing = math.log(self.model.config.vocab_size)
        return any(look["nats_per_token"] < guessing for look in self.state.validations)

    def _just_validated(self) -> bool:
        looks = self.state.validations
        return bool(looks) and looks[-1]["step"] == self.state.step

    def _validate(self, progress: float) -> None:
        if self._validation is None:
            return
        began = time.monotonic()
        loss = evaluate(self.model, self._validation, self.plan.context_length, self._parallel)
        self._evaluation_seconds = self.ranks.agree(time.monotonic() - began)
        self.state.looking += self._evaluation_seconds
        if not math.isfinite(loss.nats):
            raise self._not_finite("held-out loss", loss.nats)
        if self.plan.seconds is None and self.plan.steps is not None:
            # The same looks on every machine; a token costs three times as much to learn as to score.
            learned = 3 * self.plan.steps * self._batches.tokens_per_step
            cost = len(self._validation.tokens) / learned
        else:
            cost = self._evaluation_seconds / (self.plan.seconds or math.inf)
        self.state.next_evaluation = progress + max(EVALUATION_EVERY, cost / EVALUATION_COST)
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
            train_bits_per_byte=self._loss * self._tokens_per_byte / math.log(2),
            training_seconds=self.state.seconds - self.state.looking + self._evaluation_seconds,
        )
        row = asdict(event)
        if self.state.loss is None:
            row["train_bits_per_byte"] = None  # JSON has no NaN
        self.state.validations.append(row)
        self._watch(event)
        self._sample(self.state.step)

    def _not_finite(self, what: str, value: float) -> NotFiniteError:
        kept: list[int] = []
        if self._checkpoints is not None:
            if self.ranks.is_main:
                self._checkpoints.drop(self.state.step)  # these very weights gave the loss
            kept = [step for step in self._checkpoints.steps() if step < self.state.step]
        there = f"; the checkpoint of step {kept[-1]:,} is kept" if kept else ""
        rate = self.plan.learning_rate
        return NotFiniteError(
            f"the {what} became {value} at step {self.state.step}{there}",
            hint=f"the steps were too large, at a peak of {rate:g}: try learning_rate={rate / 10:g}",
        )

    def _trained(self) -> Weights:
        """The weights that change, by their names in the model; the tensors themselves, shards where it is sharded."""
        return {name: weight.detach() for name, weight in self.model.named_parameters() if weight.requires_grad}

    def _weights(self) -> Weights:
        return {name: weight.clone() for name, weight in self._trained().items()}

    def _set_weights(self, weights: Weights) -> None:
        for name, weight in self._trained().items():
            weight.copy_(weights[name])

    def _own_parts(self, loaded: Loaded) -> dict[str, Weights]:
        """The saved tensors as this process needs them: whole, or its shards; whatever wrote them."""
        if not (self._parallel.sharded or loaded.sharded):
            return loaded.tensors
        from nextword.training.checkpoints.sharded import cut, numbered_parameters, read_shards

        trained = self._trained()
        likes = {"model": trained, "best": trained, "optimizer": numbered_parameters(self._optimizers)}
        return read_shards(loaded.directory, likes) if loaded.sharded else cut(loaded.tensors, likes)


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
