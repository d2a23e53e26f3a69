"""The notebooks run from the first cell to the last, and what they print and draw is true."""

from __future__ import annotations

import ast
import json
import math
import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from recipes.site.notebooks import executed as executed_notebook

import nextword
from nextword.figures.fonts import choose_fonts
from nextword.language_model import LanguageModel
from tests.docs.programs import assert_same_program
from tests.docs.sources import DOCS

FILES = {"en": DOCS / "lesson.ipynb", "ko": DOCS / "lesson.ko.ipynb"}
ABOUT_NOTEBOOKS = {"en": DOCS / "notebooks.ipynb", "ko": DOCS / "notebooks.ko.ipynb"}
TEXTS = {"en": "The children are playing in the", "ko": "배가 고파서 밥을"}
PICTURES = [
    "embedding",
    "attention",
    "added",
    "softmax",
    "rotary",
    "previous",
    "stream",
    "trained-softmax",
    "lens",
    "attribution",
    "gradient",
    "ablation",
]


def read(path: Path) -> Any:
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def code(path: Path) -> dict[str, str]:
    return {cell.id: cell.source for cell in read(path).cells if cell.cell_type == "code"}


class Executed:
    """A notebook that was run: what its cells printed and drew."""

    def __init__(self, language: str, files: dict[str, Path] = FILES) -> None:
        self.language = language
        self.text = TEXTS[language]
        cells = [cell for cell in executed_notebook(files[language]).cells if cell.cell_type == "code"]
        self.outputs = {cell.id: cell.outputs for cell in cells}

    def printed(self, cell: str) -> str:
        return "".join(output.text for output in self.outputs[cell] if output.output_type == "stream")

    def shown(self, cell: str) -> dict[str, str]:
        """The one value or picture that a cell shows, in all its forms."""
        [output] = [output for output in self.outputs[cell] if "data" in output]
        return dict(output.data)

    def numbers(self, cell: str) -> list[float]:
        return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?", self.printed(cell))]


def printed_with(digits: int, value: float) -> Any:
    """What a number printed with so many digits behind the point may be, where two programs computed it.

    Their last bits differ, and where these fall on the edge between two rounded numbers, the last digit does.
    """
    return pytest.approx(value, abs=1.01 * 10.0**-digits)


@pytest.fixture(scope="module", params=["en", "ko"])
def executed(request: pytest.FixtureRequest) -> Executed:
    return Executed(request.param)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return nextword.load()


@pytest.mark.parametrize("path", [*FILES.values(), *ABOUT_NOTEBOOKS.values()], ids=lambda path: path.name)
def test_the_committed_file_is_valid_and_has_no_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
        assert not re.search(r"(?<![\w.])/(?:home|root|tmp|Users)/|[A-Z]:\\\\", "".join(cell["source"]))


@pytest.mark.parametrize("files", [FILES, ABOUT_NOTEBOOKS], ids=["lesson", "notebooks"])
def test_both_languages_have_the_same_program(files: dict[str, Path]) -> None:
    english, korean = code(files["en"]), code(files["ko"])
    assert list(english) == list(korean)
    for name in english:
        assert_same_program(english[name], korean[name], name)


def test_each_station_has_its_picture_and_nothing_complains(executed: Executed) -> None:
    drawn = [
        name for name, outputs in executed.outputs.items() if any("image/png" in o.get("data", {}) for o in outputs)
    ]
    assert drawn == PICTURES
    said = [o.text for outputs in executed.outputs.values() for o in outputs if o.get("name") == "stderr"]
    assert said == []
    assert choose_fonts(executed.text + "학습 안녕 세상").missing == ()


def test_the_untrained_model_is_what_the_lesson_built(executed: Executed) -> None:
    parameters = nextword.GPTConfig.lesson(10, 128, 4, 4, 0.1, 20).num_parameters
    assert f"{parameters:,}" in executed.printed("build")
    assert executed.printed("build").splitlines()[-1] == str(parameters)
    assert "[0, 1, 2, 3]" in executed.printed("token")
    lines = [line.rsplit(": ", 1)[1] for line in executed.printed("embedding-check").splitlines()]
    assert lines == ["True", "0.0", "True", "False"]
    assert executed.numbers("attention-check")[:16] == [printed_with(6, 1.0)] * 16
    by_hand, in_trace = np.array(executed.numbers("attention-check")[-8:]).reshape(2, 4)
    assert np.abs(by_hand - in_trace).max() < 1e-6
    assert executed.numbers("added-check") == [0.0, 0.0]
    assert executed.numbers("logits")[:10] == [printed_with(4, logit) for logit in executed.numbers("logits")[10:]]
    difference, whole, cut, surprise, uniform = executed.numbers("softmax-check")
    assert difference < 1e-12
    assert (whole, cut, uniform) == (1.0, 1.0, 2.3)
    assert 2.3 < surprise < 3


def test_untrained_the_next_word_is_random_and_trained_it_is_not(executed: Executed, lm: LanguageModel) -> None:
    counts = [int(number) for number in re.findall(r": (\d+)", executed.printed("next").splitlines()[-1])]
    assert sum(counts) == 20
    assert len(counts) >= 5
    assert max(counts) <= 10
    written, same = executed.printed("many").splitlines()
    assert len(written.split()) == 9
    assert same == "True"

    prediction = lm.predict(executed.text, top=5)
    assert str(prediction) in executed.printed("trained-next")
    assert str(lm.predict(executed.text, top=5, unit="word")) in executed.printed("trained-next")
    assert prediction[0].probability > 100 / lm.config.vocab_size
    assert executed.numbers("trained-next")[-3:] == [
        round(-math.log(prediction[0].probability), 2),
        lm.config.vocab_size,
        round(math.log(lm.config.vocab_size), 2),
    ]


def test_the_trained_models_numbers_are_the_librarys(executed: Executed, lm: LanguageModel) -> None:
    prediction = lm.predict(executed.text)
    trace = lm.trace(executed.text)
    pieces = [piece.label for piece in trace.tokens]
    assert repr(pieces) in executed.printed("load")
    assert "'☃ 1/3', '☃ 2/3', '☃ 3/3'" in executed.printed("load")
    assert f"{len(executed.text.encode())} " in executed.printed("load")

    read, *lines = (line.rsplit(": ", 1)[1] for line in executed.printed("rotary-check").splitlines())
    assert read == "True"
    turned, in_trace, moved = map(float, lines)
    assert abs(turned - in_trace) < 1e-5
    assert moved < 1e-5
    difference, largest = executed.numbers("stream-check")
    assert difference < 1e-6 * largest
    lengths = [np.linalg.norm(trace.residual(row), axis=-1).mean() for row in range(lm.config.num_layers + 1)]
    assert lengths == sorted(lengths), "the stream grows from layer to layer, as the lesson says"
    assert executed.numbers("trained-logits")[:3] == [printed_with(4, prediction[0].logit)] * 3
    assert executed.numbers("trained-logits")[3] < 1e-4
    whole, ratio, by_hand, tempered, tempered_by_hand = (
        number for number in executed.numbers("trained-softmax-check") if number != 0.8
    )
    assert whole == 1.0
    assert ratio == pytest.approx(prediction[0].probability / prediction[1].probability, rel=1e-9)
    assert by_hand == pytest.approx(ratio, rel=1e-6)
    assert tempered == pytest.approx(ratio**1.25, rel=1e-6)
    assert tempered_by_hand == pytest.approx(ratio**1.25, rel=1e-6)

    greedy = str(lm.generate(executed.text, max_new_tokens=12, temperature=0))
    drawn = lm.generate(executed.text, max_new_tokens=40, seed=1).text
    assert executed.printed("trained-many") == f"{greedy}\nTrue\n{drawn}"


def test_a_few_seconds_of_training_lower_the_loss(executed: Executed) -> None:
    before, _, after, per_character = (
        float(number) for number in re.findall(r"\d\.\d{3}", executed.printed("train-before-after"))[:4]
    )
    uniform, floor = (float(number) for number in re.findall(r"\d\.\d{3}", executed.printed("train-before-after"))[4:])
    assert before == pytest.approx(uniform, rel=0.02)
    assert after < before / 10
    assert floor < per_character < 3 * floor
    looks = ast.literal_eval(executed.printed("train").splitlines()[-1])
    assert looks[-1][0] == 60
    assert looks[-1][1] < looks[0][1] / 5


def test_what_is_seen_and_changed_inside_is_what_the_library_says(executed: Executed, lm: LanguageModel) -> None:
    prediction = lm.predict(executed.text)
    assert executed.numbers("lens-check") == [printed_with(6, prediction[0].probability)] * 2
    assert executed.numbers("attribution") == [printed_with(4, prediction[0].logit)] * 2
    layer, head = (int(number) for number in executed.numbers("compare")[:2])
    without = lm.edit(nextword.ablate_head(layer, head))
    assert str(nextword.compare(lm, without, executed.text, top=6)) in executed.printed("compare")
    by_hand, on_the_map = executed.numbers("compare")[-2:]
    assert by_hand < 0
    assert by_hand == pytest.approx(on_the_map, abs=2e-4)
    assert executed.printed("unchanged").count("True") == 2


def test_another_program_computes_the_same(executed: Executed) -> None:
    assert executed.printed("gguf") == "True\n"
    same, largest = executed.printed("transformers").splitlines()
    assert same.endswith("True")
    assert float(largest.rsplit(": ", 1)[1]) < 1e-4


@pytest.mark.parametrize("language", ["en", "ko"])
def test_in_a_notebook_values_figures_and_training_draw_themselves(language: str, lm: LanguageModel) -> None:
    executed = Executed(language, ABOUT_NOTEBOOKS)
    said = [o.text for outputs in executed.outputs.values() for o in outputs if o.get("name") == "stderr"]
    assert said == []
    sources = code(ABOUT_NOTEBOOKS[language])
    text = re.search('text = "(.*)"', sources["load"])
    assert text
    assert not any("%matplotlib" in source for source in sources.values())

    expected = {
        "predict": lm.predict(text[1], top=5),
        "words": lm.predict(text[1], top=5, unit="word"),
        "generate": lm.generate(text[1], 6, temperature=0, logprobs=3),
        "score": lm.score(text[1]),
    }
    for cell, value in expected.items():
        assert executed.shown(cell)["text/html"] == value._repr_html_(), cell
    short, *table = executed.printed("plain").splitlines()
    assert short == repr([lm.generate(text[1], 3, temperature=0), lm.score(text[1])])
    assert "\n".join(table) == str(lm.predict(text[1], top=3))

    assert executed.shown("figure")["image/png"].startswith("iVBOR")  # PNG, in base64
    offered = [ast.literal_eval(line[line.index(" [") + 1 :]) for line in executed.printed("complete").splitlines()]
    assert [found[0] for found in offered[::2]] == ["temperature=", "blocks.3.attn.hook_pattern"]
    assert "min_p=" in offered[1]
    tokens = len(lm.trace(text[1], names=["embed"]).token_ids)
    assert executed.shown("complete")["text/plain"] == f"(4, {tokens}, {tokens})"

    live, ended = executed.shown("train")["text/html"], executed.shown("run")["text/html"]
    assert re.search(r"step 60, loss \d\.\d+, [\d,]+ tokens/s, done after 0:\d\d", live)
    assert "width: 100.00%" in live
    assert "held-out bits/byte" in live
    assert "held-out bits/byte" in ended
    assert re.search(r", best .+ 9\d\.\d%>$", executed.shown("learned")["text/plain"])
