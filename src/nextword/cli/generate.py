"""`nextword generate`: write on from a text."""

from __future__ import annotations

import sys
import unicodedata
from typing import Annotated, Any, cast

from cyclopts import Parameter

from nextword.cli.options import (
    DEFAULT_LOADING,
    Json,
    LoadingFlags,
    Model,
    Overflow,
    SamplingFlags,
    Text,
    note_dropped_tokens,
    print_json,
    read_text,
    typed_text,
)
from nextword.errors import ConfigError

_DEFAULTS = SamplingFlags()


def generate(
    text: Text,
    *,
    model: Model = None,
    max_new_tokens: Annotated[int, Parameter(name=["--max-new-tokens", "-n"])] = 80,
    sampling: SamplingFlags = _DEFAULTS,
    seed: int | None = None,
    stop: Annotated[tuple[str, ...], Parameter(negative="", show_default=False, allow_leading_hyphen=True)] = (),
    logprobs: int = 0,
    overflow: Overflow = "slide",
    loading: LoadingFlags = DEFAULT_LOADING,
    draft: str | None = None,
    as_json: Json = False,
) -> None:
    """Write on from a text, token by token, as it is made.

    Args:
        text: The text to continue.
        model: A model directory, a .gguf file, a pulled name or a hub id.
        max_new_tokens: Tokens to write at most.
        sampling: How the next token is chosen.
        seed: The same seed writes the same text; different every time if left out.
        stop: A string that ends the text; may be given several times.
        logprobs: With --json: alternatives to record a token.
        overflow: What to do when the context is full: slide goes on with its newest half, stop ends.
        loading: Where to run, and what weights are rounded to.
        draft: A smaller model with the same tokenizer, which guesses ahead; the text stays the same.
        as_json: Print JSON when all is written.
    """
    if logprobs and not as_json:
        raise ConfigError("--logprobs is shown with --json only", hint="add --json")
    from nextword.loading import load

    prompt = read_text(text)
    stream = load(model, **loading, draft=draft).stream(
        prompt,
        max_new_tokens,
        **sampling.settings(),
        seed=seed,
        stop=[typed_text(end) for end in stop],
        logprobs=logprobs,
        overflow=cast(Any, overflow),
    )
    if as_json:
        for _ in stream:
            pass
        print_json(stream.generation.to_json())
        return
    note_dropped_tokens(stream.generation.dropped_tokens)
    terminal = sys.stdout.isatty()
    sys.stdout.write(shown(prompt, terminal))
    try:
        for piece in stream:
            sys.stdout.write(shown(piece, terminal))
            sys.stdout.flush()
    finally:
        sys.stdout.write("\n")


def shown(text: str, terminal: bool) -> str:
    """The text as it is; for a terminal, control characters as code points, so that none is obeyed."""
    from nextword.tokens.visible import write_code_points

    controls = {character for character in text if unicodedata.category(character) == "Cc"} - {"\n", "\t"}
    return write_code_points(text, controls) if terminal else text
