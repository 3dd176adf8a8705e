"""Tells whether the system has killed a process of ours because memory ran out."""

import contextlib
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_COUNTERS = (_CGROUP / "memory.events", _CGROUP / "memory" / "memory.oom_control", Path("/proc/vmstat"))


def out_of_memory_kills() -> int:
    """How many the kernel counts so far in our cgroup and, where it shows that, on the machine; 0 if it shows none."""
    kills = 0
    for path in _COUNTERS:
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    kills += int(value)
    return kills
