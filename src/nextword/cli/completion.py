"""`nextword --install-completion`: the Tab key completes commands and options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nextword.errors import ConfigError

if TYPE_CHECKING:
    from cyclopts import App

_SET_HOME = "set HOME to a directory that you may write"
Shell = Literal["bash", "zsh", "fish"]


def install_completion(app: App) -> Callable[[Shell | None], None]:
    """The command that lets the Tab key complete an app's commands."""

    def install(shell: Shell | None = None, /) -> None:
        """Let the Tab key complete commands, in bash, zsh or fish.

        Args:
            shell: Which one; the one that this was typed into if left out.
        """
        from cyclopts.completion.detect import ShellDetectionError, detect_shell

        from nextword.machine.user import abbreviate_home

        home = os.environ.get("HOME", "")  # where shells look: the system's word for it is not asked
        if not Path(home).is_dir() or not home:
            what = f"HOME is {home}, which is no directory" if home else "HOME is not set"
            raise ConfigError(f"there is no home directory to install completions in: {what}", hint=_SET_HOME)

        try:
            found = shell or detect_shell()
        except ShellDetectionError:
            raise ConfigError("cannot tell which shell this is", hint="nextword --install-completion bash") from None
        try:
            path = app.install_completion(shell=found)
        except OSError as error:
            raise ConfigError(
                f"cannot install completions: {error.strerror or error}: {error.filename}",
                hint=_SET_HOME,
            ) from None
        if found == "bash":  # what is no command, option or choice is completed as a file, as without completion
            script = path.read_text(encoding="utf-8")
            path.write_text(
                script.replace("\ncomplete -F ", "\ncomplete -o bashdefault -o default -F "), encoding="utf-8"
            )
        changed = {"bash": "; ~/.bashrc loads it", "zsh": "; ~/.zshrc has its folder in fpath"}.get(found, "")
        sys.stdout.write(f"{abbreviate_home(path)} completes nextword in {found}{changed}.\n")
        sys.stdout.write("It works in shells that are opened from now on.\n")

    return install
