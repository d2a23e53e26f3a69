"""`nextword tokenize`: a text as the model reads it."""

from __future__ import annotations

from nextword.cli.options import Json, Model, Text, model_path, print_json, read_text


def tokenize(text: Text, *, model: Model = None, as_json: Json = False) -> None:
    """Show the tokens of a text: ids, pieces (parts of one character marked), bytes.

    Args:
        text: The text.
        model: A model directory, a .gguf file, a pulled name or a hub id.
        as_json: Print JSON.
    """
    from nextword.files.opening import read_tokenizer

    tokenizer = read_tokenizer(model_path(model))
    ids = tokenizer.encode(read_text(text))
    pieces, data = tokenizer.pieces(ids), tokenizer.bytes_of(ids)
    if as_json:
        print_json(
            [
                {"id": piece.token_id, "text": piece.text, "part": piece.part, "parts": piece.parts, "bytes": raw.hex()}
                for piece, raw in zip(pieces, data, strict=True)
            ]
        )
        return
    from nextword.terminal.console import make_console
    from nextword.terminal.model_view import show_tokens

    show_tokens(make_console(), pieces, data)
