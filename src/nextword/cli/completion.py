"""`nextword --install-completion`: the Tab key completes commands and options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from nextword.errors import ConfigError

if TYPE_CHECKING:
    from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]


def install_completion(app: App) -> Callable[[Shell | None], None]:
    """The command that lets the Tab key complete an app's commands."""

    def install(shell: Shell | None = None, /) -> None:
        """Let the Tab key complete commands, in bash, zsh or fish.

        Args:
            shell: Which one; the one that this was typed into if left out.
        """
        from cyclopts.completion.detect import ShellDetectionError, detect_shell

        from nextword.machine.user import below_home, home_directory

        if home_directory() is None:
            raise ConfigError("there is no home directory to install completions in", hint="set HOME to one")

        try:
            found = shell or detect_shell()
        except ShellDetectionError:
            raise ConfigError("cannot tell which shell this is", hint="nextword --install-completion bash") from None
        path = app.install_completion(shell=found)
        if found == "bash":  # what is no command, option or choice is completed as a file, as without completion
            script = path.read_text(encoding="utf-8")
            path.write_text(
                script.replace("\ncomplete -F ", "\ncomplete -o bashdefault -o default -F "), encoding="utf-8"
            )
        changed = {"bash": "; ~/.bashrc loads it", "zsh": "; ~/.zshrc has its folder in fpath"}.get(found, "")
        sys.stdout.write(f"{below_home(path)} completes nextword in {found}{changed}.\n")
        sys.stdout.write("It works in shells that are opened from now on.\n")

    return install
