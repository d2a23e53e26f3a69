"""A run in a notebook: a bar, losses and samples as HTML, drawn in a real kernel."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from nextword.config import GPTConfig
from nextword.generation.html import curve
from nextword.training import Sampled, Started, Stepped, Validated
from nextword.training.events.notebook import NotebookView, in_notebook
from nextword.training.planning.plan import Plan
from nextword.training.planning.verdict import Verdict

STARTED = Started(Plan("tiny", 512, 32, 4, 4e-3, 0.0, steps=9), GPTConfig.preset("tiny", 512, 32), 1000, 3000, 618)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def words(html: str) -> str:
    """What a reader sees of it; also a check that every element is closed."""
    found: list[str] = []
    open_: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            open_.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert open_.pop() == tag

        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(html)
    assert not open_
    return " ".join(" ".join(found).split())


def test_what_a_run_tells_is_drawn_with_a_bar_as_long_as_its_progress() -> None:
    drawn: list[str] = []
    clock = Clock()
    with NotebookView(drawn.append, clock) as view:
        assert words(drawn[-1]) == "reading text"
        view.watch(STARTED)
        assert "tiny: " in words(drawn[-1])
        clock.seconds += 1
        view.watch(Stepped(1234, 0.25, 1.2345, 54_321.0, 65.0, seconds=20.0))
        assert "step 1,234, loss 1.234, 54,321 tokens/s, 1:05 left" in words(drawn[-1])
        assert "width: 25.00%" in drawn[-1]
        view.watch(Validated(1234, 21.0, 1.0, 2.0, 3.0, best=True))
        view.watch(Validated(2000, 42.0, 1.0, 1.0, 1.5, best=True))
        assert "1,234 0:21 3.0000 best 2,000 0:42 1.5000 best" in words(drawn[-1])
        assert re.findall(r"width: ([\d.]+)%", drawn[-1]) == ["25.00", "100.00", "50.00"]  # the bar, then the looks
        assert "<polyline" in drawn[-1]
        view.watch(Sampled(2000, "<b>한국의 수도는</b> & ⟨EC·97⟩"))
        assert "<b>한국의 수도는</b> & ⟨EC·97⟩" in words(drawn[-1])  # as text
        view.watch(Verdict("learning", "Learning: more time helps."))
        clock.seconds += 9
        view.watch(Stepped(2001, 1.0, 1.2, 54_321.0, 0.0, seconds=43.0))
    assert "step 2,001, loss 1.200, 54,321 tokens/s, done after 0:43" in words(drawn[-1])
    assert words(drawn[-1]).endswith("Learning: more time helps.")


def test_steps_are_drawn_twice_a_second_at_most() -> None:
    drawn: list[str] = []
    clock = Clock()
    view = NotebookView(drawn.append, clock)
    for step in range(1000):
        clock.seconds += 0.01
        view.watch(Stepped(step, step / 1000, 1.0, 1.0, 1.0))
    assert 19 <= len(drawn) <= 21


def test_a_run_that_breaks_says_so() -> None:
    drawn: list[str] = []
    view = NotebookView(drawn.append)
    with suppress(ValueError), view:
        view.watch(Stepped(7, 0.5, 1.0, 1.0, 1.0, seconds=3.0))
        raise ValueError
    assert words(drawn[-1]).endswith("broken off after 0:03")


def test_a_loss_that_is_no_number_is_left_out_of_the_curve() -> None:
    assert curve([3.0, math.nan, 2.0, math.inf, 1.0]) == curve([3.0, 2.0, 1.0])
    assert curve([math.nan, 1.0]) == curve([])


def test_here_is_no_notebook() -> None:
    assert not in_notebook()


CELLS = (
    """
import nextword
few = {"steps": 4, "vocab_size": 300, "batch_size": 2, "context_length": 32, "preset": "tiny", "evaluate_every": 2}
run = nextword.train("text.txt", "model", **few)
""",
    "run",
    "run.model.generate('나는', 3, seed=1, logprobs=2)",
    "run.model.score('나는 오늘')",
    "run.model.predict('나는', 3, unit='word')",
    """
from nextword.figures import lens_figure
trace = run.model.trace('나는')
lens_figure(trace)
""",
    """
import json
kernel = get_ipython().kernel
typed = ["run.model.generate(te", "run.model.chat([], te", 'trace["blocks.1.attn.hook_pa']
print(json.dumps([kernel.do_complete(code, len(code))["matches"] for code in typed]))
""",
)


def test_a_real_kernel_shows_the_run_values_and_figures_and_completes_names(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("나는 오늘 학교에 가서 친구를 만났다. " * 80, encoding="utf-8")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    train, shown, generation, score, word, figure, completed = (cell.outputs for cell in notebook.cells)
    [live] = [one for one in train if "text/html" in one.get("data", {})]
    said = words(live.data["text/html"])
    assert re.search(r"step 4, loss \d\.\d+, [\d,]+ tokens/s, done after 0:\d\d", said)
    assert "held-out bits/byte" in said
    assert shown[0].data["text/plain"].startswith("<TrainingRun model: 4 steps in 0:")
    assert "4 steps in 0:" in words(shown[0].data["text/html"])
    assert generation[0].data["text/plain"].startswith("<Generation '나는' -> ")
    assert generation[0].data["text/html"].count("width: 160px") == 3  # a bar a token
    assert score[0].data["text/plain"].startswith("<Score ")
    assert "bits/byte" in words(score[0].data["text/html"])
    assert word[0].data["text/html"].count("width: 160px") == 3
    assert len(figure[0].data["image/png"]) > 5000  # without %matplotlib inline
    generate, chat, names = json.loads(completed[0].text)
    assert generate == ["temperature=", "text="]
    assert chat == ["temperature="]
    assert [name.rstrip('"]') for name in names] == ["blocks.1.attn.hook_pattern"]
