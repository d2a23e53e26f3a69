"""Models in several files, as llama.cpp's gguf-split writes them: metadata in the first, tensors in all."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nextword
from nextword.errors import ModelFileError
from nextword.files import read_model, read_tokenizer
from nextword.files.parts import part_names
from tests.files.gguf.building import INT32, LLAMA, File, Value

COUNT = 3
NAMES = [f"모델 q4-0000{number}-of-00003.gguf" for number in range(1, COUNT + 1)]


def _u16(key: str, value: int) -> Value:
    return Value(key, 2, struct.pack("<H", value))


def _part(number: int, count: int = COUNT, num_tensors: int = len(LLAMA.tensors)) -> File:
    split = (
        _u16("split.no", number),
        _u16("split.count", count),
        Value("split.tensors.count", INT32, struct.pack("<i", num_tensors)),
    )
    tensors = LLAMA.tensors[number::COUNT]
    return File((*(LLAMA.values if number == 0 else ()), *split), tensors)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(_part(number).written())
    return tmp_path


def test_parts_open_as_the_whole_file_does(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = tmp_path_factory.mktemp("whole") / "model.gguf"
    whole.write_bytes(LLAMA.written())
    expected = read_model(whole)
    for path in (directory, *(directory / name for name in NAMES)):
        found = read_model(path)
        assert found.config == expected.config
        assert read_tokenizer(path).encode("abc 한국") == expected.tokenizer.encode("abc 한국")
        assert found.tensors.keys() == expected.tensors.keys()
        for name, tensor in expected.tensors.items():
            np.testing.assert_array_equal(found.tensors[name].values(), tensor.values())
    [first] = nextword.load(directory / NAMES[0]).predict("abc", top=1)
    assert first == next(iter(nextword.load(whole).predict("abc", top=1)))


def _refusal(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    return caught.value


def test_a_part_that_is_missing_is_named(directory: Path) -> None:
    (directory / NAMES[1]).unlink()
    for path in (directory, directory / NAMES[0], directory / NAMES[2]):
        error = _refusal(path)
        assert error.message == f"{directory / NAMES[1]} is missing: a part of the model"
        assert error.hint == "put all its parts into one directory"
    (directory / NAMES[0]).unlink()
    assert f"{NAMES[0]} is missing" in _refusal(directory).message


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (_part(2), "should be part 2 of 3, but says it is 3 of 3"),
        (_part(1, count=2), "should be part 2 of 3, but says it is 2 of 2"),
        (File((), LLAMA.tensors[1::COUNT]), "should be part 2 of 3, but says it is 0 of 1"),
        (replace(_part(1), tensors=LLAMA.tensors[:2]), "the tensor 'token_embd.weight' is in another part too"),
        (replace(_part(1), tensors=LLAMA.tensors[1:2]), "11 tensors should lie in 3 parts, found 8"),
        (replace(_part(1), magic=b"GGML"), "is no GGUF file"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(part: File, says: str, directory: Path) -> None:
    (directory / NAMES[1]).write_bytes(part.written())
    assert says in _refusal(directory / NAMES[0]).message


def test_a_part_under_another_name_comes_with_the_way_out(directory: Path) -> None:
    (directory / NAMES[0]).rename(directory / "renamed.gguf")
    error = _refusal(directory / "renamed.gguf")
    assert "is one of 3 parts of a model, but not named like one" in error.message
    assert "NAME-00001-of-00003.gguf" in error.hint


def test_two_models_in_parts_are_still_two(directory: Path) -> None:
    (directory / "other.gguf").write_bytes(LLAMA.written())
    assert "holds 4 GGUF files" in _refusal(directory).message
    assert len(read_model(directory / "other.gguf").tensors) == len(LLAMA.tensors)


@pytest.mark.parametrize(
    "name", ["a.gguf", "a-00004-of-00003.gguf", "a-00000-of-00003.gguf", "a-1-of-3.gguf", "", "a-99999-of-99999.gguf"]
)
def test_what_is_not_named_like_a_part_is_whole(name: str) -> None:
    assert part_names(name) == [name]


def test_one_part_of_one_is_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00001.gguf"
    path.write_bytes(LLAMA.written())
    assert len(read_model(path).tensors) == len(LLAMA.tensors)
