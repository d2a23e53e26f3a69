"""Tests of nextword.tokens: text -> token ids -> text."""
