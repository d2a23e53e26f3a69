"""Every value that TransformerLens names as we do is the same number; run live by `make test-transformer-lens`."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.transformer_lens.cases import (
    LIVE_CASES,
    RECORDED,
    RECORDED_CASES,
    VERSION,
    case_of,
    compare,
    native_values,
    our_values,
)
from tests.transformer_lens.record import their_values


@pytest.mark.parametrize("case", LIVE_CASES)
def test_every_common_name_has_their_values(case: str) -> None:
    model, ids = case_of(case)
    theirs = their_values(model, ids)
    compare(our_values(model, ids), theirs)
    compare(native_values(model, ids), theirs)


def test_what_is_recorded_is_what_they_compute_today() -> None:
    assert importlib.metadata.version("transformer-lens") == VERSION
    recorded = load_file(RECORDED)
    for case in RECORDED_CASES:
        theirs = their_values(*case_of(case))
        assert {f"{case}/{name}" for name in theirs} == {name for name in recorded if name.startswith(f"{case}/")}
        for name, value in theirs.items():
            np.testing.assert_allclose(recorded[f"{case}/{name}"], value, rtol=1e-5, atol=3e-5, err_msg=name)
