"""Patch: the edit that puts a value of another run in a value's place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nextword.arguments import checked
from nextword.errors import ConfigError
from nextword.formatting import pluralize
from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import Key, is_pattern, resolve
from nextword.inspection.recording import Recording


@checked
def patch(
    name: Key, trace: Recording, positions: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> Edit:
    """Puts in a value's place what it was in another run.

    Args:
        name: The value.
        trace: The other run; its values at the same positions are taken.
        positions: Where; None is every position of the other run (later ones stay as they are).
        heads: Only these heads.

    Raises:
        ConfigError: The other run has no such value or position.
    """
    name = resolve(name, trace.config)
    places = tuple(range(len(trace.token_ids))) if positions is None else tuple(positions)
    if beyond := [place for place in places if not 0 <= place < len(trace.token_ids)]:
        raise ConfigError(
            f"the trace to patch from has no position {beyond[0]}",
            hint=f"it has {pluralize(len(trace.token_ids), 'tokens')}, from 0 on",
        )
    values = trace[name]
    if is_pattern(name):
        rows = values[:, list(places)] if heads is None else values[np.ix_(list(heads), list(places))]
        rows = np.moveaxis(rows, 1, 0)
    else:
        rows = values[list(places)] if heads is None else values[np.ix_(list(places), list(heads))]
    return Edit(name, "set", rows, places, None if heads is None else tuple(heads), by_position=True)
