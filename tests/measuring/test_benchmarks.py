"""The benchmarks beside llama.cpp: what is counted as memory, which peer is which, what the tables say."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.sources import ROOT

MEGABYTE = 1 << 20


@pytest.fixture
def benchmark_named(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def find(name: str) -> ModuleType:
        return importlib.import_module(name)

    return find


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads /proc")
def test_memory_is_told_apart_into_its_own_and_that_of_files(benchmark_named: Any, tmp_path: Path) -> None:
    memory = benchmark_named("memory")
    file = tmp_path / "mapped"
    file.write_bytes(os.urandom(48 * MEGABYTE))
    program = """
import mmap, sys
kept = bytearray({own} * {megabyte})
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
touched = sum(mapped[:{mapped} * {megabyte}:4096])
kept = kept[:{left} * {megabyte}]
print(7, flush=True)
sys.stdin.read()
"""
    base = memory.watch(program.format(own=0, mapped=0, left=0, megabyte=MEGABYTE), str(file))[2]
    number, peak, end = memory.watch(program.format(own=64, mapped=48, left=16, megabyte=MEGABYTE), str(file))
    assert number == 7
    above = end.above(base)
    assert above.anonymous == pytest.approx(16 * MEGABYTE, abs=4 * MEGABYTE)
    assert above.of_files == pytest.approx(48 * MEGABYTE, abs=4 * MEGABYTE)
    assert peak.total >= end.total


def test_peers_are_those_built_for_the_instruction_set(
    benchmark_named: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = benchmark_named("peers")
    monkeypatch.setenv("NEXTWORD_KERNELS", "portable")
    for name in ("ik_llama.cpp", "llama.cpp"):
        (tmp_path / "avx2" / name).mkdir(parents=True)
        (tmp_path / "avx2" / name / "version").write_text(f"{name}-1\n", encoding="utf-8")
    found = peers.use_arch("avx2", tmp_path)
    assert [(peer.name, peer.version) for peer in found] == [
        ("llama.cpp", "llama.cpp-1"),
        ("ik_llama.cpp", "ik_llama.cpp-1"),
    ]
    assert os.environ["NEXTWORD_KERNELS"] == "avx2"
    with pytest.raises(SystemExit, match="llama-bench is missing: make peers ARCH=avx2"):
        found[0].program("llama-bench")
    with pytest.raises(SystemExit, match="no peer was built for native: make peers ARCH=native"):
        peers.use_arch("native", tmp_path)


def test_ratios_are_of_medians_and_limits_of_the_best(benchmark_named: Any) -> None:
    decode = benchmark_named("decode")
    row = decode.Row("a.Q4_1", "avx2", 2, 256, 128, 100_000_000, 1e8, read_speed=[20e9, 10e9])
    row.speeds = {
        "nextword": {"read": [300.0, 100.0, 200.0], "write": [100.0, 100.0, 1.0]},
        "nextword, int8": {"read": [400.0], "write": [120.0]},
        "llama.cpp": {"read": [100.0], "write": [50.0]},
    }
    row.whole_calls = {"passes": [100.0], "greedy": [90.0], "sampled": [80.0, 70.0, 85.0]}
    _, _, ours, int8, theirs, _, below = decode.table([row]).splitlines()
    assert ours == "| a.Q4_1 | avx2 | 2 | nextword | 200 | 20 | 100.0 | 10.0 | 50% |"
    assert int8.endswith("| 400 | 40 | 120.0 | 12.0 | 60% |")
    assert "| llama.cpp | 100 (2.00x, 4.00x) | 10 | 50.0 (2.00x, 2.40x) | 5.0 | 25% |" in theirs
    assert below.endswith("memory read at 20.0 GB/s; reads 256, writes 128; "
                          "lm.generate, of the passes' speed: greedy 90%, sampled 80%")  # fmt: skip


def test_streams_are_counted_and_no_prompt_comes_twice(benchmark_named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = benchmark_named("serving")
    command = [sys.executable, "-m", "nextword", "serve", "--port", "PORT", "--threads", "1"]
    asked: list[str] = []
    kept = serving.prompt
    monkeypatch.setattr(serving, "prompt", lambda *words: asked.append(kept(*words)) or asked[-1])
    with serving.running(command) as url:
        for round_ in (0, 1):
            row = serving.Row("default", "avx2", 14, 2)
            figures = asyncio.run(serving.together(url, row, 3, round_))
            assert figures["tokens"] > 0
            assert 0 < figures["first_p50"] <= figures["first_p99"]
    assert len(set(asked)) == len(asked) == 4
    assert serving.written(b'data: {"usage":{"completion_tokens":12}}\n\ndata: [DONE]') == 12


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_llama_bench_is_read_among_other_lines(benchmark_named: Any, tmp_path: Path) -> None:
    peers = benchmark_named("peers")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "llama-bench"
    tests = '{\n "n_gen": 0,\n "avg_ts": 12.5\n },\nother {\n  {\n "n_gen": 32,\n "avg_ts": 3.25\n }\n]'
    script = f"#!/bin/sh\nprintf '%s ' \"$@\" > {tmp_path / 'words'}\ncat <<'END'\nlog: [\n{tests}\nEND\n"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    found = peers.Peer("ik_llama.cpp", tmp_path).bench(Path("a.gguf"), 2, 256, 32)
    assert found == {"read": 12.5, "write": 3.25}
    words = (tmp_path / "words").read_text(encoding="utf-8")
    assert words == "--model a.gguf --output json --threads 2 --n-prompt 256 --n-gen 32 --repetitions 1 "
