"""Conversations -> token ids, and which of them the model should learn to write: the assistant's answers.

The model's own chat template writes a conversation, whole, exactly as `ChatTemplate.encode` does. What is an answer the
template says with `{% generation %}` blocks; where it has none, an answer is what follows the prompt that the template
makes of the messages before. Conversations are laid in a row as other documents are: a later one can look back at an
earlier one.
"""

from __future__ import annotations

import copy
import json
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nextword.errors import ConfigError, ModelFileError, TextError
from nextword.tokens.chat import ChatTemplate
from nextword.tokens.chat.marking import ESCAPE_MARK

_MESSAGES_HINT = 'a line is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
_SHAREGPT_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}

# Written around an answer by a template with generation blocks. U+FDD1 and U+FDD2 occur in no message, and enclose only
# numbers elsewhere. The mark stands before the tag, in a block of its own, so that white space is trimmed as before.
_NAME = "\ufdd1"  # begins the private name of a special token
_BEGIN, _END = "\ufdd1begin\ufdd2", "\ufdd1end\ufdd2"
_GENERATION = re.compile(r"\{%([-+]?)(\s*(end)?generation\s*[-+]?%\})")

Span = tuple[int, int]


@dataclass(frozen=True)
class Conversation:
    """Messages, oldest first, and where they come from."""

    name: str
    messages: tuple[Mapping[str, Any], ...]
    """Each with a `role` and a `content`, as chat templates take them."""
    masked: frozenset[int] = frozenset()
    """Places of answers that are only read: those with `"weight": 0`."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What the template is given besides: `tools`, if the line has them."""


def read_conversations(records: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Conversation]:
    """The conversations in JSON objects of OpenAI's layout (`messages`) or ShareGPT's (`conversations`).

    Other fields of an object, such as an id, are not looked at.

    Args:
        records: Where each object comes from (`chat.jsonl:3`), and the object.

    Raises:
        TextError: An object is no such conversation, or has no answer; names the place.
    """
    for name, record in records:
        try:
            yield _conversation(name, record)
        except ConfigError as error:
            raise TextError(f"{name}: {error.message}", hint=error.hint or _MESSAGES_HINT) from None


def _conversation(name: str, record: Mapping[str, Any]) -> Conversation:
    if "messages" not in record and "conversations" not in record:
        fields = ", ".join(map(repr, list(record)[:5])) or "none"
        raise ConfigError(f"there are no messages; the fields are {fields}")
    key = "messages" if "messages" in record else "conversations"
    listed, tools = record[key], record.get("tools")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{key} should be a list with at least one message")
    messages, masked = [], set()
    for place, message in enumerate(listed):
        if not isinstance(message, dict):
            raise ConfigError(f"{key}[{place}] should be an object, found {type(message).__name__}")
        taken = dict(message) if "from" not in message else _from_sharegpt(message, f"{key}[{place}]")
        weight = taken.pop("weight", None)
        if weight not in (None, 0, 1):
            raise ConfigError(f"{key}[{place}].weight is {weight!r}, it must be 0 or 1")
        if weight == 0:
            masked.add(place)
        messages.append(taken)
    answers = {place for place, message in enumerate(messages) if message.get("role") == "assistant"}
    if not answers - masked:
        raise ConfigError("there is no answer to learn from", hint='answers have the role "assistant"')
    variables = {} if tools is None else {"tools": tools}
    return Conversation(name, tuple(messages), frozenset(masked), variables)


def _from_sharegpt(message: Mapping[str, Any], where: str) -> dict[str, Any]:
    role = _SHAREGPT_ROLES.get(str(message["from"]))
    if role is None:
        known = ", ".join(_SHAREGPT_ROLES)
        raise ConfigError(f"{where}.from is {message['from']!r}", hint=f"known speakers: {known}")
    rest = {key: value for key, value in message.items() if key not in ("from", "value")}
    return {"role": role, "content": message.get("value"), **rest}


class TrainingTemplate(ChatTemplate):
    """A chat template that also tells which tokens are answers.

    Args:
        source: The template, Jinja.
        tokenizer: The tokenizer.

    Raises:
        ModelFileError: The template is not valid.
    """

    def encode_conversation(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        """The token ids of a conversation, and for each 1 if it is to be learned, else 0.

        Learned are the answers, each up to and with the token that ends it. Where a template writes an answer
        differently once the conversation has gone on (without its thoughts, say), only the answers are learned that
        stand as the model would have written them.

        Args:
            conversation: The conversation; it need not end with an answer.

        Raises:
            TextError: The template refuses the conversation, or no answer in it can be learned; or it cannot be
                encoded.
            ModelFileError: The template is faulty.
        """
        try:
            text = self._render_calls(conversation)
            if self._with_generation_marks is not None and not conversation.masked:
                spans = _marked_spans(
                    self._with_generation_marks._render(conversation.messages, False, conversation.variables), text
                )
            else:
                spans = self._answer_spans(conversation, text)
            return self._loss_weights(text, spans)
        except (ConfigError, TextError) as error:
            raise TextError(f"{conversation.name}: {error.message}", hint=error.hint) from None

    def _render_calls(self, conversation: Conversation) -> str:
        """The conversation as text, with every call of a tool in it."""
        calls = _calls(conversation.messages)
        try:
            text = self._render(conversation.messages, False, conversation.variables)
        except ModelFileError as error:
            if not calls:
                raise
            where = f"messages[{calls[0][0]}]"
            raise ConfigError(f"{where} calls a tool, on which the chat template fails: {error.message}") from None
        for place, name in calls:
            if name not in text and json.dumps(name)[1:-1] not in text:  # the model would learn to say nothing
                raise ConfigError(
                    f"messages[{place}] calls the tool {name!r}, which the chat template does not write",
                    hint="start from a model that calls tools, or leave such conversations out",
                )
        return text

    # -- where the answers are: characters of the rendered text, in which special spellings of users are still marked --

    @cached_property
    def _with_generation_marks(self) -> TrainingTemplate | None:
        """This template with marks around what its generation blocks write; None without blocks."""
        source, count = _GENERATION.subn(_mark_before, self.source)
        if not count:
            return None
        marked = copy.copy(self)
        marked._template = type(self._template)(source)
        return marked

    def _answer_spans(self, conversation: Conversation, text: str) -> list[Span]:
        """What follows the prompt for each answer, to the token that ends it."""
        spans = []
        for place, message in enumerate(conversation.messages):
            if message.get("role") == "assistant" and place not in conversation.masked:
                span = self._answer_span(conversation, place, text)
                spans += [] if span is None else [span]
        if not spans:
            raise ConfigError(
                "the chat template writes no answer of this conversation as it prompts for it",
                hint="let it end with an answer, leave out the system message, or mark the answers in the template",
            )
        return spans

    def _answer_span(self, conversation: Conversation, place: int, text: str) -> Span | None:
        messages, variables = conversation.messages, conversation.variables
        if place == 0:
            return None  # nothing prompts for it
        prompt = self._render(messages[:place], True, variables)
        if not text.startswith(prompt):
            return None
        as_written = self._render(messages[: place + 1], False, variables)
        end = self._common_length(text, as_written)
        # Only at the end of a whole text may more follow, as a token that ends it; else the answer was changed later.
        if self._special.spellings.sub("", as_written[end:]).strip():
            return None
        special = [match for match in self._special.written.finditer(text, len(prompt), end) if match[0] in self._ids]
        closing = [match for match in special if self._ids[match[0]] in self._tokenizer.end_ids] or special[-1:]
        if not closing:
            raise ConfigError(
                "the chat template writes no token at the end of an answer: the model would not learn to stop",
                hint="mark the answers in the template, with {% generation %} and {% endgeneration %}",
            )
        return len(prompt), closing[0].end()

    def _common_length(self, a: str, b: str) -> int:
        """Characters that two texts begin with alike, in whole tokens where they are special."""
        length = len(os.path.commonprefix([a, b]))  # noqa: RUF071  characters are meant
        tokens = [match for text in (a, b) for match in self._special.written.finditer(text)]
        return min((token.start() for token in tokens if token.start() < length < token.end()), default=length)

    @cached_property
    def _ids(self) -> dict[str, int]:
        """The special tokens by their spelling."""
        return {spelling: int(alias[1:-1]) for spelling, alias in self._special.aliases.items()}

    # -- from characters to tokens -------------------------------------------------------------------------------------

    def _loss_weights(self, text: str, spans: list[Span]) -> tuple[list[int], list[int]]:
        """Every token of the text; 1 for those that hold a character of a span."""
        learned = bytearray(len(text) + 1)
        for start, end in spans:
            learned[start:end] = b"\1" * (end - start)
        named, origins = self._with_private_names(text)
        ids = self._special.renamed.encode(named, special=True)  # with the errors that say what is not known
        offsets = self._special.renamed._raw_special.encode(named, add_special_tokens=False).offsets
        flags = bytes(learned[origin] for origin in [*origins, len(text)])
        weights = []
        for first, last in offsets:
            name = named.find(_NAME, first, last)  # a special token may swallow the blanks beside it: its name counts
            weights.append(int(flags[name] if name >= 0 else any(flags[first : max(last, first + 1)])))
        return ids, weights

    def _with_private_names(self, text: str) -> tuple[str, list[int]]:
        """The text as it is encoded, with private names of special tokens; for each character its place in `text`."""
        named, origins, done = "", list[int](), 0
        for match in [*self._special.written.finditer(text), None]:
            last = len(text) if match is None else match.start()
            kept = [place for place in range(done, last) if text[place] != ESCAPE_MARK]
            named, origins = named + text[done:last].replace(ESCAPE_MARK, ""), origins + kept
            if match is not None:
                name = self._special.aliases.get(match[0], match[0])
                named, origins, done = named + name, origins + [match.start()] * len(name), match.end()
        return named, origins


def _calls(messages: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Where tools are called, and by what name.

    Raises:
        ConfigError: A call names none.
    """
    found = []
    for place, message in enumerate(messages):
        calls = message.get("tool_calls") or []
        for call in calls if isinstance(calls, list) else [None]:
            function = call.get("function", call) if isinstance(call, Mapping) else None
            name = function.get("name") if isinstance(function, Mapping) else None
            if not isinstance(name, str):
                raise ConfigError(f"messages[{place}].tool_calls should be calls of functions with a name")
            found.append((place, name))
    return found


def _mark_before(tag: re.Match[str]) -> str:
    trim, rest, is_end = tag.groups()
    return f"{{%{trim} if true %}}{_END if is_end else _BEGIN}{{% endif %}}{{%{rest}"


def _marked_spans(marked: str, text: str) -> list[Span]:
    """Where the marks stand, as places in the text without them."""
    plain, spans, begun = "", list[Span](), None
    for piece in re.split(f"({_BEGIN}|{_END})", marked):
        if piece == _BEGIN and begun is None:
            begun = len(plain)
        elif piece == _END and begun is not None:
            spans.append((begun, len(plain)))
            begun = None
        else:
            plain += piece
    if plain != text or begun is not None:  # the template works on what its blocks have written
        raise ConfigError("the generation blocks of the chat template cannot be followed")
    if not any(end > start for start, end in spans):
        raise ConfigError("the generation blocks of the chat template are empty")
    return spans
