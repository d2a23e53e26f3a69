"""How the tokens of a request are chosen."""

from __future__ import annotations

from nextword.errors import NextwordError
from nextword.generation import Sampling
from nextword.generation.sampling import token_biases
from nextword.language_model import LanguageModel
from nextword.server.api.openai.schemas import GenerationRequest
from nextword.server.errors import ApiError, from_user_error
from nextword.settings import SAMPLING_FIELDS, ServerSettings


def sampling_of(request: GenerationRequest, lm: LanguageModel, settings: ServerSettings) -> Sampling:
    """How the next token is chosen: what the request leaves open is the server's setting, or else OpenAI's default.

    Raises:
        ApiError: A value is out of range.
    """
    try:
        bias = token_biases(request.logit_bias or {}, lm.config.vocab_size)
    except NextwordError as error:
        raise ApiError(error.message, param="logit_bias") from None
    requested = {name: value for name in SAMPLING_FIELDS if (value := getattr(request, name)) is not None}
    fields = settings.sampling_fields(lm.recommended, requested)
    if "top_p" in fields:
        fields["top_p"] = max(fields["top_p"], 1e-9)  # 0 is the most probable token alone, as OpenAI has it
    try:
        return Sampling(**fields, logit_bias=bias)
    except NextwordError as error:
        raise from_user_error(error) from None


def seed_of(request: GenerationRequest, index: int) -> int | None:
    """The seed of the request's text number `index`."""
    return None if request.seed is None else (request.seed + index) % 2**64
