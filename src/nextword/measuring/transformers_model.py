"""A model file in transformers, the reference that others are held to."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from nextword.files import Bundle


def _pretrained_arguments(path: Path) -> tuple[Path, dict[str, Any]]:
    """What from_pretrained is given."""
    here = {"local_files_only": True}
    return (path, here) if path.is_dir() else (path.parent, {"gguf_file": path.name, **here})


def reference_tokenize(path: Path) -> Callable[[str], list[int]]:
    """The tokenizer beside the model, as transformers reads it: text -> token ids."""
    from transformers import AutoTokenizer

    directory, options = _pretrained_arguments(path)
    tokenizer = AutoTokenizer.from_pretrained(directory, **options)
    return lambda text: list(tokenizer(text)["input_ids"])


def reference_model(path: Path, bundle: Bundle) -> Any:
    """The model in float32.

    Raises:
        ValueError: transformers does not find all of its weights.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    directory, options = _pretrained_arguments(path)
    config = AutoConfig.from_pretrained(directory, **options)
    if path.is_file():  # what transformers does not read from a GGUF file, but guesses
        ours = {"head_dim": bundle.config.head_dim, "n_positions": bundle.config.context_length}
        config.update({name: value for name, value in ours.items() if hasattr(config, name)})
    found: Any = AutoModelForCausalLM.from_pretrained(
        directory, config=config, dtype=torch.float32, output_loading_info=True, **options
    )
    model, report = found
    if path.is_dir() and (missing := sorted(report["missing_keys"])):  # under names that it does not look for
        raise ValueError(f"it does not find {missing[0]} and would draw it at random")
    return model


@contextlib.contextmanager
def silence_transformers() -> Iterator[None]:
    """Without transformers' progress bars and remarks, for as long as it is used here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # one bar, of the GGUF reader, knows no switch
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
