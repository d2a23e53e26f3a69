"""Chat templates: a conversation written in the form that a model was taught to read.

A template is a small program in Jinja that comes with the model; transformers defines what it may use. It is run in
`sandbox`. The spelling of a special token inside a message stays text: it is marked before rendering. What the
template itself writes becomes the token, by a tokenizer whose special tokens have names that no text can hold. Where
the template looks for a special token in what the assistant has said (`</think>`, to leave the thinking out of what was
said before), it finds it there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nextword.errors import ConfigError, TextError
from nextword.tokens.chat.marking import ESCAPE_MARK
from nextword.tokens.tokenizer import Tokenizer

# Unicode noncharacters, reserved for use inside a program, as ESCAPE_MARK is.
_ALIAS = "\ufdd1{}\ufdd2"  # the name of a special token by its id
_END = "\ufdd1\ufdd2"  # the name of no token: behind a message that is to be continued
_PRIVATE = re.compile("[\ufdd0-\ufdd2]")


class ChatTemplate:
    """A model's chat template with its tokenizer.

    Args:
        source: The template, Jinja.
        tokenizer: The tokenizer.

    Raises:
        ModelFileError: The template is not valid.
    """

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        from nextword.tokens.chat.sandbox import Template  # Jinja2 is needed here only

        self.source = source
        self._template = Template(source)
        self._tokenizer = tokenizer

    @property
    def variables(self) -> frozenset[str]:
        """The names that the template asks for: `messages`, and maybe `tools` or `enable_thinking`."""
        return self._template.variables

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool | None = None,
        **variables: Any,
    ) -> str:
        """The conversation as text.

        Args:
            messages: Each with a `role` and a `content`: text, or a list of parts `{"type": "text", "text": ...}`.
            add_generation_prompt: Whether the beginning of the assistant's answer is written too; None: unless the
                last message is continued.
            continue_final_message: Whether the text ends within the last message, so that the model writes on from
                there; None: where it is words of the assistant's, and `add_generation_prompt` is not given.
            **variables: What the template asks for besides, such as `enable_thinking=False`.

        Raises:
            ConfigError: A message lacks something, the template refuses the conversation or leaves out the message
                that is to be continued, or the variables hold `messages`.
            TextError: The messages are too long, or hold characters that are reserved.
            ModelFileError: The template fails or passes a limit.
        """
        return self._render(messages, add_generation_prompt, variables, continue_final_message).replace(ESCAPE_MARK, "")

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        at_most: int | None = None,
        /,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool | None = None,
        **variables: Any,
    ) -> list[int]:
        """The token ids of the conversation; nothing is added to what the template writes.

        Args:
            messages: As for `render`.
            at_most: Tokens that there is room for: what cannot fit is refused before it is encoded. None is any number.
            add_generation_prompt: As for `render`.
            continue_final_message: As for `render`.
            **variables: As for `render`.

        Raises:
            ConfigError: As `render`.
            TextError: As `render`; or the tokenizer cannot encode it.
            ModelFileError: As `render`.
            ContextOverflowError: It is more than `at_most`, however it is encoded.
        """
        text = self._render(messages, add_generation_prompt, variables, continue_final_message)
        if at_most is not None:
            self._tokenizer.refuse_longer(text.replace(ESCAPE_MARK, ""), at_most)
        return self._special.encode(text)

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool | None,
        variables: Mapping[str, Any],
        continue_final_message: bool | None = None,
    ) -> str:
        if "messages" in variables:
            raise ConfigError("a template's variables cannot replace the messages")
        try:
            given = {name: self._plain(value, name) for name, value in variables.items()}
            conversation = [
                self._message(message, f"messages[{i}]") for i, message in enumerate(_check_messages(messages))
            ]
        except RecursionError:
            raise ConfigError("the messages are nested too deeply") from None
        _check_length(conversation)
        last = conversation[-1]
        if continue_final_message is None:
            begun = last["role"] == "assistant" and "tool_calls" not in last
            continue_final_message = begun and add_generation_prompt is None
        if add_generation_prompt is None:
            add_generation_prompt = not continue_final_message
        if continue_final_message:
            if isinstance(content := last.get("content", ""), list):
                content[-1]["text"] += _END
            else:
                last["content"] = content + _END
        values = {"tools": None, "documents": None, **self._special.names, **given}
        text = self._template.render(
            {**values, "messages": conversation, "add_generation_prompt": bool(add_generation_prompt)}
        )
        if not continue_final_message:
            return text
        text, found, _ = text.rpartition(_END)
        if not found:
            raise ConfigError("the chat template leaves out the last message, which is to be continued")
        return text.replace(_END, "")

    def _message(self, message: Any, where: str) -> dict[str, Any]:
        """A message as templates expect it: text as one string, and what is None left out."""
        if not isinstance(message, Mapping):
            raise ConfigError(f"{where} should be a mapping with role and content, found {type(message).__name__}")
        values = {key: value for key, value in message.items() if value is not None}
        for name in ("role", "content"):
            if name not in values and not (name == "content" and "tool_calls" in values):
                raise ConfigError(f"{where} has no {name}")
        if not isinstance(values["role"], str):
            raise ConfigError(f"{where}.role should be a string, found {type(values['role']).__name__}")
        if "content" in values:
            parts = self._template.reads_parts and values["role"] != "assistant"
            values["content"] = _text_of(values["content"], f"{where}.content", parts)
        plain = {_checked(key, where): self._plain(value, f"{where}.{key}") for key, value in values.items()}
        if values["role"] == "assistant" and "content" in values:
            plain["content"] = self._special.mark(
                _checked(values["content"], f"{where}.content"), but=self._searched_tokens
            )
        return plain

    def _plain(self, value: Any, where: str) -> Any:
        """A copy of plain values: a template sees nothing else. The spellings of special tokens are marked."""
        if isinstance(value, str):
            return self._special.mark(_checked(str(value), where))
        if value is None or type(value) in (bool, int, float):
            return value
        if isinstance(value, Mapping):
            return {_checked(key, where): self._plain(item, f"{where}.{key}") for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            return [self._plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        raise ConfigError(f"{where} should be text, a number, a list or a mapping, found {type(value).__name__}")

    @cached_property
    def _searched_tokens(self) -> frozenset[str]:
        """The special tokens that the template looks for in messages; none that ends or begins a text."""
        tokenizer, searched = self._tokenizer, self._template.searched
        ends = {tokenizer.text_of(i) for i in {*tokenizer.end_ids, tokenizer.bos_id} if i is not None}
        found = (token for token in self._special.aliases if any(token in text for text in searched))
        return frozenset(token for token in found if token not in ends)

    @cached_property
    def _special(self) -> _SpecialTokens:
        return _SpecialTokens.of(self._tokenizer)


@dataclass(frozen=True)
class _SpecialTokens:
    """What tells a special token from its spelling."""

    names: Mapping[str, str]
    """The variables that templates write them with, such as `eos_token`."""
    aliases: Mapping[str, str]
    """The private name of each by its spelling."""
    spellings: re.Pattern[str]
    """Every special token."""
    written: re.Pattern[str]
    """Every added token, special or not, that is not marked: as the tokenizer finds them, the longest first."""
    renamed: Tokenizer
    """The tokenizer, with the private names."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> _SpecialTokens:
        description = json.loads(tokenizer.to_str())
        model, added = description["model"], description["added_tokens"]
        special = [token for token in added if token["special"]]
        aliases = {token["content"]: _ALIAS.format(token["id"]) for token in special}
        names = {key: str(value) for key, value in tokenizer.settings().items() if key in ("bos_token", "eos_token")}
        if model.get("unk_token"):
            names["unk_token"] = model["unk_token"]
            model["unk_token"] = aliases.get(model["unk_token"], model["unk_token"])
        spellings, written = _any_of(special), f"(?:{_any_of(added)})(?!{ESCAPE_MARK})"
        for token in special:
            token["content"] = aliases[token["content"]]
        model["vocab"] = {aliases.get(token, token): i for token, i in model["vocab"].items()}
        description["post_processor"] = None
        renamed = Tokenizer.from_str(json.dumps(description), source="the tokenizer with renamed special tokens")
        return cls(names, aliases, re.compile(spellings), re.compile(written), renamed)

    def mark(self, text: str, but: Collection[str] = ()) -> str:
        """Marks every spelling of a special token, but some."""

        def marked(found: re.Match[str]) -> str:
            return found[0] if found[0] in but else "".join(character + ESCAPE_MARK for character in found[0])

        return self.spellings.sub(marked, text)

    def encode(self, text: str) -> list[int]:
        named = self.written.sub(lambda found: self.aliases.get(found[0], found[0]), text)
        return self.renamed.encode(named.replace(ESCAPE_MARK, ""), special=True)


def _any_of(tokens: Sequence[Mapping[str, Any]]) -> str:
    """A pattern for any of these tokens, the longest first; for none, one that never matches."""
    patterns = []
    for token in sorted(tokens, key=lambda token: -len(token["content"])):
        spelling = re.escape(token["content"])
        patterns.append(rf"(?<!\w){spelling}(?!\w)" if token["single_word"] else spelling)
    return "|".join(patterns) or "(?!)"


def _check_messages(messages: Any) -> Sequence[Any]:
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)):
        raise ConfigError(
            f"messages should be a list, found {type(messages).__name__}",
            hint='a message is {"role": "user", "content": "..."}',
        )
    if not messages:
        raise ConfigError("there are no messages", hint='a message is {"role": "user", "content": "..."}')
    return messages


def _text_of(content: Any, where: str, parts: bool) -> str | list[dict[str, str]]:
    """The content as one string, as most templates expect it; or its parts, for a template that reads parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise ConfigError(f"{where} should be a string, found {type(content).__name__}")
    texts = []
    for i, part in enumerate(content):
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        if not isinstance(text, str):
            found = repr(part.get("type")) if isinstance(part, Mapping) else type(part).__name__
            raise ConfigError(f"{where}[{i}] should be a part of the type text with its text, found {found}")
        texts.append(text)
    return [{"type": "text", "text": text} for text in texts] if parts and texts else "".join(texts)


def _checked(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise ConfigError(f"{where} has a key that is no string: {text!r}")
    if found := _PRIVATE.search(text):
        raise TextError(f"{where} holds U+{ord(found[0]):04X}, which Unicode reserves for the inside of programs")
    return text


def _check_length(conversation: Sequence[Mapping[str, Any]]) -> None:
    from nextword.tokens.chat.budget import MAX_VALUE_SIZE

    texts = (message.get("content", "") for message in conversation)
    length = sum(len(text) if isinstance(text, str) else sum(len(part["text"]) for part in text) for text in texts)
    if length > MAX_VALUE_SIZE:
        raise TextError(f"the messages have {length:,} characters, at most {MAX_VALUE_SIZE:,} are supported")
