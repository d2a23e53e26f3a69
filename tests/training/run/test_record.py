"""What a run was begun with: what was asked and derived, written once and held to when the run goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nextword.errors import ModelFileError
from nextword.settings import TrainingSettings
from nextword.training.corpus.fingerprint import fingerprint
from nextword.training.planning.presets import BATCHES
from nextword.training.run.record import check_resume_settings, read_run_record
from nextword.training.run.train import prepare_run
from tests.training.sample_text import write_text


def test_the_record_of_a_run_is_what_was_asked_and_derived(tmp_path: Path) -> None:
    settings = TrainingSettings(minutes=3.0, learning_rate=0.25, seed=7, validation=0.2)
    text = write_text(tmp_path)
    prepare_run(tmp_path / "run", [text], settings, "cpu", lambda _: None)
    record = read_run_record(tmp_path / "run")
    assert (record.seed, record.minutes, record.vocab_size) == (7, 3.0, None)
    data = text.read_bytes()
    assert record.text_files == hashlib.sha256(b"%d\n" % len(data) + data).hexdigest() == fingerprint([text])
    assert (record.plan.learning_rate, record.plan.preset, record.plan.seconds) == (0.25, "tiny", None)
    assert record.plan.batch_size == BATCHES["tiny"]
    check_resume_settings(TrainingSettings(learning_rate=0.25), [text], record)
    (tmp_path / "run" / "run.json").write_text('{"format_version": 1, "settings": {"plan": {}}}', encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"run\.json is damaged: ") as caught:
        read_run_record(tmp_path / "run")
    assert caught.value.hint == "begin anew with restart=True"
