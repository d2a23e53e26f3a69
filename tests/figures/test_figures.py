"""The lesson's figure shows the model's own values, and says what it cannot draw."""

import itertools
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

pytest.importorskip("seaborn")
import matplotlib
from matplotlib.figure import Figure

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError, TextError, install_command
from nextword.figures import DPI, embedding_figure, fonts, save_figure
from nextword.figures.canvas import diverging
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from nextword.tokens.visible import visible

WORDS = ["hello", "world", "this", "is", "a", "test", "model", "GPT", "language", "AI"]
KOREAN = "나는 오늘 학교에 갔다. 하늘이 맑고 바람이 불었다.\n우리는 함께 노래를 불렀다."
KOREAN_FONT = any(family in fonts.installed_families() for family in fonts._PREFERRED)
needs_korean_font = pytest.mark.skipif(not KOREAN_FONT, reason="no Korean font is installed")


@pytest.fixture
def words() -> Tokenizer:
    return Tokenizer.words(WORDS)


@pytest.fixture
def lesson() -> GPTModel:
    torch.manual_seed(0)
    return GPTModel(100, 128, 4, 4, 0.1, 20)


@pytest.fixture(scope="module")
def syllables() -> Tokenizer:
    return Tokenizer.train_bpe([KOREAN] * 3, 300)


def rotary(tokenizer: Tokenizer, **fields: object) -> GPTModel:
    torch.manual_seed(0)
    return GPTModel.from_config(GPTConfig.preset("tiny", tokenizer.vocab_size, 256, **fields))


def learned(tokenizer: Tokenizer, context_length: int = 256) -> GPTModel:
    torch.manual_seed(0)
    config = GPTConfig.gpt2(tokenizer.vocab_size, context_length, d_model=48, num_heads=4, num_layers=1)
    return GPTModel.from_config(config)


def panels(figure: Figure):
    return [axes for axes in figure.axes if axes.get_title()]


def drawn(axes) -> np.ndarray:
    return axes.collections[0].get_array()


def row_labels(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def note(figure: Figure) -> str:
    return figure.get_supxlabel()


def render(figure: Figure) -> None:
    """Draws it; pytest turns matplotlib's warnings (a missing glyph, no room) into errors."""
    figure.draw_without_rendering()


# -- values --------------------------------------------------------------------------------------------------------


def test_the_heatmaps_hold_exactly_the_models_vectors(lesson, words):
    text = "hello world this is a test"
    token, position, combined = panels(embedding_figure(lesson, words, text))
    ids = words.encode(text)
    with torch.no_grad():
        expected_token = lesson.token_embedding.weight[ids].numpy()
        expected_position = lesson.position_encoding.weight[: len(ids)].numpy()
    np.testing.assert_array_equal(drawn(token), expected_token)
    np.testing.assert_array_equal(drawn(position), expected_position)
    np.testing.assert_array_equal(drawn(combined), drawn(token) + drawn(position))
    assert drawn(token).dtype == np.float32
    assert [axes.get_title() for axes in (token, position, combined)] == ["Token embedding", "Position", "Combined"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_precision_is_drawn_unchanged(lesson, words, dtype):
    lesson.to(dtype)
    token, *_ = panels(embedding_figure(lesson, words, "AI test"))
    np.testing.assert_array_equal(drawn(token), lesson.token_embedding.weight[[9, 5]].detach().double().numpy())


def test_one_colour_scale_symmetric_about_zero_serves_all_three(lesson, words):
    figure = embedding_figure(lesson, words, "hello world")
    largest = max(np.abs(drawn(axes)).max() for axes in panels(figure))
    for axes in panels(figure):
        mesh = axes.collections[0]
        assert mesh.get_clim() == (-largest, largest)
        assert mesh.get_cmap() == diverging()
    bars = [axes for axes in figure.axes if not axes.get_title()]
    assert [bar.get_ylabel() for bar in bars] == ["value"]
    assert bars[0].get_ylim() == (-largest, largest)


def test_an_outlier_dimension_does_not_grey_out_the_others_and_the_bar_says_so(lesson, words):
    lesson.position_encoding.weight.data[0, 7] = 1000.0
    figure = embedding_figure(lesson, words, "hello world this is")
    low, high = panels(figure)[0].collections[0].get_clim()
    assert -low == high < 10
    assert drawn(panels(figure)[1])[0, 7] == 1000.0
    assert figure.axes[-1].get_ylabel() == f"value (beyond ±{high:.3g}: drawn as ±{high:.3g})"


def test_a_model_of_zeros_and_one_of_nans_are_drawn(lesson, words):
    lesson.token_embedding.weight.data.zero_()
    lesson.position_encoding.weight.data.zero_()
    figure = embedding_figure(lesson, words, "hello")
    assert panels(figure)[0].collections[0].get_clim() == (-1.0, 1.0)
    lesson.position_encoding.weight.data.fill_(torch.nan)
    figure = embedding_figure(lesson, words, "hello")
    render(figure)
    assert note(figure) == "256 values infinite or no number (left white)"


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_a_rotary_model_shows_how_its_queries_turn_and_that_nothing_is_added(syllables, layout):
    model = rotary(syllables, rope_layout=layout)
    figure = embedding_figure(model, syllables, "나는 오늘")
    token, turns, combined = panels(figure)
    T = len(drawn(token))
    angles = np.outer(np.arange(T), 10000.0 ** (-np.arange(0, 32, 2) / 32))
    np.testing.assert_allclose(drawn(turns), np.cos(angles), atol=1e-7)
    assert turns.collections[0].get_clim() == (-1.0, 1.0)
    assert turns.get_title() == "Rotary position (turns q and k; nothing is added)"
    assert combined.get_title() == "Combined (= token embedding)"
    np.testing.assert_array_equal(drawn(combined), drawn(token))
    assert [axes.get_ylabel() for axes in figure.axes if not axes.get_title()] == ["cosine of the angle", "value"]


def test_layers_that_are_not_turned_are_named(syllables):
    figure = embedding_figure(rotary(syllables, no_rope_layers=(1, 3)), syllables, "나는")
    assert panels(figure)[1].get_xlabel() == "pair of channels, in every head (but not in layers 1, 3)"


def test_the_model_is_left_as_it_was(lesson, words):
    lesson.train()
    state = torch.get_rng_state()
    embedding_figure(lesson, words, "hello world")
    assert lesson.training
    assert torch.equal(torch.get_rng_state(), state)


# -- rows and layout -----------------------------------------------------------------------------------------------


def test_rows_are_labelled_with_the_pieces_blanks_visible(syllables):
    text = "학교\t뷁\n go"
    figure = embedding_figure(learned(syllables), syllables, text)
    pieces = syllables.pieces(syllables.encode(text))
    assert any(piece.parts == 3 for piece in pieces)
    expected = [piece.label.replace(piece.text, visible(piece.text)) for piece in pieces]
    if KOREAN_FONT:
        assert row_labels(panels(figure)[0]) == row_labels(panels(figure)[2]) == expected
        assert expected[-7:-2] == ["뷁 1/3", "뷁 2/3", "뷁 3/3", "↵", "␣"]
    assert row_labels(panels(figure)[1]) == [str(i) for i in range(len(pieces))]


def test_dollar_signs_are_text_not_formulas():
    text = "$x^$ _{"
    tokenizer = Tokenizer.characters(text)
    figure = embedding_figure(GPTModel(10, 8, 2, 1, 0.0, 20), tokenizer, text, title="$\\frac$")
    render(figure)
    assert row_labels(panels(figure)[0]) == ["$", "x", "^", "$", "␣", "_", "{"]
    assert figure.get_suptitle() == "$\\frac$"


def test_a_long_piece_is_cut_but_keeps_its_number():
    tokenizer = Tokenizer.words(["supercalifragilisticexpialidocious", "x"])
    figure = embedding_figure(GPTModel(2, 8, 2, 1, 0.0, 20), tokenizer, "supercalifragilisticexpialidocious x")
    assert row_labels(panels(figure)[0]) == ["supercalifragilistic…", "␣x"]


def test_the_lessons_size_grows_with_the_text_up_to_a_limit():
    sizes = {}
    for count in (5, 60, 113, 300):
        tokenizer = Tokenizer.characters("ab")
        figure = embedding_figure(GPTModel(2, 8, 2, 1, 0.0, 300), tokenizer, ("ab" * 150)[:count])
        sizes[count] = tuple(float(inches) for inches in figure.get_size_inches())
        shown = row_labels(panels(figure)[0])
        if count < 300:
            assert len(shown) == count
            assert note(figure) == ""
        else:
            assert len(shown) == 100
            assert note(figure) == "one label in 3 is written"
            assert len(drawn(panels(figure)[0])) == 300
    assert sizes[5] == (18.0, 5.0)
    assert sizes[60] == pytest.approx((18.0, 13.2))
    assert sizes[113] == pytest.approx((18.0, 23.8))
    assert sizes[300] == (18.0, 24.0)


@pytest.mark.parametrize("kind", ["learned", "rotary"])
def test_panels_are_aligned_and_labels_do_not_overlap(syllables, kind):
    model = learned(syllables) if kind == "learned" else rotary(syllables)
    figure = embedding_figure(model, syllables, KOREAN[:45])
    render(figure)
    boxes = [axes.get_position() for axes in figure.axes]
    assert {round(box.y0, 9) for box in boxes} == {round(boxes[0].y0, 9)}
    assert {round(box.y1, 9) for box in boxes} == {round(boxes[0].y1, 9)}
    assert len({round(axes.get_position().width, 9) for axes in panels(figure)}) == 1
    extents = [label.get_window_extent() for label in panels(figure)[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(extents))
    assert min(extent.x0 for extent in extents) >= 0


def test_a_768_wide_model_has_a_pixel_for_each_dimension_and_a_wider_one_says_it_has_not(words):
    for width, said in (
        (768, ""),
        (2048, "3 x 2048 values are more than the picture has points for: some are not seen"),
    ):
        figure = embedding_figure(GPTModel(10, width, 4, 1, 0.0, 20), words, "a test model")
        render(figure)
        assert note(figure) == said
        assert (panels(figure)[0].get_window_extent().width >= width) == (said == "")
        assert len(panels(figure)[0].get_xticks()) <= 9


def test_pyplot_and_the_global_settings_are_left_alone(lesson, words, tmp_path):
    from matplotlib import pyplot

    before, backend = matplotlib.rcParams.copy(), matplotlib.get_backend(auto_select=False)
    save_figure(embedding_figure(lesson, words, "hello"), tmp_path / "a.svg")
    assert pyplot.get_fignums() == []
    assert matplotlib.rcParams.copy() == before
    assert matplotlib.get_backend(auto_select=False) == backend


def test_threads_draw_the_same_picture_as_one(lesson, words, tmp_path):
    def draw(name: str) -> None:
        save_figure(embedding_figure(lesson, words, "hello world"), tmp_path / name)

    draw("alone.svg")
    threads = [threading.Thread(target=draw, args=(f"{i}.svg",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(tmp_path / f"{i}.svg").read_bytes() for i in range(3)} == {(tmp_path / "alone.svg").read_bytes()}


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   "])
def test_a_text_without_tokens_is_refused(lesson, words, text):
    with pytest.raises(TextError, match="empty"):
        embedding_figure(lesson, words, text)


def test_a_text_longer_than_the_context_is_refused(lesson, words):
    with pytest.raises(ContextOverflowError) as caught:
        embedding_figure(lesson, words, "hello " * 21)
    assert (caught.value.n_prompt_tokens, caught.value.context_length) == (21, 20)


def test_a_tokenizer_of_another_model_is_refused(words):
    with pytest.raises(TextError, match="token id 9 is not in the model's vocabulary of 5 tokens"):
        embedding_figure(GPTModel(5, 8, 2, 1, 0.0, 20), words, "AI")


@pytest.mark.parametrize("package", ["matplotlib", "seaborn"])
def test_a_missing_package_is_named_with_its_extra(lesson, words, monkeypatch, package):
    for name in ("matplotlib", "matplotlib.figure", "seaborn"):
        if name.startswith(package):
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=f"drawing figures needs {package}") as caught:
        embedding_figure(lesson, words, "hello")
    assert caught.value.hint == install_command("'nextword[figures]'")


# -- fonts ---------------------------------------------------------------------------------------------------------


@needs_korean_font
def test_a_korean_font_stands_behind_the_base_font():
    choice = fonts.choose_fonts("한국어 abc → ␣ 뷁")
    assert choice.families[0] == "DejaVu Sans"
    assert len(choice.families) == 2
    assert choice.missing == ()
    assert choice.note == ""


@needs_korean_font
def test_korean_labels_and_title_are_drawn_without_a_missing_glyph(syllables):
    figure = embedding_figure(learned(syllables), syllables, KOREAN[:30], title="한국어")
    render(figure)
    assert note(figure) == ""
    assert panels(figure)[0].get_yticklabels()[0].get_fontfamily() == list(fonts.choose_fonts("한").families)


def test_without_a_korean_font_code_points_are_written_and_a_note_says_what_helps(syllables, monkeypatch):
    monkeypatch.setattr(fonts, "installed_families", lambda: {"DejaVu Sans"})
    figure = embedding_figure(learned(syllables), syllables, "가 나\n", title="가나 a")
    render(figure)
    assert row_labels(panels(figure)[0])[0] == "U+AC00 1/2"
    assert row_labels(panels(figure)[0])[-1] == "↵"
    assert figure.get_suptitle() == "U+AC00 U+B098 a"
    assert note(figure).startswith("no installed font has U+AC00, U+B098: install a Korean font, e.g. fonts-nanum")
    assert fonts.choose_fonts("가나").missing == ("가", "나")


def test_emoji_that_no_font_can_draw_go_the_same_way(syllables, monkeypatch):
    monkeypatch.setattr(fonts, "installed_families", lambda: {"DejaVu Sans", "Last Resort High-Efficiency"})
    figure = embedding_figure(learned(syllables), syllables, "👨‍👩‍👧")
    render(figure)
    labels = row_labels(panels(figure)[0])
    assert labels == [f"U+1F468 U+200D… {i}/18" for i in range(1, 19)]
    assert note(figure) == (
        "no installed font has U+1F467, U+1F468, U+1F469: such characters are shown by their code points"
    )


def test_nothing_invisible_stays_invisible():
    assert visible(" a\tb\n") == "␣a⇥b↵"
    assert visible("\x00\u200b \ufeff") == "U+0000 U+200B␣U+FEFF"
    assert visible("가나다", "나다") == "가U+B098 U+B2E4"
    assert "\u2800" in fonts.choose_fonts("a\u2800").missing  # DejaVu's blank Braille pattern


def test_a_font_whose_file_is_gone_is_passed_over(monkeypatch):
    from matplotlib import font_manager

    gone = font_manager.FontEntry(fname="/nowhere/Gone.ttf", name="Gone Sans", weight=400)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist, gone])
    assert "Gone Sans" in fonts.installed_families()
    assert fonts.choose_fonts("👍").missing == ("👍",)


def test_many_missing_characters_are_counted():
    choice = fonts.FontChoice(("DejaVu Sans",), tuple("가각간갇갈갉갊감"))
    assert "U+AC08, U+AC09 and 2 more: install" in choice.note
    filler = fonts.FontChoice(("DejaVu Sans",), ("\u3164",))
    assert filler.note == "no installed font has U+3164: such characters are shown by their code points"


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def figure(lesson, words) -> Figure:
    return embedding_figure(lesson, words, "hello world")


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n\x1a\n"), (".svg", b"<?xml"), (".pdf", b"%PDF-")])
def test_each_format_is_written_and_the_same_picture_gives_the_same_bytes(lesson, words, tmp_path, suffix, magic):
    written = []
    for name in ("a", "b"):
        save_figure(embedding_figure(lesson, words, "hello world"), tmp_path / f"{name}{suffix}")
        written.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert written[0].startswith(magic)
    assert written[0] == written[1]
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_the_png_has_the_fixed_resolution(figure, tmp_path):
    save_figure(figure, tmp_path / "a.PNG")
    header = (tmp_path / "a.PNG").read_bytes()[16:24]
    assert (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) == (18 * DPI, 5 * DPI)


def test_svg_letters_are_paths_so_that_no_font_is_needed(figure, tmp_path):
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        save_figure(figure, tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()  # noqa: S314  our own file
    names = [element.tag.rsplit("}")[-1] for element in root.iter()]
    assert names.count("text") == 0
    assert names.count("image") >= 3
    assert names.count("date") == 0


def test_another_process_writes_the_same_svg_and_pdf(tmp_path):
    script = (
        "import sys, torch\n"
        "from nextword.figures import embedding_figure, save_figure\n"
        "from nextword.model import GPTModel\n"
        "from nextword.tokens import Tokenizer\n"
        "torch.manual_seed(0)\n"
        "figure = embedding_figure(GPTModel(3, 8, 2, 1, 0.0, 9), Tokenizer.characters('ab '), 'a b')\n"
        "for path in sys.argv[1:]: save_figure(figure, path)\n"
    )
    source = str(Path(fonts.__file__).parents[3])
    for seed in ("1", "2"):
        files = [str(tmp_path / f"{seed}.{suffix}") for suffix in ("svg", "pdf")]
        environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", script, *files], check=True, env=environment)
    for suffix in ("svg", "pdf"):
        assert (tmp_path / f"1.{suffix}").read_bytes() == (tmp_path / f"2.{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.gz"])
def test_another_suffix_is_refused_with_the_supported_ones(figure, tmp_path, name):
    with pytest.raises(ConfigError, match="unknown suffix") as caught:
        save_figure(figure, tmp_path / name)
    assert caught.value.hint == "supported: .png, .svg, .pdf"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_one_line(figure, tmp_path):
    with pytest.raises(ConfigError) as caught:
        save_figure(figure, tmp_path / "no" / "a.png")
    assert str(caught.value) == f"cannot write {tmp_path}/no/a.png: there is no directory {tmp_path}/no"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(figure, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        save_figure(figure, tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_a_directory_or_an_endless_name_cannot_be_written(figure, tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ConfigError, match="cannot write"):
        save_figure(figure, tmp_path / "a.png")
    with pytest.raises(ConfigError, match="File name too long"):
        save_figure(figure, tmp_path / ("a" * 300 + ".png"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_drawing_that_fails_leaves_no_file(figure, tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "savefig", lambda *args, **kwargs: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        save_figure(figure, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@needs_korean_font
def test_korean_is_written_to_every_format_without_a_warning(syllables, tmp_path):
    figure = embedding_figure(learned(syllables), syllables, "나는 학교에", title="나는 → 학교에")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in ("png", "svg", "pdf"):
            save_figure(figure, tmp_path / f"a.{suffix}")
            assert (tmp_path / f"a.{suffix}").stat().st_size > 5000
