"""The native code against plain double-precision loops, without Python (native/tests/check.cpp)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "native"


def test_the_native_code_equals_plain_loops_on_every_instruction_set(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # cmake and ninja lie beside python
    ran = subprocess.run(
        [SOURCE / "tests/run", tmp_path / "build"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "all right" in ran.stdout
    assert "portable" in ran.stdout
