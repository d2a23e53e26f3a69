"""What was typed, held against what a command takes; and every mistake in it, in plain words.

The rooms below speak Python: `top_k is 0`, `begin anew with restart=True`. What they say becomes flags here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.exceptions import ArgumentOrderError

from nextword.errors import ModelFileError, NextwordError

if TYPE_CHECKING:
    from cyclopts import Argument, ArgumentCollection

_OPTION = re.compile(r"--?[A-Za-z][\w-]*(=.*)?", re.DOTALL)
"""What is an option where it stands; `-5 degrees` and `- item` are text."""
_ASSIGNED = re.compile(r"""(?<![\w.-])([a-z]\w*)=(\.\.\.|"[^"]*"|'[^']*'|[\w.+-]*\w)""")
"""A setting as Python writes it."""
_PYTHON = re.compile(r"(?<![\w.?&/-])[a-z]\w*=(?!=)|\b(lm|nextword)\.\w+\(")
"""What can only be typed in Python."""
_EXAMPLES = {
    "train": "nextword train my.txt --out my-model",
    "convert": "nextword convert model.gguf my-model",
    "export": "nextword export my-model --format gguf --out my-model.gguf",
}
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}


class UsageError(NextwordError):
    """What was typed names an option that there is not."""


@dataclass(frozen=True)
class Typed:
    """A command as it was typed."""

    command: str
    named: bool
    """Whether the command was typed; `nextword "TEXT"` is `nextword predict "TEXT"`."""
    words: Sequence[str]
    """What stands behind it."""
    app: App

    @classmethod
    def read(cls, app: App, command: str, words: Sequence[str], *, named: bool = True) -> Typed:
        """A command's words."""
        return cls(command, named, words, app)

    @cached_property
    def takes(self) -> ArgumentCollection:
        """What the command takes, which imports it; asked where there are options: Cyclopts asks again for itself."""
        return self.app[self.command].assemble_argument_collection()

    @property
    def line(self) -> str:
        """How the command is called."""
        return f"nextword {self.command}" if self.named else "nextword"

    def arguments(self) -> list[str]:
        """The words that are neither options nor their values.

        Raises:
            UsageError: A word looks like an option, and the command has none of this name.
        """
        behind = list(self.words).index("--") + 1 if "--" in self.words else len(self.words)
        plain = [
            self.words[place] for place in self._positional_indices() if _OPTION.fullmatch(self.words[place]) is None
        ]
        return plain + list(self.words[behind:])

    def without(self, flag: str) -> list[str]:
        """The words without a flag that every command has; where it is the value of an option, it stays.

        Raises:
            UsageError: As `arguments`.
        """
        flags = {place for place in self._positional_indices() if self.words[place] == flag}
        return [word for place, word in enumerate(self.words) if place not in flags]

    def _positional_indices(self) -> list[int]:
        """Where the words up to `--` stand that are no option's value."""
        indices: list[int] = []
        places = iter(range(len(self.words)))
        for place in places:
            word = self.words[place]
            if word == "--":
                break
            indices.append(place)
            if _OPTION.fullmatch(word) is None:
                continue
            if (argument := self._option(word)) is not None and self._takes_next(argument, word, place):
                next(places, None)
        return indices

    def fits(self) -> bool:
        """Whether every option is one of the command's."""
        try:
            self.arguments()
        except UsageError:
            return False
        return True

    def _option(self, word: str) -> Argument | None:
        """The option that a word names; None for those that every command has.

        Raises:
            UsageError: There is none.
        """
        name = word.partition("=")[0]
        if name in ("--help", "-h", "--version", "--debug"):
            return None
        attached = name[:2] if not name.startswith("--") else name  # -n5
        for spelling in (name, attached):
            try:
                argument, _, _ = self.takes.match(spelling)
            except ValueError:
                continue
            return argument
        names = [name for argument in self.takes if argument.index is None for name in argument.names]
        if nearest := get_close_matches(name, names, n=1):
            hint = f"did you mean {nearest[0]}?"
        elif self._reads_text:
            hint = f"{self.line} --help lists the options; if it is the text: {self.line} -- {quoted(word)}"
        else:
            hint = f"{self.line} --help lists the options"
        raise UsageError(f"unknown option {name}", hint=hint)

    def _takes_next(self, argument: Argument, word: str, place: int) -> bool:
        """Whether the value of an option is the word behind it."""
        if "=" in word or argument.token_count()[0] == 0 or word not in argument.names:
            return False
        following = self.words[place + 1] if place + 1 < len(self.words) else "--"
        return argument.parameter.allow_leading_hyphen is True or _OPTION.fullmatch(following) is None

    @property
    def _reads_text(self) -> bool:
        return any(argument.field_info.name == "text" and argument.index is not None for argument in self.takes)

    def _positional_names(self) -> list[str]:
        """What stands behind the command without a flag, as the help calls it."""
        return [argument.name.lstrip("-").upper() for argument in self.takes if argument.index is not None]

    def explain(self, error: CycloptsError | UsageError) -> tuple[str, str]:
        """What is wrong, and what to do about it."""
        match error:
            case UsageError():
                return error.message, error.hint
            case UnusedCliTokensError() | UnknownOptionError():  # the options that there are not stand behind `--`
                return self._too_many()
            case RepeatArgumentError():
                return f"{error.token.keyword} was given twice", self._help
            case MissingArgumentError() if error.argument is not None:
                return self._missing(error, error.argument)
            case CoercionError() if error.token is not None and error.argument is not None:
                name = error.token.keyword or error.argument.name.lstrip("-").upper()
                return f"{name} is {error.token.value!r}, it must be {_kind(error.target_type)}", self._help
            case ArgumentOrderError() if error.argument is not None:
                given = error.prior_positional_or_keyword_supplied_as_keyword_arguments
                names = " and ".join(argument.name for argument in given)
                named = f"{error.argument.name} {quoted(error.token)}"
                return f"after {names}, {error.token!r} needs its name too", f"{self.line} ... {named}"
        return " ".join(str(error).split()), self._help

    @property
    def _help(self) -> str:
        return f"{self.line} --help" if self.named else f"nextword {self.command} --help"

    def _too_many(self) -> tuple[str, str]:
        found, places = self.arguments(), self._positional_names()
        flags = [name for argument in self.takes if argument.index is not None for name in argument.names]
        if given := [word for word in self.words if word.partition("=")[0] in flags]:
            return f"{given[0]} was given, and {quoted(found[-1])} too", self._help
        if self._reads_text and (moved := self._options_behind_the_text()):
            return "behind `--` all is text, options too: they stand before it", moved
        if self._reads_text:
            return "a text of several words needs quotes", f"{self.line} {quoted(' '.join(found))}"
        few = "no argument" if not places else f"only {' and '.join(places)}"
        return f"{self.command} takes {few}, found {', '.join(map(quoted, found))}", self._help

    def _options_behind_the_text(self) -> str:
        """The line as it was meant, where options follow a text that stands behind `--`."""
        words = list(self.words)
        text, *rest = words[words.index("--") + 1 :] if "--" in words else [""]
        before = words[: words.index("--")] if rest else []
        if not rest or _OPTION.fullmatch(rest[0]) is None or rest[0] in before:
            return ""
        options = [*before, *rest]
        return f"{self.line} {' '.join(map(quoted, options))} -- {quoted(text)}"

    def _missing(self, error: MissingArgumentError, argument: Argument) -> tuple[str, str]:
        keyword = error.keyword or next((token.keyword for token in argument.tokens if token.keyword), None)
        if keyword is not None:
            return f"{keyword} needs a value", self._help
        if argument.field_info.name == "text":
            return "no text was given", f'{self.line} "The children are playing in the"'
        name = argument.name if argument.index is None else argument.name.lstrip("-").upper()
        return f"{self.command} needs {name}", _EXAMPLES.get(self.command, self._help)

    def flags(self) -> dict[str, str]:
        """The flag of each setting, by the name that Python knows it by."""
        options = [argument for argument in self.takes if argument.index is None and argument.name != "*"]
        return {argument.field_info.name: argument.name for argument in options}


def python_names_to_flags(text: str, flags: Mapping[str, str], *, of_file: bool = False) -> str:
    """What is said about settings in Python, as the command line spells it.

    `restart=True` is `--restart`, `top_k=5` is `--top-k 5`, `preset=...` is `--preset`; `top_k` is `--top-k`, and a
    line that begins with `steps is` begins with `--steps is`.

    Args:
        text: A message or a hint.
        flags: The flag of each setting.
        of_file: Whether bare names are a file's own, which stay.
    """

    def assigned(found: re.Match[str]) -> str:
        flag, value = flags.get(found[1]), found[2].strip("\"'")
        if flag is None:
            return found[0]
        return flag if value in ("True", "...") else f"{flag} {shlex.quote(value)}"

    text = _ASSIGNED.sub(assigned, text)
    if of_file:
        return text
    names = "|".join(sorted((name for name in flags if "_" in name), key=len, reverse=True))
    if names:
        text = re.sub(rf"(?<![\w.-])({names})(?![\w.=-])", lambda found: flags[found[1]], text)
    name, verb, rest = text.partition(" is ")
    return f"{flags[name]}{verb}{rest}" if verb and name in flags else text


def format_error(error: NextwordError, app: App, command: str) -> tuple[str, str]:
    """Message and hint of an error, as the command line says them."""
    flags, of_file = Typed.read(app, command, ()).flags(), isinstance(error, ModelFileError)
    hint = python_names_to_flags(error.hint, flags, of_file=of_file)
    return python_names_to_flags(error.message, flags, of_file=of_file), hint if of_file else _cli_proposals(hint)


def _cli_proposals(hint: str) -> str:
    """A hint without those of its proposals that only Python has: settings that the command does not take."""
    first, *others = re.split(r"(; |, or )", hint)
    proposals = [("", first), *zip(others[::2], others[1::2], strict=True)]
    kept = [(before, said) for before, said in proposals if not _PYTHON.search(said)] or proposals[:1]
    return "".join(before * (i > 0) + said for i, (before, said) in enumerate(kept))


def quoted(text: str) -> str:
    """A text as it is typed into a shell; the rest of a long one left out."""
    short = text if len(text) <= 60 else f"{text[:57]}..."
    plain = re.search(r'["$`\\!\n]', short) is None
    return f'"{short}"' if plain and re.search(r"[^\w./:@%+=,-]", short) else shlex.quote(short)


def _kind(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        *most, last = map(str, get_args(wanted))
        return f"{', '.join(most)} or {last}" if most else last
    return _KINDS.get(wanted, getattr(wanted, "__name__", str(wanted)))
