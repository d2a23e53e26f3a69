"""Prints the oracle table: `python -m tests.oracle.table`.

Largest absolute difference of logits, loss and every gradient between the package's model and (a) the NumPy float64
oracle, (b) the same weights in transformers, (c) the lesson's own classes.
"""

from __future__ import annotations

import sys
import warnings

import torch

from nextword.files.huggingface.families import family_of
from nextword.model import GPTModel
from tests.oracle.cases import CASES, random_tokens, random_weights
from tests.oracle.compare import (
    Errors,
    errors,
    gpt_pass,
    torch_model,
    torch_pass,
    transformers_model,
    transformers_pass,
)
from tests.oracle.lesson import in_our_names, shaken_lesson
from tests.oracle.numpy_gpt import NumpyGPT

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def rows() -> list[tuple[str, str, str, Errors]]:
    """(case, precision, held against, errors) of every comparison."""
    table = []
    for case, config in CASES.items():
        weights, (ids, targets) = random_weights(config), random_tokens(config)
        expected = NumpyGPT(config, weights).run(ids, targets)
        for precision, dtype in PRECISIONS.items():
            found = gpt_pass(torch_model(config, weights, dtype), ids, targets)
            table.append((case, precision, "NumPy float64", errors(found, expected)))
            if precision == "float32" and family_of(config) != "nextword":
                twin = transformers_pass(transformers_model(config, weights), config, ids, targets)
                table.append((case, precision, "transformers", errors(found, twin)))
    table += [
        ("lesson", precision, "the lesson's classes", lesson_errors(dtype)) for precision, dtype in PRECISIONS.items()
    ]
    return table


def lesson_errors(dtype: torch.dtype) -> Errors:
    """`GPTModel.from_lesson` against the lesson's own classes, every bias and norm weight away from its start."""
    lesson = shaken_lesson(dropout=0.0).to(dtype)
    model = GPTModel.from_lesson(lesson.state_dict(), num_heads=3).to(dtype)
    ids, targets = random_tokens(model.config)
    theirs = torch_pass(lesson, dict(lesson.named_parameters()), ids, targets)
    return errors(gpt_pass(model, ids, targets), in_our_names(theirs, model.config))


def main() -> None:
    """Prints one line a comparison."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = [("model", "precision", "held against", "logits", "loss", "gradients", "worst gradient")]
    for case, precision, against, found in rows():
        logits, loss, gradients = (f"{number:.1e}" for number in (found.logits, found.loss, found.gradients))
        lines.append((case, precision, against, logits, loss, gradients, found.worst))
    for line in lines:
        sys.stdout.write("{:<46}{:<11}{:<22}{:>9}{:>9}{:>11}  {}\n".format(*line))


if __name__ == "__main__":
    main()
