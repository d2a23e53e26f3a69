"""Tests of nextword.files.sources: hub ids, pulled names, packages."""
