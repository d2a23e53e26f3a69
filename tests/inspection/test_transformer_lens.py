"""Every value that TransformerLens names as we do is the same number: held against values that it computed.

tests/transformer_lens/ has the script that recorded them and runs the comparison live (`make test-transformer-lens`).
"""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.transformer_lens.cases import RECORDED, RECORDED_CASES, case_of, compare, native_values, our_values


@pytest.mark.parametrize("case", RECORDED_CASES)
def test_every_common_name_has_transformer_lens_values(case: str) -> None:
    recorded = load_file(RECORDED)
    theirs = {name.split("/", 1)[1]: value for name, value in recorded.items() if name.startswith(f"{case}/")}
    model, ids = case_of(case)
    ours = our_values(model, ids)
    compare(ours, theirs)
    compare(native_values(model, ids), theirs)
    norm = model.ln_final
    by_hand = theirs["ln_final.hook_normalized"] * norm.weight.numpy()
    by_hand = by_hand if norm.bias is None else by_hand + norm.bias.numpy()
    np.testing.assert_allclose(ours["ln_final.hook_out"], by_hand, rtol=1e-5, atol=3e-5)
    assert np.abs(theirs["ln_final.hook_normalized"] - theirs["ln_final.hook_out"]).max() > 0.1
