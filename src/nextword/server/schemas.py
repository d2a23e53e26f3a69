"""What requests may hold.

Fields that nobody knows are ignored; those that would change the answer and are not there are refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TokenIds = list[Annotated[int, Field(ge=0, le=2**31 - 1)]]
Stop = str | Annotated[list[str], Field(max_length=16)] | None

_UNSUPPORTED = "is not supported"
MOST_IDS = 131_072


class Body(BaseModel):
    """Strict: the number 1 is no string, and no number is infinite."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class StreamOptions(Body):
    """What comes with a stream."""

    include_usage: bool | None = None


class Sampled(Body):
    """What both kinds of completions have."""

    model: Annotated[str, Field(max_length=256)] | None = None
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

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> Sampled:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed with stream")
        if (isinstance(self.stop, str) and not self.stop) or (isinstance(self.stop, list) and "" in self.stop):
            raise ValueError("a stop string is empty")
        return self


class CompletionRequest(Sampled):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str] | TokenIds | list[TokenIds], Field(min_length=1, max_length=2048)] | None = None
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    @model_validator(mode="after")
    def _supported(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("best_of other than n is not supported: ask for n texts and choose")
        if self.suffix:
            raise ValueError(f"suffix {_UNSUPPORTED}: the model only goes on behind a text")
        return self


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Body):
    """A message of a conversation."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[TextPart] | None = None

    def plain(self) -> dict[str, Any]:
        """As chat templates read it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts or ())
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": text}


class ChatRequest(Sampled):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None

    @model_validator(mode="after")
    def _supported(self) -> ChatRequest:
        if self.tools or self.functions:
            raise ValueError(f"tools {_UNSUPPORTED}")
        if self.response_format is not None and self.response_format.get("type") != "text":
            raise ValueError(f"response_format other than text {_UNSUPPORTED}")
        if self.modalities is not None and self.modalities != ["text"]:
            raise ValueError(f"modalities other than text {_UNSUPPORTED}")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs")
        if set(self.chat_template_kwargs or ()) & {"messages", "add_generation_prompt"}:
            raise ValueError("chat_template_kwargs cannot replace the messages")
        for message in self.messages:
            extra = message.model_extra or {}
            if extra.get("tool_calls") or extra.get("function_call") or message.role in {"tool", "function"}:
                raise ValueError(f"tool calls {_UNSUPPORTED}")
        return self


class TokenizeRequest(Body):
    """POST /tokenize."""

    model: Annotated[str, Field(max_length=256)] | None = None
    prompt: str | None = None
    content: str | None = None
    """llama.cpp's name for the prompt."""
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one_text(self) -> TokenizeRequest:
        if sum(value is not None for value in (self.prompt, self.content, self.messages)) != 1:
            raise ValueError("give prompt or messages")
        return self


class DetokenizeRequest(Body):
    """POST /detokenize."""

    model: Annotated[str, Field(max_length=256)] | None = None
    tokens: Annotated[TokenIds, Field(max_length=1_000_000)]


# -- the page ----------------------------------------------------------------------------------------------------------

Index = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Spec(BaseModel):
    """A change to the forward pass, or a part of a trace: with a field that nobody knows, another one was meant."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class HeadEdit(Spec):
    """A head's output is multiplied; by 0, it is off."""

    kind: Literal["head"]
    layer: Index
    head: Index
    factor: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0


class MlpEdit(Spec):
    """A feed-forward layer is off."""

    kind: Literal["mlp"]
    layer: Index


class LayerEdit(Spec):
    """A block is off."""

    kind: Literal["layer"]
    layer: Index


class PatchEdit(Spec):
    """A lens row at a position is taken from another text's same row, at any of its positions."""

    kind: Literal["patch"]
    row: Index
    position: Index
    from_ids: Annotated[TokenIds, Field(min_length=1, max_length=MOST_IDS)]
    from_position: Index


class TokenEdit(Spec):
    """Another token's embedding is read at a position."""

    kind: Literal["token"]
    position: Index
    id: Index


EditSpec = Annotated[HeadEdit | MlpEdit | LayerEdit | PatchEdit | TokenEdit, Field(discriminator="kind")]


class Subject(Body):
    """What is looked at: a text, or token ids."""

    model: Annotated[str, Field(max_length=256)] | None = None
    text: Annotated[str, Field(max_length=1_000_000)] | None = None
    ids: Annotated[TokenIds, Field(max_length=MOST_IDS)] | None = None

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if (self.text is None) == (self.ids is None):
            raise ValueError("give text or ids")
        return self

    @property
    def prompt(self) -> str | list[int]:
        """The one that was given."""
        return self.text if self.text is not None else self.ids or []


class QuickRequest(Subject):
    """POST /look/predict."""

    top: Annotated[int, Field(ge=1, le=1000)] = 10


class BlockPart(Spec):
    """One layer of the trace, as GET /look/{trace}/block/{layer} gives it."""

    kind: Literal["block"]
    layer: Index


class TurnsPart(Spec):
    """How one head turns, as GET /look/{trace}/turns/{layer}/{head} gives it."""

    kind: Literal["turns"]
    layer: Index
    head: Index


PartSpec = Annotated[BlockPart | TurnsPart, Field(discriminator="kind")]


class LookRequest(Subject):
    """POST /look."""

    edits: Annotated[list[EditSpec], Field(max_length=64)] = []
    parts: Annotated[list[PartSpec], Field(max_length=4)] = []
    """What is open on the page: their frames follow the trace's own, in this order."""


class DrawRequest(Body):
    """POST /look/{trace}/draw."""

    temperature: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    top_k: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
