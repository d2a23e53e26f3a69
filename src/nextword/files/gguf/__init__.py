"""GGUF, the model files of llama.cpp: read and written."""

from nextword.files.gguf.reading import read_gguf, read_gguf_tokenizer
from nextword.files.gguf.writing import write_gguf

__all__ = ["read_gguf", "read_gguf_tokenizer", "write_gguf"]
