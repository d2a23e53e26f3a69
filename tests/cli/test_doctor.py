"""`nextword doctor`: what it says is what is there, and each gap says what to do."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nextword import __version__
from nextword.doctor import examine, native, report
from nextword.doctor.parts import installed_parts, origin
from nextword.engine import is_built
from nextword.errors import ModelFileError, install_command
from nextword.files import read_model
from nextword.files.sources.pulled import cache_directory
from nextword.loading import DEFAULT_MODEL
from nextword.machine import gpus, processors
from nextword.machine.disks import disk
from tests.cli.conftest import Call

real_version = metadata.version


def hide(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Packages have these versions; an empty one is not installed."""

    def version(name: str) -> str:
        found = versions.get(name.replace("-", "_"))
        if found == "":
            raise metadata.PackageNotFoundError(name)
        return real_version(name) if found is None else found

    monkeypatch.setattr(metadata, "version", version)


def test_the_json_is_complete_and_its_versions_are_the_installed_ones(call: Call) -> None:
    found = call("doctor", "--no-speed", "--json").json
    assert found.keys() == {
        *(
            "nextword",
            "python",
            "system",
            "native",
            "base",
            "extras",
            "processors",
            "cores",
            "processor_share",
            "threads",
        ),
        *("memory_total", "memory_free", "disks", "gpus", "korean_font", "speed", "gaps", "healthy"),
    }
    assert (found["nextword"], found["python"]) == (__version__, platform.python_version())
    assert found["healthy"] is True
    assert found["speed"] is None
    assert found["native"]["built"] == is_built()
    extras = {extra["name"]: extra for extra in found["extras"]}
    assert extras.keys() == set(metadata.metadata("nextword").get_all("Provides-Extra") or [])
    for part in (found["base"], *extras.values()):
        assert part["packages"] == {name: metadata.version(name) for name in part["packages"]}
    assert set(extras["torch"]["packages"]) == {"torch"}
    assert {"torch", "accelerate", "transformers"} == set(extras["verify"]["packages"])
    assert "aiohttp" in extras["data"]["packages"]  # of fsspec[http]
    assert found["threads"] >= 1
    assert 1 <= found["cores"] <= found["processors"] <= (os.cpu_count() or 1)


def test_every_stated_need_is_in_the_base_or_an_extra() -> None:
    base, extras = installed_parts()
    named = {name for part in (base, *extras) for name in (*part.packages, *part.missing)}
    named |= {line.split()[0] for part in (base, *extras) for line in part.too_old}
    stated = {Requirement(line).name for line in metadata.requires("nextword") or []}
    assert stated - {"nextword"} <= named
    everything = {name for extra in extras if extra.purpose for name in extra.packages}
    assert next(set(extra.packages) for extra in extras if extra.name == "all") == everything


def test_room_on_disk_is_that_of_the_system(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTWORD_CACHE", str(tmp_path / "not" / "yet"))
    kept, here = call("doctor", "--no-speed", "--json").json["disks"]
    assert (kept["path"], here["path"]) == (str(cache_directory()), str(Path.cwd()))
    for place, path in ((kept, tmp_path), (here, Path.cwd())):
        usage = shutil.disk_usage(path)
        assert place["total"] == usage.total
        assert place["free"] == pytest.approx(usage.free, abs=2e9)
    assert not (tmp_path / "not").exists()


@pytest.mark.skipif(not is_built(), reason="the native engine was not built")
def test_the_instruction_set_in_use_is_shown_and_one_that_cannot_be_had_is_a_gap(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nextword.engine.kernels import available_kernels

    for name in available_kernels():
        monkeypatch.setenv("NEXTWORD_KERNELS", name)
        found = call("doctor", "--no-speed", "--json").json["native"]
        assert (found["kernels"], found["usable"], found["reason"]) == (name, available_kernels(), "")
    shown = " ".join(call("doctor", "--no-speed").out.split())  # a line of many instruction sets is wrapped
    assert f"native code: portable, as NEXTWORD_KERNELS says (also {', '.join(available_kernels()[:-1])})" in shown
    monkeypatch.setenv("NEXTWORD_KERNELS", "sse9")
    result = call("doctor")
    assert result.code == 2
    assert result.errors == [
        "error: the native engine does not run: NEXTWORD_KERNELS is 'sse9', which does not exist",
        f"hint: unset NEXTWORD_KERNELS, or set it to one of {', '.join(available_kernels())}",
    ]
    assert call("predict", "a").errors[0] == "error: NEXTWORD_KERNELS is 'sse9', which does not exist"


def test_a_containers_share_of_the_processors_is_shown(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXTWORD_THREADS", raising=False)
    for module in (report, processors):
        monkeypatch.setattr(module, "cpu_quota", lambda *_: 1.5)
    found = call("doctor", "--no-speed", "--json").json
    assert (found["processor_share"], found["threads"]) == (1.5, 1)
    assert "cores, of which 1.5 may be used; 1 thread is used" in call("doctor", "--no-speed").out


def test_a_missing_extra_is_named_with_what_to_do(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, fastapi="", uvicorn="")
    result = call("doctor", "--no-speed")
    assert result.code == 0
    assert "serve        missing: fastapi, uvicorn" in result.out
    assert "to serve a model over HTTP: missing: fastapi, uvicorn" in result.out
    assert "pip install 'nextword[serve]'" in " ".join(result.out.split())
    assert "nextword[all]" not in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_a_package_that_is_too_old_is_named_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, seaborn="0.12.1")
    report = examine(speed=False)
    figures = next(extra for extra in report.extras if extra.name == "figures")
    assert figures.too_old == ["seaborn 0.12.1 (needs >=0.13)"]
    assert [gap.todo for gap in report.gaps] == [install_command("'nextword[figures]'")]
    assert report.healthy


def test_nextword_is_installed_again_from_where_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"": "nextword", '{"url": "https://example.org/nextword.whl"}': "nextword"}
    told['{"url": "file:///a%20house/nextword", "dir_info": {}}'] = "'/a house/nextword'"
    told['{"url": "file:///nextword", "dir_info": {"editable": true}}'] = "-e /nextword"
    for text, expected in told.items():
        monkeypatch.setattr(metadata.Distribution, "read_text", lambda _, name, text=text: text)
        monkeypatch.setattr(metadata.PathDistribution, "read_text", lambda _, name, text=text: text)
        assert origin() == expected


def test_a_base_package_that_is_missing_is_an_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, safetensors="")
    result = call("doctor", "--no-speed")
    assert result.code == 2
    assert "✗ nextword" in result.out
    assert result.errors == [
        "error: nextword itself: missing: safetensors",
        f"hint: {install_command(f'--force-reinstall --no-cache-dir {origin()}')}",
    ]


def test_without_the_engine_it_says_why_and_torch_does(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "is_built", lambda: False)
    result = call("doctor")
    assert result.code == 0
    assert "was not built: there was no C++ compiler" in result.out
    assert "torch runs models, slower; with a C++ compiler there" in result.out
    assert "GFLOP/s" not in result.out
    hide(monkeypatch, torch="")
    assert call("doctor").code == 2


def test_a_torch_that_cannot_be_imported_is_an_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_GPU", "raise ImportError('libtorch is gone')")
    result = call("doctor", "--no-speed")
    assert result.code == 2
    assert result.errors[0] == "error: torch cannot be imported: ImportError: libtorch is gone"


def test_a_gpu_is_shown(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"device": "cuda:0", "name": "Example 9000", "memory": 24_000_000_000}]
    monkeypatch.setattr(gpus, "_GPU", f"print({json.dumps(json.dumps(found))})")
    assert "✓ GPU          Example 9000 (cuda:0, 24 GB)" in call("doctor", "--no-speed").out


def test_little_room_and_a_wrong_setting_are_gaps(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LOW_SPACE_BYTES", 10**18)
    monkeypatch.setenv("NEXTWORD_THREADS", "many")
    result = call("doctor", "--no-speed")
    assert result.code == 2
    for said in ("little memory is free", "little room for pulled models", "set NEXTWORD_CACHE to another disk"):
        assert said in result.out
    assert result.errors[0].startswith("error: NEXTWORD_THREADS is 'many'")


@pytest.mark.skipif(not is_built(), reason="the native engine was not built")
def test_the_speed_is_measured_within_five_seconds(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_model(DEFAULT_MODEL)
    looked_up = () if bundle.config.tie_embeddings else ("token_embedding.weight",)
    read = [tensor.data for name, tensor in bundle.tensors.items() if name not in looked_up]
    speed = json.loads(call("doctor", "--json").out)["speed"]
    assert speed["read_bytes"] == sum(len(data) for data in read)
    assert min(speed.values()) > 0
    assert speed["seconds"] < 5
    out = call("doctor").out
    assert "tokens a second with the default model" in out
    assert "GB/s, over the" in out

    def unreadable(threads: int) -> None:
        raise ModelFileError("model.safetensors is truncated")

    monkeypatch.setattr(report, "machine_speed", unreadable)
    assert call("doctor").errors[0] == "error: the default model: model.safetensors is truncated"


def test_it_runs_without_torch_and_imports_none() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from importlib import metadata\n"
        "real = metadata.version\n"
        "def version(name):\n"
        "    if name == 'torch': raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        "from nextword.cli import run\n"
        "sys.exit(run(['doctor', '--no-speed']))\n"
    )
    arguments = [sys.executable, "-X", "utf8", "-W", "error", "-c", code]
    result = subprocess.run(arguments, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120)
    assert result.returncode == (0 if is_built() else 2), result.stderr
    assert "torch        missing: torch" in result.stdout
    assert "GPU" not in result.stdout
    assert "Korean font" in result.stdout


def test_a_directory_that_is_not_there_yet_has_the_room_of_its_parent(tmp_path: Path) -> None:
    found = disk("x", tmp_path / "a" / "b")
    assert (found.path, found.total) == (str(tmp_path / "a" / "b"), shutil.disk_usage(tmp_path).total)
