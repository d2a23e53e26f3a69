"""The training loop: a step, over and over; now and then an evaluation on the held-out text."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from nextword.errors import ConfigError, NextwordError
from nextword.machine.signals import call_on_first_interrupt
from nextword.model import GPTModel
from nextword.training.checkpoints.checkpoint import Checkpoints, RunState
from nextword.training.checkpoints.snapshots import Snapshots
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.events import Interrupted, Resumed, Stepped, Watcher
from nextword.training.planning.plan import Plan
from nextword.training.run.batches import Batches
from nextword.training.run.deferred_errors import DeferredErrors
from nextword.training.run.evaluate import EVALUATION_EVERY, HeldOut
from nextword.training.run.optimizer import make_optimizers
from nextword.training.run.parallel import Parallel
from nextword.training.run.prefetch import Prefetcher
from nextword.training.run.ranks import Ranks
from nextword.training.run.train_state import TrainState

_SLOW_STEP = 0.5  # seconds


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
        self.deferred = DeferredErrors()
        """What went wrong after the last step: to be raised when the model is saved."""
        texts = {"text": train, "held-out text": validation}
        hashes = {name: hashlib.sha256(text.tokens.data).hexdigest() for name, text in texts.items() if text}
        state = RunState(
            settings={"plan": asdict(plan), "seed": seed, **dict.fromkeys(texts), **hashes},
            next_evaluation=EVALUATION_EVERY,
        )
        learned = len(train.tokens) if train.weights is None else int(train.weights.sum(dtype=np.int64))
        self._tokens_per_character = learned / max(1, train.characters)
        self._tokens_per_byte = learned / max(1, train.bytes)
        self._seed = seed
        self._device = model.token_embedding.weight.device
        self.ranks = ranks or Ranks(str(self._device))
        self._rows = self.ranks.rows(plan.batch_size, plan.accumulation)
        self._checkpoint_seconds = checkpoint_seconds
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
        self._train_state = TrainState(self._parallel, self._optimizers, state, checkpoints)
        self._held_out = (
            None if validation is None else HeldOut(validation, self._parallel, self._batches.tokens_per_step)
        )

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self._train_state.run_state

    def resume(self) -> None:
        """Goes on from the newest checkpoint that is whole.

        Raises:
            ModelFileError: There is none.
            NextwordError: It belongs to a run with other settings.
        """
        skipped = self._train_state.resume()
        self.plan = replace(self.plan, seconds=self.state.settings["plan"].get("seconds"))
        self._watch(Resumed(self.state.step, self.state_hash(), skipped))

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
            return self.ranks.broadcast(time.perf_counter() - began)

        share = ids_BT[self._rows[0]]
        tokens = self._batches.window * self.ranks.world_size
        with torch.compiler.set_stance("force_eager"):  # for a single row nothing is compiled
            one = seconds(share[:1])
            if one * len(share) > _SLOW_STEP:
                return tokens / min(one, seconds(share[:1]))  # the first also paid for fresh memory
            return max(tokens * len(share) / seconds(share) for _ in range(2))

    def whole_model(self) -> GPTModel | None:
        """The trained model in one piece, on rank 0; None on the others, which have to take part."""
        return self._train_state.whole_model()

    def run(self, keeps_last: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end of the plan, or until Ctrl-C; then the model holds the best weights seen.

        Args:
            keeps_last: Asked after the last step, on every process: whether to save where the run stands, so that it
                can be ended another time. After Ctrl-C that is done in any case.

        Raises:
            NextwordError: The loss is not finite any more, and no weights were good before; else `deferred` keeps it.
        """
        try:
            self._training_loop(keeps_last)
        except NotFiniteError as error:
            if not self._beats_uniform():
                raise
            self.deferred.add(error)
            self.stopped = True
            self.hash = self.state_hash()
        self._train_state.set_weights(self._train_state.best)
        self.model.eval()

    def _training_loop(self, keeps_last: Callable[[], bool]) -> None:
        self.model.train()
        began = last_save = time.monotonic()
        earlier, first_step = self.state.seconds, self.state.step
        with call_on_first_interrupt(self._stop), Prefetcher(self._batches, first_step) as batches:
            if self.plan.base and not self.state.step:
                self._evaluate(0.0)  # what the model knows already; if nothing is better, it stays
            if not self.state.step:
                self._save_snapshot()
            progress = self.ranks.broadcast(self._progress())
            while (progress < 1 or self.state.step == 0) and not self.stopped:  # one step at least
                self._step(progress, *batches.next())
                now = max(time.monotonic(), began + 1e-3)  # a coarse clock may not have moved yet
                self.state.step += 1
                self.state.seconds = earlier + now - began
                # One meeting: rank 0's clock counts, and a request to stop that reached any process stops all.
                main = self.ranks.is_main
                progress, save, stop = self.ranks.all_reduce_sum(
                    [
                        self._progress() if main else 0.0,
                        float(main and now - last_save >= self._checkpoint_seconds),
                        float(self.stopped),
                    ]
                )
                self.stopped = stop > 0
                rate = (self.state.step - first_step) * self._batches.tokens_per_step / (now - began)
                left = 0.0 if self.stopped else self._seconds_left(progress)
                seconds, loss = self.state.seconds, self._smoothed_loss
                nats = loss * self._tokens_per_character
                self._watch(Stepped(self.state.step, min(1.0, progress), loss, rate, left, seconds, nats))
                if HeldOut.is_due(self.state, self.plan, progress):
                    self._evaluate(progress)
                if save or (self._snapshots is not None and self._snapshots.is_due(self.state.step)):
                    self._save_snapshot()
                if save:
                    self._train_state.save()
                    last_save = time.monotonic()
                self.state.seconds = earlier + time.monotonic() - began
            self._watch, self._sample = self.deferred.wait()(self._watch), self.deferred.wait()(self._sample)
            if (self.ranks.any(keeps_last()) or self.stopped) and self.state.step > first_step:
                with self.deferred.wait():
                    self._train_state.save()  # before the last evaluation: an undisturbed run has none here
            with self.deferred.wait():
                self._save_snapshot()
            self.hash = self.state_hash()
            if self.stopped:
                self._watch(Interrupted(self.state.step, self.hash))
            if self.state.step and not HeldOut.is_evaluated(self.state):
                self._evaluate(progress)
        if self._held_out is None or self.state.best_nats is None:
            self._train_state.best = self._train_state.copy_weights()

    def _stop(self) -> None:
        """Ends the run after the step under way."""
        self.stopped = True

    def _save_snapshot(self) -> None:
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
        return self._train_state.hash()

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
            self._parallel.clip_grad_norm(self.plan.clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.state.loss = value if self.state.loss is None else 0.95 * self.state.loss + 0.05 * value

    @property
    def _smoothed_loss(self) -> float:
        return math.nan if self.state.loss is None else self.state.loss

    def _progress(self) -> float:
        shares = [0.0]
        if self.plan.steps is not None:
            shares.append(self.state.step / self.plan.steps)
        if self.plan.seconds is not None:
            last_evaluation = 0.0 if self._held_out is None else self._held_out.seconds
            shares.append((self.state.seconds + last_evaluation) / self.plan.seconds)
        return max(shares)

    def _seconds_left(self, progress: float) -> float:
        return self.state.seconds * (1 - progress) / progress if progress > 0 else math.inf

    def _beats_uniform(self) -> bool:
        """Whether some weights have been seen that do better than all tokens alike."""
        uniform = math.log(self.model.config.vocab_size)
        return any(row["nats_per_token"] < uniform for row in self.state.validations)

    def _evaluate(self, progress: float) -> None:
        if self._held_out is None:
            return
        loss = self._held_out.evaluate(self.state, self.plan)
        if not math.isfinite(loss.nats):
            raise self._not_finite("held-out loss", loss.nats)
        train_bits_per_byte = self._smoothed_loss * self._tokens_per_byte / math.log(2)
        event = self._held_out.record(self.state, self.plan, progress, loss, train_bits_per_byte)
        if event.best:
            self._train_state.best = self._train_state.copy_weights()
        self._watch(event)
        self._sample(self.state.step)

    def _not_finite(self, what: str, value: float) -> NotFiniteError:
        kept = self._train_state.delete_step()
        there = "" if kept is None else f"; the checkpoint of step {kept:,} is kept"
        rate = self.plan.learning_rate
        return NotFiniteError(
            f"the {what} became {value} at step {self.state.step}{there}",
            hint=f"the steps were too large, at a peak of {rate:g}: try learning_rate={rate / 10:g}",
        )
