"""Processes of this machine, distinguished from those of another machine of the same name."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["machine", "process_start"]


def machine() -> str:
    """Name of this host and of its process table, since containers may share the one and not the other."""
    try:
        return f"{platform.node()} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def process_start(pid: int) -> int | None:
    """Start of a live process in clock ticks since boot (0 where /proc is missing), None if dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, ValueError, IndexError):
        return 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0
