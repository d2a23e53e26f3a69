"""The page as one file: it holds everything it shows and its own code, and asks nobody for anything."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import nextword
from nextword.errors import ModelFileError
from nextword.inspection.edits import ablate_head
from nextword.inspection.frames import Facts, block_frame, look_frame, shown_names, turns_frame
from nextword.inspection.page_file import page_files, source_hash
from nextword.inspection.trace import Trace
from tests.inspection.models import language_model, some_tokens
from tests.inspection.test_frames import read

IDENTIFIER = "http://www.w3.org/"
"""Names of XML's vocabularies look like addresses; nothing is fetched from there."""

COMMENT = re.compile(r"\s*(\*|//|/\*)")
"""A line that says where something comes from may name an address."""


class Parts(HTMLParser):
    """The scripts and styles of a page, the policy, and every address in an attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.addresses: list[str] = []
        self.policy = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.addresses += [about[name] or "" for name in ("src", "href", "srcset", "data", "action") if name in about]
        if about.get("http-equiv") == "Content-Security-Policy":
            self.policy = about["content"] or ""
        if tag in ("script", "style"):
            self.texts.append((tag, about, ""))

    def handle_data(self, data: str) -> None:
        if self.texts and self.lasttag in ("script", "style") and self.texts[-1][2] == "":
            self.texts[-1] = (*self.texts[-1][:2], data)

    def script(self, kind: str) -> str:
        [text] = [text for tag, about, text in self.texts if tag == "script" and about["type"] == kind]
        return text


def frames_of(html: str) -> dict[str, bytes]:
    held = json.loads(Parts(html).script("application/octet-stream"))
    assert held["lang"] == "en"
    return {name: base64.b64decode(data) for name, data in held["frames"].items()}


@pytest.fixture(scope="module")
def trace() -> Trace:
    lm = nextword.load()
    return lm.trace("대한민국 </script>", names=shown_names(lm.config))


def test_it_holds_the_frames_of_every_layer_and_head(trace: Trace) -> None:
    frames, layers, heads = frames_of(trace.to_html()), range(trace.config.num_layers), range(trace.config.num_heads)
    wanted = {"look": look_frame(trace)}
    wanted |= {f"block/{layer}": block_frame(trace, layer) for layer in layers}
    wanted |= {f"turns/{layer}/{head}": turns_frame(trace, layer, head) for layer in layers for head in heads}
    assert frames.keys() == wanted.keys()
    for name, data in wanted.items():
        (about, arrays), (wanted_about, wanted_arrays) = read(frames[name]), read(data)
        assert (about, arrays.keys()) == (wanted_about, wanted_arrays.keys())
        for key, values in wanted_arrays.items():
            np.testing.assert_array_equal(arrays[key], values, err_msg=f"{name} {key}")


def test_models_with_position_vectors_hold_no_turns() -> None:
    for case in ("gpt2", "lesson"):
        lm = language_model(case)
        frames = frames_of(lm.trace(some_tokens(case)).to_html())
        assert sorted(frames) == ["block/0", "block/1", "block/2", "look"]


def test_before_and_after_stand_side_by_side() -> None:
    lm, text = nextword.load(), "To be"
    plain, edited = (each.trace(text, names=shown_names(lm.config)) for each in (lm, lm.edit(ablate_head(2, 1))))
    frames = frames_of(edited.to_html(plain=plain, facts=Facts(model={"name": "mine"}, dropped=2)))
    for name, trace, edits in (("look", edited, ["nextword.ablate_head(2, 1)"]), ("plain", plain, [])):
        about, arrays = read(frames[name])
        assert (about["edits"], about["model"]["name"], about["dropped"]) == (edits, "mine", 2)
        np.testing.assert_array_equal(arrays["logits"], trace["logits"][-1])


def test_it_holds_every_module_and_the_style(trace: Trace) -> None:
    parts = Parts(trace.to_html())
    imports = json.loads(parts.script("importmap"))["imports"]
    files = page_files()
    assert sorted(imports) == [f"nextword/{name}" for name in sorted(files) if name.endswith(".js")]
    for name, address in imports.items():
        kind, data = address.split(";base64,")
        assert kind == "data:text/javascript;charset=utf-8"
        code = base64.b64decode(data)
        assert code == files[name.removeprefix("nextword/")].read_bytes()
        for used in re.findall(r'(?:from|import)\s+"([^"]+)"', code.decode("utf-8")):
            assert used in imports, (name, used)
    [style] = [text for tag, _, text in parts.texts if tag == "style"]
    assert style == files["style.css"].read_text(encoding="utf-8")
    assert parts.script("module") == 'import "nextword/main.js";'


def test_its_policy_allows_what_it_holds_and_nothing_from_elsewhere(trace: Trace) -> None:
    html = trace.to_html()
    parts = Parts(html)
    rules = {rule.split()[0]: rule.split()[1:] for rule in parts.policy.split("; ")}
    [style] = [text for tag, _, text in parts.texts if tag == "style"]
    scripts = [source_hash(parts.script("importmap")), source_hash(parts.script("module"))]
    assert rules == {
        "default-src": ["'none'"],
        "script-src": ["data:", *scripts],
        "style-src": [source_hash(style)],
        "img-src": ["data:", "blob:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert html.index("Content-Security-Policy") < html.index("<style") < html.index("<script")
    assert all(address.startswith(("data:", "#")) for address in parts.addresses)
    for name, item in [("the file", html), *((name, item.read_text("utf-8")) for name, item in page_files().items())]:
        code = "\n".join(line for line in item.splitlines() if not COMMENT.match(line))
        found = [code[match.start() :][:40] for match in re.finditer(r"\b(?:https?|wss?|ftp)://|[\"'`]//\w", code)]
        assert [text for text in found if not text.startswith(IDENTIFIER)] == [], name
        assert "eval(" not in code, name


def test_it_is_written_whole_or_not_at_all(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "new" / "look.html"
    html = trace.to_html(path)
    assert path.read_bytes() == html.encode()
    assert [item.name for item in path.parent.iterdir()] == ["look.html"]
    with pytest.raises(ModelFileError, match="directory"):
        trace.to_html(tmp_path)
