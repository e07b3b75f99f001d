"""Processor time that other programs take while something is measured here (Linux, ``/proc``)."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

__all__ = ["MOST", "OtherPrograms"]

#: Share of the machine's cores that others may take; beyond it, measured times mean little.
MOST = 0.1
#: Fields of ``/proc/stat`` that are work: user, nice, system, irq, softirq, and steal (other machines of the host).
_WORK = (1, 2, 3, 6, 7, 8)


class OtherPrograms:
    """Clock of the work that neither this process nor its descendants do, from the moment it is made.

    The load average cannot tell a measurement's own work from that of others.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter(), _machine(), _own()

    def cores(self) -> float | None:
        """Return the mean number of cores that others have used since; None where the system does not say."""
        began, machine, own = self._began
        if machine is None or (now := _machine()) is None:
            return None
        ticks = os.sysconf("SC_CLK_TCK") * max(time.perf_counter() - began, 1e-3)
        return max(0.0, (now - machine - (_own() - own)) / ticks)

    def state(self) -> dict[str, float | bool | int | None]:
        """Return cores, load average, cores that others used, and if the machine was too busy to measure on."""
        cores, load = os.cpu_count() or 1, os.getloadavg()[0]
        others = None if (used := self.cores()) is None else round(used, 2)
        busy = load > 1.5 * cores if others is None else others > MOST * cores
        return {"cores": cores, "load_average": round(load, 2), "others": others, "busy": busy}


def _machine() -> int | None:
    """Ticks of work of the whole machine."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    return sum(int(fields[k]) for k in _WORK)


def _own() -> int:
    """Ticks of this process, of its living descendants, and of those that have ended."""
    parents, ticks = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            after = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(after[1])
            ticks[int(folder.name)] = sum(map(int, after[11:15]))
    own: set[int] = set()
    found = {os.getpid()}
    while found:
        own |= found
        found = {pid for pid, parent in parents.items() if parent in own} - own
    return sum(ticks.get(pid, 0) for pid in own)
