"""Conversations in requests of any protocol: their messages, and their tokens as a model's template writes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from nextword.generation.context import cut_to_context
from nextword.language_model import LanguageModel
from nextword.server.errors import ApiError, field_errors
from nextword.server.schemas import Body, TemplateObject
from nextword.server.validation import invalid_field, json_type_name


def _content(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise invalid_field(f"must be a text or a list of parts, found {json_type_name(value)}")
    if not value:
        raise invalid_field("must be a text or a list of parts, found an empty one")
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in _UNSUPPORTED_PARTS:
            raise invalid_field(f"[{index}]: {_UNSUPPORTED_PARTS[kind]} are not supported, the model reads text only")
        if kind != "text" or not isinstance(part.get("text"), str):
            raise invalid_field(f'[{index}] must be {{"type": "text", "text": "..."}}')
    return value


_UNSUPPORTED_PARTS = {
    "image_url": "pictures",
    "image": "pictures",
    "input_image": "pictures",
    "input_audio": "sounds",
    "audio_url": "sounds",
    "video_url": "films",
    "file": "files",
    "input_file": "files",
}


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Body):
    """A message of a conversation."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    """OpenAI's."""
    content: Annotated[str | list[TextPart] | None, BeforeValidator(_content)] = None
    name: str | None = None
    reasoning_content: str | None = None

    def to_template(self) -> dict[str, Any]:
        """As chat templates read it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts or ())
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": text, "name": self.name, "reasoning_content": self.reasoning_content}


_RESERVED = ("messages", "tools", "add_generation_prompt", "continue_final_message")
"""What a conversation has itself, and is no variable of its template."""


class Conversation(Body):
    """Messages, and how the model's template writes them."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)] | None = None
    tools: list[TemplateObject] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    """None: where the last message is the assistant's."""
    chat_template_kwargs: TemplateObject | None = None
    reasoning_effort: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _conversation(self) -> Self:
        if not set(_RESERVED).isdisjoint(self.chat_template_kwargs or ()):
            raise ApiError(
                f"chat_template_kwargs cannot replace what the request has itself: {', '.join(_RESERVED)}",
                param="chat_template_kwargs",
            )
        messages = self.messages or []
        for index, message in enumerate(messages):
            extra = message.model_extra or {}
            if extra.get("tool_calls") or extra.get("function_call") or message.role in {"tool", "function"}:
                raise ApiError(f"messages[{index}]: tool calls are not supported", param="messages")
            if message.content is None:
                given = "content" in message.model_fields_set
                said = "must be a text or a list of parts, found null" if given else "is missing"
                raise ApiError(f"messages[{index}].content {said}", param="messages")
        if self.continue_final_message and (not messages or messages[-1].role != "assistant"):
            raise ApiError(
                "continue_final_message needs a last message of the assistant", param="continue_final_message"
            )
        if self.continue_final_message and self.add_generation_prompt:
            raise ApiError(
                "continue_final_message and add_generation_prompt exclude each other",
                param="continue_final_message",
            )
        return self


def conversation_ids(
    conversation: Conversation, lm: LanguageModel, tools: list[dict[str, Any]] | None, max_length: int | None = None
) -> list[int]:
    """The tokens of a conversation as the model's template writes it, told of tools if it knows what they are.

    What is more than `max_length` tokens is refused, and before it is encoded where it cannot be less.

    Raises:
        ApiError: The model has no template, the template refuses the conversation, it is too long, or
            `reasoning_effort` means nothing to this model.
        ModelFileError: The template is not valid.
    """
    if not lm.chat_template:
        raise ApiError(
            "the model has no chat template: it was not trained on conversations",
            param="messages",
            hint="POST /v1/completions goes on from a prompt",
        )
    template, variables = lm.template, dict(conversation.chat_template_kwargs or {})
    if tools and "tools" in template.variables:
        variables["tools"] = tools
    effort = conversation.reasoning_effort
    if effort is not None:
        if "reasoning_effort" in template.variables:
            variables.setdefault("reasoning_effort", effort)
        elif "enable_thinking" in template.variables:
            variables.setdefault("enable_thinking", effort != "none")
        elif effort != "none":
            raise ApiError(
                f"reasoning_effort {effort[:40]!r} is not supported: this model does not think before it answers",
                param="reasoning_effort",
                code="unsupported_parameter",
            )
    with field_errors("messages"):
        ids = template.encode(
            [message.to_template() for message in conversation.messages or ()],
            max_length,
            conversation.add_generation_prompt,
            conversation.continue_final_message,
            **variables,
        )
        if max_length is not None:
            cut_to_context(ids, max_length, "stop")
    return ids
