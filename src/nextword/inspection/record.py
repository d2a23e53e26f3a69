"""Values of many texts on disk: a dataset that grows shard by shard, in little memory, and goes on where it stopped.

A directory of safetensors files and an index that says what is in them. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """Texts that it ends behind, counted from the first shard on."""


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
            self.files = tuple(Shard(str(one["file"]), int(one["rows"]), int(one["texts"])) for one in about["shards"])
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
    it. Passes end behind the last value that is wanted. A directory that is there already is gone on with, behind the
    texts that it holds: a run that was interrupted loses no more than the last shard.

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
        "model": _fingerprint(backend),
        "names": list(wanted),
        "positions": None if positions is None else [int(position) for position in positions],
        "edits": [str(edit) for edit in edits],
    }
    writer = _Writer(path, about, shard_bytes)
    tap = _RowsTap(wanted, positions)
    with_logits = "logits" in wanted
    batch: list[tuple[int, int, list[int]]] = []  # text, piece, ids

    def run() -> None:
        chunks = [ids for _, _, ids in batch]
        tap.start(len(chunks))
        caches = [backend.new_cache(len(ids)) for ids in chunks]
        backend.forward(chunks, caches, "all" if with_logits else "none", tap)
        for (text, piece, ids), values in zip(batch, tap.chunks, strict=True):
            places = _places(positions, len(ids))
            count = len(places)
            writer.append(
                {
                    **values,
                    "text": np.full(count, text, np.int64),
                    "piece": np.full(count, piece, np.int64),
                    "position": np.array(places, np.int64).reshape(count),
                    "token_id": np.array([ids[place] for place in places], np.int64).reshape(count),
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
        writer.begin(ids)
        for piece, start in enumerate(range(0, len(ids), config.context_length)):
            batch.append((number, piece, ids[start : start + config.context_length]))
        if sum(len(one) for _, _, one in batch) >= batch_tokens:
            run()
            writer.end(number + 1)
            if progress is not None:
                progress(number + 1, writer.rows)
    if number + 1 < writer.done:
        raise ModelFileError(f"{path} holds {writer.done:,} texts, here are only {number + 1:,}")
    if batch:
        run()
    writer.end(number + 1, last=True)
    if progress is not None:
        progress(number + 1, writer.rows)
    return Record(path)


class _RowsTap:
    """Keeps the rows at the positions that are wanted."""

    def __init__(self, names: Sequence[str], positions: Sequence[int] | None) -> None:
        self.names = frozenset(names)
        self.chunks: list[dict[str, Array]] = []
        self._positions = positions

    def start(self, chunks: int) -> None:
        self.chunks = [{} for _ in range(chunks)]

    def __call__(self, name: str, value: Array, chunk: int) -> None:
        places = _places(self._positions, len(value))
        self.chunks[chunk][name] = value if self._positions is None else value[places]


class _Writer:
    """Gathers rows, and writes a shard and the index whenever there are enough."""

    def __init__(self, path: Path, about: Mapping[str, Any], shard_bytes: int) -> None:
        self.path, self._shard_bytes = path, shard_bytes
        self.shards: list[Shard] = []
        self._hash, self._held = hashlib.sha256(), ""
        if path.exists():
            if not (path / INDEX).is_file():
                raise ModelFileError(f"{path} is there already and is no record", hint="choose another place")
            before = Record(path)
            for key, value in about.items():
                if before.about.get(key) != value:
                    raise ModelFileError(
                        f"{path} was recorded with another {key}: {before.about.get(key)!r}, now {value!r}"[:400],
                        hint="choose another place",
                    )
            self.shards, self._held = list(before.files), str(before.about.get("texts_sha256"))
        self.about = about
        self.done = self.shards[-1].texts if self.shards else 0
        self._rows: list[dict[str, Array]] = []
        self._nbytes = 0

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

    def end(self, texts: int, last: bool = False) -> None:
        """All texts before number `texts` are complete: what there is may be written."""
        if self._nbytes >= self._shard_bytes or (last and (self._rows or not self.shards)):
            self._write(texts)

    def _write(self, texts: int) -> None:
        if self._rows:
            shard = Shard(f"shard-{len(self.shards):05}.safetensors", sum(len(r["text"]) for r in self._rows), texts)
            values = {name: np.concatenate([rows[name] for rows in self._rows]) for name in self._rows[0]}
            with replace_file(self.path / shard.file) as fresh:
                save_file(values, fresh)
            self.shards.append(shard)
        index = {
            **self.about,
            "texts_sha256": self._hash.hexdigest(),
            "shards": [vars(shard) for shard in self.shards],
        }
        with replace_file(self.path / INDEX) as fresh:  # only now is the shard a part of the record
            fresh.write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._rows, self._nbytes = [], 0


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


def _fingerprint(backend: Backend) -> str:
    """Of weights and settings: what the model says after its first token."""
    [logits] = backend.forward([[0]], [backend.new_cache(1)], "last")
    return hashlib.sha256(logits.tobytes()).hexdigest()
