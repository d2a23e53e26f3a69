"""Evaluation mode for as long as something is looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Lock
from weakref import WeakKeyDictionary

from torch import nn

_LOCK = Lock()
_DEPTH: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""How many looks at a model are going on."""
_TRAINING: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()
"""The modules of a model that is looked at, which were training before."""


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Without dropout, which is no part of what a model computes; afterwards every module is in the mode it was in.

    A model's mode is one for all threads: of several that look at once, the last to end puts it back.
    """
    with _LOCK:
        _DEPTH[model] = _DEPTH.get(model, 0) + 1
        training = [module for module in model.modules() if module.training]
        _TRAINING.setdefault(model, []).extend(training)
        for module in training:
            module.training = False
    try:
        yield
    finally:
        with _LOCK:
            _DEPTH[model] -= 1
            if not _DEPTH[model]:
                for module in _TRAINING.pop(model):
                    module.training = True
