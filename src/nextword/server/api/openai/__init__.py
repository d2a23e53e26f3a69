"""OpenAI's protocol: completions and chats."""
