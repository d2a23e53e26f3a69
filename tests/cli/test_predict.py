"""`nextword predict`: the same numbers as the library, as a table and as JSON."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from nextword.generation import Sampling
from nextword.training import train
from tests.cli.conftest import Call
from tests.conftest import Trained
from tests.training.sample_text import FEW_STEPS, write_text

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def rows_of(out: str) -> list[str]:
    """The lines of a table that begin with a number."""
    return [line for line in out.splitlines() if re.match(r"\s*\d+ ", line)]


def test_the_word_predict_may_be_left_out(call: Call, trained: Trained) -> None:
    result = call("나는 오늘", "-m", trained.path)
    assert result == call("predict", "나는 오늘", "--model", trained.path)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("나는 오늘\ntokens  ")
    assert call("-m", trained.path, "나는 오늘") == result


def test_the_table_shows_the_librarys_numbers(call: Call, trained: Trained) -> None:
    rows = rows_of(call("To be, or", "-m", trained.path, "--top", "4").out)
    prediction = trained.lm.predict("To be, or", 4)
    assert len(rows) == 4
    for row, candidate in zip(rows, prediction, strict=True):
        cells = row.split()
        assert cells[1] == candidate.text.replace(" ", "␣").replace("\n", "↵")
        assert cells[2:4] == [str(candidate.token_id), f"{candidate.logit:.2f}"]
        expected = f"{candidate.probability:.2%}".replace("%", " %") if candidate.probability >= 1e-4 else "< 0.01 %"
        assert expected in row


def test_ten_candidates_are_shown_and_top_changes_it(call: Call, trained: Trained) -> None:
    assert len(rows_of(call("The", "-m", trained.path).out)) == 10
    assert len(rows_of(call("The", "-m", trained.path, "--top", "3").out)) == 3
    assert len(rows_of(call("The", "-m", trained.path, "-n", "9999").out)) == trained.lm.config.vocab_size


def test_json_is_the_librarys_prediction(call: Call, trained: Trained) -> None:
    values = call("한국의 수도는", "-m", trained.path, "--json", "--top", "5").json
    assert values == trained.lm.predict("한국의 수도는", 5).to_json()
    assert "한국의" in call("한국의", "-m", trained.path, "--json").out  # not escaped


def test_words_are_the_librarys_words(call: Call, trained: Trained) -> None:
    values = call("한국의 수도는", "-m", trained.path, "--words", "--json", "--top", "3").json
    assert values == trained.lm.predict("한국의 수도는", 3, unit="word").to_json()
    table = call("한국의 수도는", "-m", trained.path, "--words", "--top", "1").out
    assert re.search(r"1  ␣서울이다 +9\d\.\d\d %", table)
    assert "each probability is a lower bound" in table


def test_token_steps_are_what_greedy_generation_writes(call: Call, trained: Trained) -> None:
    for prompt in ("나는", "한국", "To be", "뷁"):
        values = call(prompt, "-m", trained.path, "--steps", "12", "--json", "--top", "2").json
        greedy = trained.lm.generate(prompt, 12, temperature=0)
        assert values["text"] == str(greedy)
        assert [step["candidates"][0]["token_id"] for step in values["steps"]] == list(greedy.token_ids)
        assert {len(step["candidates"]) for step in values["steps"]} == {2}
        prompts = [step["prompt"] for step in values["steps"]]
        assert prompts[0] == prompt
        assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(prompts))


def test_steps_over_half_characters_spell_no_bytes_out(call: Call, tmp_path: Path) -> None:
    text = write_text(tmp_path, "나는 오늘 학교에 갔다. " * 60)
    settings = {**FEW_STEPS, "vocab_size": 257, "steps": 50}  # a token a byte, a third of a syllable
    run = train(text, tmp_path / "model", **settings)
    values = call("나는", "-m", run.out, "--steps", "12", "--json", "--top", "1").json
    assert sum("⟨" in step["candidates"][0]["text"] for step in values["steps"]) >= 6
    assert values["text"] == str(run.model.generate("나는", 12, temperature=0))
    assert not any("⟨" in step["prompt"] for step in values["steps"])


def test_word_steps_grow_the_text_by_the_words_taken(call: Call, trained: Trained) -> None:
    values = call("나는", "-m", trained.path, "--steps", "4", "--words", "--json").json
    assert values["text"] == "나는 오늘 학교에 가서 친구를"
    assert [step["candidates"][0]["text"] for step in values["steps"]] == [" 오늘", " 학교에", " 가서", " 친구를"]
    assert [step["prompt"] for step in values["steps"]][-1] == "나는 오늘 학교에 가서"
    table = call("나는", "-m", trained.path, "--steps", "4", "--words").out
    assert [row.split()[1] for row in rows_of(table)] == ["␣오늘", "␣학교에", "␣가서", "␣친구를"]
    assert table.endswith("\n나는 오늘 학교에 가서 친구를\n")
    for flags in ([], ["--words"]):  # no line is wrapped
        out = call("나는", "-m", trained.path, "--steps", "6", *flags).out
        assert len(out.splitlines()) == 2 + 1 + 6 + 2


def test_steps_beyond_the_context_go_on(call: Call, trained: Trained) -> None:
    values = call("The cat", "-m", trained.path, "--steps", "40", "--json", "--top", "1").json
    assert len(values["steps"]) == 40
    assert values["steps"][-1]["dropped_tokens"] > 0


@pytest.mark.parametrize(
    ("flags", "sampling"),
    [
        (["--temperature", "0.5"], Sampling(temperature=0.5)),
        (["--temperature", "0"], Sampling(temperature=0)),
        (["--top-k", "2"], Sampling(top_k=2)),
        (["--top-p", "0.9", "--temperature", "2"], Sampling(top_p=0.9, temperature=2)),
        (["--min-p", "0.2"], Sampling(min_p=0.2)),
    ],
)
def test_sampling_flags_show_what_is_drawn_from(
    call: Call, trained: Trained, flags: list[str], sampling: Sampling
) -> None:
    prediction = trained.lm.predict("The", 6)
    stages = prediction.stages(sampling)
    values = call("The", "-m", trained.path, "--top", "6", "--json", *flags).json
    drawn = [stages.distribution[candidate.token_id] for candidate in prediction]
    assert [item["sampled"] for item in values["candidates"]] == drawn
    assert values["discarded_mass"] == stages.discarded_mass
    table = call("The", "-m", trained.path, "--top", "6", *flags).out
    assert "sampled from" in table
    assert sum(row.rstrip().endswith("cut") for row in rows_of(table)) == sum(share == 0 for share in drawn)
    count = int(stages.kept.sum())
    assert f"kept {count:,} token{'s' * (count != 1)}, cut away" in table


def test_without_sampling_flags_there_is_no_such_column(call: Call, trained: Trained) -> None:
    assert "sampled" not in call("The", "-m", trained.path).out
    assert "sampled" not in call("The", "-m", trained.path, "--json").out


def test_a_text_longer_than_the_context_says_so(call: Call, trained: Trained) -> None:
    prompt = "The cat sat on the mat. " * 9
    dropped = trained.lm.predict(prompt).dropped_tokens
    assert dropped > 0
    assert f"the model did not see the oldest {dropped:,} tokens" in call(prompt, "-m", trained.path).out


@pytest.mark.parametrize("data", ["나는 오늘".encode(), b"\xef\xbb\xbf" + "나는 오늘".encode()], ids=["plain", "bom"])
def test_a_dash_reads_standard_input(call: Call, trained: Trained, data: bytes) -> None:
    for arguments in (["-", "-m", trained.path], ["-m", trained.path, "-"], ["predict", "-", "-m", trained.path]):
        assert call(*arguments, "--json", stdin=data).json == trained.lm.predict("나는 오늘").to_json()


def test_standard_input_that_is_no_utf8_is_refused(call: Call, trained: Trained) -> None:
    result = call("-", "-m", trained.path, stdin="나는".encode("cp949"))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: standard input is not UTF-8: ")
    assert call("-", "-m", trained.path).err.startswith("error: the prompt is empty")


def test_a_text_may_begin_with_a_dash(call: Call, trained: Trained) -> None:
    for text in ("- The cat", "-5 is", "--- a rule"):
        assert call(text, "-m", trained.path, "--json").json["prompt"] == text


@pytest.mark.parametrize("prompt", ["[bold]The[/bold]", "[/]", ":smile: The", "\\[red]The\\", "The [link=x]"])
@pytest.mark.parametrize("flags", [[], ["--words"], ["--steps", "2"]], ids=["tokens", "words", "steps"])
def test_markup_and_emoji_codes_in_a_prompt_are_text(
    call: Call, trained: Trained, prompt: str, flags: list[str]
) -> None:
    result = call(prompt, "-m", trained.path, *flags)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == prompt


def test_columns_stand_below_each_other_with_hangul_at_80_columns(
    call: Call, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for prompt, flags in (
        ("나는 오늘", []),
        ("나는 오늘", ["--words"]),
        ("한국의", ["--top-k", "3"]),
        ("나는", ["--steps", "8"]),
    ):
        out = call(prompt, "-m", trained.path, *flags).out
        assert ANSI.search(out)
        rows = rows_of(ANSI.sub("", out))
        assert any(cell_len(row) > len(row) for row in rows)  # Hangul among them
        assert len({cell_len(row[: row.index("%")]) for row in rows}) == 1
        assert max(cell_len(line) for line in ANSI.sub("", out).splitlines()) <= 80


def test_pipes_and_no_color_give_plain_text(call: Call, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags in ([], ["--words"], ["--steps", "2"]):
        assert "\x1b" not in call("나는", "-m", trained.path, *flags).out
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3\dm", call("나는", "-m", trained.path).out)  # bold stays, colours go
