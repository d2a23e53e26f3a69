"""Structure-aware mutation of GGUF files: refused in one line, or a model that runs."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.files.gguf.fuzz import attempt, bases, mutate
from tests.files.gguf.twins import logits_of

ROOT = Path(__file__).parents[3]


@given(choose=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_mutated_file_is_refused_in_one_line_or_runs(choose: random.Random) -> None:
    content = mutate(choose, choose.choice(bases()))
    with tempfile.TemporaryDirectory() as directory:
        result = attempt(Path(directory) / "model.gguf", content)
        assert result.peak < 5_000_000 + 20 * len(content)
        if result.bundle is None:
            event("refused")
            return
        event("runs")
        with np.errstate(all="ignore"):
            logits = logits_of(result.bundle, [0])
    assert logits.shape == (1, result.bundle.config.vocab_size)


def test_unmutated_every_base_runs(tmp_path: Path) -> None:
    for file in bases():
        bundle = attempt(tmp_path / "model.gguf", file.written()).bundle
        assert bundle is not None
        assert np.isfinite(logits_of(bundle, [1, 2])).all()


@pytest.mark.skipif(sys.platform != "linux", reason="the cap on memory is Linux's")
def test_a_thousand_files_in_a_process_whose_memory_is_capped() -> None:
    """The process that `python -m tests.files.gguf.fuzz N` runs for as long as one likes."""
    command = [sys.executable, "-W", "error", "-m", "tests.files.gguf.fuzz", "1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"1000 files tried: (\d+) refused in one line, (\d+) models; .*MB", done.stdout.strip())
    assert found, done.stdout
    refused, models = int(found[1]), int(found[2])
    assert refused + models == 1000
    assert min(refused, models) > 50  # neither is rare: the mutations reach past the header
