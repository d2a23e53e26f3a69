"""What lies where a model should be: a pointer, a web page, half of it, nothing; each is called what it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nextword.errors import ModelFileError
from nextword.files import read_model, read_tokenizer, write_bundle
from nextword.text_file import read_text
from tests.files.making import minimal_bundle

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 98362432\n"
STAND_INS = {
    "a pointer": (POINTER, "is a pointer of Git LFS, not the file itself", "git lfs pull"),
    "an annexed one": (b"/annex/objects/SHA256E-s9--4d.gguf\n", "is a pointer of git-annex", "git annex get"),
    "a link of annex's": (b"../../.git/annex/objects/4d/9", "is a pointer of git-annex", "git annex get"),
    "a page": (b"<!DOCTYPE html>\n<html lang='ko'>\xec\x95\x88\xeb\x85\x95", "is a web page", "fetch it again"),
    "a page with a mark": (b"\xef\xbb\xbf\r\n<html>", "is a web page", "fetch it again"),
    "a page after a comment": (b"<!-- saved -->\n<HTML>", "is a web page", "fetch it again"),
    "nothing": (b"", "is damaged: it is empty", "not complete"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "model"
    write_bundle(path, minimal_bundle())
    return path


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def _refused(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    assert len(caught.value.message.splitlines()) == len(caught.value.hint.splitlines()) == 1
    return caught.value


@pytest.mark.parametrize("kind", STAND_INS)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "nextword.json"])
def test_what_lies_in_a_models_file_is_called_what_it_is(model: Path, name: str, kind: str) -> None:
    content, says, hint = STAND_INS[kind]
    (model / name).write_bytes(content)
    error = _refused(model)
    assert error.message.startswith(f"{model / name} {says}")
    assert hint in error.hint


@pytest.mark.parametrize("kind", STAND_INS)
@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "model"])
def test_what_lies_in_a_files_place_is_called_what_it_is(tmp_path: Path, name: str, kind: str) -> None:
    content, says, hint = STAND_INS[kind]
    (tmp_path / name).write_bytes(content)
    error = _refused(tmp_path / name)
    assert error.message.startswith(f"{tmp_path / name} {says}")
    assert hint in error.hint
    with pytest.raises(ModelFileError, match=says):
        read_tokenizer(tmp_path / name)


@pytest.mark.parametrize("left", [4, 8, 200, 0.5, -1])
def test_a_file_that_was_cut_short_says_to_fetch_it_again(model: Path, left: float) -> None:
    file = model / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * left) if isinstance(left, float) else left])
    error = _refused(model)
    assert error.message.startswith(f"{file} is damaged")
    assert error.hint == "fetch it again: the download is probably not complete"


def test_a_directory_that_is_no_model_says_what_one_holds(model: Path, tmp_path: Path) -> None:
    error = _refused(tmp_path)
    assert error.message == f"{tmp_path} is no model directory: it has no config.json"
    assert error.hint == f"one is inside: {model}"
    (tmp_path / "빈").mkdir()
    assert "config.json, tokenizer.json, and model.safetensors" in _refused(tmp_path / "빈").hint
    (tmp_path / "빈/adapter_config.json").write_bytes(b"{}")
    assert "is an adapter, not a whole model" in _refused(tmp_path / "빈").message
    (model / "model.safetensors").unlink()
    assert "has no weights: there is no model.safetensors" in _refused(model).message


@pytest.mark.parametrize("name", ["model.safetensors", "model-00002-of-00002.safetensors"])
def test_weights_alone_say_what_to_open(model: Path, name: str) -> None:
    (model / "model.safetensors").rename(model / name)
    assert _refused(model / name).hint == f"open the directory: {model}"
    (model / "config.json").unlink()
    assert _refused(model / name).hint == "config.json and tokenizer.json must lie beside it"


def test_a_text_with_many_comments_is_looked_at_once(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("<!-- a -->\n" * 2000 + "# A model", encoding="utf-8")
    assert read_text(card).endswith("# A model")
    card.write_text("<!-- a -->\n" * 300 + "<html>", encoding="utf-8")
    with pytest.raises(ModelFileError, match="is a web page"):
        read_text(card)
