"""Rows of tables are documents; what is no row is told by its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import TextError
from nextword.training.corpus.text import read_documents, read_records

ROWS = [
    {"id": 1, "text": "나는 오늘\n학교에 갔다."},
    {"id": 2, "text": 'The "cat", sat; \t\U0001f600 \u2028 here'},
    {"id": 3, "text": None},
    {"id": 4, "text": " "},
    {"id": 5, "text": "windows\r\nline"},
]
TEXTS = [ROWS[0]["text"], ROWS[1]["text"], "windows\nline"]


def write(directory: Path, data: str | bytes, name: str) -> Path:
    path = directory / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def parquet(path: Path, rows: list[dict[str, Any]], group: int = 2) -> Path:
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


def test_json_lines_and_parquet_give_the_rows_that_hold_text_by_their_numbers(tmp_path: Path) -> None:
    lines = "\n\n".join(json.dumps(row, ensure_ascii=row["id"] == 1) for row in ROWS)
    for path, numbers in (
        (write(tmp_path, lines, "a.jsonl"), (1, 3, 9)),
        (write(tmp_path, "\ufeff" + lines + "\n", "b.NDJSON"), (1, 3, 9)),
        (parquet(tmp_path / "c.parquet", ROWS), (1, 2, 5)),
        (write(tmp_path, gzip.compress((tmp_path / "c.parquet").read_bytes()), "d.parquet.gz"), (1, 2, 5)),
    ):
        documents = read_documents([path])
        assert [document.text for document in documents] == TEXTS
        assert [document.name for document in documents] == [f"{path}:{number}" for number in numbers]


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t")])
def test_csv_cells_may_hold_marks_quotes_and_line_ends(tmp_path: Path, suffix: str, mark: str) -> None:
    data = mark.join(["id", "text"]) + "\r\n"
    data += f'1{mark}"두 줄\r\n""인용"", 쉼표\t{mark}"\r\n\r\n2{mark}plain\r\n3{mark}\r\n4\r\n5{mark}last'
    path = write(tmp_path, data, f"a.{suffix}")
    documents = read_documents([path])
    assert [d.text for d in documents] == [f'두 줄\n"인용", 쉼표\t{mark}', "plain", "last"]
    assert documents[0].name == f"{path}:2"
    assert documents[1].name.startswith(f"{path}:")


def test_a_cell_of_a_megabyte_is_read_whole(tmp_path: Path) -> None:
    text = "가나다 " * 300_000
    assert [d.text for d in read_documents([write(tmp_path, f'text\n"{text}"\n', "a.csv")])] == [text]
    assert [d.text for d in read_documents([write(tmp_path, json.dumps({"text": text}), "a.jsonl")])] == [text]


def test_rows_may_be_in_another_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, "제목,text\n가,나는 학교에 갔다\n".encode("cp949"), "a.csv")
    assert [d.text for d in read_documents([path], "cp949")] == ["나는 학교에 갔다"]
    with pytest.raises(TextError, match="is not UTF-8") as caught:
        read_documents([path])
    assert caught.value.hint == 'it looks like cp949: encoding="cp949"'


@pytest.mark.parametrize(
    ("row", "wanted", "text"),
    [
        ({"body": "b", "text": "t", "content": "c"}, None, "t"),
        ({"body": "b", "content": "c"}, None, "c"),
        ({"n": 1, "본문": "k"}, None, "k"),
        ({"body": "b", "text": "t"}, "body", "b"),
    ],
)
def test_the_field_is_the_wanted_one_or_text_or_content_or_the_only_string(
    tmp_path: Path, row: dict[str, Any], wanted: str | None, text: str
) -> None:
    for path in (write(tmp_path, json.dumps(row), "a.jsonl"), parquet(tmp_path / "a.parquet", [row])):
        assert [d.text for d in read_documents([path], field=wanted)] == [text]


def test_when_the_field_is_not_clear_the_fields_are_named(tmp_path: Path) -> None:
    row = {"title": "a", "body": "b", "n": 3}
    for path in (write(tmp_path, json.dumps(row), "a.jsonl"), parquet(tmp_path / "a.parquet", [row])):
        with pytest.raises(TextError, match=rf"^{path}:1 does not tell which field is the text(?m:$)") as caught:
            read_documents([path])
        assert caught.value.hint == "its fields are title, body, n: name one with text_field=..."
        with pytest.raises(TextError, match=r":1 has no field 'text'(?m:$)") as caught:
            read_documents([path], field="text")
        assert caught.value.hint == "its fields are title, body, n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut', r":2 is no JSON: Unterminated string"),
        ("[" * 100_000, r":2 is no JSON: "),
        ('["text"]', r":2 should be a JSON object, found list(?m:$)"),
        ('{"other": "x"}', r":2 has no field 'text'(?m:$)"),
        ('{"text": 5}', r":2: text should be a string, found int(?m:$)"),
        ('{"text": "ab\\ud800"}', r":2 holds a lone surrogate at character 2(?m:$)"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f'{{"text": "good"}}\n{line}\n', "a.jsonl")
    with pytest.raises(TextError, match=message):
        read_documents([path])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('id,text\n1,good\n2,"never closed\nand on', r":3 is no row of cells: unexpected end of data(?m:$)"),
        ("id,text\n1,good\n2,a,b\n", r":3 has more cells than the first line names(?m:$)"),
        ("id\rtext\r", r":1 is no row of cells: "),
    ],
)
def test_a_bad_row_of_cells_is_named(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_documents([write(tmp_path, data, "a.csv")])


def test_tables_without_any_text_are_refused(tmp_path: Path) -> None:
    for path in (
        write(tmp_path, "", "a.csv"),
        write(tmp_path, "id,text\n", "b.csv"),
        write(tmp_path, "\n\n", "c.jsonl"),
        write(tmp_path, '{"text": null}\n', "d.jsonl"),
        parquet(tmp_path / "e.parquet", [{"text": " "}]),
    ):
        with pytest.raises(TextError, match=f"^{path} is empty$"):
            read_documents([path])


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "whole.parquet", ROWS).read_bytes()
    for data in (b"", b"PAR1", b"text, not parquet at all", whole[:-30], whole[:200] + bytes(100) + whole[300:]):
        with pytest.raises(TextError, match=r"bad\.parquet (is no parquet file|cannot be read): \w"):
            read_documents([write(tmp_path, data, "bad.parquet")])
    with pytest.raises(TextError, match="does not exist"):
        read_documents([tmp_path / "missing.parquet"])


def test_records_come_as_they_are(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "안녕"}], "n": 1}
    paths = write(tmp_path, json.dumps(row), "a.jsonl"), parquet(tmp_path / "b.parquet", [row, row])
    assert list(read_records(paths)) == [(f"{paths[0]}:1", row), (f"{paths[1]}:1", row), (f"{paths[1]}:2", row)]
    with pytest.raises(TextError, match=r"a\.txt has no records(?m:$)"):
        list(read_records([write(tmp_path, "text", "a.txt")]))
