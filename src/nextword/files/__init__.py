"""Weights on disk <-> config, raw tensors and tokenizer. Builds no model and never imports torch."""

from nextword.files.bundle import Bundle, write_bundle
from nextword.files.huggingface.directory import read_bundle
from nextword.files.opening import read_model, read_tokenizer
from nextword.files.sources.resolving import resolve_model
from nextword.files.tensors import RawTensor

__all__ = ["Bundle", "RawTensor", "read_bundle", "read_model", "read_tokenizer", "resolve_model", "write_bundle"]
