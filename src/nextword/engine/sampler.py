"""From logits to the next token in native code: `Sampling.draw`, the same bits on every machine."""

from __future__ import annotations

from nextword.engine._native import Sampler
from nextword.engine.kernels import select_kernels
from nextword.settings import SamplingSettings

__all__ = ["Sampler", "native_sampler"]


def native_sampler(settings: SamplingSettings, kernels: str = "") -> Sampler:
    """Draws the tokens of one text; `kernels` as NativeBackend takes them."""
    return Sampler(
        settings.temperature,
        settings.top_k or 0,
        settings.top_p,
        settings.min_p,
        settings.repetition_penalty,
        settings.presence_penalty,
        settings.frequency_penalty,
        list(settings.logit_bias.items()),
        select_kernels(kernels),
    )
