"""What is installed, what this machine has and how fast it is, and what to do about what is missing."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nextword import __version__
from nextword.doctor.native import Native, native_engine
from nextword.doctor.parts import Extra, installed_parts, origin, version
from nextword.errors import ConfigError, NextwordError, install_command
from nextword.files.sources.pulled import cache_directory
from nextword.machine.disks import Disk, disk
from nextword.machine.gpus import gpus
from nextword.machine.memory import machine_memory
from nextword.machine.processors import (
    cpu_quota,
    default_threads,
    physical_cores,
    platform_name,
    usable_processors,
)
from nextword.measuring.machine_speed import MachineSpeed, machine_speed

LOW_SPACE_BYTES = 1_000_000_000
"""Bytes of memory or disk below which there is a gap."""


@dataclass(frozen=True)
class Gap:
    """Something that is missing or broken, and what to do about it."""

    what: str
    todo: str
    broken: bool = False
    """Whether something that is installed does not work; what was never asked for is no fault."""


@dataclass
class Report:
    """Everything that `nextword doctor` shows."""

    nextword: str
    python: str
    system: str
    native: Native
    base: Extra
    """What every installation needs."""
    extras: list[Extra]
    processors: int
    """That this process may run on."""
    cores: int
    processor_share: float | None
    """Processors' worth of time that a container allows; None where there is no limit."""
    threads: int
    memory_total: int | None
    """Bytes, of the machine or of what a container allows; None where the system does not tell."""
    memory_free: int | None
    disks: list[Disk]
    gpus: list[dict[str, Any]] | None
    """As torch sees them; None without torch."""
    korean_font: str | None
    """Its family, empty if there is none; None without matplotlib."""
    speed: MachineSpeed | None = None
    gaps: list[Gap] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether all that is installed works."""
        return not any(gap.broken for gap in self.gaps)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        extras = [{**asdict(extra), "complete": extra.complete} for extra in self.extras]
        return {**asdict(self), "extras": extras, "healthy": self.healthy}


def examine(*, speed: bool = True, watch: Callable[[str], None] = lambda _: None) -> Report:
    """Looks at the installation and the machine.

    Args:
        speed: Whether the machine's speed is measured; it takes a second or two.
        watch: Is told what is being done.
    """
    gaps: list[Gap] = []
    try:
        threads = default_threads()
    except ConfigError as error:
        threads = physical_cores()
        gaps.append(Gap(error.message, "unset NEXTWORD_THREADS, or set it to a number", broken=True))
    base, extras = installed_parts()
    memory = machine_memory()
    report = Report(
        nextword=__version__,
        python=platform.python_version(),
        system=platform_name(),
        native=native_engine(),
        base=base,
        extras=extras,
        processors=len(usable_processors()),
        cores=physical_cores(),
        processor_share=cpu_quota(),
        threads=threads,
        memory_total=memory.total,
        memory_free=memory.free,
        disks=[disk("the current directory", Path.cwd())],
        gpus=None,
        korean_font=None,
        gaps=gaps,
    )
    try:
        report.disks.insert(0, disk("pulled models", cache_directory()))
    except ConfigError as error:
        gaps.append(Gap(error.message, error.hint))
    gaps += _gaps_of_parts(report)
    if version("torch"):
        watch("asking torch for a GPU")
        try:
            report.gpus = gpus()
        except ConfigError as error:
            gaps.append(Gap(error.message, install_command("--force-reinstall torch"), broken=True))
    if version("matplotlib"):
        from nextword.figures.fonts import korean_font

        watch("looking for a Korean font")
        report.korean_font = korean_font()
        if not report.korean_font:
            todo = "install fonts-nanum (Debian, Ubuntu) or Noto Sans CJK"
            gaps.append(Gap("no Korean font: figures show code points such as U+AC00", todo))
    if speed and report.native.built and not report.native.reason:
        watch("measuring the machine's speed")
        try:
            report.speed = machine_speed(threads)
        except NextwordError as error:
            gaps.append(Gap(f"the default model: {error.message}", _reinstall(), broken=True))
    return report


def _gaps_of_parts(report: Report) -> list[Gap]:
    gaps = []
    if not report.base.complete:
        gaps.append(Gap(f"nextword itself: {report.base.lacking}", _reinstall(), broken=True))
    if report.native.reason:
        built, torch = report.native.built, version("torch")
        compiler = "with a C++ compiler there: " + _reinstall()
        if report.native.usable:
            todo = f"unset NEXTWORD_KERNELS, or set it to one of {', '.join(report.native.usable)}"
        elif built:
            todo = _reinstall()
        else:
            todo = f"torch runs models, slower; {compiler}" if torch else compiler
        gaps.append(Gap(f"the native engine {report.native.reason}", todo, broken=built or not torch))
    gaps += [
        Gap(f"to {extra.purpose}: {extra.lacking}", install_command(f"'nextword[{extra.name}]'"))
        for extra in report.extras
        if extra.purpose and not extra.complete
    ]
    if report.memory_free is not None and report.memory_free < LOW_SPACE_BYTES:
        gaps.append(Gap("little memory is free", "close other programs; models that do not fit become slow"))
    for place in report.disks:
        if place.free < LOW_SPACE_BYTES:
            todo = (
                "set NEXTWORD_CACHE to another disk"
                if place.purpose == "pulled models"
                else "make room, or work elsewhere"
            )
            gaps.append(Gap(f"little room for {place.purpose}", todo))
    return gaps


def _reinstall() -> str:
    return install_command(f"--force-reinstall --no-cache-dir {origin()}")
