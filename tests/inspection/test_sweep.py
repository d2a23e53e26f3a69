"""Sweeps against patches that are made one by one, on the reference model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nextword
from nextword.errors import ConfigError, NextwordError, TextError
from nextword.figures import save_figure, sweep_figure
from nextword.inspection.sweep import patch_map
from tests.inspection.models import language_model
from tests.inspection.test_edited_backend import native_model

CLEAN, CORRUPTED = "abcdefgh", "abkdefgh"


def difference(lm: nextword.LanguageModel, text: str, target: int, against: int) -> float:
    logits = lm.predict(text).logits
    return float(logits[target]) - float(logits[against])


@pytest.mark.parametrize("name", ["resid_pre", "attn_out", "mlp_out", "z", "k"])
@pytest.mark.parametrize("case", ["qwen3", "gpt2", "lesson"])
def test_each_cell_is_the_patch_made_alone(case: str, name: str) -> None:
    lm = language_model(case)
    clean = lm.trace(CLEAN)
    found = patch_map(lm, CLEAN, CORRUPTED, (3, 5), name)
    assert found.values.shape == (lm.config.num_layers, len(CORRUPTED))
    assert found.columns == tuple(CORRUPTED)
    assert found.clean == pytest.approx(difference(lm, CLEAN, 3, 5), abs=1e-5)
    assert found.corrupted == pytest.approx(difference(lm, CORRUPTED, 3, 5), abs=1e-5)
    for layer in range(lm.config.num_layers):
        for place in range(len(CORRUPTED)):
            patched = lm.edit(nextword.patch((name, layer), clean, positions=[place]))
            assert found.values[layer, place] == pytest.approx(difference(patched, CORRUPTED, 3, 5), abs=1e-5)
    if name == "resid_pre":  # at the first layer only the place that differs tells anything, and it tells all
        restored = found.restored[0]
        assert restored[2] == pytest.approx(1, abs=1e-4)
        assert np.abs(np.delete(restored, 2)).max() < 1e-4


@pytest.mark.parametrize("name", ["resid_pre", "mlp_out", "v"])
def test_on_the_native_backend_each_cell_has_the_bits_of_the_patch_alone_under_edits_too(name: str) -> None:
    plain = native_model(language_model("qwen3"))
    shift = np.linspace(-1, 1, plain.config.d_model)
    lm = plain.edit(nextword.add(("resid_pre", 1), shift, positions=[1, 4]), nextword.scale(("mlp_out", 2), 0.5))
    found = patch_map(lm, CLEAN, CORRUPTED, (3, 5), name)
    values = lm.trace(CLEAN)
    for layer in range(lm.config.num_layers):
        for place in range(len(CORRUPTED)):
            patched = lm.edit(nextword.set_value((name, layer), values[name, layer][place], positions=[place]))
            assert found.values[layer, place] == difference(patched, CORRUPTED, 3, 5)
    assert not np.array_equal(found.values, patch_map(plain, CLEAN, CORRUPTED, (3, 5), name).values)


def test_heads_are_swept_over_all_positions_or_some() -> None:
    lm = language_model("qwen3")
    clean = lm.trace(CLEAN)
    heads = range(lm.config.num_heads)
    for positions in (None, [2, 5]):
        found = patch_map(lm, CLEAN, CORRUPTED, ("d", "f"), "z", layers=[-1, 0], positions=positions, heads=[*heads])
        assert found.layers == (lm.config.num_layers - 1, 0)
        assert found.axis == "head"
        for row, layer in enumerate(found.layers):
            for head in heads:
                patched = lm.edit(nextword.patch(("z", layer), clean, positions=positions, heads=[head]))
                assert found.values[row, head] == pytest.approx(difference(patched, CORRUPTED, 3, 5), abs=1e-5)


def test_texts_of_unequal_length_say_what_belongs_together() -> None:
    lm = language_model("qwen3")
    with pytest.raises(ConfigError, match="the clean text has 8 tokens, the corrupted one 3"):
        patch_map(lm, CLEAN, "abc", (3, 5))
    found = patch_map(lm, CLEAN, "abc", lambda logits: logits.max(), positions={0: 4, -1: -1})
    assert found.values.shape == (lm.config.num_layers, 2)
    last = lm.trace(CLEAN)["resid_pre", lm.config.num_layers - 1][-1]
    edit = nextword.set_value(("resid_pre", lm.config.num_layers - 1), last, positions=[2])
    assert found.values[-1, 1] == pytest.approx(float(lm.edit(edit).predict("abc").logits.max()), abs=1e-5)
    assert found.clean == pytest.approx(found.values[-1, 1], abs=1e-5) or lm.config.position == "rotary"


def test_a_native_model_needs_no_torch_and_gives_the_reference_numbers() -> None:
    lm = nextword.load()
    clean, corrupted = "배가 고파서 밥을", "목이 말라서 밥을"
    if len(lm.tokenizer.encode_start(clean)) != len(lm.tokenizer.encode_start(corrupted)):
        corrupted = clean.replace("밥", "물")
    native = patch_map(lm, clean, corrupted, lambda logits: float(logits[400]), layers=[0, 2])
    reference = nextword.LanguageModel.from_model(lm.reference, lm.tokenizer)
    torch = patch_map(reference, clean, corrupted, lambda logits: float(logits[400]), layers=[0, 2])
    assert native.values == pytest.approx(torch.values, abs=1e-3)
    assert "most" in str(native)
    assert native.to_json()["columns"] == list(native.columns)
    assert "<table" in native._repr_html_()


def test_what_cannot_be_swept_is_said_in_one_line() -> None:
    lm = language_model("qwen3")
    for change, message in (
        ({"name": "pattern"}, "no kind of value that has one row"),
        ({"name": "embed"}, "no kind of value that has one row"),
        ({"layers": [7]}, "there is no layer 7"),
        ({"positions": [8]}, "it must be places of the texts"),
        ({"positions": {"a": 1}}, "it must be places of the texts"),
        ({"positions": 3}, "positions is 3"),
        ({"heads": [0]}, "has 0 heads"),
        ({"metric": (1, 2, 3)}, "metric has 3 tokens"),
        ({"metric": 3}, "metric is 3"),
        ({"metric": list}, "metric gives no number"),
    ):
        with pytest.raises(ConfigError, match=message):
            patch_map(**{"lm": lm, "clean": CLEAN, "corrupted": CORRUPTED, "metric": (3, 5), **change})  # type: ignore[arg-type]
    with pytest.raises(TextError, match="empty"):
        patch_map(lm, "", CORRUPTED, (3, 5))
    same = patch_map(lm, CLEAN, CLEAN, (3, 5))
    assert str(same) == repr(same)
    with pytest.raises(NextwordError, match="nothing to restore"):
        _ = same.restored


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("case", ["qwen3", "gpt2", "lesson"])
def test_each_cell_is_the_ablation_made_alone(case: str, backend: str) -> None:
    plain = language_model(case)
    lm = native_model(plain) if backend == "native" else plain
    others = ["hgfedcba", "aacceeggbb", "abababab"]
    traces = [plain.trace(text) for text in others]
    for name in ("mlp_out", "z"):
        zero = nextword.ablate_map(lm, CLEAN, (3, 5), name)
        mean = nextword.ablate_map(lm, CLEAN, (3, 5), name, by="mean", texts=others)
        resampled = nextword.ablate_map(lm, CLEAN, (3, 5), name, by="resample", texts=others)
        assert zero.plain == mean.plain == resampled.plain == pytest.approx(difference(plain, CLEAN, 3, 5), abs=1e-5)
        for layer in range(lm.config.num_layers):
            average = np.concatenate([trace[name, layer] for trace in traces]).mean(0)
            for place in range(len(CLEAN)):
                edits = {
                    "zero": [nextword.set_value((name, layer), 0.0, positions=[place])],
                    "mean": [nextword.set_value((name, layer), average, positions=[place])],
                    "resample": [
                        nextword.set_value((name, layer), trace[name, layer][place], positions=[place])
                        for trace in traces
                    ],
                }
                for by, found in (("zero", zero), ("mean", mean), ("resample", resampled)):
                    alone = np.mean([difference(plain.edit(edit), CLEAN, 3, 5) for edit in edits[by]])
                    assert found.values[layer, place] == pytest.approx(alone, abs=2e-5)
                    assert found.effects[layer, place] == pytest.approx(alone - found.plain, abs=2e-5)


def test_heads_are_ablated_over_all_positions_or_some() -> None:
    plain = language_model("qwen3")
    lm, other = native_model(plain), "hgfedcbaa"
    heads = [*range(lm.config.num_heads)]
    for positions in (None, [2, -1]):
        for by, texts in (("zero", ()), ("resample", (other,))):
            found = nextword.ablate_map(
                lm, CLEAN, ("d", "f"), layers=[1, 0], positions=positions, heads=heads, by=by, texts=texts
            )
            assert (found.layers, found.axis, found.columns) == ((1, 0), "head", tuple(f"H{head}" for head in heads))
            places = range(8) if positions is None else [2, 7]
            for row, layer in enumerate(found.layers):
                rows = plain.trace(other)["z", layer][list(places)]
                for head in heads:
                    value = 0.0 if by == "zero" else rows[:, head]
                    edits = [
                        nextword.set_value(("z", layer), value if by == "zero" else value[i], [place], heads=[head])
                        for i, place in enumerate(places)
                    ]
                    assert found.values[row, head] == pytest.approx(
                        difference(plain.edit(*edits), CLEAN, 3, 5), abs=2e-5
                    )


def test_what_cannot_be_ablated_is_said_in_one_line() -> None:
    lm = language_model("qwen3")
    for change, message in (
        ({"by": "mean"}, "takes texts"),
        ({"texts": ["a"]}, "takes no texts"),
        ({"by": "resample", "texts": ["abc"]}, "a text to resample from has 3 tokens, there is no position 7"),
        ({"by": "noise"}, "by is 'noise', it must be zero, mean or resample"),
        ({"heads": [99]}, "has 6 heads"),
        ({"positions": [8]}, "it must be places of the text"),
    ):
        with pytest.raises(ConfigError, match=message):
            nextword.ablate_map(**{"lm": lm, "text": CLEAN, "metric": (3, 5), **change})  # type: ignore[arg-type]


def test_a_sweep_is_drawn_and_printed(tmp_path: Path) -> None:
    lm = native_model(language_model("qwen3"))
    for found in (
        patch_map(lm, CLEAN, CORRUPTED, (3, 5)),
        nextword.ablate_map(lm, CLEAN, (3, 5), heads=[0, 1, 2]),
        patch_map(lm, CLEAN, CLEAN, (3, 5)),
    ):
        figure = sweep_figure(found, title="무엇이 답을 나르는가")
        image = figure.axes[0].get_images()[0]
        np.testing.assert_array_equal(image.get_array(), found.shown()[0])
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(found.columns)
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "1", "2"]
        assert save_figure(figure, tmp_path / "sweep.svg") is None or (tmp_path / "sweep.svg").stat().st_size
        assert found.to_json()["plain"] == found.plain
        assert repr(found) in str(found)
