"""Which files a user means: an existing path, then the model that ships, a pulled name, a hub id."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextword.errors import ConfigError, ModelFileError

SHIPPED = "nextword"
"""The name of the model that ships with the package."""
SHIPPED_MODEL = Path(__file__).parents[2] / "default_model"


def resolve_model(source: str | Path, *, revision: str | None = None) -> Path:
    """The directory or file of a model, fetched from the hub if that is what is meant.

    Args:
        source: An existing path, `nextword` (the model that ships with the package), a pulled name, or a hub id:
            `org/name`, `org/name@revision`, or `org/name/path/to/file.gguf` for one file of a repository. A Path is
            never taken for a name.
        revision: A branch, tag or commit of the hub.

    Raises:
        ModelFileError: There is no such model, or it cannot be fetched; see `hub.fetch`.
        ConfigError: A revision was given for what has none, or two.
    """
    if not str(source).strip():  # Path("") is this directory
        raise ModelFileError("the name of a model is empty", hint="is a variable of the shell unset?")
    path = Path(source)
    try:
        exists = path.exists()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
    if source == SHIPPED and not _holds_model(path):  # a folder of that name may be this project's own
        path, exists = SHIPPED_MODEL, True
    if exists:
        if revision is not None:
            raise ConfigError(f"{path} is a file or directory here: it has no revision {revision}")
        return path
    named = _named(source, revision) if isinstance(source, str) else None
    if named is not None:
        return named
    if meant := _near_path(path) or (near_name(source) if isinstance(source, str) else None):
        raise ModelFileError(f"there is no model at {path}", hint=f"did you mean {meant}?")
    raise ModelFileError(
        f"there is no model at {path}",
        hint="give a path, a pulled name (nextword pull lists them) or a hub id (org/name); or train one: nextword "
        "train my.txt --out my-model --minutes 2",
    )


def _holds_model(path: Path) -> bool:
    return path.is_file() or (path / "config.json").exists() or any(path.glob("*.gguf"))


def near_name(name: str) -> str | None:
    """The model that a misspelled name means: one that ships, can be pulled or was, or has got an owner on the hub."""
    from difflib import get_close_matches

    from nextword.files.sources.catalogue import CATALOGUE, MOVED
    from nextword.files.sources.pulled import pulled_names

    near = get_close_matches(name.lower(), [SHIPPED, *CATALOGUE, *pulled_names(), *MOVED], n=1)
    return MOVED.get(near[0], near[0]) if near else None


def _near_path(path: Path) -> str | None:
    """The model beside a misspelled path."""
    from difflib import get_close_matches

    try:
        beside = {str(path.with_name(other.name)): other for other in path.parent.iterdir()}
    except (OSError, ValueError):
        return None
    near = get_close_matches(str(path), beside, n=3)
    return next((name for name in near if _holds_model(beside[name])), None)


def _named(source: str, revision: str | None) -> Path | None:
    """The model of a pulled name or a hub id; None if `source` is neither."""
    # Imported here, because an existing path, which is what is mostly meant, should not wait for them.
    from nextword.files.sources.catalogue import CATALOGUE
    from nextword.files.sources.hub import HubId, fetch
    from nextword.files.sources.pulled import find_pulled

    wanted = HubId.parse(source)
    if wanted is not None and revision is not None:
        if wanted.revision not in (None, revision):
            raise ConfigError(f"two revisions were given: {wanted.revision} and {revision}")
        wanted = replace(wanted, revision=revision)
    asked = wanted.revision if wanted is not None else revision
    pulled = find_pulled(wanted.address if wanted is not None else source)
    if pulled is not None and asked in (None, pulled.origin.revision):
        return pulled.model
    if wanted is not None:
        return fetch(wanted).path
    if pulled is not None:
        raise ModelFileError(
            f"{source} was pulled at revision {pulled.origin.revision}, not {asked}",
            hint=f"nextword pull {source} --from hub --revision {asked}",
        )
    if source in CATALOGUE:
        raise ModelFileError(f"{source} is not on this machine yet", hint=f"nextword pull {source}")
    return None
