"""Tests of nextword.tokens.chat: chat templates."""
