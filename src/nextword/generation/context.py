"""How text longer than the model's context is handled, in one place."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Annotated, SupportsIndex, cast, get_args

from nextword.arguments import OWN_CHECK
from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.settings import Overflow
from nextword.tokens import Tokenizer

Prompt = Annotated[str | Sequence[int], OWN_CHECK]
"""A text, or token ids that are taken as they are."""


def window_start(length: int, context_length: int) -> int:
    """Where the window begins that `slide` looks at, once `length` tokens are more than the context holds.

    The newest half of the context is kept, and goes on growing.
    """
    return length - max(1, context_length // 2)


def fit_to_context(
    tokenizer: Tokenizer, prompt: Prompt, context_length: int, overflow: Overflow
) -> tuple[list[int], int]:
    """The prompt's tokens as the model sees them, and how many older ones it does not see.

    Raises:
        TextError: The prompt is empty, cannot be encoded, or holds ids that are not in the vocabulary.
        ContextOverflowError: It is too long and `overflow` is `stop`.
        ConfigError: There is no such policy.
    """
    return cut_to_context(encode_prompt(tokenizer, prompt, context_length, overflow), context_length, overflow)


def encode_prompt(tokenizer: Tokenizer, prompt: Prompt, context_length: int, overflow: Overflow) -> list[int]:
    """All of the prompt's tokens; for a text, with the token before it that the model was trained with.

    Raises:
        TextError: The prompt is empty, cannot be encoded, or holds ids that are not in the vocabulary.
        ContextOverflowError: `overflow` is `stop`, and the text is so long that it cannot fit, however it is encoded.
        ConfigError: There is no such policy.
    """
    if overflow not in get_args(Overflow):
        raise ConfigError(f"overflow is {overflow!r}, it must be slide or stop")
    if isinstance(prompt, str) and overflow == "stop":
        tokenizer.refuse_longer(prompt, context_length)
    ids = tokenizer.encode_start(prompt) if isinstance(prompt, str) else token_ids_of(tokenizer, prompt)
    if not ids:
        raise TextError("the prompt is empty", hint="give the model at least one word to continue")
    return ids


def token_ids_of(tokenizer: Tokenizer, prompt: object) -> list[int]:
    """Token ids as plain numbers.

    Raises:
        TextError: It is something else, such as bytes, several texts or None, or an id is not in the vocabulary.
    """
    if isinstance(prompt, bytes | bytearray):
        raise TextError("the prompt is bytes, not text", hint='prompt.decode("utf-8") makes a text of them')
    hint = "a prompt is one text, or the ids of its tokens; for several, call once for each"
    try:
        tokens = iter(cast(Iterable[object], prompt))
    except TypeError:
        raise TextError(f"the prompt is {type(prompt).__name__}, not text", hint=hint) from None
    ids = []
    for token in tokens:
        if isinstance(token, bool):
            raise TextError("the prompt holds bool, not token ids", hint=hint)
        try:
            ids.append(operator.index(cast(SupportsIndex, token)))
        except TypeError:
            raise TextError(f"the prompt holds {type(token).__name__}, not token ids", hint=hint) from None
    tokenizer.bytes_of(ids)  # refuses ids that it does not have
    return ids


def prompt_text(tokenizer: Tokenizer, prompt: Prompt) -> str:
    """The prompt as text."""
    return prompt if isinstance(prompt, str) else tokenizer.decode(prompt)


def cut_to_context(ids: Sequence[int], context_length: int, overflow: Overflow) -> tuple[list[int], int]:
    """The newest tokens that fit, and how many were left out.

    Raises:
        ContextOverflowError: They do not fit and `overflow` is `stop`.
    """
    if len(ids) <= context_length:
        return list(ids), 0
    if overflow == "stop":
        raise ContextOverflowError(len(ids), context_length)
    start = window_start(len(ids), context_length)
    return list(ids[start:]), start
