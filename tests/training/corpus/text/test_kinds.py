"""What a file is, is told by what is in it: rows are read as rows, and no container is learned as prose."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import sqlite3
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import TextError
from nextword.training.corpus.text import find_sources, read_documents, read_records

ROWS = [{"id": 1, "text": "나는 오늘\n학교에 갔다."}, {"id": 2, "text": 'The "cat" sat. \U0001f600'}]
TEXTS = [row["text"] for row in ROWS]
NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "cells": [
        {"cell_type": "markdown", "source": ["# 제목\n", "A sentence."]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": ["1"]}]},
    ],
}


def write(directory: Path, data: str | bytes, name: str) -> Path:
    path = directory / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    return packed.getvalue()


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "hello")
    return packed.getvalue()


def database(directory: Path) -> bytes:
    with sqlite3.connect(directory / "made.db") as made:
        made.execute("create table notes (text)")
    made.close()
    return (directory / "made.db").read_bytes()


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "a", "a.ndjson"])
@pytest.mark.parametrize(
    "data",
    [
        "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=4, ensure_ascii=False) + "\n",
        "\ufeff\n " + json.dumps(ROWS),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
    ],
    ids=["lines", "list", "printed list", "mark", "printed objects"],
)
def test_rows_of_json_are_rows_however_they_are_laid_out_and_named(tmp_path: Path, name: str, data: str) -> None:
    path = write(tmp_path, data, name)
    if name in ("a.txt", "a") and data.startswith("{\n"):
        return  # that may be anything
    assert [document.text for document in read_documents([path])] == TEXTS
    assert [row for _, row in read_records([path])] == ROWS


def test_a_long_list_is_read_an_object_at_a_time(tmp_path: Path) -> None:
    rows = [{"n": n, "text": f"{n} " + "가나다 words " * (40 if n % 1000 else 200_000)} for n in range(3000)]
    path = write(tmp_path, json.dumps(rows, ensure_ascii=False, indent=1), "a.json")
    assert [document.text for document in read_documents([path])] == [row["text"] for row in rows]
    assert [name for name, _ in read_records([path])][-1] == f"{path}:3000"


def test_a_list_of_strings_is_a_list_of_texts(tmp_path: Path) -> None:
    assert [d.text for d in read_documents([write(tmp_path, json.dumps(TEXTS), "a.json")])] == TEXTS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('[{"text": "a"}, {"te', r":2 is no JSON: Unterminated string"),
        ('[{"text": "a"}, {"text": "b"}', r":2 is no JSON: the list does not end"),
        ('[{"text": "a"} {"text": "b"}]', r":1 is no JSON: there is no comma"),
        ('[{"text": "a"}] and more', r":1 is no JSON: something follows the list"),
        ('[{"text": "a"}, 5]', r":2 should be a JSON object, found int"),
        ("[" * 100_000, r":1 is no JSON: "),
        ("[]", r"a\.json is empty"),
        ('{"version": 1, "data": [{"paragraphs": ["some words"]}]}', r":1 does not tell which field is the text"),
    ],
)
def test_what_is_wrong_with_a_list_is_told_with_its_place(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_documents([write(tmp_path, data, "a.json")])


@pytest.mark.parametrize(
    "prose",
    [
        '{"quoted"} is how he began.\nAnd went on.',
        "[1] A footnote.\n[2] Another.",
        "{{template}}",
        '["a", "b"], he said.',
        '["Quoted" was the word.]',
        "BZhang is the name of a person.",
        "The ftyp box comes first.",
        "PK and MZ and GIF are letters.",
        "GGUF is a format of models. 모델 형식이다.",
        "GIF89a is older than PNG.",
        "PAR1 is how a parquet table begins, and EGGA an archive.",
        "EGGA",
    ],
)
def test_prose_that_begins_as_something_else_does_is_prose(tmp_path: Path, prose: str) -> None:
    assert [document.text for document in read_documents([write(tmp_path, prose, "a.txt")])] == [prose]


def test_an_object_longer_than_what_is_looked_at_is_read_to_its_end(tmp_path: Path) -> None:
    long = "글" * 400_000  # 1.2 MB
    rows = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in (long, "둘"))
    listed = json.dumps([{"text": long}, {"text": "둘"}])
    for data in (rows, listed):
        assert [document.text for document in read_documents([write(tmp_path, data, "a.txt")])] == [long, "둘"]
    picture = {"cell_type": "code", "source": "plot()", "outputs": [{"data": {"image/png": "A" * 1_200_000}}]}
    for indent in (None, 1):
        data = json.dumps({"cells": [picture], "nbformat": 4}, indent=indent)
        assert [document.text for document in read_documents([write(tmp_path, data, "b")])] == ["plot()"]
    prose = '{"quoted"} is how he began. ' * 50_000
    assert "".join(document.text for document in read_documents([write(tmp_path, prose, "c.txt")])) == prose


def test_of_a_notebook_the_cells_are_read_and_not_what_came_out(tmp_path: Path) -> None:
    old = {"nbformat": 3, "worksheets": [{"cells": [{"input": ["print(1)"]}, {"source": "나는"}]}]}
    expected = "# 제목\nA sentence.\n\nprint(1)"
    for path in (
        write(tmp_path, json.dumps(NOTEBOOK), "a.ipynb"),
        write(tmp_path, json.dumps(NOTEBOOK, indent=1), "b"),
    ):
        [document] = read_documents([path])
        assert (document.name, document.text) == (str(path), expected)
    assert [d.text for d in read_documents([write(tmp_path, json.dumps(old), "c.ipynb")])] == ["print(1)\n\n나는"]
    with pytest.raises(TextError, match="is no notebook"):
        read_documents([write(tmp_path, "# no notebook", "d.ipynb")])


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.jsonl", "a"])
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF"),
        (zipped("[Content_Types].xml", "word/document.xml"), "a Word document"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel sheet"),
        (zipped("a.txt"), "an archive (.zip)"),
        (tar(), "an archive (.tar)"),
        (gzip.compress(tar()), "an archive (.tar)"),
        (lzma.compress(tar()), "an archive (.tar)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "an office document (.doc, .xls, .ppt, .hwp)"),
        (rb"{\rtf1\ansi hello}", "a rich text file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(16), "a picture"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a picture"),
        (b"GGUF\x03\x00\x00\x00", "a model"),
        (b"PAR1" + bytes(20), "a parquet table"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_container_is_refused_whatever_its_name(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    path = write(tmp_path, data, name)
    with pytest.raises(TextError) as caught:
        read_documents([path])
    assert caught.value.message.startswith(f"{path} is {what}")
    assert caught.value.hint


def test_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"a\.txt is a database"):
        read_documents([write(tmp_path, database(tmp_path), "a.txt")])


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_is_compressed_is_unpacked_whatever_its_name(tmp_path: Path, pack: type) -> None:
    text = "압축된 글 and more"
    for name in ("a.txt", "a"):
        assert [d.text for d in read_documents([write(tmp_path, pack(text.encode()), name)])] == [text]
    rows = write(tmp_path, pack(json.dumps(ROWS).encode()), "a.json")
    assert [d.text for d in read_documents([rows])] == TEXTS


@pytest.mark.parametrize(("suffix", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_files_of_bzip2_and_xz_are_read_and_damaged_ones_refused(tmp_path: Path, suffix: str, pack: type) -> None:
    packed = pack(("나는 학교에 갔다. " * 9000).encode())
    assert len(read_documents([write(tmp_path, packed, f"a.txt.{suffix}")])[0].text) == 11 * 9000
    for damaged in (packed[:-20], b"only text"):
        with pytest.raises(TextError, match=r"(is damaged|cannot be read): \w"):
            read_documents([write(tmp_path, damaged, f"b.txt.{suffix}")])


def test_the_tags_of_a_page_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "<!DOCTYPE html><p>안녕</p>", "a.html")
    assert [document.text for document in read_documents([path])] == ["<!DOCTYPE html><p>안녕</p>"]
    assert [one.message for one in caplog.records] == [f"{path} is HTML or XML: its tags are learned with the rest"]


# -- which field is the text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [{"title": None, "body": "the text of it"}, {"title": "a title", "body": "another text"}],
        [{"url": "https://example.org/a", "paragraphs": ["A long paragraph.", "And another one."]}],
        [{"url": "https://example.org/a", "n": 3}, {"url": "https://example.org/b", "n": 4}],
        [{"text": None, "body": "the text of it"}],
        [{"type": "FeatureCollection", "features": [{"name": "Seoul"}]}],
        [{"id": "a-1", "parts": [{"says": "longer than the name of it"}]}],
    ],
)
def test_where_the_field_is_in_doubt_it_is_asked_for(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")
    with pytest.raises(TextError, match="does not tell which field is the text") as caught:
        read_documents([path])
    assert caught.value.hint == f"its fields are {', '.join(rows[0])}: name one with text_field=..."


@pytest.mark.parametrize(
    "row", [{"Text": "나는 간다", "label": "pos"}, {"name": "emma"}, {"body": "words here", "tags": ["a", "b"]}]
)
def test_where_the_field_is_clear_it_is_taken(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, json.dumps(row), "a.jsonl")
    assert [document.text for document in read_documents([path])] == [next(iter(row.values()))]


def test_rows_whose_last_line_was_cut_off_are_rows_and_an_empty_notebook_is_empty(tmp_path: Path) -> None:
    cut = "".join(json.dumps(row) + "\n" for row in ROWS) + '{"text": "cut'
    with pytest.raises(TextError, match=r"a\.txt:3 is no JSON: Unterminated string"):
        read_documents([write(tmp_path, cut, "a.txt")])
    with pytest.raises(TextError, match=r"a\.ipynb is empty"):
        read_documents([write(tmp_path, json.dumps({"nbformat": 4, "cells": []}), "a.ipynb")])


def test_a_field_may_hold_paragraphs_if_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"url": "https://example.org", "paragraphs": ["하나.", "Two."]}), "a.json")
    assert [d.text for d in read_documents([path], field="paragraphs")] == ["하나.\n\nTwo."]


def test_conversations_among_texts_are_told_of(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"messages": [{"role": "user", "content": "hi"}]}), "a.jsonl")
    with pytest.raises(TextError, match=r"a\.jsonl:1 is a conversation, among texts"):
        read_documents([path])


# -- streams ---------------------------------------------------------------------------------------------------------


def test_standard_input_may_be_rows_and_is_read_as_often_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "".join(json.dumps({"text": f"{n} 나는"}) + "\n" for n in range(40_000)).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    sources = list(find_sources(["-"]))
    expected = [f"{n} 나는" for n in range(40_000)]
    assert next(read_records(sources)) == ("standard input:1", {"text": "0 나는"})
    for _ in range(2):
        assert [document.text for document in read_documents(sources)] == expected


@pytest.mark.skipif(os.name == "nt", reason="needs a named pipe")
def test_a_pipe_may_hold_packed_rows(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=[gzip.compress(json.dumps(ROWS).encode())]).start()
    assert [document.text for document in read_documents([pipe])] == TEXTS


def test_a_text_in_place_of_a_name_is_not_told_whole() -> None:
    text = "First line of a book, see https://example.org/.\nAnd the second.\n" * 5000
    for place in (text, text.replace("\n", " "), "가" * 300):
        with pytest.raises(TextError, match=r"^a text was given where the name of a file is expected: ") as caught:
            read_documents([place])
        assert len(caught.value.message) < 200


def test_a_list_of_strings_is_rows_whatever_it_is_called(tmp_path: Path) -> None:
    for texts in (["하나", "two"], ["글" * 400_000, "나"], [f"line {number}" for number in range(200_000)], ["one"]):
        listed = json.dumps(texts, ensure_ascii=False)
        assert [document.text for document in read_documents([write(tmp_path, listed, "a.txt")])] == texts
