"""What the program around a run has set in torch must not change it; that memory is short is told in a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from nextword.errors import ConfigError

_KINDS = ("cpu", "cuda", "mps")
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc|Cannot allocate memory", re.I)


@contextmanager
def default_torch_state() -> Iterator[None]:
    """The global modes of torch as in a fresh process, inside: gradients, float32, no autocast, tensors on the CPU."""
    default = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, default)
        torch.set_default_dtype(torch.float32)
        yield


@contextmanager
def translate_oom() -> Iterator[None]:
    """Turns what is raised inside for want of memory into one error.

    Raises:
        ConfigError: There was not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch has a RuntimeError for it
        if isinstance(error, RuntimeError) and not _NO_MEMORY.search(str(error)):
            raise
        raise ConfigError(
            "there is not enough memory for this run",
            hint="a smaller preset, batch_size, context_length or vocab_size takes less",
        ) from error
