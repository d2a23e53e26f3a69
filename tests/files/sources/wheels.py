"""Wheels made by a test, for a pip that sees nothing else."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path


def write_wheel(directory: Path, package: str, version: str, members: Mapping[str, bytes | Path]) -> Path:
    """A wheel with these files in it, given as bytes or as a file to copy."""
    stem = f"{package.replace('-', '_')}-{version}"
    path = directory / f"{stem}-py3-none-any.whl"
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nRequires-Dist: not-there\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            if isinstance(data, Path):
                wheel.write(data, name)
            else:
                wheel.writestr(name, data)
        for name, text in about.items():
            wheel.writestr(f"{stem}.dist-info/{name}", text)
    return path


def only_these(directory: Path) -> dict[str, str]:
    """Environment variables for a pip that sees this directory and nothing else."""
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": directory.as_uri(),  # spaces would part its path
    }
