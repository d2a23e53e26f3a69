"""A text is known again by its files' lengths and beginnings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nextword.training.corpus import fingerprint as module
from nextword.training.corpus.fingerprint import fingerprint
from tests.training.sample_text import write_text


def test_length_and_beginning_of_every_file_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FINGERPRINT_BYTES", 4)
    one, two = write_text(tmp_path, "abcdef", "1.txt"), write_text(tmp_path, "xyz", "2.txt")
    assert fingerprint([one, two]) == hashlib.sha256(b"6\nabcd3\nxyz").hexdigest()
    assert fingerprint([tmp_path], ["2.txt"]) == fingerprint([one]) == hashlib.sha256(b"6\nabcd").hexdigest()


def test_what_can_only_be_read_once_has_no_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(["-"]) is None
    assert fingerprint([write_text(tmp_path), "-"]) is None
