"""`nextword look`: every number is the trace's, at any width, in colour and without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from rich.cells import cell_len

import nextword
from nextword.inspection.compare import compare
from nextword.inspection.edits import ablate_head, ablate_layer, ablate_mlp
from nextword.inspection.patching import patch
from nextword.language_model import LanguageModel
from nextword.terminal.console import percent, size_text
from tests.cli.conftest import Call
from tests.conftest import Trained
from tests.inspection.test_frames import read
from tests.inspection.test_page_file import frames_of

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PATCH = ["--patch-from", "나는 오늘", "--patch-at", "1"]


@pytest.fixture(scope="module")
def default() -> LanguageModel:
    return nextword.load()


def layer_rows(out: str) -> list[str]:
    """The lines of the layers' table."""
    return [line for line in out.splitlines() if re.match(r"(in|L\d+) ", line)]


def norm(vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


@pytest.mark.parametrize("text", ["나는 오늘", "The cat sat"])
def test_the_layers_lines_show_the_traces_numbers(call: Call, default: LanguageModel, text: str) -> None:
    result = call("look", text)
    assert (result.code, result.err) == (0, "")
    rows, trace = layer_rows(result.out), default.trace(text)
    lens = trace.lens(top=1, positions=[len(trace.token_ids) - 1])
    assert [row.split()[0] for row in rows] == ["in", *(f"L{layer}" for layer in range(default.config.num_layers))]
    for layer, row in enumerate(rows[1:]):
        pattern_HS = trace.attention(layer)[:, -1]
        others_HS = pattern_HS.copy()
        others_HS[:, pattern_HS.mean(0).argmax()] = 0  # where all look on average
        head, key = np.unravel_index(others_HS.argmax(), others_HS.shape)
        assert f"{pattern_HS.mean(0).max():.2f}" in row
        assert re.search(rf" H{head} .*{pattern_HS[head, key]:.2f} ", row)
        sizes = [size_text(norm(trace[name, layer][-1])) for name in ("attn_out", "mlp_out", "resid_post")]
        assert re.search(" +".join(map(re.escape, sizes)), row)
        assert percent(float(lens.probabilities[layer + 1, 0, 0])) in row
        assert row.split()[-1] == str(lens.target_rank[layer + 1, 0])
    assert rows[-1].split()[-1] == "1"  # behind the last layer the lens is the prediction


def test_tokens_stand_there_with_place_id_and_part(call: Call, default: LanguageModel) -> None:
    text = "뷁 나"
    out = call("look", text).out
    trace = default.trace(text)
    lines = out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("at token")) + 1
    rows = lines[start : start + len(trace.token_ids)]
    for place, (row, piece) in enumerate(zip(rows, trace.tokens, strict=True)):
        cells = row.split()
        assert cells[0] == str(place)
        assert str(piece.token_id) in cells
        assert cells[-1] == size_text(norm(trace["embed"][place]))
        if piece.parts > 1:
            assert f"{piece.part}/{piece.parts}" in cells
    assert any(piece.parts > 1 for piece in trace.tokens)
    assert "no position vector" in out


def test_json_holds_the_traces_numbers(call: Call, trained: Trained) -> None:
    text = "한국의 수도는"
    lm = trained.lm
    values = call("look", text, "-m", trained.path, "--json", "--top", "3", "--layer", "1", "--head", "2").json
    trace = lm.trace(text)
    count = len(trace.token_ids)
    lens = trace.lens(top=3, positions=[count - 1])
    assert values["token_count"] == count
    assert [token["token_id"] for token in values["tokens"]] == list(trace.token_ids)
    for place, token in enumerate(values["tokens"]):
        assert token["embedding_norm"] == pytest.approx(norm(trace["embed"][place]))
        assert token["embedding"] == pytest.approx(trace["embed"][place].reshape(16, -1).mean(1), abs=1e-6)
        assert token["position_vector"] is None
    for layer, item in enumerate(values["layers"]):
        assert item["residual_norm"] == pytest.approx(norm(trace.residual(layer + 1)[-1]))
        assert item["attention_norm"] == pytest.approx(norm(trace["attn_out", layer][-1]))
        assert item["mlp_norm"] == pytest.approx(norm(trace["mlp_out", layer][-1]))
        mean_S = trace.attention(layer)[:, -1].mean(0)
        assert item["mean"] == {"position": int(mean_S.argmax()), "weight": pytest.approx(mean_S.max()), "head": None}
        weights_HS = np.delete(trace.attention(layer)[:, -1], mean_S.argmax(), axis=1)
        assert item["elsewhere"]["weight"] == pytest.approx(weights_HS.max())
        assert item["elsewhere"]["position"] != item["mean"]["position"]
        assert trace.attention(layer, item["elsewhere"]["head"])[-1, item["elsewhere"]["position"]] == weights_HS.max()
        assert [entry["token_id"] for entry in item["lens"]] == lens.token_ids[layer + 1, 0].tolist()
        assert [entry["probability"] for entry in item["lens"]] == lens.probabilities[layer + 1, 0].tolist()
    assert [item["token_id"] for item in values["candidates"]] == [item.token_id for item in trace.top(top=3)]
    assert [item["probability"] for item in values["candidates"]] == [item.probability for item in trace.top(top=3)]
    heads = values["opened"]["heads"]
    attribution = trace.attribution()
    assert [head["contribution"] for head in heads] == pytest.approx(attribution.heads[1].tolist(), abs=1e-5)
    assert values["opened"]["mlp_contribution"] == pytest.approx(attribution.mlps[1], abs=1e-5)
    assert [head["norm"] for head in heads] == pytest.approx([norm(row) for row in trace["result", 1][-1]])
    np.testing.assert_array_equal(np.float32(values["grid"]["weights"]), trace.attention(1, 2))


def test_a_text_of_one_token_looks_at_itself(call: Call, trained: Trained) -> None:
    values = call("look", "나는", "-m", trained.path, "--json").json
    assert values["token_count"] == 1
    assert [layer["mean"] for layer in values["layers"]] == [{"position": 0, "weight": 1.0, "head": None}] * 4
    assert {layer["elsewhere"] for layer in values["layers"]} == {None}
    assert call("look", "나는", "-m", trained.path).out.splitlines()[1].startswith("1 token; ")


def test_a_long_texts_json_is_bounded(call: Call, trained: Trained, default: LanguageModel) -> None:
    text = "The cat sat on the mat. " * 20
    result = call("look", text, "--json", "--layer", "0", "--head", "0")
    values = result.json
    assert values["token_count"] == len(default.tokenizer.encode_start(text)) > 100
    assert len(values["tokens"]) == len(values["grid"]["weights"]) == 64
    assert len(result.out) < 200_000
    slid = call("look", text, "-m", trained.path, "--json").json
    assert slid["dropped_tokens"] == trained.lm.predict(text).dropped_tokens > 0


@pytest.mark.parametrize(
    ("flags", "edits"),
    [
        (["0.1"], [ablate_head(0, 1)]),
        (["0.mlp"], [ablate_mlp(0)]),
        (["2"], [ablate_layer(2)]),
        (["0.1", "0.mlp"], [ablate_head(0, 1), ablate_mlp(0)]),
    ],
    ids=str,
)
def test_the_after_column_is_the_edited_models_prediction(
    call: Call, trained: Trained, flags: list[str], edits: list[nextword.inspection.edits.Edits]
) -> None:
    text, lm = "To be, or", trained.run.model
    edited = lm.edit(*edits)
    arguments = ["look", text, "-m", trained.path, *(word for flag in flags for word in ("--ablate", flag))]
    expected = compare(lm, edited, text, 10)
    values = call(*arguments, "--json").json
    before, after = lm.predict(text).probabilities, edited.predict(text).probabilities
    for item in values["changes"]:
        assert item["before"] == pytest.approx(before[item["token_id"]], abs=1e-6)
        assert item["after"] == pytest.approx(after[item["token_id"]], abs=1e-6)
    assert values["kl"] == pytest.approx(expected.kl, rel=1e-2, abs=1e-7)
    assert expected.kl > 1e-6
    out = call(*arguments).out
    first = expected[0]
    assert re.search(
        rf"^\S+ +{re.escape(percent(first.before))} +{re.escape(percent(first.after))} ", out, re.MULTILINE
    )
    assert len([line for line in out.splitlines() if line.startswith("changed ")]) == len(flags)
    assert layer_rows(out) != layer_rows(call("look", text, "-m", trained.path).out)  # the path is the edited one


def test_a_patch_everywhere_gives_the_other_texts_prediction(call: Call, trained: Trained) -> None:
    lm = trained.run.model
    text, other = "나는 오늘", "The cat"
    assert len(lm.tokenizer.encode_start(text)) == len(lm.tokenizer.encode_start(other))
    flags = ["look", text, "-m", trained.path, "--patch-from", other, "--patch-at", "1", "--json"]
    values = call(*flags, "--patch-positions", "all").json
    wanted = lm.predict(other).probabilities
    assert [item["after"] for item in values["changes"]] == pytest.approx(
        [wanted[item["token_id"]] for item in values["changes"]], abs=1e-6
    )
    last = lm.edit(patch(("resid_pre", 1), lm.trace(other), [len(lm.trace(text).token_ids) - 1])).predict(text)
    values = call(*flags).json  # only the last position
    assert [item["after"] for item in values["changes"]] == pytest.approx(
        [last.probabilities[item["token_id"]] for item in values["changes"]], abs=1e-6
    )


def test_an_earlier_position_is_predicted_from_what_stands_before_it(call: Call, trained: Trained) -> None:
    text, lm = "The cat sat on the", trained.run.model
    ids = lm.tokenizer.encode_start(text)
    for position in ("2", "-2"):
        place = int(position) % len(ids)
        values = call("look", text, "-m", trained.path, "--json", "--position", position).json
        prefix = lm.trace(ids[: place + 1])
        assert values["position"] == place
        assert [item["token_id"] for item in values["candidates"]] == [item.token_id for item in prefix.top()]
        assert all(max(item["mean"]["position"], item["elsewhere"]["position"]) <= place for item in values["layers"])


@pytest.mark.parametrize("width", [30, 50, 80, 140])
@pytest.mark.parametrize(
    "text",
    ["나는 오늘 학교에 뷁뷁", "The cat", "\U0001f469\u200d\U0001f469\u200d\U0001f467 a\nb\t[bold]", "한국 " * 60],
)
def test_no_line_is_wider_than_the_terminal(call: Call, monkeypatch: pytest.MonkeyPatch, text: str, width: int) -> None:
    for colour in ("FORCE_COLOR", "NO_COLOR"):
        call("--version")  # `call` has set 80 columns
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv(colour, "1")
        for flags in (["--layer", "1", "--head", "0"], ["--ablate", "1.0"]):
            result = call("look", text, *flags)
            assert result.code == 0
            # what shows that something goes on is for terminals, which FORCE_COLOR says this is
            assert ("looking inside" in result.err) == (result.err != "") == (colour == "FORCE_COLOR")
            lines = ANSI.sub("", result.out).splitlines()
            assert max(map(cell_len, lines)) <= width
            assert len(lines) < 120
        monkeypatch.delenv(colour)


def test_no_color_and_pipes_show_signs_and_colour_shows_cells(
    call: Call, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = call("look", "나는", "-m", trained.path, "--layer", "0", "--head", "0", "--ablate", "0.1").out
    assert "\x1b" not in plain
    assert re.search(r" [=\-.+#]{20,} ", plain)
    monkeypatch.setenv("NO_COLOR", "1")
    assert call("look", "나는", "-m", trained.path, "--layer", "0", "--head", "0", "--ablate", "0.1").out == plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*[34]\d", call("look", "나는", "-m", trained.path).out)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert re.search(r"\x1b\[[0-9;]*48;", call("look", "나는", "-m", trained.path).out)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layer", "99"], "there is no layer 99"),
        (["--layer", "0", "--head", "99"], "there is no head 99"),
        (["--head", "0"], "--head shows a head of one layer"),
        (["--position", "99"], "there is no position 99"),
        (["--ablate", "x"], "--ablate x is neither a head nor a layer"),
        (["--ablate", "0.99"], "there is no head 99 in layer 0"),
        (["--ablate", "99"], "there is no layer 99"),
        (["--top", "0"], "--top is 0, it must be at least 1"),
        (["--patch-from", "The cat"], "--patch-from takes the values of a text, --patch-at says where"),
        (["--patch-at", "1"], "--patch-from takes the values of a text, --patch-at says where"),
        (["--patch-from", "The cat", "--patch-at", "99"], "there is no layer 99"),
        (
            ["--patch-from", "나는 오늘", "--patch-at", "1", "--patch-positions", "x"],
            "--patch-positions x are no positions",
        ),
        (["--patch-from", "나는 오늘", "--patch-at", "1", "--patch-positions", "99"], "there is no position 99"),
    ],
    ids=" ".join,
)
def test_mistakes_are_told_in_one_line(call: Call, trained: Trained, flags: list[str], message: str) -> None:
    result = call("look", "나는 오늘", "-m", trained.path, *flags)
    assert (result.code, result.out) == (2, "")
    assert result.errors[0] == f"error: {message}"
    assert len(result.err.splitlines()) == len(result.errors) == 2 - (flags == ["--top", "0"])


def test_texts_of_other_lengths_are_refused_with_both_counts(call: Call, trained: Trained) -> None:
    lm = trained.run.model
    ours, theirs = (len(lm.tokenizer.encode_start(text)) for text in ("나는", "The cat sat on the mat."))
    result = call("look", "나는", "-m", trained.path, "--patch-from", "The cat sat on the mat.", "--patch-at", "1")
    message = f"error: the text has {ours} tokens, the one to patch from {theirs}: they must be as many"
    assert (result.code, result.out, result.errors[0]) == (2, "", message)


def test_the_page_is_written_with_the_traces_numbers(call: Call, trained: Trained, tmp_path: Path) -> None:
    path, text, lm = tmp_path / "look.html", "나는 오늘", trained.run.model
    result = call("look", text, "-m", trained.path, "--html", path, "--ablate", "0.1", "--ablate", "2")
    assert (result.code, result.out, result.err) == (0, f"{path}\n", "")
    frames = frames_of(path.read_text(encoding="utf-8"))
    assert {"look", "plain", "block/3", "turns/3/3"} <= frames.keys()
    edits = (ablate_head(0, 1), *ablate_layer(2))
    for name, traced, labels in (
        ("look", lm.edit(edits), ["nextword.ablate_head(0, 1)", "nextword.ablate_layer(2)"]),
        ("plain", lm, []),
    ):
        about, arrays = read(frames[name])
        np.testing.assert_allclose(arrays["logits"], traced.trace(text)["logits"][-1], atol=1e-5)
        assert about["edits"] == labels
        assert (about["model"]["name"], about["model"]["file"]) == (Path(trained.path).name, trained.path)
    call("look", text, "-m", trained.path, "--html", path)
    assert "plain" not in frames_of(path.read_text(encoding="utf-8"))


def test_a_page_that_cannot_be_written_is_an_error(call: Call, tmp_path: Path) -> None:
    result = call("look", "To be", "--html", tmp_path)
    assert result.code == 2
    assert result.errors[0].startswith("error: cannot write")


@pytest.mark.parametrize(
    "flags", [["--ablate", "1"], ["--html", "x.html"], ["--json"], ["--patch-from", "a", "--patch-at", "1"]]
)
def test_the_open_page_takes_no_other_flags(call: Call, flags: list[str]) -> None:
    result = call("look", "To be", "--open", *flags)
    assert result.code == 2
    assert result.errors[0] == "error: --open shows the page, which has switches of its own"


def test_html_is_the_page_and_json_is_not(call: Call) -> None:
    result = call("look", "To be", "--html", "x.html", "--json")
    assert (result.code, result.errors[0]) == (2, "error: --html writes the page, --json prints values")


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (["look", "나는 + a&b#c", "--open"], "/#text=%EB%82%98%EB%8A%94%20%2B%20a%26b%23c"),
        (["serve", "--port", "0", "--open"], "/"),
    ],
    ids=["look", "serve"],
)
def test_the_browser_is_sent_to_a_server_that_answers(command: list[str], where: str, tmp_path: Path) -> None:
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.new\nmv {seen}.new {seen}\n', encoding="utf-8")
    browser.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "nextword", *command],
        env={**os.environ, "BROWSER": f"{browser} %s"},
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        end = time.monotonic() + 60
        while not seen.exists() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        url = seen.read_text(encoding="utf-8").strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+" + re.escape(where), url), url
        address = url.partition("#")[0]
        assert httpx.get(address).headers["content-type"].startswith("text/html")
        answer = httpx.post(f"{address}look/predict", json={"text": "To be", "top": 1}).json()
        assert answer["candidates"][0]["id"] == nextword.load().predict("To be", 1)[0].token_id
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert url in said.splitlines()[0]
    assert (process.returncode, "leaked" in said) == (0, False)
