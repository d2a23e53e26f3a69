"""The sign that tells the spelling of a special token in a message from the token."""

ESCAPE_MARK = "\ufdd0"
"""Stands behind each character of such a spelling: a Unicode noncharacter, reserved for use inside a program."""
