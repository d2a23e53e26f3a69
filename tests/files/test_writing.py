"""A model directory is replaced as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from nextword.errors import ModelFileError, NextwordError
from nextword.files import Bundle, RawTensor, read_bundle, write_bundle
from nextword.files.atomic import replace_directory, replace_file
from tests.files.making import BPE, content_of, logits_of, minimal_bundle, random_model, raw_tensors, refusal
from tests.full_disk import files_of_at_most

OLD, NEW = minimal_bundle(seed=1), minimal_bundle(seed=2)


def _lacking() -> Bundle:
    """A bundle without its last weight."""
    tensors = dict(OLD.tensors)
    tensors.pop("ln_final.weight")
    return Bundle(OLD.config, tensors, OLD.tokenizer)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model", OLD)
    return tmp_path / "model"


def _holds(path: Path, bundle: Bundle) -> bool:
    return logits_of(read_bundle(path), [1, 2, 3]).tobytes() == logits_of(bundle, [1, 2, 3]).tobytes()


def _alone(path: Path) -> bool:
    """Nothing was left beside it."""
    return [file.name for file in path.parent.iterdir()] == [path.name]


# -- replacing -----------------------------------------------------------------------------------------------------


def test_a_model_is_replaced_by_another(model: Path) -> None:
    write_bundle(model, NEW)
    assert _holds(model, NEW)
    assert not _holds(model, OLD)
    assert _alone(model)


def test_nothing_of_the_old_model_stays(model: Path) -> None:
    (model / "generation_config.json").write_text("{}")
    write_bundle(model, NEW)
    assert "generation_config.json" not in content_of(model)


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_bundle(tmp_path / "model", NEW)
    assert _holds(tmp_path / "model", NEW)
    assert _alone(tmp_path / "model")


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a/b/모델", NEW)
    assert _holds(tmp_path / "a/b/모델", NEW)


def test_a_relative_path_means_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("model"), NEW)
    assert _holds(tmp_path / "model", NEW)


def test_of_a_link_the_directory_it_leads_to_is_replaced(model: Path) -> None:
    link = model.with_name("link")
    link.symlink_to(model)
    write_bundle(link, NEW)
    assert link.is_symlink()
    assert _holds(model, NEW)
    assert sorted(file.name for file in model.parent.iterdir()) == ["link", "model"]


def test_others_may_read_the_model(model: Path) -> None:
    assert model.stat().st_mode & 0o777 == 0o755
    assert {file.name: file.stat().st_mode & 0o777 for file in model.iterdir()} == dict.fromkeys(
        content_of(model), 0o644
    )


# -- what is no model is left alone --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "years of work"},
        {"config.json": '{"name": "a web page"}', "index.html": "<p>"},
        {"model.safetensors": "x"},
        {"sub/config.json": "{}", "sub/model.safetensors": "x"},
        {".hidden": "x"},
    ],
    ids=" ".join,
)
def test_a_directory_that_is_no_model_is_left_alone(tmp_path: Path, files: dict[str, str]) -> None:
    target = tmp_path / "work"
    for name, text in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    before = content_of(target)
    with pytest.raises(ModelFileError, match="exists and is not a model"):
        write_bundle(target, NEW)
    assert content_of(target) == before
    assert _alone(target)


def test_a_model_with_other_files_beside_it_is_left_alone(model: Path) -> None:
    (model / "notes.txt").write_text("mine")
    before = content_of(model)
    with pytest.raises(ModelFileError, match=r"also holds notes\.txt, which would be lost"):
        write_bundle(model, NEW)
    assert content_of(model) == before
    assert _alone(model)


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(ModelFileError, match="exists and is not a model"):
        write_bundle(tmp_path / "model", NEW)
    assert (tmp_path / "model").read_text() == "a file"
    assert _alone(tmp_path / "model")


# -- what fails changes nothing ------------------------------------------------------------------------------------


def test_weights_that_are_missing_leave_the_old_model_whole(model: Path) -> None:
    before = content_of(model)
    with pytest.raises(ModelFileError, match=r"tensor ln_final\.weight of shape \(8,\) is missing"):
        write_bundle(model, _lacking())
    assert content_of(model) == before
    assert _alone(model)


def test_weights_that_are_no_numbers_leave_the_old_model_whole(model: Path) -> None:
    before = content_of(model)
    broken = dict(OLD.tensors)
    broken["ln_final.weight"] = RawTensor.from_bits("", "F32", np.full(8, np.nan, "<f4"))
    with pytest.raises(ModelFileError, match=r"ln_final\.weight holds NaN"):
        write_bundle(model, Bundle(OLD.config, broken, OLD.tokenizer))
    assert content_of(model) == before
    assert _alone(model)


def test_provenance_that_is_no_json_leaves_the_old_model_whole(model: Path) -> None:
    before = content_of(model)
    with pytest.raises(TypeError):
        write_bundle(model, Bundle(NEW.config, NEW.tensors, NEW.tokenizer, {"when": object()}))
    assert content_of(model) == before
    assert _alone(model)


def test_a_file_in_the_way_of_the_parent_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file/model", tmp_path / "file/deeper/model"):
        with pytest.raises(ModelFileError, match="cannot write") as caught:
            write_bundle(target, NEW)
        assert str(target) in caught.value.message
    assert (tmp_path / "file").read_text() == "x"


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may write anywhere; for a while this process is somebody who may not."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was == 0:
            os.seteuid(was)


@pytest.fixture
def locked() -> Iterator[Path]:
    """A model in a directory that may be read, but not written."""
    parent = Path(tempfile.mkdtemp())
    write_bundle(parent / "model", OLD)
    parent.chmod(0o555)
    yield parent
    parent.chmod(0o755)
    shutil.rmtree(parent)


def test_a_read_only_directory_keeps_its_model(locked: Path) -> None:
    before = content_of(locked)
    with _as_nobody(), pytest.raises(ModelFileError, match=r"cannot write .*Permission denied"):
        write_bundle(locked / "model", NEW)
    with _as_nobody(), pytest.raises(ModelFileError, match=r"cannot write .*Permission denied"):
        write_bundle(locked / "new/model", NEW)
    with _as_nobody():
        assert _holds(locked / "model", OLD)
    assert content_of(locked) == before
    assert _alone(locked / "model")


def test_a_directory_that_one_may_not_look_into_is_named(locked: Path) -> None:
    locked.chmod(0o000)
    with _as_nobody():
        assert "Permission denied" in refusal(locked / "model")
        with pytest.raises(ModelFileError, match=r"cannot write .*Permission denied"):
            write_bundle(locked / "model", NEW)


@pytest.mark.parametrize("full_at", ["model.safetensors", "tokenizer.json"])
def test_a_disk_that_fills_up_leaves_the_old_model_whole(tmp_path: Path, full_at: str) -> None:
    if full_at == "tokenizer.json":  # the weights fit, the larger tokenizer does not
        bundle = minimal_bundle(tokenizer=BPE)
        bundle = Bundle(bundle.config, raw_tensors(random_model(bundle.config, torch.float16)), BPE)
    else:
        bundle = NEW
    write_bundle(tmp_path / "model", bundle)
    before = content_of(tmp_path / "model")
    sizes = {name: len(content) for name, content in before.items()}
    limit = sizes[full_at] - 1
    assert full_at == "model.safetensors" or sizes["model.safetensors"] <= limit
    with files_of_at_most(limit), pytest.raises(ModelFileError, match=r"cannot write .*[Ff]ile too large") as caught:
        write_bundle(tmp_path / "model", bundle)
    assert len(caught.value.message.splitlines()) == 1
    assert content_of(tmp_path / "model") == before
    assert _alone(tmp_path / "model")


# -- crashes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("crash"), KeyboardInterrupt(), SystemExit(1), MemoryError()], ids=repr)
def test_a_crash_while_writing_leaves_the_old_model_whole(model: Path, error: BaseException) -> None:
    before = content_of(model)

    def crash() -> None:
        with replace_directory(model) as fresh:
            (fresh / "config.json").write_text("half")
            raise error

    with pytest.raises(type(error)):
        crash()
    assert content_of(model) == before
    assert _alone(model)


def test_an_error_of_the_system_while_writing_names_the_target(model: Path) -> None:
    before = content_of(model)

    def crash() -> None:
        with replace_directory(model) as fresh:
            (fresh / "a/b").write_text("there is no a")

    with pytest.raises(ModelFileError, match="No such file") as caught:
        crash()
    assert str(model) in caught.value.message
    assert isinstance(caught.value, NextwordError)
    assert content_of(model) == before
    assert _alone(model)


def test_a_fresh_directory_that_vanishes_leaves_the_old_model_whole(model: Path) -> None:
    before = content_of(model)

    def vanish() -> None:
        with replace_directory(model) as fresh:
            fresh.rmdir()

    with pytest.raises(ModelFileError, match="cannot write"):
        vanish()
    assert content_of(model) == before
    assert _alone(model)


def test_until_the_new_model_is_whole_the_old_one_is_read(model: Path) -> None:
    with replace_directory(model) as fresh:
        assert fresh.parent == model.parent  # the same disk, so that a rename is enough
        assert list(fresh.iterdir()) == []
        for name, content in content_of(model).items():
            (fresh / name).write_bytes(content)
            assert _holds(model, OLD)
    assert _holds(model, OLD)
    assert _alone(model)


def test_a_kill_while_writing_leaves_a_whole_model(model: Path) -> None:
    # The child writes one model over the other for ever and is killed in the middle, no warning given.
    code = (
        "from pathlib import Path; from nextword.files import read_bundle, write_bundle\n"
        "path = Path('model'); bundle = read_bundle(path); print('go', flush=True)\n"
        "while True: write_bundle(path, bundle); print('again', flush=True)"
    )
    for times in (1, 4, 9):
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=model.parent, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(times):
                child.stdout.readline()
            child.kill()
        whole = [path for path in (model, *model.parent.glob(".model.*.old")) if path.exists()]
        assert _holds(whole[0], OLD)
        if not model.exists():  # killed between the two renames: the old model lies beside
            whole[0].rename(model)
        write_bundle(model, OLD)
        assert _holds(model, OLD)


# -- what a killed run left ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [".model.abc123.tmp", ".model.abc123.old"])
def test_what_a_killed_run_left_disturbs_neither_reading_nor_writing(model: Path, left: str) -> None:
    stale = model.with_name(left)
    stale.mkdir()
    (stale / "config.json").write_text("{half")
    (stale / "model.safetensors").write_bytes(b"\x10")
    assert _holds(model, OLD)
    write_bundle(model, NEW)
    assert _holds(model, NEW)
    assert stale.exists()  # another process may be writing there


# -- on disk -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the entries of directories by itself")
@pytest.mark.parametrize("replaced", [True, False])
def test_the_directories_entry_is_on_disk_when_the_writing_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    synced = list[tuple[int, bool]]()
    sync, (directory, file) = os.fsync, (tmp_path / "d", tmp_path / "f.json")

    def record(descriptor: int) -> None:
        sync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, current.exists() and "new" in read(current)))

    def read(path: Path) -> str:
        return (path / "a" if path.is_dir() else path).read_text(encoding="utf-8")

    if replaced:
        directory.mkdir()
        (directory / "a").write_text("old", encoding="utf-8")
        file.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", record)
    for current in (directory, file):
        synced.clear()
        with (replace_directory if current is directory else replace_file)(current) as fresh:
            (fresh / "a" if current is directory else fresh).write_text("new", encoding="utf-8")
        assert synced[-1] == (tmp_path.stat().st_ino, True)  # the name, after it was given
        assert {inode for inode, named in synced if not named} >= {current.stat().st_ino}  # the content, before
