"""Files as memory: what is given back is read again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nextword.files.mapped import map_file, release_pages


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages are in memory")
def test_pages_are_given_back_and_read_again(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, 1 << 24, np.uint8)
    content.tofile(tmp_path / "weights")
    mapped = map_file(tmp_path / "weights")
    own = memoryview(bytearray(b"not of a file"))

    def resident() -> int:  # kilobytes of files in this process's memory
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("RssFile:")[1].split()[0])

    before = resident()
    assert np.array_equal(np.frombuffer(mapped, np.uint8), content)
    read = resident()
    release_pages([mapped[5:100], own, mapped[1000:]])
    assert read - before >= 16_000
    assert resident() - before < 2_000
    assert np.array_equal(np.frombuffer(mapped, np.uint8), content)
    assert bytes(own) == b"not of a file"
