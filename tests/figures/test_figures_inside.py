"""Figures of a trace show the trace's own numbers, in any script, and say what they leave out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("seaborn")
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nextword.colours import NEGATIVE, POSITIVE
from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.figures import (
    ablation_figure,
    attention_figure,
    attribution_figure,
    fonts,
    lens_figure,
    logit_attribution_figure,
    next_token_figure,
    residual_norms_figure,
    save_figure,
)
from nextword.figures.attention import WHOLE
from nextword.figures.canvas import cut, signed, text_colour
from nextword.generation import Sampling
from nextword.inspection.attribution import logit_attribution
from nextword.inspection.edits import ablate_head
from nextword.inspection.heads import ablation_map
from nextword.language_model import LanguageModel
from nextword.model import GPTModel
from nextword.tokens import Tokenizer
from tests.inspection.models import language_model, some_tokens

KOREAN = "나는 오늘 학교에 갔다. 하늘이 맑고 바람이 불었다."
needs_korean_font = pytest.mark.skipif(
    not any(family in fonts.installed_families() for family in fonts._PREFERRED), reason="no Korean font is installed"
)


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return language_model("llama")


@pytest.fixture(scope="module")
def ids() -> list[int]:
    return some_tokens("llama", 7)


@pytest.fixture(scope="module")
def korean() -> LanguageModel:
    tokenizer = Tokenizer.train_bpe([KOREAN] * 3, 300)
    torch.manual_seed(0)
    config = GPTConfig.llama(tokenizer.vocab_size, 256, d_model=24, num_heads=3, num_layers=2, d_ff=30)
    return LanguageModel.from_model(GPTModel.from_config(config), tokenizer)


def labels(axes: Axes, side: str) -> list[str]:
    return [label.get_text() for label in (axes.get_xticklabels() if side == "x" else axes.get_yticklabels())]


def bars(axes: Axes) -> list[float]:
    return [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]


def image(axes: Axes) -> np.ndarray[Any, Any]:
    [drawn] = axes.images
    return np.asarray(drawn.get_array())


def render(figure: Figure) -> None:
    """pytest turns matplotlib's warnings (a missing glyph, no room) into errors."""
    figure.draw_without_rendering()


# -- attention ---------------------------------------------------------------------------------------------------------


def test_a_dots_area_is_the_weight_and_nothing_is_above_the_diagonal(llama, ids):
    trace = llama.trace(ids)
    figure = attention_figure(trace, 1, 4)
    render(figure)
    [dots] = figure.axes[0].collections
    rows, columns = np.tril_indices(len(ids))
    weights = trace["pattern", 1][4][rows, columns]
    np.testing.assert_array_equal(dots.get_array(), weights)
    np.testing.assert_array_equal(dots.get_offsets(), np.column_stack([columns, rows]))
    np.testing.assert_allclose(dots.get_widths() ** 2, WHOLE**2 * weights, rtol=1e-6)
    np.testing.assert_array_equal(dots.get_widths(), dots.get_heights())
    assert figure.axes[0].get_title() == "layer 1, head 4"
    assert labels(figure.axes[0], "x") == labels(figure.axes[0], "y") == [piece.text for piece in trace.tokens]


def test_every_head_of_a_layer_gets_its_panel(llama, ids):
    trace = llama.trace(ids)
    panels = [axes for axes in attention_figure(trace, 2).axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [f"layer 2, head {head}" for head in range(6)]
    lower = np.tril_indices(len(ids))
    for head, axes in enumerate(panels):
        np.testing.assert_array_equal(axes.collections[0].get_array(), trace["pattern", 2][head][lower])


def test_dots_stay_inside_their_cells_and_visible_on_white(llama, ids):
    figure = attention_figure(llama.trace(ids), 0, 0)
    [dots] = figure.axes[0].collections
    assert dots.get_widths().max() <= 1
    assert dots.get_clim() == (0, 1)
    palest = dots.get_cmap()(0.0)
    assert max(palest[:3]) < 0.75


@pytest.mark.parametrize(("layer", "head"), [(3, 0), (0, 6), (0, -1)])
def test_a_layer_or_head_that_is_not_there_is_refused(llama, ids, layer, head):
    with pytest.raises(ConfigError):
        attention_figure(llama.trace(ids), layer, head)


def test_a_single_token_and_a_long_text_have_room(korean):
    for text in (KOREAN[0], (KOREAN * 2)[:60]):
        for figure in (attention_figure(korean.trace(text), 0), residual_norms_figure(korean.trace(text))):
            render(figure)
            assert max(figure.get_size_inches()) <= 26.5 + 1.6


def test_labels_without_room_are_thinned_and_a_note_says_so(korean):
    trace = korean.trace(KOREAN * 2)
    figure = attention_figure(trace, 0)
    shown = labels(figure.axes[0], "y")
    step = -(-len(trace.tokens) // len(shown))
    assert step > 1
    assert f"one label in {step} is written" in figure.get_supxlabel().splitlines()


# -- lens --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["probability", "rank", "kl", "entropy"])
def test_the_lens_grid_holds_each_layers_value_and_first_choice(llama, ids, colour):
    trace = llama.trace(ids)
    lens = trace.lens(1)
    figure = lens_figure(trace, colour)
    render(figure)
    axes = figure.axes[0]
    expected = {
        "probability": lens.probabilities[..., 0],
        "rank": np.log10(lens.target_rank),
        "kl": lens.kl,
        "entropy": lens.entropy,
    }[colour]
    np.testing.assert_array_equal(image(axes), expected)
    assert axes.images[0].origin == "lower"
    written = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    assert written == {(p, row): lens.label(row, p) for row in range(4) for p in range(7)}
    assert labels(axes, "y") == ["embedding", "layer 0", "layer 1", "layer 2"]
    assert labels(axes, "x") == [piece.text for piece in trace.tokens]


def test_chosen_positions_only_are_drawn_and_the_others_counted(llama, ids):
    trace = llama.trace(ids)
    figure = lens_figure(trace, positions=[1, -1])
    # Fewer positions are other matrix products, whose last bits may differ.
    np.testing.assert_allclose(image(figure.axes[0]), trace.lens(1).probabilities[:, [1, 6], 0], rtol=1e-5)
    assert labels(figure.axes[0], "x") == [trace.tokens[1].text, trace.tokens[6].text]
    assert figure.get_supxlabel() == "5 other positions are not shown"


def test_another_colour_is_refused_with_those_there_are(llama, ids):
    with pytest.raises(ConfigError, match="no colour 'red'") as caught:
        lens_figure(llama.trace(ids), "red")  # type: ignore[arg-type]
    assert caught.value.hint == "colours: probability, rank, kl, entropy"


def test_ink_stands_out_from_every_cell(llama, ids):
    figure = lens_figure(llama.trace(ids), "entropy")
    [drawn] = figure.axes[0].images
    shades = drawn.to_rgba(image(figure.axes[0]))
    for text in figure.axes[0].texts:
        column, row = map(int, text.get_position())
        assert text.get_color() == text_colour(shades[row, column])
    shades = [(0.0, 0.13, 0.3), (1.0, 0.9, 0.2), (0.5, 0.5, 0.5)]
    assert [text_colour(shade) for shade in shades] == ["white", "black", "black"]


# -- norms -------------------------------------------------------------------------------------------------------------


def test_norms_are_those_of_the_stream_and_of_what_each_sublayer_added(llama, ids):
    trace = llama.trace(ids)
    left, right, *_ = residual_norms_figure(trace).axes
    streams = np.array([np.linalg.norm(trace.residual(layer), axis=-1) for layer in range(4)])
    np.testing.assert_array_equal(image(left), streams)
    assert labels(left, "y") == ["into 0", "into 1", "into 2", "into the head"]
    drawn = {line.get_label(): line.get_ydata() for line in right.lines}
    for name, value in (("attention adds", "attn_out"), ("feed-forward adds", "mlp_out")):
        expected = [np.linalg.norm(trace[value, layer][1:], axis=-1).mean() for layer in range(3)]
        np.testing.assert_allclose(drawn[name], expected, rtol=1e-6)
    np.testing.assert_allclose(drawn["the stream itself"], streams[:, 1:].mean(1), rtol=1e-6)


def test_an_architecture_without_a_stream_is_drawn_and_the_note_says_so():
    lesson = language_model("lesson")
    figure = residual_norms_figure(lesson.trace(some_tokens("lesson", 5)))
    render(figure)
    assert "adds to its normalised input" in figure.get_supxlabel()


# -- next token --------------------------------------------------------------------------------------------------------


def test_each_stage_of_sampling_has_its_bars(llama, ids):
    prediction = llama.predict("abcde", 8)
    sampling = Sampling(temperature=0.6, top_k=4, top_p=0.9)
    stages = prediction.stages(sampling)
    figure = next_token_figure(prediction, sampling, top=8)
    render(figure)
    order = [candidate.token_id for candidate in prediction]
    for axes, stage in zip(figure.axes, (prediction.probabilities, stages.tempered, stages.distribution), strict=True):
        np.testing.assert_allclose(bars(axes), stage[order], atol=1e-15)
    assert [axes.get_title() for axes in figure.axes] == [
        "the model's own",
        "temperature 0.6",
        "drawn from (renormalised)",
    ]
    assert f"discards {stages.discarded_mass:.2%}" in figure.axes[1].get_xlabel()
    cut_away = [text.get_text() == "cut" for text in figure.axes[2].texts]
    assert cut_away == [not stages.kept[token] for token in order]
    assert any(cut_away)
    grey = [patch.get_facecolor()[:3] for patch in figure.axes[1].patches]
    assert [len(set(colour)) == 1 for colour in grey] == cut_away
    rest = 1 - prediction.probabilities[order].sum()
    assert f"all other tokens together: {rest:.2%}" in figure.get_supxlabel()


def test_without_sampling_there_is_the_models_own_distribution_only(llama):
    figure = next_token_figure(llama.predict("abc", 5), top=5)
    assert [axes.get_title() for axes in figure.axes] == ["the model's own"]
    assert len(bars(figure.axes[0])) == 5


def test_one_token_left_is_one_token_and_no_probability_beyond_1_is_on_the_axis(llama):
    figure = next_token_figure(llama.predict("abc", 3), Sampling(temperature=0.0), top=3)
    assert bars(figure.axes[2]) == [1.0, 0.0, 0.0]
    assert figure.axes[2].get_xlabel() == "probability\n1 token left"
    assert all(max(axes.get_xticks()) <= 1 for axes in figure.axes)


# -- attribution -------------------------------------------------------------------------------------------------------


def test_gradient_x_input_is_one_bar_a_token_coloured_by_its_sign(llama, ids):
    attribution = llama.attribute(ids)
    [axes] = attribution_figure(attribution).axes
    assert bars(axes) == attribution.scores.tolist()
    assert labels(axes, "y") == [piece.text for piece in attribution.tokens]
    colours = {patch.get_facecolor(): np.sign(patch.get_width()) for patch in axes.patches}
    assert colours == {to_rgba(POSITIVE): 1.0, to_rgba(NEGATIVE): -1.0}


@pytest.mark.parametrize("case", ["gpt2", "llama", "llama, every bias"])
def test_the_parts_of_a_logit_are_drawn_and_sum_to_it(case):
    lm = language_model(case)
    attribution = logit_attribution(lm.trace(some_tokens(case, 6)))
    figure = logit_attribution_figure(attribution)
    render(figure)
    heads, mlps, parts, *_ = figure.axes
    np.testing.assert_array_equal(image(heads), attribution.heads)
    np.testing.assert_array_equal(image(mlps)[:, 0], attribution.mlps)
    assert heads.images[0].get_clim() == mlps.images[0].get_clim()
    assert sum(bars(parts)) == pytest.approx(attribution.logit, abs=1e-4)
    assert parts.get_xlabel() == f"together: {attribution.logit:.2f}"
    assert any(label.startswith("attention biases") for label in labels(parts, "y")) == (case != "llama")


def test_a_difference_of_two_logits_is_called_one():
    lm = language_model("llama")
    figure = logit_attribution_figure(lm.trace([1, 2, 3]).attribution(4, against=5))
    assert figure.get_suptitle().startswith("What made the logit of e minus that of f: ")


# -- ablation ----------------------------------------------------------------------------------------------------------


def test_the_map_of_heads_has_each_effect_around_zero(llama, ids):
    effects = ablation_map(llama.model, ids)
    figure = ablation_figure(effects)
    render(figure)
    axes = figure.axes[0]
    np.testing.assert_array_equal(image(axes), effects)
    low, high = axes.images[0].get_clim()
    assert -low == high == np.abs(effects).max()
    written = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    assert written == {(head, layer): signed(value) for (layer, head), value in np.ndenumerate(effects)}
    assert axes.images[0].origin == "lower"
    for (layer, head), value in np.ndenumerate(effects):  # blue raises, orange lowers
        red, _, blue, _ = axes.images[0].to_rgba(np.ma.masked_invalid(effects))[layer, head]
        assert np.sign(blue - red) == np.sign(value) or abs(value) < 0.01 * high


def test_effects_of_zero_and_missing_ones_are_drawn_and_noted():
    effects = np.array([[0.0, np.nan], [0.0, 0.001]])
    figure = ablation_figure(effects)
    render(figure)
    assert figure.axes[0].images[0].get_clim() == (-0.001, 0.001)
    assert figure.get_supxlabel() == "1 value infinite or no number (left white)"
    assert (signed(-0.001), signed(0.0), signed(-0.5), signed(0.5)) == ("0.00", "0.00", "-0.50", "+0.50")


def test_thirty_layers_of_nine_heads_have_a_number_each():
    effects = np.linspace(-1, 1, 270).reshape(30, 9)
    figure = ablation_figure(effects)
    render(figure)
    assert len(figure.axes[0].texts) == 270
    assert labels(figure.axes[0], "y") == [str(layer) for layer in range(30)]


# -- all of them -------------------------------------------------------------------------------------------------------


def every_figure(lm: LanguageModel, text: str) -> dict[str, Figure]:
    trace = lm.trace(text)
    return {
        "head": attention_figure(trace, 1, 0, title=text),
        "heads": attention_figure(trace, 1),
        "lens": lens_figure(trace, "rank"),
        "norms": residual_norms_figure(trace),
        "next": next_token_figure(lm.predict(text, 10), Sampling(top_p=0.9), top=10),
        "attribution": attribution_figure(lm.attribute(text)),
        "logits": logit_attribution_figure(trace.attribution()),
        "ablation": ablation_figure(ablation_map(lm.model, trace.token_ids), title=text),
    }


@needs_korean_font
def test_korean_is_written_in_every_figure_without_a_missing_glyph(korean):
    text = "나는 학교에"
    for name, figure in every_figure(korean, text).items():
        render(figure)
        assert "no installed font" not in figure.get_supxlabel(), name
    assert labels(attention_figure(korean.trace(text), 1).axes[0], "y")[0].startswith("나")
    assert next_token_figure(korean.predict(text), top=3).get_suptitle() == f"Next after: {text}"


@needs_korean_font
def test_fragments_of_a_syllable_are_numbered(korean):
    figure = attention_figure(korean.trace("나는 뷁"), 0, 0)
    assert labels(figure.axes[0], "y")[-3:] == ["뷁 1/3", "뷁 2/3", "뷁 3/3"]


def test_without_a_korean_font_code_points_are_written_and_a_note_says_what_helps(korean, monkeypatch):
    monkeypatch.setattr(fonts, "installed_families", lambda: {"DejaVu Sans"})
    figure = attention_figure(korean.trace("가"), 0, 0)
    render(figure)
    assert labels(figure.axes[0], "x")[0] == "U+AC00 1/2"
    assert "install a Korean font" in figure.get_supxlabel()


def test_dollar_signs_are_text_not_formulas():
    lm = LanguageModel.from_model(GPTModel(10, 8, 2, 1, 0.0, 20), Tokenizer.characters("$x^ _{"))
    for figure in (
        attention_figure(lm.trace("$x^$"), 0, title="$\\frac$"),
        lens_figure(lm.trace("$x^$")),
        next_token_figure(lm.predict("$x^$", 5), top=5),
        attribution_figure(lm.attribute("$x^$")),
    ):
        render(figure)
    assert labels(attention_figure(lm.trace("$x^$"), 0).axes[0], "y") == ["$", "x", "^", "$"]


def test_a_cut_text_says_that_it_is_cut():
    choice = fonts.FontChoice(("DejaVu Sans",), ())
    assert cut("supercalifragilistic", choice, 20) == "supercalifragilistic"
    assert cut("supercalifragilistic", choice, 5) == "super…"
    assert cut("가나다라", choice, 5) == "가나…"


def test_edits_are_noted(llama, ids):
    edited = llama.edit(ablate_head(1, 2))
    for figure in (
        attention_figure(edited.trace(ids), 0),
        lens_figure(edited.trace(ids)),
        residual_norms_figure(edited.trace(ids)),
    ):
        assert "the pass ran under 1 edit" in figure.get_supxlabel().splitlines()
    assert "edit" not in lens_figure(llama.trace(ids)).get_supxlabel()


def test_every_figure_is_written_in_every_format_the_same_each_time(llama, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for turn in ("a", "b"):
            (tmp_path / turn).mkdir()
            for name, figure in every_figure(llama, "abcd").items():
                for suffix in ("png", "svg", "pdf"):
                    save_figure(figure, tmp_path / turn / f"{name}.{suffix}")
    written = sorted((tmp_path / "a").iterdir())
    assert {file.suffix for file in written} == {".png", ".svg", ".pdf"}
    for file in written:
        assert file.stat().st_size > 3000
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
