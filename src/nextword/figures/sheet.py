"""A figure that notebooks draw by themselves. Needs matplotlib; `canvas.new_figure` makes one."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

_PIXELS = 80
"""Of a notebook, an inch."""


class Sheet(Figure):
    """matplotlib's figure; it is a picture in a notebook, whether or not `%matplotlib inline` was said there."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=self.dpi)
        width, height = self.get_size_inches()
        return drawn.getvalue(), {"width": round(width * _PIXELS), "height": round(height * _PIXELS)}
