"""Tests of nextword.server: real clients against a real server."""
