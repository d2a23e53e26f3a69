"""Weights on disk <-> config, raw tensors and tokenizer. Builds no model and never imports torch."""

from nextword.files.bundle import Bundle, read_bundle, write_bundle
from nextword.files.safetensors import RawTensor

__all__ = ["Bundle", "RawTensor", "read_bundle", "write_bundle"]
