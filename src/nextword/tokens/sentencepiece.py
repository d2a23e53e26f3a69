"""SentencePiece's BPE, as Llama 2 and Mistral have it.

Characters are merged, `▁` stands for a blank, and what the vocabulary lacks is spelled in bytes (`<0xEA>`).
"""

from __future__ import annotations

import re

SPACE_SYMBOL = "▁"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(token: str) -> bytes:
    """The bytes that a vocabulary entry stands for."""
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE_SYMBOL, " ").encode()
