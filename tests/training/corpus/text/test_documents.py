"""Files of every kind become documents, or one error that says what is wrong and what to do."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest

from nextword.errors import ConfigError, TextError
from nextword.training.corpus.text import Document, guess_encoding, read_documents
from nextword.training.corpus.tokenized_text import require_characters

KOREAN = "나는 오늘 학교에 가서 친구를 만났다. 날씨가 아주 맑았다. "
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
FRENCH = "L'été dernier, à l'hôtel près du théâtre, où l'on a mangé des crêpes, c'était très agréable. "


def write(directory: Path, data: bytes, name: str = "text.txt") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def read(path: Path, encoding: str | None = None) -> str:
    [document] = read_documents([path], encoding)
    assert document.name == str(path)
    return document.text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (KOREAN.encode(), KOREAN),
        (b"\xef\xbb\xbfa BOM", "a BOM"),
        (b"one\r\ntwo\r\n\r\nthree\n", "one\ntwo\n\nthree\n"),
        (b"old Mac\rline", "old Mac\rline"),
        (unicodedata.normalize("NFD", KOREAN).encode(), unicodedata.normalize("NFD", KOREAN)),
        (b"a NUL \0 inside a longer text", "a NUL \0 inside a longer text"),
        ("\N{FAMILY}\N{ZERO WIDTH JOINER}\U0001f600".encode(), "\N{FAMILY}\N{ZERO WIDTH JOINER}\U0001f600"),
    ],
    ids=["korean", "bom", "crlf", "cr", "nfd", "nul", "emoji"],
)
def test_utf8_is_read_as_it_is_but_for_the_bom_and_windows_line_ends(tmp_path: Path, data: bytes, text: str) -> None:
    assert read(write(tmp_path, data)) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949", "utf-8-sig"])
def test_a_given_encoding_is_used_and_a_bom_is_no_text(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding in ("utf-16", "utf-32", "cp949", "utf-8-sig") else "\ufeff"
    assert read(write(tmp_path, (mark + KOREAN).encode(encoding)), encoding) == KOREAN


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (KOREAN.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + KOREAN.encode("utf-16-be"), "utf-16"),
        (KOREAN.encode("utf-32"), "utf-32"),
        (KOREAN.encode("utf-16-le"), "utf-16-le"),
        (("plain English. " * 9).encode("utf-16-le"), "utf-16-le"),
        (("plain English. " * 9).encode("utf-16-be"), "utf-16-be"),
        ("안녕하세요".encode("cp949"), "cp949"),
        ((KOREAN * 50).encode("cp949"), "cp949"),
        ((JAPANESE * 20).encode("shift-jis"), "cp932 shift-jis"),
        ((FRENCH * 20).encode("cp1252"), "cp1252"),
    ],
    ids=["16", "16be-bom", "32", "16le", "16le-ascii", "16be-ascii", "cp949-5", "cp949-long", "shift-jis", "cp1252"],
)
def test_text_in_another_encoding_is_refused_and_its_name_is_hinted(tmp_path: Path, data: bytes, encoding: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(TextError, match=r"text\.txt is not UTF-8: byte 0x[0-9A-F]{2} at offset [\d,]+(?m:$)") as caught:
        read_documents([path])
    hinted = caught.value.hint.rpartition("encoding=")[2].strip('"')
    assert hinted in encoding.split()
    assert read(path, hinted) == data.decode(encoding.rsplit(maxsplit=1)[-1]).lstrip("\ufeff")


def test_the_offset_is_that_of_the_byte(tmp_path: Path) -> None:
    path = write(tmp_path, "가나".encode() + b"\xff" + b"rest of it " * 20)
    with pytest.raises(TextError, match=r"byte 0xFF at offset 6(?m:$)"):
        read_documents([path])
    with pytest.raises(TextError, match=r"byte 0x00 at offset 3(?m:$)"):
        read_documents([write(tmp_path, "가\0\0\0".encode())])


def test_a_few_damaged_bytes_in_utf8_are_not_taken_for_another_encoding(tmp_path: Path) -> None:
    data = bytearray((KOREAN * 50).encode())
    data[500] = data[1500] = data[2500] = 0xFF
    assert guess_encoding(bytes(data)) is None
    with pytest.raises(TextError) as caught:
        read_documents([write(tmp_path, bytes(data))])
    assert caught.value.message.endswith("is not UTF-8: byte 0xFF at offset 500")
    assert caught.value.hint == "name its encoding with encoding=..., or repair it"


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="is not UTF-8: byte 0x80 at offset 128"):
        read_documents([write(tmp_path, bytes(range(256)) * 20)])


def test_without_the_guessing_package_the_error_is_the_same_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)  # as if it were not installed
    with pytest.raises(TextError, match="is not UTF-8") as caught:
        read_documents([write(tmp_path, (FRENCH * 20).encode("cp1252"))])
    assert caught.value.hint == "name its encoding with encoding=..., or repair it"


def test_a_wrong_encoding_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, (KOREAN * 3).encode())
    with pytest.raises(TextError, match=r"is not ascii: byte 0xEB at offset 0") as caught:
        read_documents([path], "ascii")
    assert caught.value.hint == "it is UTF-8: leave out encoding=..."
    with pytest.raises(TextError, match="is not ascii") as caught:
        read_documents([write(tmp_path, (KOREAN * 3).encode("cp949"))], "ascii")
    assert caught.value.hint == 'it looks like cp949: encoding="cp949"'


@pytest.mark.parametrize("encoding", ["klingon", "hex", "rot13", "undefined", "with\0nul"])
def test_an_unknown_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(ConfigError, match="there is no encoding") as caught:
        read_documents([write(tmp_path, b"text")], encoding)
    assert "cp949" in caught.value.hint


def test_what_decodes_to_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="holds a lone surrogate at character 3"):
        read_documents([write(tmp_path, b"abc+2AA-def")], "utf-7")


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n ", b"\xef\xbb\xbf", "\u3000\n".encode()])
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(TextError, match=r"text\.txt is empty$"):
        read_documents([write(tmp_path, data)])


def test_one_empty_file_is_refused_where_it_is_named_and_passed_over_in_a_directory(tmp_path: Path) -> None:
    named = [write(tmp_path, b"text", "a.txt"), write(tmp_path, b"", "b.txt")]
    with pytest.raises(TextError, match=r"b\.txt is empty$"):
        read_documents(named)
    assert [document.text for document in read_documents([tmp_path])] == ["text"]


def test_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    dangling = tmp_path / "dangling.txt"
    dangling.symlink_to(tmp_path / "nothing.txt")
    for path in (tmp_path / "missing.txt", dangling):
        with pytest.raises(TextError) as caught:
            read_documents([path])
        assert caught.value.message == f"{path} does not exist"
    with pytest.raises(TextError, match=r"^a text was given where the name of a file is expected: 'a text "):
        read_documents(["a text instead of a path " * 20])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root cannot read from")
def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(TextError, match=r"^/proc/self/mem cannot be read: Input/output error$"):
        read_documents(["/proc/self/mem"])


def test_a_directory_without_text_is_refused(tmp_path: Path) -> None:
    write(tmp_path, b"no text", "picture.png")
    with pytest.raises(TextError, match="holds no text files") as caught:
        read_documents([tmp_path])
    assert caught.value.hint == (
        "files ending in .txt, .text, .md, .markdown, .org, .rst, .tex, .json, .jsonl, .ndjson, .ipynb, .csv, .tsv "
        "or .parquet "
        "(or these with .gz, .zst, .bz2 or .xz) are read"
    )


def test_prose_is_read_whatever_its_ending_is_called(tmp_path: Path) -> None:
    names = ["a.txt", "b.text", "c.md", "d.markdown", "e.org", "f.rst", "g.tex", "가.MARKDOWN"]
    for name in [*names, "program.py", "run.log"]:
        (tmp_path / name).write_text(f"{name}: 오늘은 비가 왔다.", encoding="utf-8")
    assert [Path(document.name).name for document in read_documents([tmp_path])] == names


@pytest.mark.parametrize("place", ["", " "])
def test_an_empty_name_is_no_directory(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private.txt").write_text("비밀 " * 200, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TextError, match="the name of a text is empty"):
        read_documents([place])
    assert [document.name for document in read_documents(["."])] == ["private.txt"]


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(TextError, match="no text was given"):
        read_documents([])


def test_directories_are_read_to_any_depth_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "folder.txt").mkdir()
    for name in ("c.md", "a.txt", "b/deep/z.txt", "b/A.TXT", "b/ignored.py", "ignored"):
        write(tmp_path, name.encode(), name)
    documents = read_documents([tmp_path])
    assert [document.text for document in documents] == ["a.txt", "b/A.TXT", "b/deep/z.txt", "c.md"]
    assert [Path(document.name).relative_to(tmp_path).as_posix() for document in documents] == [
        "a.txt",
        "b/A.TXT",
        "b/deep/z.txt",
        "c.md",
    ]


def test_a_path_that_is_named_twice_is_read_once_and_any_suffix_is_read_when_named(tmp_path: Path) -> None:
    path = write(tmp_path, b"text", "script.py")
    assert read_documents([path, str(path)]) == [Document(str(path), "text")]


def test_a_line_of_two_megabytes_is_one_document(tmp_path: Path) -> None:
    line = "가나다라 " * 154_000
    text = read(write(tmp_path, line.encode()))
    assert (len(text), len(text.encode())) == (770_000, 2_002_000)
    assert text == line


def test_199_characters_are_too_little_and_200_are_enough() -> None:
    with pytest.raises(TextError, match=r"^too little to learn from: 199 characters in a, b(?m:$)") as caught:
        require_characters(199, ["a", "b"])
    assert "200" in caught.value.hint
    require_characters(200, ["a", "b"])
