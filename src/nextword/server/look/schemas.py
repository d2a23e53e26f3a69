"""What the page asks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nextword.server.errors import ApiError
from nextword.server.schemas import Body, ModelName, TokenIds

MAX_PROMPT_IDS = 131_072

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
    from_ids: Annotated[TokenIds, Field(min_length=1, max_length=MAX_PROMPT_IDS)]
    from_position: Index


class TokenEdit(Spec):
    """Another token's embedding is read at a position."""

    kind: Literal["token"]
    position: Index
    id: Index


EditSpec = Annotated[HeadEdit | MlpEdit | LayerEdit | PatchEdit | TokenEdit, Field(discriminator="kind")]


class TraceInput(Body):
    """What is looked at: a text, or token ids."""

    model: ModelName | None = None
    text: Annotated[str, Field(max_length=1_000_000)] | None = None
    ids: Annotated[TokenIds, Field(max_length=MAX_PROMPT_IDS)] | None = None

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if (self.text is None) == (self.ids is None):
            raise ApiError("give text or ids, one of them", param="text")
        return self

    @property
    def given(self) -> str:
        """The field that holds it."""
        return "ids" if self.text is None else "text"

    @property
    def prompt(self) -> str | list[int]:
        """The one that was given."""
        return self.text if self.text is not None else self.ids or []


class PredictRequest(TraceInput):
    """POST /look/predict."""

    top: Annotated[int, Field(ge=1, le=1000)] = 10


class BlockPart(Spec):
    """One layer of the trace, as GET /look/{trace}/block/{layer} gives it."""

    kind: Literal["block"]
    layer: Index


class RopePart(Spec):
    """How one head turns, as GET /look/{trace}/turns/{layer}/{head} gives it."""

    kind: Literal["turns"]
    layer: Index
    head: Index


PartSpec = Annotated[BlockPart | RopePart, Field(discriminator="kind")]


class LookRequest(TraceInput):
    """POST /look."""

    edits: list[EditSpec] = Field(default=[], max_length=64)
    parts: list[PartSpec] = Field(default=[], max_length=4)
    """What is open on the page: their frames follow the trace's own, in this order."""


class SampleRequest(Body):
    """POST /look/{trace}/draw."""

    temperature: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    top_k: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
