"""What CONTRIBUTING says of the rooms is what stands on the disk, what the contracts hold, and what the imports do."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

from nextword import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "nextword"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CONTRACTS = {
    one["name"]: one
    for one in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
}
NOT_ROOMS = {"__init__", "__main__", "default_model"}
DIVIDED = ("training", "server")
"""Rooms whose folders are told apart in CONTRIBUTING too."""


def listing(folder: Path) -> set[str]:
    """Modules and folders, as contracts call them."""
    found = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    return {name for name in found if not name.startswith("__pycache__")} - NOT_ROOMS


def layers(contract: str) -> list[set[str]]:
    """From high to low."""
    return [set(re.split(r"\s*[|:]\s*", layer)) for layer in CONTRACTS[contract]["layers"]]


def table() -> list[list[str]]:
    """The rooms of CONTRIBUTING's table, each row's, from low to high."""
    section = CONTRIBUTING[CONTRIBUTING.index("## The rooms") :]
    rows = re.findall(r"^\| (`.+?) \|", section[: section.index("\n\n", section.index("|---"))], flags=re.MULTILINE)
    return [[name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`(.+?)`", row)] for row in rows]


def test_the_table_of_rooms_is_the_folder_listing_from_low_to_high() -> None:
    rooms = [name for row in table() for name in row if "/" not in name]
    assert sorted(rooms) == sorted(listing(PACKAGE))
    floors = layers("A lower room never imports a higher one")[::-1]
    assert set().union(*floors) | {"page"} == set(rooms)
    height = {name: number for number, floor in enumerate(floors) for name in floor}
    heights = [max(height[name] for name in row if name in height) for row in table() if height.keys() & set(row)]
    assert heights == sorted(heights)
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()  # no contract sees those
    for room in DIVIDED:
        folders = {path.name for path in (PACKAGE / room).iterdir() if (path / "__init__.py").exists()}
        assert folders <= {Path(name).name for row in table() for name in row if name.startswith(f"{room}/")}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imports(path: Path) -> frozenset[str]:
    """What a file imports, also inside its functions and as a string that names a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
            case ast.Constant(value=str(text)) if text.partition(":")[0] in MODULES:
                found.add(text.partition(":")[0])
    return frozenset(found)


def test_the_modules_that_import_torch_are_those_of_the_contract() -> None:
    contract = CONTRACTS["These modules import torch, and no others"]
    allowed = {line.removesuffix(" -> torch") for line in contract["ignore_imports"]}
    assert {
        name for name, path in MODULES.items() if any(one.split(".")[0] == "torch" for one in imports(path))
    } == allowed


BRINGS_TORCH = (
    r"nextword\.model(\..+)?",
    r"nextword\.inspection\.(gradient|hooks|lens_fitting)",
    r"nextword\.measuring\.(transformers_model|verification)",
    r"nextword\.training\.(adapters|checkpoints|run)(\..+)?",
    r"nextword\.training\.planning\.flops",
)
"""Every other module can be imported where there is no torch; these cannot."""

WITHOUT_TORCH = """
import importlib, json, sys
sys.modules["torch"] = None
failed = {}
for name in json.load(sys.stdin):
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
json.dump(failed, sys.stdout)
"""


def test_all_others_can_be_imported_without_torch() -> None:
    names = sorted(name for name in MODULES if not name.endswith("__main__"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input=json.dumps(names), capture_output=True, text=True, check=True
    )
    failed = json.loads(done.stdout)
    expected = {name for name in names if any(re.fullmatch(pattern, name) for pattern in BRINGS_TORCH)}
    assert {name: why for name, why in failed.items() if name not in expected} == {}
    for pattern in BRINGS_TORCH:  # none that is no longer needed
        assert any(re.fullmatch(pattern, name) for name in failed), pattern


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(r"    ( *)(\w+Error)(?: {2,}.+)?", line):
            del above[len(match[1]) // 2 :]
            drawn[match[2]] = above[-1] if above else "Exception"
            above.append(match[2])
    found = {}
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Name):
                found[node.name] = node.bases[0].id
    family = {name: base for name, base in found.items() if name == "NextwordError" or base in drawn}
    assert drawn == family


def test_only_old_places_hand_on_what_lies_in_a_higher_room() -> None:
    using = {name for name, path in MODULES.items() if "nextword.deprecated.moved_module" in imports(path)}
    assert using == {"nextword.inspection.figures", "nextword.training.lora"}


def walks() -> dict[str, list[tuple[int, bool, str]]]:
    """The walks drawn in CONTRIBUTING: of each line its depth, whether it is handed in, and the file."""
    section = CONTRIBUTING[CONTRIBUTING.index("## How data walks") :]
    section = section[: section.index("\n## ", 1)]
    found = {}
    for title, block in re.findall(r"\*\*(.+?)\*\*.*?\n```text\n(.*?)```", section, flags=re.DOTALL):
        lines = [re.fullmatch(r"( *)(⇢ )?(\S+)( {2,}.+)?", line) for line in block.splitlines()]
        assert all(lines), block
        found[title] = [(len(line[1]) // 2, bool(line[2]), line[3]) for line in lines if line]
    return found


def imported(importer: str, file: str) -> bool:
    """Whether one file of the package names another: by an import, or through the doors on the way to it."""
    path = PACKAGE / importer
    if path.suffix == ".js":
        return f'"nextword/{file.removeprefix("page/")}"' in path.read_text(encoding="utf-8")
    name = ".".join(("nextword", *Path(file).with_suffix("").parts)).removesuffix(".__init__")
    wanted, named = {name}, imports(path)
    while "." in name:  # a package on the way hands on what lies in it
        name = name.rpartition(".")[0]
        if name != "nextword" and wanted & imports(MODULES[name]):
            wanted.add(name)
    return bool(wanted & named)


def test_each_step_of_the_walks_is_an_import() -> None:
    drawn = walks()
    assert drawn.keys() == {"A prompt", "A run of training", "A request", "A look on the page"}
    files = {file for lines in drawn.values() for _, _, file in lines}
    for title, lines in drawn.items():
        above: list[str] = []
        for depth, handed_in, file in lines:
            assert (PACKAGE / file).is_file(), (title, file)
            assert depth <= len(above), (title, file)
            del above[depth:]
            if above and not handed_in:
                assert imported(above[-1], file), f"{title}: {above[-1]} does not import {file}"
            if handed_in:  # made by a file of one of the walks
                assert any(imported(other, file) for other in files), (title, file)
            above.append(file)
