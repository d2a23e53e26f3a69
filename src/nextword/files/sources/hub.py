"""Models on a hub: an id such as `org/name` is fetched, through huggingface_hub, into that library's own cache."""

from __future__ import annotations

import errno
import glob
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword.errors import ConfigError, ModelFileError
from nextword.files.parts import part_names
from nextword.files.sources.pulled import Origin, Pulled, find_pulled, install, pull_lock
from nextword.json_file import read_json
from nextword.machine.user import home_directory

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_PLACES = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")
_LOG = logging.getLogger(__name__)
_HUB_ID = re.compile(
    r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?P<file>/[^@\\]+\.gguf)?(?:@(?P<revision>[^@\s]+))?", re.ASCII
)
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What a model needs beside its weights, at the top of its repository.
_BESIDE = [
    *("config.json", "generation_config.json", "nextword.json", "README.md"),
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.*"),
]


@dataclass(frozen=True)
class HubId:
    """A repository on the hub, or one file of it, at a revision."""

    repository: str
    file: str | None = None
    """A .gguf file's path inside the repository; None is the whole model."""
    revision: str | None = None
    """A branch, tag or commit; None is the main branch."""

    @classmethod
    def parse(cls, text: str) -> HubId | None:
        """`org/name`, `org/name@revision`, `org/name/path/to/file.gguf`; None if the text is none of these."""
        match = _HUB_ID.fullmatch(text)
        if match is None or (match["file"] is None and match["repository"].endswith((".gguf", ".safetensors"))):
            return None  # `models/my.gguf` is a path
        return cls(match["repository"], match["file"] and match["file"][1:], match["revision"])

    @property
    def address(self) -> str:
        """The id without its revision."""
        return f"{self.repository}/{self.file}" if self.file else self.repository

    def __str__(self) -> str:
        return f"{self.address}@{self.revision}" if self.revision else self.address


@dataclass(frozen=True)
class HubModel:
    """A model from the hub, on this disk."""

    path: Path
    """The directory, or the one .gguf file."""
    files: Sequence[Path]
    commit: str
    licence: str = "unknown"
    sha256: Mapping[str, str] = field(default_factory=dict)
    """What the hub says of its large files, by their names."""


def fetch(wanted: HubId) -> HubModel:
    """The model, downloaded into the hub library's cache as far as it is not there; a broken-off download is resumed.

    Only the files that a model needs are fetched. Without network (or with HF_HUB_OFFLINE=1) the cached commit of this
    very revision is taken, and a warning is logged that says so.

    Raises:
        ModelFileError: No such repository, revision or file; access is restricted; the repository holds no weights that
            can be read; it is not cached and the hub cannot be reached; the download broke off.
        ConfigError: There is no home directory, and the library is told of no other place for its cache.
    """
    if home_directory() is None and not any(os.environ.get(name) for name in _PLACES):
        raise ConfigError("there is no home directory to keep the hub's files in", hint="set HF_HOME to a directory")
    with _translate_hub_errors(wanted):
        answer = _repo_info(wanted)
        if isinstance(answer, str):
            return _cached(wanted, reason=answer)
        listed = {sibling.rfilename: sibling for sibling in answer.siblings or ()}
        names = _needed(wanted, list(listed))
        model = _located(wanted, _snapshot(wanted, [glob.escape(name) for name in names]), names)
        if model.commit != answer.sha:  # a branch moved, or the library fell back on its cache
            raise ModelFileError(f"{wanted} changed while it was fetched", hint="run it again")
        licences = [tag.removeprefix("license:") for tag in answer.tags or () if tag.startswith("license:")]
        hashes = {Path(name).name: lfs.sha256 for name in names if (lfs := listed[name].lfs)}
        return replace(model, licence=licences[0] if licences else "unknown", sha256=hashes)


def pull_from_hub(name: str, wanted: HubId) -> Pulled:
    """Pulls a model from the hub. What is there already, and whole, is not fetched again.

    Large files share their disk space with the hub library's cache where the file system lets them.

    Raises:
        ModelFileError: As `fetch`; or a file is not what the hub says it is; or the cache cannot be written.
        ConfigError: No model can have this name.
    """
    with pull_lock(name):
        there = find_pulled(name)
        if there is not None and not (there.origin.address == wanted.address and there.is_whole()):
            there = None
        if there is not None and wanted.revision in (None, there.origin.revision):
            return there
        model = fetch(wanted)
        origin = Origin("hub", wanted.address, model.commit, model.licence)
        if there is not None and there.origin == origin:
            return there

        def fill(directory: Path) -> None:
            for file in model.files:
                _link_or_copy(file.resolve(), directory / file.name, share=file.name in model.sha256)

        return install(name, origin, fill, model.sha256)


def _link_or_copy(file: Path, target: Path, *, share: bool) -> None:
    """Links a large file, which is checked; copies a small one, so that editing it changes no cache."""
    if share:
        try:
            target.hardlink_to(file)
        except OSError:  # on another disk, or a file system without links
            share = False
    if not share:
        shutil.copyfile(file, target)


def _repo_info(wanted: HubId) -> ModelInfo | str:
    """What the hub says of the repository at this revision; or why it cannot be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    try:
        return HfApi().model_info(wanted.repository, revision=wanted.revision, files_metadata=True)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return f"it answers {error.response.status_code}"
    except HTTPError as error:
        return _one_line(error)
    except (ValueError, KeyError, TypeError):  # such as a hotel's log-in page
        return "its answer is not a hub's"


def _needed(wanted: HubId, names: Sequence[str]) -> list[str]:
    """The files to fetch.

    Raises:
        ModelFileError: The weights are not there, or not in a format that can be read.
    """
    ggufs = [f"{wanted.repository}/{name}" for name in names if name.endswith(".gguf")]
    if wanted.file is not None:
        if wanted.file not in names:
            raise ModelFileError(f"{wanted.repository} has no file {wanted.file}", hint=_summarize("it has", ggufs))
        parts = part_names(wanted.file)
        if missing := [part for part in parts if part not in names]:
            raise ModelFileError(f"{wanted.repository} has no file {missing[0]}, a part of the model")
        return parts
    top = [name for name in names if "/" not in name]
    if _WEIGHTS in top:
        weights = [_WEIGHTS]
    elif _INDEX in top:
        weights = [_INDEX, *(name for name in top if _SHARD.fullmatch(name))]
    elif ggufs:
        raise ModelFileError(f"{wanted} holds .gguf files only, so one must be named", hint=_summarize("one of", ggufs))
    elif pickled := [name for name in names if name.endswith(_PICKLED)]:
        raise ModelFileError(
            f"{wanted} holds pickled weights only ({pickled[0]}), which can run code when loaded",
            hint="take a repository with safetensors, or convert it where you trust it: transformers' save_pretrained",
        )
    else:
        raise ModelFileError(f"{wanted} holds no {_WEIGHTS}", hint=_summarize("it holds", names))
    if "config.json" not in top:
        raise ModelFileError(f"{wanted} holds no config.json", hint=_summarize("it holds", names))
    return weights + [name for name in top if any(fnmatchcase(name, pattern) for pattern in _BESIDE)]


def _snapshot(wanted: HubId, patterns: Sequence[str], *, offline: bool = False) -> Path:
    """The directory of the files that fit these patterns, fetched as needed. On a terminal the library draws bars."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import tqdm

    class Bars(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            settings.setdefault("disable", None)  # None: drawn on a terminal only
            super().__init__(*args, **settings)  # type: ignore[no-untyped-call]

    directory = snapshot_download(
        wanted.repository,
        revision=wanted.revision,
        allow_patterns=list(patterns),
        local_files_only=offline,
        tqdm_class=Bars,
    )
    return Path(directory)


def _cached(wanted: HubId, reason: str) -> HubModel:
    """What the cache holds of this very revision."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    missing = ModelFileError(
        f"{wanted} is not, or not whole, in the hub's cache, and the hub cannot be reached: {reason}",
        hint="go online once; or, if a path was meant, check its spelling",
    )
    patterns = [glob.escape(part) for part in part_names(wanted.file)] if wanted.file else _BESIDE
    try:
        snapshot = _snapshot(wanted, patterns, offline=True)
    except LocalEntryNotFoundError:
        raise missing from None
    names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    needed = part_names(wanted.file) if wanted.file else []
    if not set(needed) <= set(names) or (wanted.file is None and not _has_weights(snapshot)):
        raise missing
    model = _located(wanted, snapshot, _needed(wanted, names))
    _LOG.warning("the hub cannot be reached (%s); taking %s from its cache, commit %s", reason, wanted, model.commit)
    return model


def _has_weights(snapshot: Path) -> bool:
    """Whether a cached snapshot holds its weights, all of them if they lie in several files."""
    if (snapshot / _WEIGHTS).exists() or not (snapshot / _INDEX).exists():
        return (snapshot / _WEIGHTS).exists()
    shards = read_json(snapshot / _INDEX).get("weight_map")
    return isinstance(shards, dict) and all((snapshot / str(shard)).exists() for shard in shards.values())


def _located(wanted: HubId, snapshot: Path, names: Sequence[str]) -> HubModel:
    path = snapshot / wanted.file if wanted.file else snapshot
    return HubModel(path, [snapshot / name for name in names], commit=snapshot.name)


@contextmanager
def _translate_hub_errors(wanted: HubId) -> Iterator[None]:
    """Turns what huggingface_hub raises into one line and a hint."""
    from huggingface_hub import constants, errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    access = "if you have access: set HF_TOKEN, or run `hf auth login`"
    repository = wanted.repository
    try:
        yield
    except errors.GatedRepoError:
        raise ModelFileError(f"{repository} is open only to those its owners let in", hint=access) from None
    except errors.RepositoryNotFoundError:
        raise ModelFileError(
            f"the hub has no model {repository}, or a private one",
            hint=f"check the spelling, also if a path was meant; {access}",
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelFileError(
            f"{repository} has no revision {wanted.revision}", hint="a revision is a branch, a tag or a whole commit"
        ) from None
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        said = f": {_one_line(error.server_message)}" if error.server_message else ""
        raise ModelFileError(
            f"the hub refuses {wanted} with code {code}{said}", hint=access if code in (401, 403) else "try again later"
        ) from None
    except (HTTPError, errors.LocalEntryNotFoundError, RuntimeError) as error:  # RuntimeError: what hf_xet raises
        reason = _one_line(error.__cause__ or error)
        raise ModelFileError(
            f"the download of {wanted} broke off: {reason}", hint="run it again: the files that came whole are kept"
        ) from None
    except OSError as error:
        reason = error.strerror or _one_line(error)
        hint = "" if error.errno == errno.ENOSPC else "set HF_HOME to a directory that you may write"
        raise ModelFileError(f"cannot fetch {wanted} into {constants.HF_HUB_CACHE}: {reason}", hint=hint) from None


def _one_line(said: object) -> str:
    return " ".join(str(said).split())[:200] or type(said).__name__


def _summarize(lead: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{lead}: {', '.join(names[:20])}{more}" if names else ""
