"""Weights by head against what the pass computes, and circuits against matrices that are multiplied out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nextword.errors import ConfigError
from nextword.inspection.head_weights import HeadWeights, LowRankMatrix
from tests.inspection.models import language_model, some_tokens
from tests.inspection.test_edited_backend import native_model
from tests.oracle.cases import CASES


@pytest.mark.parametrize("case", CASES)
def test_the_pass_is_made_of_them(case: str) -> None:
    lm = language_model(case)
    config, trace = lm.config, lm.trace(some_tokens(case))
    weights = HeadWeights(native_model(lm))
    for layer in range(config.num_layers):
        x_TD = trace["out", layer, "ln1"]
        q_THC = np.einsum("td,hdc->thc", x_TD, weights.W_Q[layer]) + weights.b_Q[layer]
        np.testing.assert_allclose(q_THC, trace["q", layer], atol=1e-4)
        group = config.num_heads // config.num_kv_heads
        for name, W_HDC, b_HC in (
            ("k", weights.W_K[layer], weights.b_K[layer]),
            ("v", weights.W_V[layer], weights.b_V[layer]),
        ):
            rows_THC = np.einsum("td,hdc->thc", x_TD, W_HDC) + b_HC
            np.testing.assert_allclose(rows_THC, np.repeat(trace[name, layer], group, axis=1), atol=1e-4)
        out_TD = np.einsum("thc,hcd->td", trace["z", layer], weights.W_O[layer]) + weights.b_O[layer]
        np.testing.assert_allclose(out_TD, trace["attn_out", layer], atol=1e-4)
    np.testing.assert_allclose(trace["embed"], weights.W_E[list(trace.token_ids)], atol=1e-6)
    bias = lm.model.output_layer.bias
    logits_TV = trace["ln_final.hook_out"] @ weights.W_U + (0 if bias is None else bias.numpy())
    np.testing.assert_allclose(logits_TV, trace["logits"], atol=1e-3)


@pytest.mark.parametrize("case", ["gpt2", "qwen3"])
def test_circuits_are_their_matrices_multiplied_out(case: str) -> None:
    weights = HeadWeights(language_model(case))
    for circuit, A, B in (
        (weights.OV, weights.W_V, weights.W_O),
        (weights.QK, weights.W_Q, weights.W_K.swapaxes(-1, -2)),
    ):
        whole = A @ B
        np.testing.assert_allclose(circuit.product(), whole)
        np.testing.assert_allclose(circuit.norm(), np.linalg.norm(whole, axis=(-2, -1)))
        np.testing.assert_allclose(circuit.T.product(), whole.swapaxes(-1, -2))
        ours = np.sort_complex(circuit[1, 2].eigenvalues())
        theirs = np.linalg.eigvals(whole[1, 2])
        theirs = np.sort_complex(theirs[np.argsort(-np.abs(theirs))[: len(ours)]])
        np.testing.assert_allclose(np.sort(np.abs(ours)), np.sort(np.abs(theirs)), atol=1e-8)
        assert ours.sum() == pytest.approx(np.trace(whole[1, 2]))
    OV, QK = weights.OV.product(), weights.QK.product()
    for kind, reads in (("Q", QK), ("K", QK.swapaxes(-1, -2)), ("V", OV)):
        scores = weights.composition_scores(kind)
        for (l1, h1, l2, h2), score in np.ndenumerate(scores):
            wanted = 0.0
            if l1 < l2:
                norms = np.linalg.norm(OV[l1, h1]) * np.linalg.norm(reads[l2, h2])
                wanted = np.linalg.norm(OV[l1, h1] @ reads[l2, h2]) / norms
            assert score == pytest.approx(wanted)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ConfigError, match="it must be Q, K or V"):
        HeadWeights(language_model("gpt2")).composition_scores("O")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="only a square matrix"):
        LowRankMatrix(np.ones((3, 2)), np.ones((2, 4))).eigenvalues()
    assert repr(HeadWeights(language_model("gpt2")).OV) == "<LowRankMatrix [3, 5] of 15 x 15, rank 3>"


def test_they_need_no_torch() -> None:
    code = (
        "import sys, nextword\n"
        "from nextword.inspection.head_weights import HeadWeights\n"
        "print(HeadWeights(nextword.load()).OV.norm().shape, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.strip() == "(8, 4) False"
