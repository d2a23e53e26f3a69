"""`nextword chat`: talk with a model."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nextword.cli import print_error
from nextword.cli.generate import shown
from nextword.cli.options import (
    DEFAULT_LOADING,
    Json,
    LoadingFlags,
    ModelArgument,
    SamplingFlags,
    note_dropped_tokens,
    print_json,
    read_text,
    typed_text,
)
from nextword.errors import ConfigError, NextwordError, TextError
from nextword.machine.signals import termination_signal

if TYPE_CHECKING:
    from nextword.generation import Generation, Memory, TextStream
    from nextword.language_model import LanguageModel

_DEFAULTS = SamplingFlags()
_WELCOME = """Ctrl-C stops an answer, Ctrl-D or /exit leaves.
/clear starts anew, /system TEXT tells the model how to answer."""


def chat(
    model: ModelArgument = None,
    *,
    system: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    message: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    max_new_tokens: Annotated[int, Parameter(name=["--max-new-tokens", "-n"])] = 512,
    sampling: SamplingFlags = _DEFAULTS,
    seed: int | None = None,
    loading: LoadingFlags = DEFAULT_LOADING,
    draft: str | None = None,
    as_json: Json = False,
) -> None:
    """Talk with a model; with --message, or with a message on standard input, get one answer.

    Args:
        model: The model.
        system: What the model is told about how to answer.
        message: Answer this and end. Standard input that is no terminal is one message, of all its lines.
        max_new_tokens: Tokens of one answer at most.
        sampling: How the next token is chosen.
        seed: The same seed gives the same answers; different every time if left out.
        loading: Where to run, and what weights are rounded to.
        draft: A smaller model with the same tokenizer, which guesses ahead; the text stays the same.
        as_json: Print JSON when the answer is written: the conversation, and the answer's tokens.
    """
    terminal = message is None and sys.stdin.isatty()
    if as_json and terminal:
        raise ConfigError("--json needs a message", hint="give it with --message, or on standard input")
    from nextword.generation import Memory
    from nextword.loading import load

    lm = load(model, **loading, draft=draft)
    settings = {**sampling.settings(), "max_new_tokens": max_new_tokens, "seed": seed}
    conversation = _Conversation(lm, settings, typed_text(system), Memory())
    if terminal:
        _chat_loop(conversation)
        return
    question = read_text("-") if message is None else typed_text(message)
    if not question.strip():
        raise TextError("the message is empty", hint='nextword chat --message "..."; a terminal asks for it')
    if as_json:
        stream = conversation.ask(question)
        for _ in stream:
            pass
        generation = conversation.add_answer(stream)
        print_json({"messages": conversation.messages, **generation.to_json()})
        return
    _answer(conversation, question)


@dataclass
class _Conversation:
    """A conversation with a model."""

    lm: LanguageModel
    settings: dict[str, Any]
    system: str
    memory: Memory
    turns: list[dict[str, str]] = field(default_factory=list)

    @property
    def messages(self) -> list[dict[str, str]]:
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def ask(self, question: str) -> TextStream:
        """The answer, still to be written; a question that is refused was not said."""
        asked = {"role": "user", "content": question}
        stream = self.lm.stream_chat([*self.messages, asked], memory=self.memory, **self.settings)
        self.turns.append(asked)
        return stream

    def add_answer(self, stream: TextStream) -> Generation:
        """Adds what was answered, also if it was broken off."""
        self.turns.append({"role": "assistant", "content": stream.generation.text})
        return stream.generation


def _answer(conversation: _Conversation, question: str) -> None:
    """Writes an answer as it is made; Ctrl-C ends it and is passed on."""
    stream = conversation.ask(question)
    note_dropped_tokens(stream.generation.dropped_tokens, " of the conversation")
    terminal = sys.stdout.isatty()
    try:
        for piece in stream:
            sys.stdout.write(shown(piece, terminal))
            sys.stdout.flush()
    finally:
        conversation.add_answer(stream)
        sys.stdout.write("\n")


def _chat_loop(conversation: _Conversation) -> None:
    """Answers one line after another, until the input ends."""
    with suppress(ImportError):  # line editing, where the system has it
        import readline  # noqa: F401
    conversation.lm.template  # noqa: B018  a model without one is refused before anything is typed
    from nextword.files.card import languages_of

    languages = languages_of(conversation.lm.card, conversation.lm.provenance)
    known = f"It was made for {' and '.join(languages)}; in other languages it makes things up.\n"
    sys.stdout.write(f"{conversation.lm!r}\n{known if languages else ''}{_WELCOME}\n\n")
    for line in _lines():
        command = re.fullmatch(r"/(\w+)(?:\s+(.*))?", line)
        try:
            if command and command[1] == "exit":
                return
            if command:
                _run_command(conversation, command[1], command[2] or "")
            elif line:
                _answer(conversation, line)
                sys.stdout.write("\n")
        except KeyboardInterrupt:
            if termination_signal() is not None:
                raise
            sys.stdout.write("\n")
        except NextwordError as error:
            print_error(error.message, error.hint)


def _lines() -> Iterator[str]:
    """What is typed, line by line; Ctrl-C throws a line away, Ctrl-D ends."""
    while True:
        try:
            yield input("> ").strip()
        except KeyboardInterrupt:
            if termination_signal() is not None:
                raise
            sys.stdout.write("\n")
        except EOFError:
            sys.stdout.write("\n")
            return
        except UnicodeDecodeError:
            print_error("the line is not UTF-8", "")


def _run_command(conversation: _Conversation, command: str, argument: str) -> None:
    """Runs a command, and says what it did.

    Raises:
        ConfigError: There is no such command.
    """
    match command:
        case "clear":
            conversation.turns.clear()
            sys.stdout.write("The conversation starts anew.\n\n")
        case "system":
            conversation.system = argument
            message = (
                f"The model is told: {shown(argument, terminal=True)}" if argument else "The model is told nothing."
            )
            sys.stdout.write(f"{message}\n\n")
        case _:
            raise ConfigError(f"there is no command /{command}", hint="/exit, /clear, /system TEXT")
