"""Tables and training as they stand on a screen of 80 columns; text of any kind is shown as it is."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console

from nextword.generation import Sampling
from nextword.terminal.console import percent
from nextword.terminal.model_view import show_architecture, show_settings, show_tokens
from nextword.terminal.predictions import show_prediction, show_steps, show_words
from nextword.terminal.training_view import TrainingView
from nextword.tokens import Piece
from nextword.training import Sampled, Started, Stepped, Validated
from tests.conftest import Trained
from tests.terminal.screens import screen

NASTY = ("[bold]x[/bold]", "[/]", "[/dim]", "\\[red]", "x\\", "[link=y]z", ":smile:", "[", "\\\\[b]")


@pytest.fixture
def console() -> Console:
    return screen()


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(cell_len(line) <= 80 for line in text.splitlines())
    return text


@pytest.mark.parametrize("text", NASTY)
def test_markup_in_prompts_and_tokens_is_text(console: Console, trained: Trained, text: str) -> None:
    lm = trained.run.model
    tokens, words = lm.predict(text, 3), lm.predict(text, 3, unit="word")
    for item in tokens:
        object.__setattr__(item, "text", text)
    for word in words:
        object.__setattr__(word, "text", text)
    show_prediction(console, tokens, tokens.stages(Sampling(top_k=2)))
    show_words(console, words)
    show_steps(console, text, [tokens, words])
    show_tokens(console, [Piece(1, text), Piece(2, text, 1, 2), Piece(3, text, 2, 2)], [b"a", b"b", b"c"])
    out = printed(console)
    assert [line for line in out.splitlines() if line == text] == [text] * 3  # the prompts
    assert len(re.findall(rf"^\d  {re.escape(text)}  ", out, re.M)) == 3 + 3 + 2  # candidates
    assert len(re.findall(rf"^\d +\d  {re.escape(text)}( [12]/2)? ", out, re.M)) == 3  # pieces


@pytest.mark.parametrize("text", NASTY)
def test_markup_in_samples_is_text(console: Console, text: str) -> None:
    with TrainingView(console) as view:
        view.watch(Sampled(3, text))
    assert printed(console).rstrip("\n").rstrip(" ") == " " * 9 + text


def test_what_is_drawn_from_stands_beside_the_models_own(console: Console, trained: Trained) -> None:
    prediction = trained.run.model.predict("나는", 4)
    stages = prediction.stages(Sampling(top_k=1, temperature=0.5))
    show_prediction(console, prediction, stages)
    out = printed(console)
    rows = [line.rstrip() for line in out.splitlines() if re.match(r"\d  ", line)]
    assert rows[0].endswith("100.00 %")
    assert [row.endswith("cut") for row in rows] == [False, True, True, True]
    assert f"kept 1 token, cut away {percent(stages.discarded_mass)}" in out


def test_what_the_model_did_not_see_is_said(console: Console, trained: Trained) -> None:
    prompt = "The cat sat on the mat. " * 9
    show_words(console, trained.run.model.predict(prompt, 2, unit="word"))
    assert re.search(r"the model did not see the oldest \d+ tokens", printed(console))


def test_the_end_of_the_text_has_a_name(console: Console, trained: Trained) -> None:
    words = trained.run.model.predict("나는", 1, unit="word")
    words._candidates[0] = dataclasses.replace(words[0], text="")
    show_words(console, words)
    assert "1  (end of the text)" in printed(console)


def test_blocks_are_listed_once_and_counted_as_often_as_there_are(console: Console, trained: Trained) -> None:
    config = trained.run.model.config
    show_architecture(console, config)
    show_settings(console, config, {"weights": "[x]"})
    out = printed(console)
    assert re.search(r"^blocks\.\*\.attn\.q_proj\.weight +128 x 128 +4 +65,536 *$", out, re.M)
    assert re.search(r"^output_layer\.weight +354 x 128 +1 +45,312 *$", out, re.M)
    show_architecture(console, config.replace(tie_embeddings=True))
    assert re.search(r"^output_layer\.weight +the token embedding's +0 *$", printed(console), re.M)
    assert re.search(rf"^all +{config.num_parameters:,} *$", out, re.M)
    assert re.search(r"^qk_norm +True *$", out, re.M)


def started(trained: Trained) -> Started:
    event = next(event for event in trained.events if isinstance(event, Started))
    return dataclasses.replace(event, repeated=0.0)  # which would be a line more


def test_a_run_is_told_in_lines_that_fit(console: Console, trained: Trained) -> None:
    big = dataclasses.replace(started(trained), train_tokens=98_765_432, train_characters=312_345_678)
    with TrainingView(console) as view:
        view.watch(big)
        view.watch(Stepped(1, 0.1, 5.5, 1000.0, 9.0))
        view.watch(Validated(123_456, 35_999.0, 1.0, 1.23456, 2.34567, best=False))
        view.watch(Validated(7, 61.0, 1.0, 1.0, 2.0, best=True))
        view.watch(Sampled(7, "한국의 수도는 " * 12 + "\nend"))
    lines = printed(console).splitlines()
    assert lines[0] == "tiny: 878,464 parameters, 4 layers x 128, context 32, 354 tokens"
    assert lines[1].startswith("text: 312,345,678 characters (98,765,432 tokens), 618 held out")
    assert lines[2] == "batch 4, learning rate 0.004; Ctrl-C stops and keeps the best"
    assert lines[3] == "9:59:59  step 123,456  held-out 2.3457 bits/byte, 1.2346 nats/character  worse"
    assert lines[4] == "   1:01  step 7  held-out 2.0000 bits/byte, 1.0000 nats/character  best"
    assert all(line.startswith(" " * 9) for line in lines[5:])
    assert "".join(line[9:].rstrip() + " " for line in lines[5:]).split() == ["한국의", "수도는"] * 12 + ["↵end"]


def test_without_held_out_text_this_is_said(console: Console, trained: Trained) -> None:
    with TrainingView(console) as view:
        view.watch(dataclasses.replace(started(trained), validation_characters=0))
    assert ", none held out" in printed(console)


def test_the_bar_shows_step_loss_speed_and_time_left(trained: Trained) -> None:
    screen = Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True, color_system=None)
    with TrainingView(screen, now=lambda: 7.0) as view:
        view.watch(started(trained))
        view.watch(Stepped(1234, 0.5, 1.2345, 54_321.0, 65.0))
        view._progress.refresh()
    assert isinstance(screen.file, io.StringIO)
    assert re.search(r"step 1,234 ━+╸?\s*━* loss 1\.23\d 54,321 tokens/s 1:05 left", screen.file.getvalue())


def test_where_nobody_watches_no_bar_and_no_empty_line_is_drawn(console: Console, trained: Trained) -> None:
    with TrainingView(console) as view:
        view.watch(started(trained))
        view.watch(Stepped(1234, 0.5, 1.2345, 54_321.0, 65.0))
    assert len(printed(console).splitlines()) == 3
    silent = Console(file=io.StringIO(), width=80)
    with TrainingView(silent):
        pass
    assert printed(silent) == ""


@pytest.mark.parametrize("width", [40, 59, 60, 80])
@pytest.mark.parametrize("text", ["나는 오늘", "The cat"])
def test_no_number_is_cut_or_torn_apart_on_a_narrow_screen(trained: Trained, width: int, text: str) -> None:
    lm = trained.run.model

    def lines(show: Callable[[Console], None]) -> list[str]:
        console = screen(width)
        show(console)
        assert isinstance(console.file, io.StringIO)
        said = [line.rstrip() for line in console.file.getvalue().splitlines()]
        assert all(cell_len(line) <= width for line in said)
        return said

    prediction = lm.predict(text, 3)
    shares = [percent(candidate.probability) for candidate in prediction]
    for stages in (None, prediction.stages(Sampling(top_k=2))):
        said = lines(lambda console, stages=stages: show_prediction(console, prediction, stages))  # type: ignore[misc]
        ranked = [line for line in said if re.match(r" *\d  ", line)]
        assert [line.split()[0] for line in ranked] == ["1", "2", "3"]
        assert all(share in line for share, line in zip(shares, ranked, strict=True))
    words = lm.predict(text, 3, unit="word")
    said = lines(lambda console: show_words(console, words))
    assert all(any(percent(word.probability) in line for line in said) for word in words)
    said = lines(lambda console: show_architecture(console, lm.config))
    assert any(line.split() == ["all", f"{lm.config.num_parameters:,}"] for line in said)
    assert "…" not in "".join(said)
    pieces = lm.tokenizer.pieces(lm.tokenizer.encode("👨‍👩‍👧"))
    said = lines(lambda console: show_tokens(console, pieces, lm.tokenizer.bytes_of(lm.tokenizer.encode("👨‍👩‍👧"))))
    assert len(said) == len(pieces) + 2  # one line a token
    assert all(f"{piece.part}/{piece.parts}" in line for piece, line in zip(pieces, said[1:], strict=False))
