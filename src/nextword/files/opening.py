"""Opening a model wherever it lies: a directory or a GGUF file."""

from __future__ import annotations

from pathlib import Path

from nextword.errors import ModelFileError
from nextword.files.bundle import Bundle
from nextword.files.huggingface.directory import PICKLE_WAY_OUT, read_bundle
from nextword.files.parts import part_names
from nextword.text_file import require_content
from nextword.tokens import Tokenizer


def read_model(path: Path) -> Bundle:
    """The model in a directory or a file.

    Raises:
        ModelFileError: There is none, or it is damaged or unsupported; the message names the file.
    """
    file = _gguf_at(path)
    if file is None:
        return read_bundle(path)
    from nextword.files.gguf import read_gguf  # only where there is one: it takes time

    return read_gguf(file)


def read_tokenizer(path: Path) -> Tokenizer:
    """Only its tokenizer; the weights are not looked at.

    Raises:
        ModelFileError: As `read_model`.
    """
    file = _gguf_at(path)
    if file is None:
        return Tokenizer.load(path)
    from nextword.files.gguf import read_gguf_tokenizer

    return read_gguf_tokenizer(file)


def _gguf_at(path: Path) -> Path | None:
    """The GGUF file that `path` is, or the only model of such files in it; None for a directory of another kind.

    Raises:
        ModelFileError: There is nothing, or nothing that is a model.
    """
    try:
        if path.is_dir():
            files = sorted(path.glob("*.gguf"))
            if (path / "config.json").exists() or not files:
                return None
            whole = {part_names(file.name)[0] for file in files}
            if len(whole) > 1:
                names = ", ".join(file.name for file in files)
                raise ModelFileError(f"{path} holds {len(files)} GGUF files", hint=f"name one of them: {names}")
            return path / whole.pop()
        with path.open("rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from None
    if beginning[:4] == b"GGUF" or path.suffix == ".gguf":
        return path
    require_content(path, beginning)
    if path.suffix == ".safetensors":
        there = (path.parent / "config.json").exists()
        way = f"open the directory: {path.parent}" if there else "config.json and tokenizer.json must lie beside it"
        raise ModelFileError(f"{path} is no model file: it holds weights, but no config and no tokenizer", hint=way)
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
        raise ModelFileError(f"{path} is a pickle, which can run code when loaded", hint=PICKLE_WAY_OUT)
    raise ModelFileError(
        f"{path} is no model file", hint="a model is a directory with config.json and safetensors, or a .gguf file"
    )
