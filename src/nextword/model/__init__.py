"""Token ids -> logits: the reference forward pass, in PyTorch, readable in one sitting.

Read in this order: `gpt.py` (the model and its block), `attention.py`, `layers.py`, `rope.py`; beside the path
stand `cache.py`, `tap.py`, `evaluation.py`, `initialization.py`, `lesson.py` (weights from the lesson's classes) and
`backend.py`.

Names of tensors carry their shape as a suffix:

    B  batch            D  d_model (residual stream)     H  query heads          C  channels of one head
    T  token position   F  feed-forward width            K  key/value heads      V  vocabulary
    S  key position (cached tokens and new ones)         L  layers
"""

from typing import Any

from nextword.deprecated import warn_deprecated
from nextword.machine.openmp import limit_openmp_threads
from nextword.model.attention import Attention
from nextword.model.backend import TorchBackend
from nextword.model.cache import KVCache
from nextword.model.evaluation import eval_mode
from nextword.model.gpt import GPTModel, TransformerBlock
from nextword.model.tap import Tap

__all__ = ["Attention", "GPTModel", "KVCache", "Tap", "TorchBackend", "TransformerBlock", "eval_mode"]

limit_openmp_threads()  # torch is imported by now


def __getattr__(name: str) -> Any:
    if name == "evaluating":
        warn_deprecated("nextword.model.evaluating", "nextword.model.eval_mode")
        return eval_mode
    raise AttributeError(f"module 'nextword.model' has no attribute {name!r}")
