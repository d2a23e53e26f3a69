"""Chat templates: the template with its special tokens, and the sandbox that it runs in."""

from nextword.tokens.chat.template import ChatTemplate

__all__ = ["ChatTemplate"]
