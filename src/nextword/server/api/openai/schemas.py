"""What requests of completions and chats may hold.

Fields that would change the answer and are not there are refused by name (`unsupported.py`); of others, those that
nobody knows are ignored. What is wrong is said in words of our own (`validation.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from nextword.formatting import escape_surrogates
from nextword.server.api.conversations import Conversation, Message
from nextword.server.api.unsupported import (
    UNSUPPORTED,
    UNSUPPORTED_IN_CHATS,
    UNSUPPORTED_IN_COMPLETIONS,
    UnsupportedField,
    refuse_unsupported,
)
from nextword.server.errors import ApiError
from nextword.server.schemas import Body, ModelName, TemplateObject
from nextword.server.validation import invalid_field, json_type_name

Prompts = str | list[str] | list[int] | list[list[int]]

MAX_PROMPTS = 2048
"""Prompts of one request."""
MAX_STOPS = 16


def _stop(value: Any) -> Any:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return None
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise invalid_field("must be a text or a list of texts")
    if len(stops) > MAX_STOPS:
        raise invalid_field(f"holds {len(stops)} texts, at most {MAX_STOPS} stops are possible")
    if "" in stops:
        raise invalid_field("holds an empty text")
    if any(escape_surrogates(stop) != stop for stop in stops):
        raise invalid_field("holds what is no valid Unicode text")
    return stops


def _prompt(value: Any) -> Any:
    """Checked by hand: pydantic would try every branch, complain of each of a million ids, and name the first."""
    if value is None or isinstance(value, str):
        return value
    must = "must be a text, a list of texts, a list of token ids or a list of such lists"
    if not isinstance(value, list):
        raise invalid_field(f"{must}, found {json_type_name(value)}")
    if not value:
        raise invalid_field(f"{must}, found an empty one")
    kinds = {type(item) for item in value}
    if kinds == {int}:
        _token_ids(value, "")
        return value
    if len(kinds) > 1 or kinds.isdisjoint({str, list}):
        raise invalid_field(
            f"{must}, found one that holds {' and '.join(sorted(json_type_name(kind()) for kind in kinds))}"
        )
    if len(value) > MAX_PROMPTS:
        raise invalid_field(f"holds {len(value):,} prompts, at most {MAX_PROMPTS:,} are possible at once")
    if kinds == {list}:
        for index, ids in enumerate(value):
            if not ids or {type(token) for token in ids} != {int}:
                raise invalid_field(f"[{index}] must be a list of token ids that is not empty")
            _token_ids(ids, f"[{index}] ")
    return value


def _token_ids(ids: list[int], where: str) -> None:
    if min(ids) < 0 or max(ids) >= 2**31:
        found = next(token for token in ids if not 0 <= token < 2**31)
        raise invalid_field(f"{where}holds {found}, which is no token id".strip())


def _none_if_unlimited(value: Any) -> Any:
    return None if type(value) is int and value == -1 else value


Stop = Annotated[list[str] | str | None, BeforeValidator(_stop)]
Unlimited = BeforeValidator(_none_if_unlimited)
"""-1 is no limit, as many servers have it."""


class StreamOptions(Body):
    """What comes with a stream."""

    include_usage: bool | None = None


class GenerationRequest(Body):
    """What both kinds of completions have."""

    unsupported: ClassVar[dict[str, UnsupportedField]] = UNSUPPORTED

    model: ModelName | None = None
    temperature: Annotated[float, Field(ge=0, le=1e6)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=1e6)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: Stop = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, body: Any) -> Any:
        if isinstance(body, dict):
            refuse_unsupported(body, cls.unsupported)
        return body

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ApiError("stream_options is only allowed with stream", param="stream_options")
        return self


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    unsupported = UNSUPPORTED | UNSUPPORTED_IN_COMPLETIONS

    prompt: Annotated[Prompts | None, PlainValidator(_prompt, json_schema_input_type=Prompts | None)] = None
    max_tokens: Annotated[Annotated[int, Field(ge=0, le=2**31 - 1)] | None, Unlimited] = 16
    """OpenAI's default; None: as many as the context holds."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ApiError("best_of other than n is not supported", param="best_of", hint="ask for n texts and choose")
        if self.suffix:
            raise ApiError("suffix is not supported", param="suffix", hint="the model only goes on behind a text")
        return self


class ChatRequest(GenerationRequest, Conversation):
    """POST /v1/chat/completions."""

    unsupported = UNSUPPORTED | UNSUPPORTED_IN_CHATS

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[Annotated[int, Field(ge=1, le=2**31 - 1)] | None, Unlimited] = None
    max_completion_tokens: Annotated[Annotated[int, Field(ge=1, le=2**31 - 1)] | None, Unlimited] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: Any = None
    functions: list[TemplateObject] | None = None
    function_call: Any = None
    """The old spelling of tools and tool_choice."""
    modalities: list[str] | None = None

    @model_validator(mode="after")
    def _supported(self) -> Self:
        for name in ("tool_choice", "function_call"):
            if getattr(self, name) not in (None, "none", "auto"):
                raise ApiError(
                    f"{name} other than none and auto is not supported: the answer is text",
                    param=name,
                    code="unsupported_parameter",
                )
        if self.response_format is not None and self.response_format.get("type") != "text":
            raise ApiError(
                "response_format other than text is not supported",
                param="response_format",
                hint="the model writes freely: check what it wrote, and ask again",
                code="unsupported_parameter",
            )
        if self.modalities is not None and self.modalities != ["text"]:
            raise ApiError(
                "modalities other than text are not supported", param="modalities", code="unsupported_parameter"
            )
        if self.top_logprobs and not self.logprobs:
            raise ApiError("top_logprobs needs logprobs", param="top_logprobs")
        return self

    @property
    def offered_tools(self) -> list[dict[str, Any]] | None:
        """The tools that the template is told of."""
        if "none" in (self.tool_choice, self.function_call):
            return None
        old = [{"type": "function", "function": function} for function in self.functions or ()]
        return [*(self.tools or ()), *old] or None
