"""What a model writes while it learns."""

from __future__ import annotations

from collections.abc import Callable

from nextword.language_model import LanguageModel
from nextword.model import GPTModel
from nextword.training.corpus.dataset import Dataset
from nextword.training.events import Sampled, Watcher


def sampler(model: GPTModel, dataset: Dataset, emit: Watcher) -> Callable[[int], None]:
    """Lets the model go on from the opening of the text, or answer the first held-out conversation."""
    held_out = dataset.validation or dataset.train

    def sample(step: int) -> None:
        writer = LanguageModel.from_model(model, dataset.tokenizer)
        if held_out.weights is None:
            text = str(writer.generate(dataset.report.opening, 40, seed=0))
        else:
            prompt = held_out.tokens[: max(1, int(held_out.weights.argmax()))].tolist()  # all before the first answer
            text = writer.generate(prompt, 40, seed=0).text
        emit(Sampled(step, text))
        model.train()

    return sample
