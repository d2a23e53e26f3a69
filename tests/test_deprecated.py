"""Old names go on working, and say the new one."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import pytest

import nextword
from nextword import ConfigError, Tokenizer, model
from nextword.files import read_model
from tests.conftest import Trained


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("nextword.inspection.figures", "nextword.figures", "embedding_figure"),
        ("nextword.inspection.figures", "nextword.figures", "attention_figure"),
        ("nextword.training.lora", "nextword.training.adapters.lora", "add_lora"),
    ],
)
def test_a_module_that_moved_hands_on_the_very_same_things(old: str, new: str, name: str) -> None:
    module = importlib.import_module(old)
    with pytest.warns(DeprecationWarning, match=f"^{old} is {new} now$") as warned:
        found = getattr(module, name)
    assert found is getattr(importlib.import_module(new), name)
    assert [one.filename for one in warned] == [__file__]


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = importlib.import_module("nextword.inspection.figures").nothing_like_it


def test_a_tokenizer_is_written_and_read_under_its_old_names_too() -> None:
    tokenizer = Tokenizer.characters("abc")
    with pytest.warns(DeprecationWarning, match=r"^Tokenizer.to_json is Tokenizer.to_str now$"):
        text = tokenizer.to_json()
    assert text == tokenizer.to_str()
    with pytest.warns(DeprecationWarning, match=r"^Tokenizer.from_json is Tokenizer.from_str now$"):
        again = Tokenizer.from_json(text, bos="a")
    assert (again.to_str(), again.bos_id) == (text, 0)
    with pytest.warns(DeprecationWarning, match=r"^Tokenizer.most_bytes is Tokenizer.max_token_bytes now$"):
        assert tokenizer.most_bytes == tokenizer.max_token_bytes


@pytest.mark.parametrize(
    ("old", "new"),
    [("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16"), ("q8", "q8_0"), ("q4", "q4_1"), ("Q8", "q8_0")],
)
def test_a_model_is_loaded_in_a_precision_of_the_old_words(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"^precision '{old}' is '{new}' now$") as warned:
        found = nextword.load(precision=old)
    assert [one.filename for one in warned] == [__file__]
    wanted = nextword.load(precision=new)
    assert found.dtype == wanted.dtype
    rows = [lm.backend.forward([[5, 6, 7]], [lm.backend.new_cache(3)])[0] for lm in (found, wanted)]
    assert rows[0].tobytes() == rows[1].tobytes()


WRITTEN = [
    ("huggingface", "float32", "float32"),
    ("huggingface", "f16", "float16"),
    ("huggingface", "bf16", "bfloat16"),
    ("gguf", "f32", "float32"),
    ("gguf", "float16", "float16"),
    ("gguf", "q8_0", "q8_0"),
]


def files_of(path: Path) -> dict[str, str]:
    """The SHA-256 of each file that was written."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize(("kind", "old", "new"), WRITTEN)
def test_dtype_is_the_old_name_of_precision(trained: Trained, tmp_path: Path, kind: str, old: str, new: str) -> None:
    lm, place = nextword.load(trained.path), "model.gguf" if kind == "gguf" else "model"
    with pytest.warns(DeprecationWarning, match=f"^dtype='{old}' is precision='{new}' now$") as warned:
        before = lm.export(tmp_path / "old" / place, kind, dtype=old)
    assert [one.filename for one in warned] == [__file__]
    written = files_of(before)
    assert written == files_of(lm.export(tmp_path / "new" / place, kind, new))
    if kind == "huggingface":
        for model in (lm, trained.run.model):  # native, and as torch holds it
            with pytest.warns(DeprecationWarning, match=f"^dtype='{old}' is precision='{new}' now$"):
                model.save(tmp_path / "saved before", dtype=old)
            assert files_of(tmp_path / "saved before") == files_of(model.save(tmp_path / "saved", new))


def test_old_words_stand_where_they_stood(trained: Trained, tmp_path: Path) -> None:
    lm = nextword.load(trained.path)
    with pytest.warns(DeprecationWarning, match=r"^precision 'f16' is 'float16' now$"):
        lm.save(tmp_path / "old", "f16", {"note.txt": b"a"})
    assert files_of(tmp_path / "old") == files_of(lm.save(tmp_path / "new", "float16", {"note.txt": b"a"}))
    assert files_of(lm.save(tmp_path / "none", None)) == files_of(
        lm.save(tmp_path / "auto")
    )  # as it was, without a word
    with pytest.raises(ConfigError, match="precision and dtype are both given"):
        lm.save(tmp_path / "both", "float16", dtype="float16")
    with pytest.warns(DeprecationWarning, match="dtype='int3'"), pytest.raises(ConfigError, match="cannot hold 'int3'"):
        lm.save(tmp_path / "both", dtype="int3")
    assert not (tmp_path / "both").exists()


def test_a_torch_model_is_still_saved_in_float64_under_the_old_name(trained: Trained, tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="dtype='float64'"):
        trained.run.model.save(tmp_path / "double", dtype="float64")
    assert {tensor.dtype for tensor in read_model(tmp_path / "double").tensors.values()} == {"F64"}


def test_eval_mode_has_an_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"^nextword.model.evaluating is nextword.model.eval_mode now$"):
        assert model.evaluating is model.eval_mode
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = model.nothing_like_it


def test_k_is_the_old_name_of_top(trained: Trained) -> None:
    trace = nextword.load(trained.path, backend="torch").trace("To be")
    with pytest.warns(DeprecationWarning, match=r"^top\(k=...\) is top\(top=...\) now$") as warned:
        found = trace.top(k=3)
    assert [one.filename for one in warned] == [__file__]
    assert found == trace.top(top=3) == trace.top(-1, 3)
    assert len(found) == 3


def test_a_star_import_of_an_old_place_brings_what_it_brought() -> None:
    names: dict[str, object] = {}
    with pytest.warns(DeprecationWarning, match="nextword.figures now"):
        exec("from nextword.inspection.figures import *", names)  # noqa: S102  a star stands at the top of a module
    assert names["save_figure"] is importlib.import_module("nextword.figures").save_figure
