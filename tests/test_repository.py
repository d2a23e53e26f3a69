"""What stands around the package: extras and groups, pins, workflows, templates, the citation."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nextword.doctor.parts import PURPOSES

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]
PINS = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def of_group(name: str) -> Iterator[str]:
    """The requirements of a group, and of those that it includes."""
    for one in GROUPS[name]:
        yield from of_group(one["include-group"]) if isinstance(one, dict) else [one]


def test_extras_are_for_users_and_groups_for_developers() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras.keys() == {*PURPOSES, "all"}
    assert set(Requirement(*extras["all"]).extras) == set(PURPOSES)
    assert GROUPS.keys() == {"docs", "test", "dev"}
    assert set(of_group("docs")) < set(of_group("test")) < set(of_group("dev"))
    # pip would look for nextword in the package index, were it named in a group.
    assert all(Requirement(one).name != "nextword" for one in of_group("dev"))


def test_the_pins_are_of_what_is_needed() -> None:
    pinned = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in PINS)}
    assert len(pinned) == len(PINS) > 200
    needs = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values(), of_group("dev"))
    for need in map(Requirement, needs):
        if need.name != "nextword":
            assert need.specifier.contains(pinned[canonicalize_name(need.name)]), need


def test_every_action_is_pinned_by_commit_and_each_everywhere_alike() -> None:
    used: dict[str, set[str]] = {}
    for line in "\n".join(path.read_text("utf-8") for path in WORKFLOWS).splitlines():
        if "uses:" in line:
            found = re.fullmatch(r" +- uses: ([\w-]+/[\w-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert found, line
            used.setdefault(found[1], set()).add(found[2])
    assert used
    assert {name: len(pins) for name, pins in used.items()} == dict.fromkeys(used, 1)
    (updates,) = read_yaml(ROOT / ".github" / "dependabot.yml")["updates"]
    assert (updates["package-ecosystem"], updates["directory"]) == ("github-actions", "/")


@pytest.mark.skipif(os.name == "nt", reason="the step is for a Linux machine's shell")
def test_a_release_names_the_repository_that_it_was_built_in(tmp_path: Path) -> None:
    assert "urls" not in PROJECT  # a copy or a fork would name somebody else's
    steps = read_yaml(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["source"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    (added,) = [run for run in runs if "project.urls" in run]
    assert runs.index(added) < runs.index("make dist")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    github = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "someone/nextword"}
    subprocess.run(["bash", "-e", "-c", added], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **github}, check=True)
    written = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))
    assert written["project"].pop("urls") == {
        "Source": "https://github.com/someone/nextword",
        "Changelog": "https://github.com/someone/nextword/blob/HEAD/CHANGELOG.md",
        "Issues": "https://github.com/someone/nextword/issues",
    }
    assert written == PYPROJECT


def test_the_citation_says_what_the_package_says() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"].startswith(f"{PROJECT['name']}: ")
    for name in ("authors", "license", "keywords"):
        assert citation[name] == PROJECT[name]
    assert "version" not in citation  # it stands in __init__.py, and nowhere else


def test_the_forms_for_issues_can_be_filled_in() -> None:
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert forms
    for form in map(read_yaml, forms):
        assert form.keys() == {"name", "description", "labels", "body"}
        names = [field["id"] for field in form["body"]]
        assert len(set(names)) == len(names) > 2
        for field in form["body"]:
            assert (field["type"], field["attributes"]["label"] != "") == ("textarea", True)


def test_what_the_system_needs_is_said_once() -> None:
    """The checks, the workflow and the container for development ask the same script, which alone installs."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert container["image"].startswith("python:" + PROJECT["requires-python"].removeprefix(">=") + "-")
    needs, made = container["postCreateCommand"].split(" && make ")
    assert os.access(ROOT / needs, os.X_OK)
    assert f"\n{made}:" in (ROOT / "Makefile").read_text("utf-8")
    asking = [*WORKFLOWS, *(ROOT / ".ci").iterdir()]
    assert [path for path in asking if "apt-get install" in path.read_text("utf-8")] == [ROOT / needs]
    assert f"\nbash {needs}\n" in (ROOT / ".ci" / "run").read_text("utf-8")
    jobs = read_yaml(ROOT / ".github" / "workflows" / "ci.yml")["jobs"].values()
    testing = [[step.get("run", "") for step in job["steps"]] for job in jobs if "windows" not in job["runs-on"]]
    assert testing
    for runs in testing:
        tests = next(number for number, run in enumerate(runs) if run.startswith(("make ", "bash .ci/run")))
        assert f"sudo bash {needs}" in runs[:tests]


@pytest.mark.skipif(os.name == "nt", reason="the script is for Linux and macOS")
def test_what_is_missing_is_named_to_who_may_not_install_it(tmp_path: Path) -> None:
    for tool in ("bash", "find"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    for name, answer in (("id", "echo 1000"), ("c++", ""), ("google-chrome", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n", "utf-8")
        (tmp_path / name).chmod(0o755)
    fonts = tmp_path / ".fonts"
    fonts.mkdir()
    (fonts / "NanumGothic.ttf").touch()

    def needs() -> str:
        environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHON": "a Python of one's own"}
        command = [str(tmp_path / "bash"), str(ROOT / ".ci" / "needs")]
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True).stdout

    assert "please install nodejs npm (or" in needs()
    (tmp_path / "google-chrome").unlink()
    assert "please install chromium nodejs npm (or" in needs()
    (tmp_path / "npm").symlink_to("c++")
    (tmp_path / "chromium").symlink_to("c++")
    assert "nothing is missing" in needs()


def test_the_first_hour_leads_to_what_is_there() -> None:
    """Files and tests of the worked examples in CONTRIBUTING.md, and the names that they tell to change."""
    _, _, rest = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n## Your first hour\n")
    section = rest.partition("\n## ")[0]
    named = set(re.findall(r"\b(?:src|native|tests)/[\w/]+\.\w+", section))
    assert named
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []
    for name, file in {
        "Activation = Literal[": "src/nextword/config.py",
        "class FeedForward(": "src/nextword/model/layers.py",
        "def activation_and_slope(": "tests/oracle/numpy_gpt.py",
        "enum class Activation": "native/src/kernels.h",
        "case Activation::": "native/src/kernels.cpp",
        "Activation::GELU": "native/src/module.cpp",
        "Flag = Annotated[bool": "src/nextword/cli/options.py",
        '"theme.dark":': "src/nextword/page/texts/en.js",
    }.items():
        assert name in (ROOT / file).read_text("utf-8"), file
