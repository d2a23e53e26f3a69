"""What a run changes: weights, optimizers, and where it stands. Saved together, and gone on from together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from nextword.errors import ModelFileError, NextwordError
from nextword.model import GPTModel
from nextword.training.adapters.lora import attach, lora_layers
from nextword.training.checkpoints.checkpoint import Checkpoints, LoadedCheckpoint, RunState
from nextword.training.checkpoints.optimizer_state import optimizer_tensors, restore_optimizers, state_hash
from nextword.training.planning.plan import Plan
from nextword.training.run.parallel import Parallel

Weights = dict[str, Tensor]


class TrainState:
    """The weights that require gradients, the best of them so far, their optimizers, and the run's plain values.

    Args:
        parallel: The model, as the processes of the run hold it.
        optimizers: Of its weights.
        run_state: Where the run stands.
        checkpoints: Where all of it is kept, or None for nowhere.
    """

    def __init__(
        self,
        parallel: Parallel,
        optimizers: Sequence[torch.optim.Optimizer],
        run_state: RunState,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.run_state = run_state
        self._parallel = parallel
        self._optimizers = optimizers
        self._checkpoints = checkpoints
        self.best = self.copy_weights()
        """The weights with the lowest held-out loss so far."""

    def trainable_parameters(self) -> Weights:
        """The weights that change, by their names in the model; the tensors themselves, shards where it is sharded."""
        named = self._parallel.model.named_parameters()
        return {name: weight.detach() for name, weight in named if weight.requires_grad}

    def copy_weights(self) -> Weights:
        """What `set_weights` puts back."""
        return {name: weight.clone() for name, weight in self.trainable_parameters().items()}

    def set_weights(self, weights: Weights) -> None:
        """Gives the model other weights, in place."""
        for name, weight in self.trainable_parameters().items():
            weight.copy_(weights[name])

    def whole_model(self) -> GPTModel | None:
        """The model in one piece, on rank 0; None on the others, which have to take part."""
        model, ranks = self._parallel.model, self._parallel.ranks
        if not self._parallel.sharded:
            return model if ranks.is_main else None
        weights = self._parallel.full_tensors({**model.weights(), **self.trainable_parameters()})
        if not ranks.is_main:
            return None
        whole = GPTModel.from_config(model.config, initialized=False)
        attach(whole, {name: layer.lora for name, layer in lora_layers(model)})
        whole.load_weights(weights)
        return whole.eval()

    def hash(self) -> str:
        """One hash of all that decides how the run goes on; equal for equal runs, resumed or not, on the CPU."""
        model = self._parallel.full_tensors(self.trainable_parameters())
        return state_hash(self.run_state.step, model, self._parallel.full_tensors(optimizer_tensors(self._optimizers)))

    def save(self) -> None:
        """Writes a checkpoint, if the run keeps any.

        Raises:
            ModelFileError: It cannot be written.
        """
        if self._checkpoints is None:
            return
        ranks = self._parallel.ranks
        kinds = {
            "model": self.trainable_parameters(),
            "best": self.best,
            "optimizer": optimizer_tensors(self._optimizers),
        }
        shards = None
        if self._parallel.sharded:
            from nextword.training.checkpoints.sharded import write_shards

            shards = write_shards(self._checkpoints.directory, kinds, ranks)
        if ranks.is_main:
            self._checkpoints.save(self.run_state, {} if shards else kinds, shards)
        ranks.barrier()

    def resume(self) -> tuple[str, ...]:
        """Goes on from the newest checkpoint that is whole, and gives a line for each newer one that is not.

        Raises:
            ModelFileError: There is none.
            NextwordError: It belongs to a run with other settings.
        """
        if self._checkpoints is None:
            raise ModelFileError("this run keeps no checkpoints")
        loaded = self._checkpoints.load()
        saved, wanted = loaded.state.settings, self.run_state.settings
        plan = Plan.from_record(saved["plan"], loaded.directory / "state.json")
        saved = {**saved, "plan": asdict(plan)}
        wanted = {**wanted, "plan": {**wanted["plan"], "seconds": plan.seconds}}
        changed = [name for name, value in wanted.items() if saved.get(name) != value]
        if changed:
            raise NextwordError(
                f"the checkpoint in {self._checkpoints.directory} was made with another {' and '.join(changed)}",
                hint="start with restart=True instead of resume=True",
            )
        try:
            kinds = self._local_tensors(loaded)
            current = self.trainable_parameters()
            self.best = {name: kinds["best"][name].to(weight.device) for name, weight in current.items()}
            self.set_weights(self.best)  # shows that they fit
            self.set_weights(kinds["model"])
            restore_optimizers(self._optimizers, kinds["optimizer"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"the checkpoint in {self._checkpoints.directory} does not fit: {error}",
                hint="start with restart=True instead of resume=True",
            ) from None
        self.run_state = loaded.state
        return loaded.skipped

    def delete_step(self) -> int | None:
        """Deletes the checkpoint of this step, whose weights are none to go on from; the newest one before it."""
        if self._checkpoints is None:
            return None
        if self._parallel.ranks.is_main:
            self._checkpoints.delete_step(self.run_state.step)
        return max((step for step in self._checkpoints.steps() if step < self.run_state.step), default=None)

    def _local_tensors(self, loaded: LoadedCheckpoint) -> dict[str, Weights]:
        """The saved tensors as this process needs them: whole, or its shards; whatever wrote them."""
        if not (self._parallel.sharded or loaded.sharded):
            return loaded.tensors
        from nextword.training.checkpoints.sharded import numbered_parameters, read_shards, shard_like

        trained = self.trainable_parameters()
        targets = {"model": trained, "best": trained, "optimizer": numbered_parameters(self._optimizers)}
        return read_shards(loaded.directory, targets) if loaded.sharded else shard_like(loaded.tensors, targets)
