"""Tables as people have them: other marks than commas, no names above, quotation marks that nothing closes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextword.errors import TextError
from nextword.training.corpus.text import read_documents, read_records


def table(directory: Path, data: str, name: str = "a.csv") -> list[dict[str, str | None]]:
    path = directory / name
    path.write_text(data, encoding="utf-8", newline="")
    return [row for _, row in read_records([path])]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_cells_are_parted_by_what_parts_them_evenly(tmp_path: Path, mark: str, name: str) -> None:
    cells = [("id", "text"), ("1", f'"{mark}하나, 둘; 셋 | 넷"'), ("2", "plain"), ("3", '"with ""quotes"""')]
    rows = table(tmp_path, "\r\n".join(mark.join(row) for row in cells), name)
    assert rows == [
        {"id": "1", "text": f"{mark}하나, 둘; 셋 | 넷"},
        {"id": "2", "text": "plain"},
        {"id": "3", "text": 'with "quotes"'},
    ]


def test_commas_inside_cells_part_nothing_where_semicolons_do(tmp_path: Path) -> None:
    assert table(tmp_path, "id;text\n1;Hallo, du\n2;3,50 kostet es\n3;nichts\n") == [
        {"id": "1", "text": "Hallo, du"},
        {"id": "2", "text": "3,50 kostet es"},
        {"id": "3", "text": "nichts"},
    ]
    assert table(tmp_path, "sep=;\nid;text\n1;Hallo, du\n") == [{"id": "1", "text": "Hallo, du"}]  # Excel


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        ('0,"첫 줄이다, 정말"\n1,"and the second"\n', ["첫 줄이다, 정말", "and the second"]),
        (
            '"0","146","@switchfoot Awww, that is bad."\n"0","147","is upset"\n',
            ["@switchfoot Awww, that is bad.", "is upset"],
        ),
        ("나는 오늘 학교에 갔다.\n비가 온다.\n", ["나는 오늘 학교에 갔다.", "비가 온다."]),
        ("1;3,50;gut gemacht\n2;4,20;nicht so gut\n", ["gut gemacht", "nicht so gut"]),
    ],
)
def test_a_first_line_that_names_nothing_is_a_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: str, texts: list[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(data, encoding="utf-8")
    assert [document.text for document in read_documents([path])] == texts
    assert "names no columns: they are called 1, 2, ..." in caplog.text


def test_a_value_that_comes_again_is_no_name_and_columns_have_numbers(tmp_path: Path) -> None:
    data = "good film,positive\nbad film,negative\nfine,positive\n"
    assert table(tmp_path, data)[0] == {"1": "good film", "2": "positive"}
    assert [d.text for d in read_documents([tmp_path / "a.csv"], field="1")] == ["good film", "bad film", "fine"]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("text\nhello there\n", ["text"]),
        ("문장\n나는 간다\n", ["문장"]),
        (",text,label\n0,hello there,1\n", ["", "text", "label"]),  # as pandas writes it
        ("Timestamp,What did you like?\n2020/1/1,the food\n", ["Timestamp", "What did you like?"]),
        ("date,text\n2020-01-01,hello you\n", ["date", "text"]),
    ],
)
def test_names_are_names(tmp_path: Path, data: str, names: list[str]) -> None:
    rows = table(tmp_path, data)
    assert list(rows[0]) == names
    assert len(rows) == 1


def test_a_column_of_numbers_is_not_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,score,document\n1,3.5,좋은 영화\n2,4,\n3,1e,so so\n", encoding="utf-8")
    with pytest.raises(TextError, match="does not tell"):  # 1e is no number
        read_documents([path])
    path.write_text("id,score,document\n1,3.5,좋은 영화\n2,4,\n3,1,so so\n", encoding="utf-8")
    assert [document.text for document in read_documents([path])] == ["좋은 영화", "so so"]
    path.write_text(
        f"id,document\n1,{'7' * 1_000_000} 이다\n2,8 is one\n", encoding="utf-8"
    )  # hours, if tried in all ways
    assert [len(document.text) for document in read_documents([path])] == [1_000_003, 8]
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(TextError, match=r"a\.csv:2 holds no text"):
        read_documents([path])


def test_a_quotation_mark_that_nothing_closes_is_one_that_somebody_wrote(tmp_path: Path) -> None:
    data = (
        'id\tdocument\tlabel\n1\t아 더빙.. 진짜\t0\n2\t"흠...포스터보고\t1\n3\t그는 "안녕"이라고\t0\n'
        '4\t"인용된 글"\t1\n5\t끝"\t0\n6\t"두 줄에\n걸친 ""글"""\t1\n7\t"\t0\n8\t"a" and b\t1\n9\tlast"\t0\n'
    )
    assert [row["document"] for row in table(tmp_path, data, "a.tsv")] == [
        "아 더빙.. 진짜",
        '"흠...포스터보고',
        '그는 "안녕"이라고',
        "인용된 글",
        '끝"',
        '두 줄에\n걸친 "글"',
        '"',
        '"a" and b',
        'last"',
    ]


def test_rows_have_the_numbers_of_their_lines(tmp_path: Path) -> None:
    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        path = tmp_path / name
        path.write_text(f'\ntext{mark}n\n"two\nlines"{mark}1\n\nplain{mark}2\n', encoding="utf-8")
        assert [place for place, _ in read_records([path])] == [f"{path}:3", f"{path}:6"]


def test_of_columns_that_are_called_alike_none_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = table(tmp_path, "text,note,text,,\n하나,x,둘,,\nthree,y,four,,5\n")
    assert rows[0] == {"text": "하나", "note": "x", "text (2)": "둘", "": "", " (2)": ""}
    assert rows[1] == {"text": "three", "note": "y", "text (2)": "four", "": "", " (2)": "5"}
    assert caplog.messages == [f"{tmp_path}/a.csv has several columns text: one is called text (2) here"]
