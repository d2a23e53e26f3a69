"""Tests of nextword.terminal: what is drawn."""
