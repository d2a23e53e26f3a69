"""Tests of nextword.model: token ids -> logits."""
