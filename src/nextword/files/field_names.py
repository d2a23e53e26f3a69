"""What is wrong with a config, in the words of the file that it was read from."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"(?:GPTConfig\.)?\b([a-z]\w*)")


def rename_fields(message: str, names: Mapping[str, str]) -> str:
    """What a GPTConfig says of its fields, in the names that a file gives them.

    Args:
        message: Of a ConfigError.
        names: Fields of GPTConfig -> the file's.
    """
    return _NAME.sub(lambda found: names.get(found[1], found[0]), message)
