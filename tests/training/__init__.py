"""Tests of nextword.training: text -> weights."""
