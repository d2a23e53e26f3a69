"""The page as one HTML file that needs no server and no network: it holds its own code and the frames it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from nextword.errors import NextwordError
from nextword.inspection.recording import Recording

if TYPE_CHECKING:
    from nextword.inspection.frames import Facts

INDEX = "index.html"
MODULES = "nextword/"
"""What modules call the folder of the page's files when they import each other."""


@cache
def page_files() -> Mapping[str, Traversable]:
    """The page's files by their path in its folder. The folder is walked once: there are no others."""
    return dict(_walk(files("nextword") / "page", ""))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _walk(item, f"{prefix}{item.name}/")
        else:
            yield prefix + item.name, item


def substitute(index: str, places: Mapping[str, str]) -> str:
    """The page with other lines where its comments "replaced: ..." stand.

    Args:
        index: The page as its folder has it.
        places: Lines by the names of their places.
    """
    for place, text in places.items():
        found = _only(re.compile(rf"<!-- replaced: {place} -->\n.*"), index)  # the comment and the line behind it
        index = index[: found.start()] + text + index[found.end() :]
    return index


def source_hash(text: str) -> str:
    """How a Content-Security-Policy names a script or style that stands in the page itself."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page_html(frames: Mapping[str, bytes], lang: str = "en") -> str:
    """The whole page in one text.

    Args:
        frames: `look`, `plain` (if there were edits), `block/0` and so on, `turns/0/0` and so on.
        lang: `en` or `ko`.
    """
    page = page_files()
    index = page[INDEX].read_text(encoding="utf-8")
    style = page["style.css"].read_text(encoding="utf-8")
    modules = {
        MODULES + name: f"data:text/javascript;charset=utf-8;base64,{_base64(item.read_bytes())}"
        for name, item in sorted(page.items())
        if name.endswith(".js")
    }
    imports = json.dumps({"imports": modules})
    packed = json.dumps({"lang": lang, "frames": {name: _base64(data) for name, data in frames.items()}})
    start = f'import "{MODULES}main.js";'
    policy = (
        f"default-src 'none'; script-src data: {source_hash(imports)} {source_hash(start)}; "
        f"style-src {source_hash(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    data = f'<script type="application/octet-stream" id="frames">{packed}</script>'
    places = {
        "style": f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>',
        "import map": f'<script type="importmap">{imports}</script>',
        "script": f'{data}\n<script type="module">{start}</script>',
    }
    return substitute(index, places)


def trace_html(trace: Recording, facts: Facts | None = None, plain: Recording | None = None) -> str:
    """A trace as such a file.

    Args:
        trace: What is shown.
        facts: What is said of it.
        plain: The same text without the edits, for before and after.

    Raises:
        ConfigError: The trace lacks one of `frames.shown_names`, its model or its tokenizer.
    """
    from nextword.inspection.frames import block_frame, look_frame, turns_frame

    config, own = trace.config, trace.copy()  # what is computed for the frames is not kept
    frames = {"look": look_frame(own, facts)}
    if plain is not None:
        frames["plain"] = look_frame(plain, None if facts is None else replace(facts, edits=None))
    for layer in range(config.num_layers):
        frames[f"block/{layer}"] = block_frame(own.copy(), layer)
        if config.position == "rotary":
            for head in range(config.num_heads):
                frames[f"turns/{layer}/{head}"] = turns_frame(own, layer, head)
    return page_html(frames)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _only(pattern: re.Pattern[str], index: str) -> re.Match[str]:
    found = list(pattern.finditer(index))
    if len(found) != 1:
        raise NextwordError(f"{INDEX} has {len(found)} places of {pattern.pattern}, it must have one")
    return found[0]
