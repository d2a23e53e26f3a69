"""`nextword generate`: the library's text, as it is made."""

from __future__ import annotations

import pytest

from nextword.cli.generate import shown
from tests.cli.conftest import Call
from tests.conftest import Trained


def test_the_streamed_text_is_the_librarys(call: Call, trained: Trained) -> None:
    for seed in (0, 1, 2):
        flags = ["--seed", str(seed), "-n", "30", "--temperature", "1.5"]
        result = call("generate", "나는", "-m", trained.path, *flags)
        expected = trained.lm.generate("나는", 30, seed=seed, temperature=1.5)
        assert (result.code, result.out, result.err) == (0, f"{expected}\n", "")


def test_defaults_are_the_librarys(call: Call, trained: Trained) -> None:
    out = call("generate", "The", "-m", trained.path, "--seed", "3").out
    assert out == f"{trained.lm.generate('The', 80, seed=3)}\n"


def test_every_flag_reaches_the_library(call: Call, trained: Trained) -> None:
    flags = "--temperature 1.7 --top-k 40 --top-p 0.99 --min-p 0.001 --repetition-penalty 1.3 --seed 5 -n 25"
    settings = {"temperature": 1.7, "top_k": 40, "top_p": 0.99, "min_p": 0.001, "repetition_penalty": 1.3, "seed": 5}
    out = call("generate", "The", "-m", trained.path, *flags.split()).out
    assert out == f"{trained.lm.generate('The', 25, **settings)}\n"
    for name in settings:
        without = {key: value for key, value in settings.items() if key != name}
        if name in ("temperature", "repetition_penalty", "seed"):
            assert out != f"{trained.lm.generate('The', 25, **{'seed': 6, **without})}\n"


def test_penalties_and_biases_are_the_librarys(call: Call, trained: Trained) -> None:
    token = trained.lm.tokenizer.encode(" 학교에")[0]
    flags = f"--presence-penalty 1 --frequency-penalty 0.5 --logit-bias {token}=-100 --logit-bias 5=-0.5"
    out = call("generate", "나는 오늘", "-m", trained.path, "--temperature", "0", "-n", "12", *flags.split()).out
    settings = {"presence_penalty": 1.0, "frequency_penalty": 0.5, "logit_bias": {token: -100.0, 5: -0.5}}
    assert out == f"{trained.lm.generate('나는 오늘', 12, temperature=0, **settings)}\n"
    assert out != call("generate", "나는 오늘", "-m", trained.path, "--temperature", "0", "-n", "12").out


@pytest.mark.parametrize("spelling", ["5", "a=1", "5=", "=1", "5=x", "-1=2", "5=nan", "5=1e400"])
def test_a_bias_that_is_not_spelled_id_value_is_refused(call: Call, trained: Trained, spelling: str) -> None:
    result = call("generate", "나는", "-m", trained.path, "--logit-bias", spelling)
    assert (result.code, result.out) == (2, "")
    assert result.errors == [f"error: --logit-bias {spelling} is not ID=VALUE", "hint: --logit-bias 262=-5"]


def test_temperature_0_always_takes_the_most_probable_token(call: Call, trained: Trained) -> None:
    outs = {call("generate", "나는 오늘", "-m", trained.path, "--temperature", "0", "-n", "12").out for _ in range(2)}
    assert outs == {f"{trained.lm.generate('나는 오늘', 12, temperature=0)}\n"}
    assert "학교에 가서 친구를 만났다." in outs.pop()


def test_a_stop_string_ends_the_text_and_is_no_part_of_it(call: Call, trained: Trained) -> None:
    greedy = ["--temperature", "0", "-m", trained.path]
    assert call("generate", "나는", *greedy, "--stop", " 친구").out == "나는 오늘 학교에 가서\n"
    assert call("generate", "나는", *greedy, "--stop", "없다", "--stop", " 가서").out == "나는 오늘 학교에\n"
    values = call("generate", "나는", *greedy, "--stop", "만났", "--json").json
    assert values["text"] == " 오늘 학교에 가서 친구를 "
    assert values["finish_reason"] == "stop"
    assert call("generate", "The", *greedy, "-n", "3", "--stop", "-", "--stop", "- x").code == 0


def test_json_holds_the_generation_with_logprobs(call: Call, trained: Trained) -> None:
    values = call("generate", "나는", "-m", trained.path, "-n", "6", "--seed", "1", "--json", "--logprobs", "3").json
    assert values == trained.lm.generate("나는", 6, seed=1, logprobs=3).to_json()
    assert len(values["logprobs"]) == len(values["token_ids"]) == 6
    assert all(len(item["top"]) == 3 for item in values["logprobs"])
    assert call("generate", "나는", "-m", trained.path, "-n", "2", "--json").json["logprobs"] is None


def test_standard_input_is_continued(call: Call, trained: Trained) -> None:
    result = call("generate", "-", "-m", trained.path, "--temperature", "0", "-n", "4", stdin="한국의\n수도는".encode())
    expected = trained.lm.generate("한국의\n수도는", 4, temperature=0)
    assert result.out == f"{expected}\n"


def test_a_long_prompt_is_written_whole_and_the_cut_is_noted(call: Call, trained: Trained) -> None:
    prompt = "The cat sat on the mat. " * 9
    result = call("generate", prompt, "-m", trained.path, "-n", "0")
    dropped = trained.lm.predict(prompt).dropped_tokens
    assert result.out == f"{prompt}\n"
    assert result.err == f"note: the model does not see the oldest {dropped:,} tokens\n"


def test_markup_is_text(call: Call, trained: Trained) -> None:
    assert call("generate", "[bold]:smile:[/bold]", "-m", trained.path, "-n", "0").out == "[bold]:smile:[/bold]\n"


def test_a_terminal_never_obeys_control_characters_that_a_pipe_gets_as_they_are() -> None:
    assert shown("a\x1b[2Jb\n\t가", terminal=True) == "aU+001B[2Jb\n\t가"
    assert shown("a\x1b[2Jb", terminal=False) == "a\x1b[2Jb"


def test_a_draft_model_changes_no_text_and_one_with_other_tokens_is_an_error(call: Call, trained: Trained) -> None:
    flags = ["-n", "30", "--seed", "3", "-m", trained.path]
    assert call("generate", "The", *flags, "--draft", trained.path).out == call("generate", "The", *flags).out
    result = call("generate", "The", *flags, "--draft", "nextword")
    assert result.code != 0
    assert "the draft model has another tokenizer" in result.err
    assert len(result.err.splitlines()) == 2
