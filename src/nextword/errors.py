"""The one family of errors. Each carries a `hint`: what the reader can do next.

The command line prints `error: <message>` and `hint: <hint>` and exits with code 2; a library user catches
`NextwordError`, or the one subclass that fits:

    NextwordError
      ModelFileError            a file of a model
      TextError                 a text
        NoTextError             a source that holds nothing to learn
        EncodingError           in another encoding
      ConfigError               a setting
        MissingPackageError     of an extra that is not installed; an ImportError too
        NoSuchValueError        of a trace; a KeyError too
      ContextOverflowError      a prompt that does not fit
      NotFiniteError            a loss that is no number
      FailedElsewhereError      another process of the run
      PackageUnavailableError   pip cannot fetch it
      UsageError                the command line
"""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nextword.formatting import escape_surrogates


class NextwordError(Exception):
    """Base of every error that nextword raises on purpose.

    Args:
        message: One line that says what is wrong, naming the file, field or word. Settings have Python's names in it
            (`top_k is 0`), and in hints they are set (`restart=True`): the command line makes flags of them. Both
            go through `escape_surrogates`.
        hint: One line that says what to do next; empty when there is nothing to add. A traceback shows it as a note.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message, self.hint = escape_surrogates(message), escape_surrogates(hint)
        super().__init__(self.message)
        if hint:
            self.add_note(f"hint: {self.hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes raise it as it is, whatever its own arguments were."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class ModelFileError(NextwordError):
    """A model file is missing, truncated, hostile or of a kind that is not supported."""


class TextError(NextwordError):
    """Text that cannot be used: empty, wrongly encoded, too short, or with unknown words."""


class ConfigError(NextwordError):
    """A setting has a wrong value, a device is not there, or an optional package is not installed."""


class FailedElsewhereError(NextwordError):
    """A run of several processes ends on this one because of an error on another one, which raises it."""


class ContextOverflowError(NextwordError):
    """A prompt is longer than the model's context and the caller asked not to cut it.

    Args:
        n_prompt_tokens: Tokens in the prompt.
        context_length: Tokens that the model can look at.
        at_least: Whether the prompt was not encoded, because so many is what it has in any case.
    """

    def __init__(self, n_prompt_tokens: int, context_length: int, *, at_least: bool = False) -> None:
        count = f"at least {n_prompt_tokens}" if at_least else n_prompt_tokens
        super().__init__(
            f"the prompt has {count} tokens, the model's context holds {context_length}",
            hint='shorten the prompt, or use overflow="slide", which goes on with the newest half of the context',
        )
        self.n_prompt_tokens = n_prompt_tokens
        self.context_length = context_length


class MissingPackageError(ConfigError, ImportError):
    """Something was asked for that takes packages of an extra which is not installed."""


def missing_extra(package: str, extra: str, purpose: str) -> MissingPackageError:
    """The error for an optional package, or several, that are not installed."""
    return MissingPackageError(f"{purpose} needs {package}", hint=install_command(f"'nextword[{extra}]'"))


def require_packages(purpose: str, extra: str, *packages: str) -> None:
    """Raises what says how to get packages, where one is not installed.

    Args:
        purpose: What needs them.
        extra: The extra that has them, or several with commas.
        packages: What is imported.

    Raises:
        MissingPackageError: One is not installed.
    """
    if missing := [package for package in packages if find_spec(package) is None]:
        *most, last = missing
        raise missing_extra(f"{', '.join(most)} and {last}" if most else last, extra, purpose)


def install_command(what: str) -> str:
    """What is typed to install something beside this nextword: pip, where it is this Python's, or this Python's pip.

    An extra of nextword is found wherever nextword came from, its source included: pip asks the one that is installed.
    """
    python = Path(sys.executable)
    if (pip := shutil.which("pip")) is not None and Path(pip).parent == python.parent:
        return f"pip install {what}"
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed
        here = Path(python.anchor)
    typed = python.relative_to(here) if here in python.parents[1:-1] else python
    return f"{shlex.quote(str(typed))} -m pip install {what}"
