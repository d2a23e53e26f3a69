"""Linux's control groups, versions 1 and 2: what a container, or any group around it, limits its processes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Group:
    """A directory of files that say what the processes of a group may use."""

    path: Path
    version: int

    def number(self, name: str) -> int | None:
        """The number in one of its files; None where there is no limit (the word "max"), or no such file."""
        return _int_or_none(self._text(name))

    def cpus(self) -> float | None:
        """Processors' worth of time; None where there is no limit."""
        if self.version == 2:
            words = self._text("cpu.max").split()
            quota, period = (_int_or_none(words[0]), _int_or_none(words[1])) if len(words) == 2 else (None, None)
        else:
            quota, period = self.number("cpu.cfs_quota_us"), self.number("cpu.cfs_period_us")
        return quota / period if quota is not None and quota > 0 and period else None

    def memory(self) -> tuple[int, int] | None:
        """The limit, and how much of it is left when files that were read are forgotten, in bytes; None without one."""
        names = ("memory.max", "memory.current") if self.version == 2 else _MEMORY_V1
        limit, used = (self.number(name) for name in names)
        if limit is None:
            return None
        forgettable = "inactive_file" if self.version == 2 else "total_inactive_file"
        lines = (line.split() for line in self._text("memory.stat").splitlines())
        files = next((int(line[1]) for line in lines if len(line) == 2 and line[0] == forgettable), 0)
        return limit, max(0, limit - max(0, (used or 0) - files))

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="ascii")
        except (OSError, ValueError):  # a group without this controller, or one that may not be read
            return ""


_MEMORY_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def groups(controller: str, process: Path = PROCESS) -> Iterator[Group]:
    """The group of this process and all groups around it that can be seen, the innermost first.

    Args:
        controller: `cpu` or `memory`.
        process: What `/proc` says of the process.
    """
    try:
        own = (process / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return
    places = {}
    for line in own:
        _, controllers, place = line.split(":", 2)
        places.update(dict.fromkeys(controllers.split(","), place))  # version 2 names none: ""
    for line in mounts:
        left, _, right = line.partition(" - ")
        root, point = (_unescape(field) for field in left.split()[3:5])
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" and "" in places:
            yield from _ancestors(Path(point), root, places[""], 2)
        elif kind == "cgroup" and controller in options.split(",") and controller in places:
            yield from _ancestors(Path(point), root, places[controller], 1)


def _ancestors(point: Path, root: str, place: str, version: int) -> Iterator[Group]:
    """Groups from `place` up to where the hierarchy is mounted, which shows it from `root` on."""
    group = PurePosixPath(place)
    inside = group.relative_to(root) if group.is_relative_to(root) and ".." not in group.parts else PurePosixPath()
    for path in (inside, *inside.parents) if inside.parts else (inside,):
        yield Group(point / path, version)


def _unescape(field: str) -> str:
    """A path as mountinfo writes it: blanks and the like in octal."""
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _int_or_none(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
