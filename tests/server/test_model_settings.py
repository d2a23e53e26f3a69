"""What the server's settings come to for a model: how much room is left, and what is refused."""

from __future__ import annotations

import pytest

import nextword
from nextword import GPTConfig
from nextword.errors import ConfigError
from nextword.server.model_settings import check_model, context_length, new_token_limit
from nextword.settings import ServerSettings

CONFIG = GPTConfig.preset("tiny", 300, 128)


def test_a_text_ends_where_the_context_does_and_the_last_token_is_not_read() -> None:
    assert [context_length(ServerSettings(context=context), CONFIG) for context in (None, 32, 128, 500)] == [
        128,
        32,
        128,
        128,
    ]
    settings = ServerSettings(context=32)
    assert [new_token_limit(settings, CONFIG, read, None) for read in (1, 20, 32)] == [32, 13, 1]
    assert [new_token_limit(settings, CONFIG, 20, requested) for requested in (0, 5, 13, 14)] == [0, 5, 13, 13]


def test_settings_that_a_model_cannot_be_served_with_are_refused() -> None:
    lm = nextword.load()
    check_model(ServerSettings(context=lm.config.context_length, sampling="recommended"), lm)
    with pytest.raises(ConfigError, match=r"^context is 257, the model can look at 256 tokens"):
        check_model(ServerSettings(context=257), lm)
    lm.recommended = {"top_p": 2.0}
    check_model(ServerSettings(), lm)
    with pytest.raises(ConfigError, match=r"^top_p is 2\.0"):
        check_model(ServerSettings(sampling="recommended"), lm)
