"""The machine, and what a process of it has used; None where the system does not tell (macOS)."""

import contextlib
import os
import platform
import re
from pathlib import Path

import msgspec

_PROC = Path("/proc")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run took place."""

    cpu: str
    cores: int
    python: str
    system: str

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, Python {self.python}, {self.system}"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of a process.

    Attributes:
        pss_mb: as rss_mb, but pages shared with other processes count in part.
    """

    rss_mb: float
    pss_mb: float


def this_machine() -> Machine:
    """The machine of this process."""
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
    )


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", (_PROC / "cpuinfo").read_text())
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def cpu_s(pid: int) -> float | None:
    """CPU seconds, user and system, that a process has used in all its threads."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> Memory | None:
    """Memory that a process holds."""
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return None
    kb = {name: int(number) for name, number in re.findall(r"(\w+):\s+(\d+) kB", text)}
    return Memory(rss_mb=kb["Rss"] / 1024, pss_mb=kb["Pss"] / 1024)
