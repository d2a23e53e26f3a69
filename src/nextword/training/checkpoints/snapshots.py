"""The model as it was at some steps: whole model directories in OUT.steps, for whoever wants to see how it learned."""

from __future__ import annotations

import copy
from pathlib import Path

from nextword.files.atomic import discard, sweep
from nextword.language_model import LanguageModel, ModelMetadata
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from nextword.training.adapters.lora import lora_layers, merge_lora
from nextword.training.run_directory import STEPS_SUFFIX, step_path, steps_in


class Snapshots:
    """Writes the model of steps 0, 1, 2, 4, 8 and so on; of other steps only the newest stays.

    A run of S steps leaves log2(S) + 3 of them at most: 19 after 100,000.

    Args:
        directory: OUT.steps.
        tokenizer: Of the run.
        base: The model that the run started from, or None.
    """

    def __init__(self, directory: Path, tokenizer: Tokenizer, base: LanguageModel | None = None) -> None:
        self.directory = directory
        self._tokenizer = tokenizer
        self._base_metadata: ModelMetadata = (
            {} if base is None else {"chat_template": base.chat_template, "recommended": base.recommended}
        )

    def is_due(self, step: int) -> bool:
        """Whether the model of a step is kept for good."""
        return step & (step - 1) == 0

    def save(self, model: GPTModel, step: int) -> None:
        """Writes the model of a step, whole or not at all; the model is left as it was.

        Raises:
            ModelFileError: It cannot be written.
        """
        path = step_path(self.directory, step)
        if path.exists():
            return
        training = model.training
        whole = model
        if next(lora_layers(model), None):
            whole = copy.deepcopy(model)
            merge_lora(whole)
        run = {"run": self.directory.name.removesuffix(STEPS_SUFFIX), "step": step}
        about: ModelMetadata = {"provenance": run, **self._base_metadata}
        LanguageModel.from_model(whole, self._tokenizer, **about).save(path)
        model.train(training)
        for older in steps_in(self.directory):
            if older < step and not self.is_due(older):
                discard(step_path(self.directory, older))


def delete_later_steps(directory: Path, after: int) -> None:
    """Clears away the models of later steps than the one a run goes on from, and what a killed run left half written.

    Args:
        directory: OUT.steps.
        after: The step; -1 for a run that begins anew.

    Raises:
        ModelFileError: The directory cannot be read.
    """
    sweep(directory)
    for step in steps_in(directory):
        if step > after:
            discard(step_path(directory, step))
