"""Environments as a new user has them: the base installation, or one with some extras, of what is installed here.

A real interpreter, whose site-packages hold links to the distributions that nextword needs and to nothing else: what is
not among them cannot be imported, exactly as where it was never installed. Nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import sys
import venv
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nextword
from nextword.engine import is_built

SOURCE = Path(nextword.__file__).parent


def make_environment(directory: Path, extras: Iterable[str] = ()) -> Path:
    """Makes an environment with nextword and these extras; its Python."""
    venv.create(directory, symlinks=os.name != "nt", with_pip=False)
    scripts = directory / ("Scripts" if os.name == "nt" else "bin")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = directory / ("Lib/site-packages" if os.name == "nt" else f"lib/{version}/site-packages")
    _link_nextword(packages)
    for name in sorted(_closure("nextword", extras) - {"nextword"}):
        _link(metadata.distribution(name), packages)
    return scripts / Path(sys.executable).name


def _closure(package: str, extras: Iterable[str]) -> set[str]:
    """A package with all that it needs, and what that needs."""
    found: set[tuple[str, str]] = set()
    left = [(package, extra) for extra in ("", *extras)]
    while left:
        if (one := left.pop()) in found:
            continue
        found.add(one)
        left += _needs(*one)
    return {name for name, _ in found}


def _needs(package: str, extra: str) -> Iterator[tuple[str, str]]:
    for requirement in map(Requirement, metadata.requires(package) or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(requirement.name), inner) for inner in ("", *sorted(requirement.extras)))


def _link_nextword(packages: Path) -> None:
    """The package as an installation has it: the compiled module lies beside the others, wherever it was built."""
    shutil.copytree(
        SOURCE, packages / "nextword", copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__")
    )
    if is_built():
        from nextword.engine import _native

        compiled = Path(_native.__file__)
        (packages / "nextword" / "engine" / compiled.name).unlink(missing_ok=True)
        (packages / "nextword" / "engine" / compiled.name).symlink_to(compiled)
    about = metadata.distribution("nextword")
    for file in about.files or ():
        if file.parts[0].endswith(".dist-info"):
            target = packages / file
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file.locate(), target)


def _link(distribution: metadata.Distribution, packages: Path) -> None:
    """A distribution's folders and files; of a folder that several distributions share, its own files."""
    for file in distribution.files or ():
        top = file.parts[0]
        if top == ".." or "__pycache__" in file.parts:
            continue
        alone = len(set(_OWNERS.get(top, ("itself",)))) == 1
        part = Path(top) if alone else Path(*file.parts)
        target = packages / part
        if not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(distribution.locate_file(part)).resolve())


_OWNERS = metadata.packages_distributions()
"""The distributions that each folder at the top belongs to."""
