"""Tests of nextword.files: weights on disk <-> config, raw tensors and tokenizer."""
