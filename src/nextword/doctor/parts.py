"""What the installed distribution says it needs, held against what is installed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement

PURPOSES = {
    "torch": "follow gradients, and change weights from Python",
    "figures": "draw figures",
    "train": "train",
    "data": "train on .parquet, .zst, addresses and data sets of the hub",
    "serve": "serve a model over HTTP",
    "verify": "hold a model against transformers",
    "tensorboard": "watch training in TensorBoard",
}
"""What each extra is for; `all` is the sum of these."""


@dataclass(frozen=True)
class Extra:
    """One of the package's optional parts."""

    name: str
    purpose: str
    """Empty for the sum of the others."""
    packages: dict[str, str]
    """Name -> version of what is installed of it."""
    missing: list[str]
    too_old: list[str]
    """With the version that is there and the one that is needed."""

    @property
    def complete(self) -> bool:
        """Whether everything that it needs is there."""
        return not self.missing and not self.too_old

    @property
    def lacking(self) -> str:
        """What is missing or too old, in words; empty if nothing is."""
        parts = [("missing", self.missing), ("too old", self.too_old)]
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def installed_parts() -> tuple[Extra, list[Extra]]:
    """What every installation needs, and each extra in alphabetical order, held against what is installed."""
    try:
        names = metadata.metadata("nextword").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from its source: nothing says what it needs
        return Extra("", "", {}, ["nextword"], []), []
    return _part(""), [_part(name) for name in sorted(names)]


def _part(name: str) -> Extra:
    packages, missing, too_old = {}, [], []
    for requirement in _unique(_needs("nextword", name)):
        found = version(requirement.name)
        if not found:
            missing.append(requirement.name)
        elif not requirement.specifier.contains(found, prereleases=True):
            too_old.append(f"{requirement.name} {found} (needs {requirement.specifier})")
        else:
            packages[requirement.name] = found
    return Extra(name, PURPOSES.get(name, ""), packages, missing, too_old)


def _needs(package: str, extra: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Iterator[Requirement]:
    """What an extra adds to a package, extras of it and of others followed; without an extra, what all need."""
    if (package, extra) in seen:
        return
    seen |= {(package, extra)}
    for line in metadata.requires(package) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        asked = marker is not None and marker.evaluate({"extra": extra})
        if (always or not asked) if extra else not always:
            continue
        if requirement.name != package:
            yield requirement
        if requirement.name == package or version(requirement.name):
            for inner in sorted(requirement.extras):
                yield from _needs(requirement.name, inner, seen)


def _unique(requirements: Iterator[Requirement]) -> list[Requirement]:
    return list({str(requirement): requirement for requirement in requirements}.values())


def origin() -> str:
    """What pip installs nextword from: the folder of its source, if that is where it came from, or its name."""
    try:
        direct_url = metadata.distribution("nextword").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        direct_url = None
    came_from = json.loads(direct_url or "{}")
    address = urlsplit(came_from.get("url", ""))
    if address.scheme != "file":
        return "nextword"
    folder = shlex.quote(url2pathname(address.path))
    return f"-e {folder}" if came_from.get("dir_info", {}).get("editable") else folder


def version(package: str) -> str:
    """The version of an installed package; empty if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
