"""Builds what is released, and holds it to what is promised: `make dist`.

The source distribution is built from this folder, and the wheel from the source distribution, twice and in two places:
both must have the same bytes. Then the wheel is installed into an empty environment, and used from an empty folder.

`python -m recipes.dist` leaves both files in dist/; what it needs on the way lies in a folder that is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
TWINE = "twine==7.0.0"
LARGEST = 25_000_000
"""Bytes that the wheel may have."""
# The sizes of what is installed, by distribution; pip came with the environment.
_SIZES = """
import importlib.metadata, json
sizes = {}
for found in importlib.metadata.distributions():
    files = [found.locate_file(file) for file in found.files or ()]
    sizes[found.metadata["Name"]] = sum(file.stat().st_size for file in files if file.is_file())
sizes.pop("pip", None), sizes.pop("setuptools", None)
print(json.dumps(sizes))
"""


def main() -> None:
    """Builds, checks, and prints the figures."""
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    for old in dist.glob("nextword-*"):
        old.unlink()
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _run("git", "log", "-1", "--format=%ct", at=ROOT).strip()
    os.environ["SOURCE_DATE_EPOCH"] = epoch
    with tempfile.TemporaryDirectory(prefix="nextword-dist-") as scratch:
        work = Path(scratch)
        print("source distribution ...", flush=True)
        backend = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
        _run(sys.executable, "-c", backend, str(dist), at=ROOT)
        source = _only(dist.glob("nextword-*.tar.gz"))
        print("wheel, twice ...", flush=True)
        wheel = _wheel(source, work / "one", dist)
        again = _wheel(source, work / "another" / "place", work / "again")
        digest = _sha256(wheel)
        if _sha256(again) != digest:
            sys.exit("error: two builds of the wheel differ: " + ", ".join(_different(wheel, again)))
        _check_contents(wheel)
        print("twine check, and an installation into an empty environment ...", flush=True)
        _check_metadata([source, wheel], work / "tools")
        sizes = _try_out(wheel, work)
    print(f"{source.name}: {source.stat().st_size / 1e6:.2f} MB, sha256 {_sha256(source)}")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, sha256 {digest}, the same bytes in two builds")
    own = sizes.pop("nextword")
    print(f"installed: {own / 1e6:.1f} MB, and {sum(sizes.values()) / 1e6:.1f} MB of {len(sizes)} other distributions")
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:6]
    print("  the largest: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in largest))


def _wheel(source: Path, place: Path, to: Path) -> Path:
    """The wheel that a source distribution makes, unpacked in this place."""
    with tarfile.open(source) as archive:
        archive.extractall(place, filter="data")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(to)]
    _run(sys.executable, "-m", "pip", "wheel", *options, str(_only(place.iterdir())), at=place)
    return _only(to.glob("nextword-*.whl"))


def _check_contents(wheel: Path) -> None:
    """That the wheel has every file of the package, and is not too large."""
    package = ROOT / "src" / "nextword"
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = [file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    missing = sorted({file.relative_to(ROOT / "src").as_posix() for file in wanted if file.suffix != ".so"} - packed)
    if missing:
        sys.exit("error: not in the wheel: " + ", ".join(missing))
    if wheel.stat().st_size > LARGEST:
        sys.exit(f"error: the wheel has {wheel.stat().st_size / 1e6:.1f} MB, {LARGEST / 1e6:.0f} MB are allowed")


def _check_metadata(files: list[Path], place: Path) -> None:
    python = _environment(place)
    _run(python, "-m", "pip", "install", "--quiet", TWINE, at=place)
    _run(python, "-m", "twine", "check", "--strict", *map(str, files), at=place)


def _try_out(wheel: Path, work: Path) -> dict[str, int]:
    """Installs the wheel as a user does, and uses it from an empty folder; bytes by installed distribution."""
    python, empty = _environment(work / "user"), work / "empty"
    empty.mkdir()
    _run(python, "-m", "pip", "install", "--quiet", str(wheel), at=empty)
    where = Path(_run(python, "-c", "import nextword; print(nextword.__file__)", at=empty).strip())
    if not where.is_relative_to(work):
        sys.exit(f"error: what is tried is {where}, not the wheel")
    predicted = json.loads(
        _run(python, "-m", "nextword", "predict", "--json", "The children are playing in the", at=empty)
    )
    first = predicted["candidates"][0]
    report = json.loads(_run(python, "-m", "nextword", "doctor", "--no-speed", "--json", at=empty))
    if not report["healthy"]:
        sys.exit(f"error: nextword doctor: {report['gaps']}")
    print(
        f"  predicts {first['text']!r} ({first['probability']:.1%}); kernels {', '.join(report['native']['kernels'])}"
    )
    sizes: dict[str, int] = json.loads(_run(python, "-c", _SIZES, at=empty))
    return sizes


def _environment(place: Path) -> str:
    _run(sys.executable, "-m", "venv", str(place), at=ROOT)
    return str(place / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _run(*command: str, at: Path) -> str:
    """Runs a command that sees no other Python's packages; its output. What fails is shown, and ends everything."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=at, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}error: {' '.join(command[:4])} ... failed")
    return done.stdout


def _only(found: Iterable[Path]) -> Path:
    """The one file that there is to be."""
    (path,) = found
    return path


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _different(one: Path, other: Path) -> list[str]:
    """The names of the files that two wheels have not alike, or of the archive where only its own bytes differ."""
    first, second = (zipfile.ZipFile(wheel) for wheel in (one, other))
    names = sorted(set(first.namelist()) | set(second.namelist()))
    same = set(first.namelist()) & set(second.namelist())
    return [name for name in names if name not in same or first.read(name) != second.read(name)] or ["the archive"]


if __name__ == "__main__":
    main()
