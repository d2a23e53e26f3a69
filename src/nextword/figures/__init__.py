"""Pictures of what happens inside a model, for any text and any model.

Every value is the model's own. They need the extra `figures`; where a value is read from a model, torch too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nextword.errors import require_packages
from nextword.figures.ablation import ablation_figure
from nextword.figures.attention import attention_figure
from nextword.figures.attribution import attribution_figure, logit_attribution_figure
from nextword.figures.canvas import DPI, save_figure
from nextword.figures.lens import lens_figure
from nextword.figures.prediction import next_token_figure
from nextword.figures.residual import residual_norms_figure

if TYPE_CHECKING:
    from nextword.figures.embedding import embedding_figure

__all__ = [
    "DPI",
    "ablation_figure",
    "attention_figure",
    "attribution_figure",
    "embedding_figure",
    "lens_figure",
    "logit_attribution_figure",
    "next_token_figure",
    "residual_norms_figure",
    "save_figure",
]


def __getattr__(name: str) -> Any:
    if name != "embedding_figure":  # the one that runs a model: it imports torch
        raise AttributeError(f"module 'nextword.figures' has no attribute {name!r}")
    require_packages("looking into a model", "torch", "torch")
    from nextword.figures.embedding import embedding_figure

    return embedding_figure
