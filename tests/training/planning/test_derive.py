"""What was left open is derived from the text, the time and the speed of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextword.settings import TrainingSettings
from nextword.training.corpus.prepare_text import prepare_text
from nextword.training.planning.derive import derive_plan, dropout_copies, max_held_out_bytes, max_read_bytes
from nextword.training.planning.presets import BATCHES, CONTEXTS, LEARNING_RATES
from tests.training.sample_text import TEXT, write_text

FLOPS = 7e10


def test_the_preset_goes_by_text_time_and_speed_unless_it_is_given(tmp_path: Path) -> None:
    dataset = prepare_text(tmp_path / "data", write_text(tmp_path, TEXT * 110), validation=None, vocab_size=300)
    assert dataset.report.bytes == 110 * 9180
    presets = [derive_plan(TrainingSettings(minutes=minutes), dataset, None, FLOPS).preset for minutes in (1, 120)]
    assert presets == ["tiny", "small"]
    plan = derive_plan(TrainingSettings(minutes=1, preset="medium", batch_size=3), dataset, None, FLOPS)
    assert (plan.preset, plan.batch_size) == ("medium", 3)
    assert (plan.learning_rate, plan.context_length) == (LEARNING_RATES["medium"], CONTEXTS["medium"])


@pytest.mark.parametrize(("minutes", "size"), [(None, None), (0.5, 20_000_000), (1, 27_000_000), (10, 270_000_000)])
def test_as_much_text_is_read_as_a_sixth_of_the_time_is_enough_for(minutes: float | None, size: int | None) -> None:
    settings = TrainingSettings(steps=5) if minutes is None else TrainingSettings(minutes=minutes)
    assert max_read_bytes(settings) == size
    assert max_held_out_bytes(settings, None, FLOPS) == 500_000


@pytest.mark.parametrize(("passes", "copies"), [(0.4, 1), (2.5, 3), (40, 16)])
def test_a_text_is_cut_anew_for_each_pass_sixteen_times_at_most(tmp_path: Path, passes: float, copies: int) -> None:
    dataset = prepare_text(tmp_path / "data", write_text(tmp_path), validation=None, vocab_size=300)
    steps = round(passes * len(dataset.train.tokens) / (BATCHES["tiny"] * 16))
    settings = TrainingSettings(preset="tiny", context_length=16, steps=steps, bpe_dropout=0.1)
    assert dropout_copies(settings, derive_plan(settings, dataset, None, FLOPS), dataset, FLOPS) == copies
