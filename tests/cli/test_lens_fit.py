"""`nextword lens-fit`, and what reads through the lens: look and figure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nextword.inspection.fitted_lens import FittedLens
from nextword.loading import DEFAULT_MODEL
from tests.cli.conftest import Call

TEXT = "the cat sat on the mat and it was fat. a dog ran to the sea and back again. " * 40


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("lens")))


def test_a_lens_is_fitted_beside_the_model_and_read_through(call: Call, model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    missing = call("look", "a cat", "-m", model, "--lens", "tuned")
    assert (missing.code, missing.errors[0]) == (
        2,
        f"error: this model has no tuned lens: there is no {model}/lens/tuned.safetensors",
    )
    found = call("lens-fit", "-m", model, "--text", tmp_path / "text.txt", "--steps", "2", "--half", "--json").json
    assert found["path"] == str(model / "lens" / "tuned.safetensors")
    assert (found["kind"], found["complete"], len(found["kl_after"])) == ("tuned", True, 8)
    assert sum(found["kl_after"]) < sum(found["kl_before"])
    assert FittedLens.load(found["path"]).to_json() == {name: found[name] for name in found if name != "path"}
    assert call("info", model, "--json").json["verification"]["equal"] is True

    plain, read = (call("look", "a cat", "-m", model, "--json", "--lens", one).json for one in ("logit", "tuned"))
    assert read["lens"] == "tuned"
    assert "lens" not in plain
    assert read["candidates"] == plain["candidates"]
    assert "read through the tuned lens" in call("look", "a cat", "-m", model, "--lens", found["path"]).out
    figure = call("figure", "a cat", "-m", model, "--kind", "lens", "--lens", "tuned", "-o", tmp_path / "lens.png")
    assert (figure.code, (tmp_path / "lens.png").stat().st_size > 1000) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lens-fit"], "there is no text to fit on"),
        (["lens-fit", "--kind", "round"], "there is no lens 'round'"),
        (["look", "a cat", "--lens", "round"], "there is no lens round"),
        (["look", "a cat", "--lens", "tuned", "--html", "a.html"], "--lens is for what is printed"),
        (["figure", "a cat", "--lens", "tuned"], "--lens is for --kind lens"),
    ],
)
def test_what_does_not_go_is_said(call: Call, arguments: list[str], said: str) -> None:
    result = call(*arguments)
    assert result.code == 2
    assert said in result.errors[0]
