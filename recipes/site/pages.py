"""The pages as the site has them: what is generated is filled in, links that lead out of docs/ go to the repository.

The sources in docs/ stay readable where they lie. A marker alone on its line says what belongs there:
`<!-- commands -->` the reference of the command line, `<!-- results: decode -->` the tables of
benchmarks/results/decode.json. Notebooks are run, and become pages with what they printed and drew.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from pathlib import Path

from commands import command_reference
from notebooks import notebook_page

from results import results_section

ROOT = Path(__file__).parents[2]
DEVELOPERS = ("lab-notes.md", "releasing.md")
"""Pages for those who work on nextword, which are no part of the site."""
_DOWNLOAD = {"en": "This page as a notebook", "ko": "이 페이지를 노트북으로 받기"}
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[(?P<text>(?:[^\[\]]|!?\[[^\]]*\])+)\]\((?P<target>[^()\s]+)\)")
_LIST = re.compile(r"^((?![-*+|#>\s]|\d+\.\s).*)\n(?=(?:[-*+]|1\.) )", re.MULTILINE)
_MARKER = re.compile(r"^<!-- (commands|results)(?:: (\w+))? -->$", re.MULTILINE)


def language_of(name: str) -> str:
    """Of a page, by its name: `train.ko.md` is Korean, `train.md` English."""
    return "ko" if name.removesuffix(".md").removesuffix(".ipynb").endswith(".ko") else "en"


def stage(docs: Path, out: Path) -> None:
    """Writes the folder that the site is built from, anew.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell of a notebook failed.
        ValueError: A marker asks for what is not there.
    """
    shutil.rmtree(out, ignore_errors=True)
    for path in sorted(docs.rglob("*")):
        target = out / path.relative_to(docs)
        if path.is_dir() or path.name in DEVELOPERS or ".ipynb_checkpoints" in path.parts:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(page(path.read_text(encoding="utf-8"), path, docs), encoding="utf-8")
        elif path.suffix == ".ipynb":
            title, rest = page(notebook_page(path, target.with_suffix("")), path, docs).split("\n", 1)
            text = f"{title}\n\n[{_DOWNLOAD[language_of(path.name)]}]({path.name})\n{rest}"
            target.with_suffix(".md").write_text(text, encoding="utf-8")
            shutil.copyfile(path, target)
        else:
            shutil.copyfile(path, target)


def page(text: str, path: Path, docs: Path) -> str:
    """A page of the site, from its source."""
    language = language_of(path.name)

    def generated(found: re.Match[str]) -> str:
        kind, name = found.groups()
        return command_reference(language) if kind == "commands" else results_section(name, text, language)

    parts = _FENCED.split(_MARKER.sub(generated, text))
    parts[::2] = [_LINK.sub(lambda found: _link(found, path, docs), part) for part in parts[::2]]
    return _as_python_markdown(parts)


def _as_python_markdown(parts: list[str]) -> str:
    """Lists as the site's Markdown wants them, which is stricter than GitHub's.

    What belongs to an item is four spaces in, not two or three, and an empty line stands before a list, and before an
    item that follows code.

    Args:
        parts: Prose and blocks of code in turns, as `_FENCED` splits them.
    """
    in_item = False
    for number, part in enumerate(parts):
        if number % 2:
            given = re.match(" {2,3}(?=`)", part)
            in_item = given is not None
            parts[number] = re.sub(f"^{given[0]}", "    ", part, flags=re.MULTILINE) if given else part
        else:
            text = _LIST.sub(r"\1\n\n", part)
            if in_item:
                text = re.sub(r"(?<!\n)\n(?=(?:[-*+]|\d+\.) )", "\n\n", text, count=1)
            parts[number] = re.sub(r"^ {2,3}(?=\S)", "    ", text, flags=re.MULTILINE)
    return "".join(parts)


def repository() -> str | None:
    """The address that pyproject.toml names, if it does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    return str(address).rstrip("/") if address else None


def _link(found: re.Match[str], path: Path, docs: Path) -> str:
    target, hash_, anchor = found["target"].partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return found[0]
    leads_to = Path(os.path.normpath(path.parent / target))
    if leads_to.is_relative_to(docs) and leads_to.name not in DEVELOPERS:
        shown = re.sub(r"\.ipynb$", ".md", target)
        return f"[{found['text']}]({shown}{hash_}{anchor})"
    address = repository()
    if address is None:
        return found["text"]
    return f"[{found['text']}]({address}/blob/main/{leads_to.relative_to(docs.parent).as_posix()}{hash_}{anchor})"
