"""What is wrong with a request, in words that name the field, what it must be and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import PydanticCustomError

from nextword.formatting import escape_surrogates
from nextword.server.errors import ApiError

_CUSTOM_ERROR = "nextword"
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number with a point",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def json_type_name(value: Any) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), "something else")


def invalid_field(message: str) -> PydanticCustomError:
    """To be raised where a field is checked; the field's name comes before the message."""
    return PydanticCustomError(_CUSTOM_ERROR, "{message}", {"message": message})


def invalid_request(errors: Sequence[Mapping[str, Any]], body: Any, content_type: str) -> ApiError:
    """The refusal of a request that does not fit its schema.

    Args:
        errors: What pydantic found.
        body: What was sent.
        content_type: What it was said to be.
    """
    error = errors[0]
    if error["type"] == "json_invalid":
        return ApiError(f"the body is no valid JSON: {error['ctx']['error']}, at character {error['loc'][-1]}")
    place = error["loc"][1:] if error["loc"][0] in ("body", "query", "path") else error["loc"]
    if not place and not isinstance(body, dict):
        if "json" not in content_type:
            return ApiError("the body is not sent as JSON", hint="send Content-Type: application/json")
        return ApiError(
            f"the body must be a JSON object, found {json_type_name(body) if body is not None else 'nothing'}"
        )
    path = _path(place, body)
    message = _message(error)
    return ApiError(f"{path}{'' if message.startswith('[') else ' '}{message}", param=str(place[0]) if place else None)


def _path(place: Sequence[str | int], body: Any) -> str:
    """The field as a reader would write it; names that pydantic gives to kinds of an object are left out."""
    path, value = "", body
    for number, part in enumerate(place, start=1):
        if isinstance(part, int):
            path += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif number == len(place) or not isinstance(value, dict) or (part in value and part != value.get("kind")):
            path += f".{part[:100]}" if path else part[:100]
            value = value.get(part) if isinstance(value, dict) else None
    return escape_surrogates(path) or "the body"  # a name may hold half a character


def _message(error: Mapping[str, Any]) -> str:
    known = _MESSAGES.get(error["type"])
    if known is None:
        return f"is wrong: {error['msg']}"
    said = known(error.get("ctx") or {})
    shown = error.get("input")
    if error["type"] == "int_type" and isinstance(shown, float):
        return f"{said}{' without a point or an exponent' if shown.is_integer() else ''}, found {shown!r}"
    if error["type"] == "literal_error" and isinstance(shown, str):
        return f"{said}, found {escape_surrogates(repr(shown[:100]))}"
    if error["type"] in _SHOWN and isinstance(shown, (int, float)) and not isinstance(shown, bool):
        return f"{said}, found {shown:.40g}" if isinstance(shown, float) else f"{said}, found {str(shown)[:40]}"
    return f"{said}, found {json_type_name(shown)}" if error["type"] in _FOUND else said


def _must_be(words: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda context: "must be " + words.format(**{key: str(n).removesuffix(".0") for key, n in context.items()})


_FOUND: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": _must_be("a text"),
    "int_type": _must_be("a whole number"),
    "int_from_float": _must_be("a whole number"),
    "int_parsing": _must_be("a whole number"),
    "float_type": _must_be("a number"),
    "bool_type": _must_be("true or false"),
    "list_type": _must_be("a list"),
    "dict_type": _must_be("an object"),
    "model_type": _must_be("an object"),
    "model_attributes_type": _must_be("an object"),
    "literal_error": _must_be("{expected}"),
}
"""Behind these stands what kind of value was found."""
_SHOWN: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": _must_be("at least {ge}"),
    "greater_than": _must_be("above {gt}"),
    "less_than_equal": _must_be("at most {le}"),
    "less_than": _must_be("below {lt}"),
    "finite_number": _must_be("finite"),
}
"""Behind these stands the number."""
_MESSAGES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    **_FOUND,
    **_SHOWN,
    _CUSTOM_ERROR: lambda context: str(context["message"]),
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "is not known here",
    "too_long": lambda context: f"may hold at most {context['max_length']:,} entries",
    "too_short": lambda _: "must not be empty",
    "string_too_long": lambda context: f"may have at most {context['max_length']:,} characters",
    "string_too_short": lambda _: "must not be empty",
    "string_unicode": lambda _: "is no valid Unicode text",
    "union_tag_invalid": lambda context: f"has a {context['discriminator']} that is none of {context['expected_tags']}",
    "union_tag_not_found": lambda context: f"lacks {context['discriminator']}",
}
