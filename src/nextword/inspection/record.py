"""Values of many texts on disk: a dataset that grows shard by shard, in little memory, and goes on where it stopped.

A directory of safetensors files and an index that says what is in them. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nextword.arguments import checked
from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError, TextError
from nextword.files.atomic import replace_file
from nextword.formatting import pluralize
from nextword.generation.backend import Backend
from nextword.generation.context import Prompt, token_ids_of
from nextword.inspection.hook_names import Key, full_name, hook_shapes, is_pattern, select
from nextword.inspection.weight_checksums import fingerprint
from nextword.json_file import read_json
from nextword.tokens import Tokenizer

FORMAT_VERSION = 1
INDEX = "index.json"
PLACES = ("text", "piece", "position", "token_id")
"""What stands beside the values of each row: numbers of the text, of its piece, of the place in that, and the token."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Shard:
    """One file of a record."""

    file: str
    rows: int
    texts: int
    """Texts that are complete behind it, counted from the first shard on."""
    whole: bool = True
    """Whether it ends behind a text; one that does not is written anew where a record is gone on with."""


class Record:
    """Values of many texts, one row a token, as `lm.record` wrote them.

    `record["resid_post", 5]` is one array of all rows, [N, ...]; `shards()` gives them part by part, for what is larger
    than memory. `record["text"]`, `["piece"]`, `["position"]` and `["token_id"]` say where each row comes from.

    Args:
        path: The directory.

    Raises:
        ModelFileError: There is none, or it is damaged.
    """

    @checked
    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        about = read_json(self.path / INDEX)
        if about.get("format_version") != FORMAT_VERSION:
            raise ModelFileError(
                f"{self.path / INDEX}: format_version is {about.get('format_version')!r}, "
                f"this nextword reads version {FORMAT_VERSION}"
            )
        try:
            self.about: dict[str, Any] = about
            self.config = GPTConfig.from_dict(about["config"])
            self.names: tuple[str, ...] = tuple(about["names"])
            self.files = tuple(
                Shard(str(one["file"]), int(one["rows"]), int(one["texts"]), bool(one["whole"]))
                for one in about["shards"]
            )
            if [type(one) for one in about["texts_sha256"]] != [str] * len(self.files):
                raise ValueError("it has other sums of texts than shards")
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ModelFileError(f"{self.path / INDEX} is damaged: {error}") from None
        if any(Path(shard.file).name != shard.file for shard in self.files):
            raise ModelFileError(f"{self.path / INDEX} is damaged: a shard lies outside the directory")

    def __len__(self) -> int:
        """Rows."""
        return sum(shard.rows for shard in self.files)

    @property
    def texts(self) -> int:
        """Texts that were read."""
        return self.files[-1].texts if self.files else 0

    def __getitem__(self, key: Key) -> Array:
        name = str(key) if key in PLACES else full_name(key)
        parts = [shard[name] for shard in self.shards([name])]
        if parts:
            return np.concatenate(parts)
        if name in PLACES:
            return np.empty(0, np.int64)
        return np.empty((0, *hook_shapes(self.config, 1).get(name, (1,))[1:]), np.float32)

    @checked
    def shards(self, names: Iterable[str] | None = None) -> Iterator[dict[str, Array]]:
        """Values and places of the rows of one file after the other; all of them, or those of some full names.

        Raises:
            ConfigError: It does not hold what is asked for.
            ModelFileError: A file is missing or damaged.
        """
        held = (*self.names, *PLACES)
        wanted = held if names is None else tuple(names)
        if missing := [name for name in wanted if name not in held]:
            raise ConfigError(f"this record does not hold {missing[0]}", hint=f"it holds {', '.join(self.names)}")
        return self._shards(wanted)

    def _shards(self, wanted: Sequence[str]) -> Iterator[dict[str, Array]]:
        for shard in self.files:
            path = self.path / shard.file
            try:
                with safe_open(str(path), "numpy") as file:
                    values = {name: file.get_tensor(name) for name in wanted}
            except (OSError, SafetensorError) as error:
                raise ModelFileError(f"{path} is missing or damaged: {error}") from None
            if any(len(value) != shard.rows for value in values.values()):
                raise ModelFileError(f"{path} is damaged: it has other rows than the index says")
            yield values

    def __repr__(self) -> str:
        rows, texts = pluralize(len(self), "rows"), pluralize(self.texts, "texts")
        return f"<Record of {pluralize(len(self.names), 'values')}: {rows} of {texts}, in {self.path}>"


def record(
    backend: Backend,
    tokenizer: Tokenizer,
    texts: Iterable[Prompt],
    out: str | Path,
    *,
    names: Iterable[str] | str,
    layers: Sequence[int] | int | None = None,
    positions: Sequence[int] | None = None,
    edits: Sequence[object] = (),
    batch_tokens: int = 2048,
    shard_bytes: int = 256 << 20,
    progress: Callable[[int, int], None] | None = None,
) -> Record:
    """Runs texts through a model and writes some of its values to a directory, one row a token.

    Texts of unequal length go together in batches, without padding; a text longer than the context is read in pieces of
    it, and a piece longer than `batch_tokens` in parts. Passes end behind the last value that is wanted. A directory
    that is there already is gone on with, behind the texts that it holds: a run that was interrupted loses no more than
    the last shard, or the text that it was in.

    Args:
        backend: What runs the model.
        tokenizer: Its tokenizer.
        texts: Texts or token ids; they are taken one by one, and never all at once.
        out: The directory.
        names: Full names, patterns with `*` or kinds such as `resid_post`.
        layers: Only these blocks; None is all.
        positions: Only these places of each piece, negative ones from its end; None is every one.
        edits: The changes under which the backend runs; they are noted down.
        batch_tokens: Tokens that are read at once, about.
        shard_bytes: Bytes of values in memory, after which a file is written.
        progress: Called with the texts and rows that are done.

    Raises:
        ConfigError: A name, layer or position does not exist, or scores or patterns are asked for, which are no rows.
        TextError: A text is empty, or cannot be encoded.
        ModelFileError: `out` cannot be written, or holds something else: other names, another model, other texts.
    """
    path, config = Path(out), backend.config
    wanted = select(config, names, layers)
    if shaped := [name for name in wanted if is_pattern(name) or name.endswith("hook_result")]:
        raise ConfigError(
            f"{shaped[0]} has no row a token, which a record is made of", hint="lm.trace(text) holds it, text by text"
        )
    if batch_tokens < 1 or shard_bytes < 1:
        raise ConfigError("batch_tokens and shard_bytes must be at least 1")
    about = {
        "format_version": FORMAT_VERSION,
        "config": config.to_dict(),
        "model": fingerprint(backend),
        "names": list(wanted),
        "positions": None if positions is None else [int(position) for position in positions],
        "edits": [str(edit) for edit in edits],
    }
    writer = _Writer(path, about, shard_bytes)
    tap = _RowsTap(wanted, positions)
    with_logits = "logits" in wanted
    batch: list[_Piece] = []

    def run() -> None:
        for piece, rows in zip(batch, _rows_of(backend, batch, tap, batch_tokens, with_logits), strict=True):
            places = _places(positions, len(piece.ids))
            count = len(places)
            writer.append(
                {
                    **rows,
                    "text": np.full(count, piece.text, np.int64),
                    "piece": np.full(count, piece.number, np.int64),
                    "position": np.array(places, np.int64).reshape(count),
                    "token_id": np.array([piece.ids[place] for place in places], np.int64).reshape(count),
                }
            )
        batch.clear()

    number = -1
    for number, text in enumerate(_each(texts)):
        ids = tokenizer.encode_start(text) if isinstance(text, str) else token_ids_of(tokenizer, text)
        if not ids:
            raise TextError(f"text {number} is empty", hint="leave empty texts out")
        if writer.skip(number, ids):
            continue
        for piece, start in enumerate(range(0, len(ids), config.context_length)):
            if sum(len(one.ids) for one in batch) >= batch_tokens:
                run()
                writer.end(number, whole=start == 0)
                if progress is not None:
                    progress(number, writer.rows)
            batch.append(_Piece(number, piece, ids[start : start + config.context_length]))
        writer.begin(ids)
    if number + 1 < writer.done:
        raise ModelFileError(f"{path} holds {writer.done:,} texts, here are only {number + 1:,}")
    if batch:
        run()
    writer.end(number + 1, last=True)
    if progress is not None:
        progress(number + 1, writer.rows)
    return Record(path)


@dataclass(frozen=True)
class _Piece:
    """What the context holds of a text."""

    text: int
    number: int
    ids: list[int]


class _RowsTap:
    """Keeps the rows at the positions that are wanted, of the parts of pieces."""

    def __init__(self, names: Sequence[str], positions: Sequence[int] | None) -> None:
        self.names = frozenset(names)
        self.parts: list[list[dict[str, Array]]] = []
        self._positions = positions
        self._now: list[tuple[int, int, int]] = []

    def start(self, now: Sequence[tuple[int, int, int]]) -> None:
        """The chunks that come next: of which piece, where in it they begin, and how long it is."""
        self._now = list(now)
        for piece, _, _ in now:
            self.parts[piece].append({})

    def __call__(self, name: str, value: Array, chunk: int) -> None:
        piece, start, length = self._now[chunk]
        if self._positions is not None:
            places = [place - start for place in _places(self._positions, length)]
            value = value[[place for place in places if 0 <= place < len(value)]]
        self.parts[piece][-1][name] = value


def _rows_of(
    backend: Backend, batch: Sequence[_Piece], tap: _RowsTap, batch_tokens: int, with_logits: bool
) -> Iterator[dict[str, Array]]:
    """The values of each piece, at its wanted places."""
    tap.parts = [[] for _ in batch]
    longest = max(len(piece.ids) for piece in batch)
    caches = [backend.new_cache(len(piece.ids)) for piece in batch]
    for start in range(0, longest, batch_tokens):
        here = [number for number, piece in enumerate(batch) if start < len(piece.ids)]
        chunks = [batch[number].ids[start : start + batch_tokens] for number in here]
        tap.start([(number, start, len(batch[number].ids)) for number in here])
        rest = longest > start + batch_tokens  # which reads what this part leaves in the cache
        logits: Literal["last", "all", "none"] = "all" if with_logits else "last" if rest else "none"
        backend.forward(chunks, [caches[number] for number in here], logits, tap)
    for parts in tap.parts:
        yield {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class _Writer:
    """Gathers rows, and writes a shard and the index whenever there are enough."""

    def __init__(self, path: Path, about: Mapping[str, Any], shard_bytes: int) -> None:
        self.path, self._shard_bytes = path, shard_bytes
        self.shards: list[Shard] = []
        self._hash, self._held = hashlib.sha256(), ""
        self.about = about
        if path.exists():
            if not (path / INDEX).is_file():
                raise ModelFileError(f"{path} is there already and is no record", hint="choose another place")
            before = Record(path)
            for key, value in about.items():
                if before.files and before.about.get(key) != value:
                    raise ModelFileError(
                        f"{path} was recorded with another {key}: {before.about.get(key)!r}, now {value!r}"[:400],
                        hint="choose another place",
                    )
            self.shards = list(before.files)
            while self.shards and not self.shards[-1].whole:  # the text that it was in is read anew
                self.shards.pop()
            if self.shards:
                self._held = str(before.about["texts_sha256"][len(self.shards) - 1])
        self.done = self.shards[-1].texts if self.shards else 0
        self._hashes = [""] * len(self.shards)
        if self.shards:
            self._hashes = list(before.about["texts_sha256"][: len(self.shards)])
        self._rows: list[dict[str, Array]] = []
        self._nbytes = 0
        if not self.shards:
            self._write_index()  # what goes wrong from here on leaves a record, which can be gone on with

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards) + sum(len(one["text"]) for one in self._rows)

    def skip(self, number: int, ids: Sequence[int]) -> bool:
        """Whether a text is there already; it must be the same one."""
        if number >= self.done:
            return False
        self.begin(ids)
        if number + 1 == self.done and self._hash.hexdigest() != self._held:
            raise ModelFileError(f"{self.path} was recorded from other texts", hint="choose another place")
        return True

    def begin(self, ids: Sequence[int]) -> None:
        self._hash.update(np.array([len(ids), *ids], np.int64).tobytes())

    def append(self, rows: dict[str, Array]) -> None:
        self._rows.append(rows)
        self._nbytes += sum(value.nbytes for value in rows.values())

    def end(self, texts: int, *, whole: bool = True, last: bool = False) -> None:
        """All texts before number `texts` are complete, and nothing of a later one is there if that is `whole`."""
        if self._rows and (last or self._nbytes >= self._shard_bytes):
            self._write(texts, whole)

    def _write(self, texts: int, whole: bool) -> None:
        shard = Shard(f"shard-{len(self.shards):05}.safetensors", sum(len(r["text"]) for r in self._rows), texts, whole)
        values = {name: np.concatenate([rows[name] for rows in self._rows]) for name in self._rows[0]}
        path = self.path / shard.file
        with replace_file(path) as fresh:
            try:
                save_file(values, fresh)
            except SafetensorError as error:
                raise ModelFileError(f"{path} cannot be written: {error}") from None
        self.shards.append(shard)
        self._hashes.append(self._hash.hexdigest())
        self._write_index()  # only now is the shard a part of the record
        self._rows, self._nbytes = [], 0

    def _write_index(self) -> None:
        shards = [vars(shard) for shard in self.shards]
        index = {**self.about, "texts_sha256": self._hashes, "shards": shards}
        with replace_file(self.path / INDEX) as fresh:
            fresh.write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _each(texts: Iterable[Prompt]) -> Iterator[Prompt]:
    try:
        if not isinstance(texts, str | bytes):
            return iter(texts)
    except TypeError:
        pass
    raise TextError(f"texts is {texts!r}"[:200] + ", it must be several texts", hint="one text is [text]")


def _places(positions: Sequence[int] | None, count: int) -> list[int]:
    """Of a piece of `count` tokens; those that it does not reach are left out."""
    if positions is None:
        return list(range(count))
    return [place + count if place < 0 else place for place in positions if -count <= place < count]
