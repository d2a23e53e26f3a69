"""What can be named as a source, compressed or not, near or far."""

from __future__ import annotations

import gzip
import http.server
import io
import socket
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nextword.errors import ConfigError, TextError, install_command
from nextword.training.corpus.text import read_documents, read_records
from nextword.training.corpus.text.blocks import read_blocks
from nextword.training.corpus.text.sources import find_sources

TEXT = "나는 오늘 학교에 갔다. The cat sat. \U0001f600\n" * 3


def texts(*sources: str | Path) -> list[str]:
    return [document.text for document in read_documents(sources)]


def zst(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def test_patterns_name_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "c.md", "deep/d.txt", "deep/er/e.txt", "any.thing"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert texts(f"{tmp_path}/*.txt") == ["a.txt", "b.txt"]
    assert texts(tmp_path / "**" / "*.txt") == ["a.txt", "b.txt", "deep/d.txt", "deep/er/e.txt"]
    assert texts(f"{tmp_path}/[ac].*") == ["a.txt", "c.md"]
    assert texts(f"{tmp_path}/a*") == ["a.txt", "any.thing"]
    with pytest.raises(TextError, match=r"^no file is called .*\*\.rst$"):
        texts(f"{tmp_path}/*.rst")


def test_a_file_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("brackets", encoding="utf-8")
    assert texts(tmp_path / "a[1].txt") == ["brackets"]


def test_standard_input_is_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), encoding="cp949"))
    [document] = read_documents(["-"])
    assert (document.name, document.text) == ("standard input", TEXT)
    with pytest.raises(TextError, match=r"^standard input is empty$"):
        texts("-")  # it was used up, and is still open


@pytest.mark.parametrize("suffix", [".txt", ".md", ""])
def test_compressed_files_are_unpacked_also_when_put_together_from_several(tmp_path: Path, suffix: str) -> None:
    for name, pack in ((f"a{suffix}.gz", gzip.compress), (f"b{suffix}.zst", zst)):
        path = tmp_path / name
        path.write_bytes(pack(TEXT.encode()[:50]) + pack(TEXT.encode()[50:]))
        assert texts(path) == [TEXT]
    assert texts(tmp_path) == [TEXT, TEXT] if suffix else True


@pytest.mark.parametrize(("name", "pack"), [("a.txt.gz", gzip.compress), ("a.txt.zst", zst)])
def test_damaged_and_truncated_compressed_files_are_refused(tmp_path: Path, name: str, pack: type) -> None:
    path = tmp_path / name
    packed = pack("".join(f"{i} {TEXT}" for i in range(9000)).encode())
    for damaged in (packed[:-20], packed[: len(packed) // 2], packed[:3], b"no such thing, only text", b"\x1f\x8b" * 9):
        path.write_bytes(damaged)
        with pytest.raises(TextError, match=rf"^{path} is damaged: \w"):
            texts(path)
    path.write_bytes(b"")
    with pytest.raises(TextError, match=r"is empty$"):
        texts(path)


def test_a_zst_file_that_grows_ten_thousandfold_is_read_in_small_pieces(tmp_path: Path) -> None:
    import zstandard

    packer = zstandard.ZstdCompressor(level=1).compressobj()
    line = b"all the same\n" * 80_000  # 1 MB
    (tmp_path / "a.txt.zst").write_bytes(b"".join(packer.compress(line) for _ in range(400)) + packer.flush())
    [source] = find_sources([tmp_path])
    tracemalloc.start()
    size = sum(map(len, read_blocks(source)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 400 * len(line)
    assert peak < 150e6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_web_addresses_are_read_compressed_or_not(tmp_path: Path, server: str) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "row one"}\n{"text": "row two"}'))
    assert texts(f"{server}/a.txt?download=1") == [TEXT]
    documents = read_documents([f"{server}/b.jsonl.gz"])
    assert [(d.name, d.text) for d in documents] == [
        (f"{server}/b.jsonl.gz:1", "row one"),
        (f"{server}/b.jsonl.gz:2", "row two"),
    ]
    with pytest.raises(TextError, match=r"/missing\.txt cannot be read"):
        texts(f"{server}/missing.txt")


def test_other_addresses_go_through_fsspec_patterns_too() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("b", "a"):
        memory.pipe(f"/texts/{name}.txt", name.encode())
    assert texts("memory://texts/a.txt", "memory://texts/*.txt") == ["a", "a", "b"]
    with pytest.raises(TextError, match=r"^no file is called memory://texts/\*\.md$"):
        texts("memory://texts/*.md")
    with pytest.raises(TextError, match=r"^nowhere://a.txt cannot be read: .*nowhere"):
        texts("nowhere://a.txt")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("fsspec", "https://example.org/a.txt"),
        ("zstandard", "a.txt.zst"),
        ("pyarrow", "a.parquet"),
        ("datasets", "hf:owner/name"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    source = name if ":" in name else tmp_path / name
    if isinstance(source, Path):
        source.write_bytes(b"x")
    with pytest.raises(ConfigError, match=f"needs {package}") as caught:
        texts(source)
    assert caught.value.hint == install_command("'nextword[data]'")


def test_a_data_set_is_read_by_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "set"
    data.mkdir()
    (data / "train.jsonl").write_text('{"text": "나는"}\n{"text": "오늘"}\n', encoding="utf-8")
    (data / "test.jsonl").write_text('{"text": "학교"}\n', encoding="utf-8")
    assert texts(f"hf:{data}") == ["나는", "오늘"]
    [document] = read_documents([f"hf:{data}:test"])
    assert (document.name, document.text) == (f"hf:{data}:test:1", "학교")
    assert list(read_records([f"hf:{data}:default:test"])) == [(f"hf:{data}:default:test:1", {"text": "학교"})]
    with pytest.raises(TextError, match="cannot be read"):
        texts(f"hf:{data}:nothing")
    with pytest.raises(TextError, match="is no data set"):
        texts("hf:a:b:c:d")


def test_an_address_that_nothing_answers_at_is_told_with_what_went_wrong() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # nobody listens there when it is closed
    with pytest.raises(TextError, match=r"^http://[0-9.:]+/a\.txt cannot be read: Cannot connect to ") as caught:
        read_documents([f"http://127.0.0.1:{port}/a.txt"])
    assert "is there a network?" in caught.value.hint


def test_an_address_that_takes_another_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(TextError, match=r"^s3://bucket/a\.txt cannot be read: Install s3fs") as caught:
        read_documents(["s3://bucket/a.txt"])
    assert caught.value.hint == f"{sys.executable} -m pip install s3fs"
