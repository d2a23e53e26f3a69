"""Tests of nextword.files.huggingface: model directories."""
