"""Text is prepared once: split, tokenized and written; what is opened again is the same."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nextword import Tokenizer
from nextword.errors import ConfigError, ModelFileError, TextError
from nextword.training.corpus.dataset import Dataset, EncodedText, TextReport, open_dataset, write_dataset
from nextword.training.corpus.overlap import repeated_share
from nextword.training.corpus.prepare_text import prepare_text
from nextword.training.corpus.text import Document, read_documents
from nextword.training.corpus.tokenized_text import TokenizedText
from tests.training.sample_text import SENTENCES, TEXT, write_text


def decoded(text: TokenizedText | None, tokenizer: Tokenizer) -> list[str]:
    assert text is not None
    ids = text.tokens.tolist()
    starts = [i for i, token in enumerate(ids) if token == tokenizer.bos_id] + [len(ids)]
    return [tokenizer.decode(ids[a + 1 : b]) for a, b in itertools.pairwise(starts)]


def same(a: Dataset, b: Dataset) -> bool:
    assert (a.validation is None) == (b.validation is None)
    return (
        a.report == b.report
        and a.tokenizer.to_str() == b.tokenizer.to_str()
        and np.array_equal(a.train.tokens, b.train.tokens)
        and (a.validation is None or b.validation is None or np.array_equal(a.validation.tokens, b.validation.tokens))
    )


def test_tokens_tokenizer_and_digest_are_those_of_the_text_in_memory(tmp_path: Path) -> None:
    paths = [write_text(tmp_path, TEXT, "a.txt"), write_text(tmp_path, TEXT[::-1], "b.txt")]
    data = prepare_text(tmp_path / "data", paths, validation=0.1, vocab_size=400)
    cut = int(len(TEXT) * 0.9)
    cuts = [text.index("\n", cut - 1) + 1 for text in (TEXT, TEXT[::-1])]
    documents = read_documents(paths)
    learned = [Document(d.name, d.text[:end]) for d, end in zip(documents, cuts, strict=True)]
    held_out = [Document(d.name, d.text[end:]) for d, end in zip(documents, cuts, strict=True)]
    tokenizer = Tokenizer.train_bpe([document.text for document in learned], 400)
    assert data.tokenizer.to_str() == tokenizer.to_str()
    assert (data.tokenizer.bos_id, data.tokenizer.end_ids) == (0, {0})
    for part, documents in ((data.train, learned), (data.validation, held_out)):
        expected = TokenizedText.from_documents(documents, tokenizer)
        assert part is not None
        assert part.tokens.tolist() == expected.tokens.tolist()
        assert (part.characters, part.bytes, part.weights) == (expected.characters, expected.bytes, None)
    report = data.report
    assert report.sha256 == hashlib.sha256("".join(d.text for d in learned).encode()).hexdigest()
    assert (report.documents, report.names) == (2, ("a.txt", "b.txt"))
    assert (report.characters, report.bytes) == (data.train.characters, data.train.bytes)
    assert report.opening == held_out[0].text.strip()[:24]


def test_what_is_opened_again_is_the_same_and_no_text_is_needed(tmp_path: Path) -> None:
    path = write_text(tmp_path)
    data = prepare_text(tmp_path / "data", path, validation=0.1)
    path.unlink()
    assert same(open_dataset(tmp_path / "data"), data)
    assert isinstance(data.train.tokens, np.memmap)
    assert data.train.tokens.dtype == np.uint16
    with pytest.raises(ValueError, match="read-only"):
        data.train.tokens[0] = 1
    names = {file.name for file in (tmp_path / "data").iterdir()}
    assert not [name for name in names if name.endswith(".utf8")]
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_a_given_tokenizer_is_used_and_kept(tmp_path: Path) -> None:
    tokenizer = Tokenizer.characters(TEXT)
    data = prepare_text(tmp_path / "data", write_text(tmp_path), validation=None, tokenizer=tokenizer)
    assert data.train.tokens.tolist() == tokenizer.encode(TEXT)
    assert data.tokenizer.encode("학교") == tokenizer.encode("학교")
    assert data.validation is None
    assert data.report.opening == TEXT[:24]


def test_rows_are_held_out_whole_every_tenth(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [f"row {i}: 나는 학교에 갔다." for i in range(45)]
    path.write_text("\n".join(json.dumps({"text": row}) for row in rows), encoding="utf-8")
    data = prepare_text(tmp_path / "data", path, validation=0.1)
    assert decoded(data.validation, data.tokenizer) == rows[9::10]
    assert decoded(data.train, data.tokenizer) == [row for i, row in enumerate(rows) if i % 10 != 9]


def test_the_split_does_not_depend_on_how_texts_are_packed(tmp_path: Path) -> None:
    notes = [f"메모 {i}: " + "오늘은 비가 왔다. It rained again. " * (1 + i % 7) for i in range(176)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"text": note}) for note in notes), encoding="utf-8")
    (tmp_path / "files").mkdir()
    for i, note in enumerate(notes):
        (tmp_path / "files" / f"{i:03}.txt").write_text(note, encoding="utf-8")
    as_rows = prepare_text(tmp_path / "a", rows, validation=0.1)
    as_files = prepare_text(tmp_path / "b", tmp_path / "files", validation=0.1)
    assert decoded(as_files.validation, as_files.tokenizer) == notes[9::10]
    assert np.array_equal(as_files.validation.tokens, as_rows.validation.tokens)  # type: ignore[union-attr]
    assert np.array_equal(as_files.train.tokens, as_rows.train.tokens)


def test_few_documents_give_their_tails_from_the_start_of_a_line_or_word(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    texts = ["가나다라 " * 20 + str(i) for i in range(2)] + ["가나다라\n" * 20 + "2"]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    data = prepare_text(tmp_path / "data", path, validation=0.22)  # 78 characters of 101 are learned, or a few more
    assert decoded(data.validation, data.tokenizer) == [
        " " + "가나다라 " * 4 + "0",
        " " + "가나다라 " * 4 + "1",
        "가나다라\n" * 4 + "2",
    ]
    assert decoded(data.train, data.tokenizer)[2] == "가나다라\n" * 16


def test_a_long_document_gives_its_tail_and_short_ones_beside_it_are_whole(tmp_path: Path) -> None:
    book, notes = "긴 이야기가 이어진다.\n" * 1000, [f"note {i}, 짧은 글" for i in range(12)]
    for name, text in {"a-book.txt": book, **{f"note-{i:02}.txt": note for i, note in enumerate(notes)}}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = prepare_text(tmp_path / "data", tmp_path, validation=0.1)
    assert decoded(data.validation, data.tokenizer) == [book[: len(book) // 10], notes[9]]
    for note in notes[5:]:
        (tmp_path / f"note-{notes.index(note):02}.txt").unlink()
    data = prepare_text(tmp_path / "data", tmp_path, validation=0.1)
    assert decoded(data.validation, data.tokenizer) == [book[: len(book) // 10]]


@pytest.mark.parametrize("count", [3, 7, 10, 49, 98, 103])
def test_equal_documents_give_one_to_hold_out_whatever_rounding_does(tmp_path: Path, count: int) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [f"{i:03} " + "가나다라 " * 20 for i in range(count)]
    path.write_text("\n".join(json.dumps({"text": row}) for row in rows), encoding="utf-8")
    data = prepare_text(tmp_path / "data", path, validation=1 / count)
    assert decoded(data.validation, data.tokenizer) == [rows[-1]]


def test_the_held_out_part_has_a_limit_in_bytes(tmp_path: Path) -> None:
    path = write_text(tmp_path, "가나다라 마바사\n" * 2000)
    data = prepare_text(tmp_path / "data", path, validation=0.1, validation_limit=1000)
    assert data.validation is not None
    assert 970 <= data.validation.bytes <= 1000
    assert data.train.characters + data.validation.characters == 18_000
    unlimited = prepare_text(tmp_path / "data", path, validation=0.1, validation_limit=10**6)
    assert unlimited.validation is not None
    assert unlimited.validation.characters == 1800


def test_a_file_to_be_judged_by_is_held_out_whole(tmp_path: Path) -> None:
    path, other = write_text(tmp_path), write_text(tmp_path, "한국의 수도는 서울이다.", "other.txt")
    data = prepare_text(tmp_path / "data", path, validation=other)
    assert decoded(data.train, data.tokenizer) == [TEXT]
    assert decoded(data.validation, data.tokenizer) == ["한국의 수도는 서울이다."]
    assert data.report.opening == "한국의 수도는 서울이다."


def test_decomposed_hangul_is_counted_and_composed_if_asked(tmp_path: Path) -> None:
    text = "학교에 갔다. café\n" * 30
    path = write_text(tmp_path, unicodedata.normalize("NFD", text))
    kept = prepare_text(tmp_path / "kept", path, validation=None)
    assert (kept.report.decomposed, kept.report.composed) == (150, False)
    assert decoded(kept.train, kept.tokenizer) == [unicodedata.normalize("NFD", text)]
    composed = prepare_text(tmp_path / "composed", path, validation=None, compose=True)
    assert (composed.report.decomposed, composed.report.composed) == (150, True)
    assert decoded(composed.train, composed.tokenizer) == [text.replace("é", "e\u0301")]


def test_a_long_text_trains_its_tokenizer_on_parts_from_all_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [f"{'abcdefghij'[i // 100] * 4} {i:03}" for i in range(1000)]
    path.write_text("\n".join(json.dumps({"text": row}) for row in rows), encoding="utf-8")
    monkeypatch.setattr("nextword.training.corpus.prepare_text.TOKENIZER_BYTES", 800)  # a tenth
    given: list[str] = []
    train_bpe = Tokenizer.train_bpe

    def listening(texts: Iterable[str], vocab_size: int) -> Tokenizer:
        given.extend(texts)
        return train_bpe(given, vocab_size)

    monkeypatch.setattr(Tokenizer, "train_bpe", listening)
    prepare_text(tmp_path / "data", path, validation=None, vocab_size=300)
    assert given == rows[9::10]


def test_repeated_lines_are_found_word_for_word() -> None:
    long = "나는 오늘 학교에 가서 친구를 만나고 집에 돌아와 저녁을 먹고 잠이 들었다."
    other = "A line of at least forty characters that is new."
    held_out = [[long[:10], long[10:] + "\n" + other + "\nshort\n", f"  {long} "]]
    examined = len("".join(held_out[0])) + 1
    train = [["x" * 100_000, "\n" + long[:20]], [long[20:]], ["short\n" + other[:-1], "\n", f"\t{long}\t\n"]]
    assert repeated_share(held_out, train) == (len(long) + 1 + len(long) + 4) / examined
    assert repeated_share(held_out, train[:2]) == 0.0  # a line does not go on in the next document
    assert repeated_share([], train) == 0.0


def test_the_report_tells_how_much_of_the_held_out_text_is_known(tmp_path: Path) -> None:
    line = "The same line of more than forty characters.\n"
    data = prepare_text(tmp_path / "data", write_text(tmp_path, line * 100), validation=0.1)
    assert 0.98 < data.report.repeated <= 1
    lines = "".join(f"{i} line of more than forty characters, {i}.\n" for i in range(100))
    assert prepare_text(tmp_path / "data", write_text(tmp_path, lines), validation=0.1).report.repeated == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("가", r"^too little to learn from: 1 character in .*text\.txt(?m:$)"), ("", "is empty(?m:$)")],
)
def test_too_little_text_is_refused_and_nothing_is_left(tmp_path: Path, text: str, message: str) -> None:
    path = write_text(tmp_path, text)
    with pytest.raises(TextError, match=message):
        prepare_text(tmp_path / "data", path, validation=0.1)
    assert [file.name for file in tmp_path.iterdir()] == ["text.txt"]


def test_a_share_outside_0_and_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^validation is 1, a share lies between 0 and 1(?m:$)"):
        prepare_text(tmp_path / "data", write_text(tmp_path), validation=1)


def test_standard_input_is_prepared_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    for name, source in (("a", "-"), ("b", write_text(tmp_path))):
        prepare_text(tmp_path / name, source, validation=0.1)
    for file in ("train.tokens", "validation.tokens", "tokenizer.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_progress_tells_the_bytes_read_and_tokenized(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = write_text(tmp_path)
    size = path.stat().st_size
    prepare_text(tmp_path / "data", path, validation=0.1, progress=lambda *step: told.append(step))
    assert ("read", size, 0) in told
    assert told[-1] == ("tokenize", size, size)


def test_damage_to_the_directory_is_told(tmp_path: Path) -> None:
    place = tmp_path / "data"
    with pytest.raises(ModelFileError, match="does not exist"):
        open_dataset(place)
    prepare_text(place, write_text(tmp_path), validation=0.1)
    tokens, description = place / "train.tokens", place / "data.json"
    whole, plain = tokens.read_bytes(), description.read_text(encoding="utf-8")
    tokens.write_bytes(whole[:-1])
    with pytest.raises(ModelFileError, match=rf"^{tokens} is damaged: it has {len(whole) - 1:,} bytes"):
        open_dataset(place)
    tokens.unlink()
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        open_dataset(place)
    tokens.write_bytes(whole)
    for damaged in ('{"format_version": 1}', plain.replace('"documents"', '"other"'), plain.replace('"tokens"', '"x"')):
        description.write_text(damaged, encoding="utf-8")
        with pytest.raises(ModelFileError, match=r"data\.json is damaged"):
            open_dataset(place)
    description.write_text(plain.replace('"format_version": 1', '"format_version": 2'), encoding="utf-8")
    with pytest.raises(ModelFileError, match="has format 2"):
        open_dataset(place)


def test_documents_that_are_tokens_already_keep_their_weights(tmp_path: Path) -> None:
    tokenizer = Tokenizer.characters(SENTENCES[2])
    chats = [EncodedText([1, 2, 3], 3, 9, [0, 1, 1]), EncodedText([4, 5], 2, 6, [0, 1])]
    report = TextReport(2, ("chat.jsonl:1", "chat.jsonl:2"), 0, 0, "")
    data = write_dataset(tmp_path / "data", chats, chats[:1], tokenizer, report, weighted=True)
    assert data.train.tokens.tolist() == [1, 2, 3, 4, 5]
    assert data.train.weights is not None
    assert data.train.weights.tolist() == [0, 1, 1, 0, 1]
    assert data.validation is not None
    assert data.validation.weights is not None
    assert data.validation.weights.tolist() == [0, 1, 1]
    assert (data.report.characters, data.report.bytes, data.report.documents) == (5, 15, 2)
