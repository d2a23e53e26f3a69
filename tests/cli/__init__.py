"""Tests of nextword.cli: the command line."""
