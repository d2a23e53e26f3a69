"""What requests share, whatever protocol they speak."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from nextword.formatting import escape_surrogates
from nextword.server.validation import invalid_field

ModelName = Annotated[str, Field(max_length=256)]
TokenIds = list[Annotated[int, Field(ge=0, le=2**31 - 1)]]


class Body(BaseModel):
    """Strict: the number 1 is no string, and no number is infinite."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def _refuse_surrogates(value: Any) -> Any:
    """Refuses halves of characters in what a template is given as it comes."""
    left = [value]
    while left:
        match left.pop():
            case dict() as found:
                left += [*found, *found.values()]
            case list() as found:
                left += found
            case str() as found if escape_surrogates(found) != found:
                raise invalid_field("holds what is no valid Unicode text")
    return value


TemplateObject = Annotated[dict[str, Any], BeforeValidator(_refuse_surrogates)]
"""An object that goes to the template."""
