"""The benchmark of activations: its figures, gathered block by block, against whole texts and plain formulas."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from nextword.engine.backend import NativeBackend
from nextword.files.precision import cast_matrices
from tests.docs.sources import ROOT
from tests.files.making import CONFIGS, random_bundle


def test_errors_of_activations_written_in_blocks_are_those_of_whole_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    activations = importlib.import_module("activations")
    bundle = random_bundle(CONFIGS["qwen3"].replace(d_model=64, d_ff=96, head_dim=32))
    tensors = cast_matrices(bundle.tensors, "q4_0")
    exact, int16, int8 = (
        NativeBackend(bundle.config, tensors, activations=kind) for kind in ("float32", "int16", "int8")
    )
    openings, count = [[1, 2, 3], [4], [5, 6]], 2 * activations.STEPS + 5
    found = activations.write_and_read(exact, {"int16": int16, "int8": int8}, openings, count)
    for kind, backend in (("int16", int16), ("int8", int8)):
        for opening, errors in zip(openings, found[kind], strict=True):
            ids = list(opening)
            while len(ids) < len(opening) + count:
                ids.append(int(exact.forward([ids], [exact.new_cache(len(ids))])[0].argmax()))
            ours, theirs = (
                run.forward([ids], [run.new_cache(len(ids))], "all")[0][len(opening) - 1 : -1].astype(np.float64)
                for run in (exact, backend)
            )
            assert errors["largest"] == pytest.approx(np.abs(ours - theirs).max(-1))
            assert errors["mean"] == pytest.approx(np.abs(ours - theirs).mean(-1), rel=1e-4)
            assert errors["same"].tolist() == (ours.argmax(-1) == theirs.argmax(-1)).tolist()
            chances, others = (np.exp(rows) / np.exp(rows).sum(-1, keepdims=True) for rows in (ours, theirs))
            assert errors["divergence"] == pytest.approx((chances * np.log(chances / others)).sum(-1), abs=1e-12)
    assert max(row["largest"].max() for row in found["int16"]) < min(row["largest"].max() for row in found["int8"])
    real = list(range(60))
    [rows] = int16.forward([real], [int16.new_cache(60)], "all")
    chosen = np.exp(rows.astype(np.float64))[np.arange(59), real[1:]] / np.exp(rows.astype(np.float64)).sum(-1)[:-1]
    assert activations.perplexity(int16, real) == pytest.approx(np.exp(-np.log(chosen).mean()))
