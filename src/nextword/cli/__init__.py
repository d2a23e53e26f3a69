"""The command line: one module a command, each imported only when it is called."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

    from nextword.errors import NextwordError

STARTED = time.monotonic()
"""When the process began, nearly: `--minutes` counts from here."""

COMMANDS = {
    "predict": "Show the most probable next tokens or words of a text.",
    "generate": "Write on from a text.",
    "look": "Show the whole path from tokens to the next word.",
    "chat": "Talk with a model.",
    "serve": "Serve models over HTTP, as OpenAI's clients expect.",
    "train": "Train a model on your own text.",
    "runs": "List trained models and runs under way, or compare them.",
    "info": "Show what a model is made of.",
    "verify": "Hold a model against transformers, number by number.",
    "cloze": "Measure what a model knows of ordinary language.",
    "bench": "Measure a model's speed, beside other engines.",
    "tokenize": "Show a text as the model reads it.",
    "pull": "Fetch a published model.",
    "convert": "Turn a model file of one kind into another.",
    "export": "Write a model for transformers or llama.cpp.",
    "lens-fit": "Fit a lens that shows what each layer would say.",
    "figure": "Draw a text on its way through the model.",
    "doctor": "Show what is installed and what is missing.",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 bad input, 130 stopped with Ctrl-C, 143 and 129 by another signal."""
    from nextword.cli.streams import redirect_to_null, terminals
    from nextword.machine.signals import terminate_as_interrupt

    gc.set_threshold(10_000)  # next to nothing of a start is garbage, and Python would look for it a hundred times
    shown = terminals()
    with terminate_as_interrupt(on_hangup=lambda: redirect_to_null(shown)) as ending:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
    if ending.number is not None:
        code = 128 + ending.number  # as shells count
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C while Python takes itself apart would end in a traceback
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # Of several processes' talk threads are left, which abort when Python takes itself apart under them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    gc.freeze()  # nor is it looked for at the end, in all that the process had
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command; the exit code."""
    from nextword.cli.streams import make_streams_usable
    from nextword.errors import FailedElsewhereError, NextwordError
    from nextword.tokenizers_errors import suppress_panic_output

    make_streams_usable()
    debug, arguments = _without_debug(arguments)
    try:
        with _notes(), contextlib.nullcontext() if debug else suppress_panic_output():
            code = _dispatch(_rewrite_help_words(arguments))
        sys.stdout.flush()  # here, where a closed pipe or a full disk can still be told
        return code
    except FailedElsewhereError:
        if debug:
            raise
        return 2
    except NextwordError as error:
        if debug:
            raise
        print_exception(error, _command_of(arguments))
        return 2
    except MemoryError:
        if debug:
            raise
        print_error("there is not enough memory", "a smaller model, a shorter text or precision q8_0 takes less")
        return 2
    except KeyboardInterrupt:
        if debug:
            raise
        sys.stderr.write("\nstopped\n")
        return 130
    except BrokenPipeError:  # whoever read our output has closed it (`| head`): nothing more can be said
        _discard_output()
        return 0
    except OSError as error:
        if debug:
            raise
        _discard_output()
        print_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", "")
        return 2


def _without_debug(arguments: list[str]) -> tuple[bool, list[str]]:
    """Whether `--debug` was asked for, and the rest; as the value of an option, or behind `--`, it is text."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" not in arguments[:end]:
        return False, arguments
    rest = [word for word in arguments[:end] if word != "--debug"] + arguments[end:]
    command = _command_of(rest)
    if not command:
        return True, rest
    from nextword.cli.usage import Typed
    from nextword.errors import NextwordError

    head = [command] if rest[0] == command else []
    words = arguments[arguments.index(command) + 1 :] if head else arguments
    try:
        typed = Typed.read(_app(command), command, words).without("--debug")
    except NextwordError:  # which the command will say again
        return True, rest
    return len(head) + len(typed) < len(arguments), head + typed


def _rewrite_help_words(arguments: list[str]) -> list[str]:
    """`help`, `help COMMAND` and `version` as the options that they mean.

    Raises:
        UsageError: Help was asked for to what is no command.
    """
    match arguments:
        case ["help"]:
            return ["--help"]
        case ["version"]:
            return ["--version"]
        case ["help", command] if command in COMMANDS:
            return [command, "--help"]
        case ["help", other] if not other.startswith("-"):
            from difflib import get_close_matches

            from nextword.cli.usage import UsageError, quoted

            meant = get_close_matches(other, COMMANDS, n=1)
            hint = f"did you mean {meant[0]}" if meant else "nextword help lists them"
            text = quoted(f"help {other}")
            raise UsageError(f"there is no command {other}", hint=f"{hint}; if it is a text: nextword {text}")
    return arguments


def _dispatch(arguments: list[str]) -> int:
    from difflib import get_close_matches

    from cyclopts import CycloptsError

    command = _command_of(arguments)
    app = _app(command)
    if not command:
        app(arguments, result_action="return_none")
        return 0
    from nextword.cli.usage import Typed, UsageError

    named = arguments[0] == command
    typed = Typed.read(app, command, arguments[1:] if named else arguments, named=named)
    try:
        typed.arguments()  # an option that there is not could be taken for the text
        app([command, *typed.words], exit_on_error=False, print_error=False, result_action="return_none")
    except (CycloptsError, UsageError) as error:
        meant = [] if named else get_close_matches(arguments[0], COMMANDS, n=1)
        if meant and Typed.read(app, meant[0], arguments[1:]).fits():
            print_error(f"there is no command {arguments[0]}", f'did you mean "nextword {meant[0]}"?')
        else:
            print_error(*typed.explain(error))
        return 2
    return 0


def _command_of(arguments: Sequence[str]) -> str:
    """The command that is called; empty where the overview, or the version, is asked for."""
    if not arguments or arguments[0] in ("--help", "-h", "--version"):
        return ""
    return arguments[0] if arguments[0] in (*COMMANDS, "--install-completion") else "predict"


def home_of(command: str) -> str:
    """Where a command's function is: `nextword.cli.lens_fit:lens_fit`."""
    name = command.replace("-", "_")
    return f"nextword.cli.{name}:{name}"


def _app(called: str) -> App:
    """The command line. The called command is explained by its docstring, others by a line, which imports nothing."""
    from cyclopts import App

    from nextword import __version__
    from nextword.cli.completion import install_completion

    app = App(
        name="nextword",
        version=f"nextword {__version__}",
        help='The way from token input to the next word. `nextword "TEXT"` is `nextword predict "TEXT"`.',
        suppress_keyboard_interrupt=False,  # `run` answers it
        help_epilogue="`--debug` with any command shows where an error came from. `--install-completion` lets the Tab "
        "key complete commands in bash, zsh and fish.",
    )
    for order, (name, summary) in enumerate(COMMANDS.items()):
        app.command(home_of(name), name=name, help=None if name == called else summary, sort_key=order)
    app.command(install_completion(app), name="--install-completion", show=False)
    return app


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """What the rooms log as a warning becomes a `note:` line on standard error."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    logger = logging.getLogger("nextword")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _discard_output() -> None:
    """What is still to be written goes nowhere, or Python would try again, and fail again, at its end."""
    from nextword.cli.streams import redirect_to_null

    with contextlib.suppress(OSError):
        redirect_to_null([sys.stdout.fileno()])


def print_exception(error: NextwordError, command: str) -> None:
    """An error of the rooms below, in the words of a command."""
    if not command:
        print_error(error.message, error.hint)
        return
    from nextword.cli.usage import format_error

    print_error(*format_error(error, _app(command), command))


def print_error(message: str, hint: str) -> None:
    """Two plain lines on standard error, whatever the message holds."""
    sys.stderr.write(f"error: {' '.join(message.splitlines())}\n")
    if hint:
        sys.stderr.write(f"hint: {hint}\n")
