"""Pictures of what happens inside a model, for any text and any model.

Every value is the model's own. They need the extra `figures`.
"""

from __future__ import annotations

from nextword.figures.ablation import ablation_figure
from nextword.figures.attention import attention_figure
from nextword.figures.attribution import attribution_figure, logit_attribution_figure
from nextword.figures.canvas import DPI, save_figure
from nextword.figures.embedding import embedding_figure
from nextword.figures.lens import lens_figure
from nextword.figures.prediction import next_token_figure
from nextword.figures.residual import residual_norms_figure
from nextword.figures.sweep import sweep_figure

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
    "sweep_figure",
]
