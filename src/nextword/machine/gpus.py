"""GPUs that torch can use. torch is asked in a process of its own: importing it takes a second."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from nextword.errors import ConfigError

_GPU = """
import json, torch
found = []
if torch.cuda.is_available():
    for number in range(torch.cuda.device_count()):
        one = torch.cuda.get_device_properties(number)
        found.append({"device": f"cuda:{number}", "name": one.name, "memory": one.total_memory})
elif torch.backends.mps.is_available():
    found.append({"device": "mps", "name": "Apple", "memory": None})
print(json.dumps(found))
"""


def gpus() -> list[dict[str, Any]]:
    """The GPUs that torch can use, asked in a process of its own.

    Raises:
        ConfigError: torch cannot be imported.
    """
    try:
        done = subprocess.run(  # noqa: S603 - this Python, and a program of our own
            [sys.executable, "-c", _GPU],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=60,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise ConfigError(f"torch cannot be imported: {said[-1]}") from None
    except subprocess.TimeoutExpired:
        raise ConfigError("torch cannot be imported: no answer for a minute") from None
    return found
