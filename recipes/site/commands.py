"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import re

from cyclopts import App

from nextword.cli import COMMANDS, home_of

_NO_DEFAULT = re.compile(r' \*\[default: (?:False|"")\]\*')
_KOREAN = {
    "**Arguments**:": "**인자**:",
    "**Parameters**:": "**옵션**:",
    "**[required]**": "**[필수]**",
    "*[choices: ": "*[선택: ",
    "*[default: ": "*[기본값: ",
}
"""The words around the help, which itself is as the command gives it."""


def command_line() -> App:
    """All commands, as `nextword` has them."""
    app = App(name="nextword")
    for name in COMMANDS:
        app.command(home_of(name), name=name)
    return app


def command_reference(language: str) -> str:
    """A section a command, in Markdown: how it is called, what it does, every argument and option."""
    app = command_line()
    sections = []
    for name in COMMANDS:
        text = app[name].generate_docs(heading_level=2).strip()
        text = text.replace(f"## {name}\n", f"## nextword {name}\n", 1).replace(
            f"```console\n{name}", f"```console\nnextword {name}", 1
        )
        text = _NO_DEFAULT.sub("", text)
        for english, korean in _KOREAN.items() if language == "ko" else ():
            text = text.replace(english, korean)
        sections.append(text)
    return "\n\n".join(sections)
