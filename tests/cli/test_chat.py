"""`nextword chat`: the library's answers, in a terminal, for one message and for scripts."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nextword import LanguageModel, Tokenizer, load
from nextword.cli import run
from nextword.cli.chat import _WELCOME
from tests.cli.conftest import Call
from tests.conftest import Trained

TEMPLATE = (
    "{% for message in messages %}{% if message.content == 'refuse' %}{{ raise_exception('not that') }}{% endif %}"
    "{{ message.role[0] }}:{{ message.content }}\n{% endfor %}a:"
)
terminal_only = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo terminal")


@pytest.fixture(scope="module")
def lm(trained: Trained) -> LanguageModel:
    lm = load(trained.path)
    lm.chat_template = TEMPLATE
    return lm


@pytest.fixture(scope="module")
def saved(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lm.save(tmp_path_factory.mktemp("chat") / "talks")


def said(*contents: str, system: str = "") -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(contents)
    begin = [{"role": "system", "content": system}] if system else []
    return begin + [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


# -- one message ---------------------------------------------------------------------------------------------------


def test_a_message_gets_the_librarys_answer(call: Call, saved: Path, lm: LanguageModel) -> None:
    for seed in (1, 2):
        result = call("chat", saved, "--message", "나는 오늘", "--seed", str(seed), "-n", "12")
        expected = lm.chat(said("나는 오늘"), 12, seed=seed).text
        assert (result.code, result.out, result.err) == (0, f"{expected}\n", "")


def test_every_flag_reaches_the_library(call: Call, saved: Path, lm: LanguageModel) -> None:
    flags = "--temperature 1.7 --top-k 40 --top-p 0.99 --min-p 0.001 --repetition-penalty 1.3 --seed 5 -n 9"
    settings = {"temperature": 1.7, "top_k": 40, "top_p": 0.99, "min_p": 0.001, "repetition_penalty": 1.3, "seed": 5}
    out = call("chat", "-m", saved, "--message", "The cat", "--system", "한국어로", *flags.split()).out
    assert out == f"{lm.chat(said('The cat', system='한국어로'), 9, **settings).text}\n"
    assert out != f"{lm.chat(said('The cat'), 9, **settings).text}\n"


def test_standard_input_is_one_message_of_all_its_lines(call: Call, saved: Path, lm: LanguageModel) -> None:
    message = "나는\n오늘 🙂\n"
    result = call("chat", saved, "--seed", "1", "-n", "6", stdin=message.encode())
    assert result.out == f"{lm.chat(said(message), 6, seed=1).text}\n"


def test_json_holds_the_conversation_and_the_generation(call: Call, saved: Path, lm: LanguageModel) -> None:
    values = call("chat", saved, "--message", "나는", "--system", "s", "-n", "4", "--temperature", "0", "--json").json
    generation = lm.chat(said("나는", system="s"), 4, temperature=0)
    assert values == {"messages": said("나는", generation.text, system="s"), **generation.to_json()}


def test_a_conversation_longer_than_the_context_is_noted(call: Call, saved: Path, lm: LanguageModel) -> None:
    text = "The cat sat on the mat. " * 9
    result = call("chat", saved, "--message", text, "-n", "0")
    dropped = lm.chat(said(text), 0).dropped_tokens
    assert dropped > 10
    assert result.err == f"note: the model does not see the oldest {dropped:,} tokens of the conversation\n"


def test_what_cannot_be_answered_is_said_in_two_lines(call: Call, saved: Path, trained: Trained) -> None:
    for arguments, stdin, words in (
        ([saved], b"", "the message is empty"),
        ([saved, "--message", " \n"], b"", "the message is empty"),
        ([saved], b"\xff\xfe", "standard input is not UTF-8"),
        ([saved, "--message", "refuse"], b"", "the chat template refuses the messages: not that"),
        ([saved, "--message", "a", "--temperature", "-1"], b"", "--temperature is -1.0"),
        (["-m", trained.path, "--message", "a"], b"", "the model has no chat template"),
    ):
        result = call("chat", *arguments, stdin=stdin)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"error: {words}")
        assert len(result.err.splitlines()) <= 2


# -- in a terminal -------------------------------------------------------------------------------------------------


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Runs `nextword` with a terminal as standard input, in which these lines were typed before Ctrl-D."""
    master, slave = os.openpty()

    def typed(lines: bytes, *arguments: str | Path) -> tuple[int, str, str]:
        os.write(master, lines + b"\x04")
        with open(os.dup(slave), encoding="utf-8") as stdin:  # noqa: PTH123  a file descriptor
            monkeypatch.setattr(sys, "stdin", stdin)
            code = run(["chat", *map(str, arguments)])
        return code, *capsys.readouterr()

    yield typed
    os.close(master)
    os.close(slave)


@terminal_only
def test_a_conversation_goes_on_from_turn_to_turn(typed: Any, saved: Path, lm: LanguageModel) -> None:
    code, out, err = typed("나는 오늘\n\n  또?  \n".encode(), saved, "--seed", "3", "-n", "6", "--temperature", "2.5")
    first = lm.chat(said("나는 오늘"), 6, seed=3, temperature=2.5).text
    second = lm.chat(said("나는 오늘", first, "또?"), 6, seed=3, temperature=2.5).text
    assert second != lm.chat(said("또?"), 6, seed=3, temperature=2.5).text
    assert (code, err) == (0, "")
    assert out.startswith(f"{lm!r}\n{_WELCOME}\n")
    assert out[out.index("\n\n") :] == f"\n\n> {first}\n\n> > {second}\n\n> \n"


@terminal_only
def test_commands(typed: Any, saved: Path, lm: LanguageModel) -> None:
    lines = "나는\n/clear\n/system x\x1b[2J\n오늘\n/system\n/clear\n/a/b 는?\n/exit\n없다\n"
    code, out, err = typed(lines.encode(), saved, "--seed", "3", "-n", "5")
    answers = [
        lm.chat(said("나는"), 5, seed=3).text,
        lm.chat(said("오늘", system="x\x1b[2J"), 5, seed=3).text,
        lm.chat(said("/a/b 는?"), 5, seed=3).text,
    ]
    cleared = "The conversation starts anew."
    assert (code, err) == (0, "")
    assert out[out.index("\n\n") :] == (
        f"\n\n> {answers[0]}\n\n> {cleared}\n\n> The model is told: xU+001B[2J\n\n> {answers[1]}\n\n"
        f"> The model is told nothing.\n\n> {cleared}\n\n> {answers[2]}\n\n> "
    )


@terminal_only
def test_what_cannot_be_answered_is_said_and_the_conversation_goes_on(
    typed: Any, saved: Path, lm: LanguageModel
) -> None:
    code, out, err = typed("/nothing\nrefuse\n나는\n".encode(), saved, "--seed", "3", "-n", "5")
    assert code == 0
    assert err.splitlines() == [
        "error: there is no command /nothing",
        "hint: /exit, /clear, /system TEXT",
        "error: the chat template refuses the messages: not that",
    ]
    assert out.endswith(f"> > > {lm.chat(said('나는'), 5, seed=3).text}\n\n> \n")


@terminal_only
def test_a_line_that_is_not_utf_8_is_thrown_away(typed: Any, saved: Path, lm: LanguageModel) -> None:
    code, out, err = typed(b"a\xff\n", saved, "-n", "1")
    assert out.endswith("how to answer.\n\n> > \n")
    assert (code, err) == (0, "error: the line is not UTF-8\n")


@terminal_only
def test_a_model_without_a_template_and_json_without_a_message_are_refused(
    typed: Any, saved: Path, trained: Trained
) -> None:
    code, out, err = typed(b"hello\n", trained.path)
    assert (code, out) == (2, "")
    assert err.startswith("error: the model has no chat template")
    code, out, err = typed(b"", saved, "--json")
    assert (code, out, err.splitlines()[0]) == (2, "", "error: --json needs a message")


class Terminal:
    """A program in a terminal of its own, which sends it signals."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = os.openpty()
        # A session's leader gets the first terminal it opens.
        command = ["sh", "-c", 'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1', "sh", os.ttyname(slave), *arguments]
        self.process = subprocess.Popen(command, start_new_session=True)
        self._slave = slave
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, pattern: str, *, pressing: str = "") -> None:
        """Reads until the pattern appears behind what was found before.

        A key is pressed again where nothing happens: Python's line editing can overlook a Ctrl-C that comes just
        before it begins to wait for keys.
        """
        deadline = time.monotonic() + 120
        self.type(pressing)
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            assert time.monotonic() < deadline, f"{pattern!r} never appeared: {self.seen!r}"
            if select.select([self._master], [], [], 5)[0]:
                self.seen += os.read(self._master, 65536).decode(errors="replace")
            else:
                self.type(pressing)
        self.seen = self.seen[found.end() :]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@terminal_only
def test_ctrl_c_stops_an_answer_and_then_a_line_and_the_conversation_goes_on(trained: Trained, tmp_path: Path) -> None:
    endless = Tokenizer.from_str(trained.run.model.tokenizer.to_str())
    assert not endless.end_ids
    model = LanguageModel(trained.run.model.backend, endless, chat_template=TEMPLATE).save(tmp_path / "endless")
    arguments = ["chat", str(model), "-n", "1000000", "--temperature", "2"]
    terminal = Terminal(sys.executable, "-X", "utf8", "-m", "nextword", *arguments)
    try:
        terminal.wait_for("how to answer.*> ")
        terminal.type("나는 오늘\n")
        terminal.wait_for(r"나는 오늘.*\n.{40}")  # what is typed is shown, then the answer begins
        terminal.wait_for("\r\n> ", pressing="\x03")
        terminal.type("half a line")
        terminal.wait_for("half a line")  # or Ctrl-C would take it from the keyboard before it is read
        terminal.wait_for("\r\n> ", pressing="\x03")
        terminal.type("/clear\n")
        terminal.wait_for("starts anew")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()


@terminal_only
def test_sigterm_ends_the_conversation(saved: Path) -> None:
    terminal = Terminal(sys.executable, "-X", "utf8", "-m", "nextword", "chat", str(saved))
    try:
        terminal.wait_for("how to answer.*> ")
        code = None
        for _ in range(60):  # as in `wait_for`: what comes just before keys are waited for is overlooked
            terminal.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = terminal.process.wait(2)
                break
        assert code == 143
    finally:
        terminal.close()


def test_an_answer_that_is_broken_off_was_said(lm: LanguageModel) -> None:
    from nextword.cli.chat import _Conversation
    from nextword.generation import Memory

    talk = _Conversation(lm, {"max_new_tokens": 50, "seed": 1}, "", Memory())
    stream = talk.ask("나는")
    pieces = next(stream) + next(stream)
    talk.add_answer(stream)
    assert talk.messages == said("나는", pieces)
    stream = talk.ask("그리고?")
    assert stream.generation.prompt == lm.template.render(said("나는", pieces, "그리고?"))
