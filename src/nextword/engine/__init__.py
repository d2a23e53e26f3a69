"""Token ids -> logits in native code (native/): the numbers of the reference model, faster, and without torch.

`backend.NativeBackend` is the door; it can be imported where `is_built()`.
"""

from importlib.util import find_spec


def is_built() -> bool:
    """Whether this installation has the native code."""
    return find_spec("nextword.engine._native") is not None
