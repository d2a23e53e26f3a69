"""`nextword figure` draws each kind, and refuses flags of another kind."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("seaborn")

from tests.cli.conftest import Call

KINDS = ("embedding", "attention", "lens", "norms", "next", "attribution", "logits", "ablation")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_drawn_with_the_model_that_ships(call: Call, tmp_path: Path, kind: str) -> None:
    picture = tmp_path / "a.png"
    result = call("figure", "To be, 나는", "--kind", kind, "-o", picture)
    assert (result.code, result.out) == (0, f"{picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_every_kind_is_another_picture_and_the_embedding_is_the_default(call: Call, tmp_path: Path) -> None:
    for kind in KINDS:
        assert call("figure", "To be", "--kind", kind, "-o", tmp_path / f"{kind}.svg").code == 0
    assert call("figure", "To be", "-o", tmp_path / "default.svg").code == 0
    drawn = {kind: (tmp_path / f"{kind}.svg").read_bytes() for kind in KINDS}
    assert len(set(drawn.values())) == len(KINDS)
    assert (tmp_path / "default.svg").read_bytes() == drawn["embedding"]


@pytest.mark.parametrize(
    "flags",
    [
        ("attention", "--layer", "1"),
        ("attention", "--layer", "1", "--head", "2"),
        ("lens", "--colour", "entropy"),
        ("next", "--temperature", "0.5"),
        ("next", "--top-k", "3"),
        ("next", "--top-p", "0.5"),
        ("next", "--min-p", "0.2"),
        ("next", "--top", "4"),
        ("attribution", "--target", ","),
        ("logits", "--target", ","),
    ],
)
def test_each_flag_changes_the_picture(call: Call, tmp_path: Path, flags: tuple[str, ...]) -> None:
    kind, *rest = flags
    assert call("figure", "To be", "--kind", kind, "-o", tmp_path / "plain.svg").code == 0
    assert call("figure", "To be", "--kind", kind, *rest, "-o", tmp_path / "changed.svg").code == 0
    assert (tmp_path / "plain.svg").read_bytes() != (tmp_path / "changed.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["--kind", "sound"], "there is no figure 'sound'", "kinds: embedding, attention, lens"),
        (["--kind", "lens", "--colour", "red"], "there is no colour 'red'", "colours: probability, rank, kl, entropy"),
        (["--kind", "attention", "--layer", "99"], "there is no layer 99", "layers are 0 to "),
        (["--kind", "attention", "--layer", "0", "--head", "9"], "there is no head 9", "heads are 0 to 3"),
        (["--kind", "lens", "--head", "1"], "--head is for --kind attention, not for lens", ""),
        (["--kind", "norms", "--top-k", "3"], "--top-k is for --kind next, not for norms", ""),
        (["--kind", "norms", "--top", "3"], "--top is for --kind next, not for norms", ""),
        (["--kind", "norms", "--colour", "kl"], "--colour is for --kind lens, not for norms", ""),
        (["--kind", "next", "--target", "a"], "--target is for --kind attribution or logits, not for next", ""),
        (["--kind", "next", "--temperature", "-1"], "temperature is -1.0", ""),
        (["--kind", "next", "--top", "0"], "top is 0, it must be at least 1", ""),
    ],
)
def test_what_does_not_fit_is_one_error_and_no_file(
    call: Call, tmp_path: Path, arguments: list[str], error: str, hint: str
) -> None:
    result = call("figure", "To be", *arguments, "-o", tmp_path / "a.png")
    assert result.code != 0
    assert error in result.err
    assert hint in result.err
    assert len([line for line in result.errors if line.startswith("error: ")]) == 1
    assert list(tmp_path.iterdir()) == []
