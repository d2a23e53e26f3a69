"""What an installation consists of."""

from __future__ import annotations

import shutil

from nextword.engine import is_built
from nextword.loading import choose_backend


def test_the_native_backend_is_there_where_there_is_a_compiler() -> None:
    assert is_built() == (shutil.which("c++") is not None)
    assert choose_backend().name == ("native" if is_built() else "torch")
