"""What the kernel says of a process and of the host's memory (Linux's /proc)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """Resident bytes, processor seconds, and context switches of a process since it began."""

    memory: int
    cpu: float
    voluntary: int
    involuntary: int

    @classmethod
    def sum(cls, readings: Sequence["ProcessReading"]) -> "ProcessReading":
        """Several processes as one."""
        return cls(
            memory=sum(reading.memory for reading in readings),
            cpu=sum(reading.cpu for reading in readings),
            voluntary=sum(reading.voluntary for reading in readings),
            involuntary=sum(reading.involuntary for reading in readings),
        )


def read_process(pid: int) -> ProcessReading | None:
    """The reading, or None where there is no such process."""
    try:
        base = Path("/proc") / str(pid)
        fields = (base / "stat").read_text().rsplit(")", 1)[1].split()
        status = dict(line.split(":", 1) for line in (base / "status").read_text().splitlines() if ":" in line)
        resident = int((base / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None
    return ProcessReading(
        memory=resident,
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,  # utime and stime, proc(5)
        voluntary=int(status.get("voluntary_ctxt_switches", 0)),
        involuntary=int(status.get("nonvoluntary_ctxt_switches", 0)),
    )


def host_memory() -> tuple[int, int]:
    """Bytes of the host's memory in use (not available to new programs) and in all."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":", 1) for line in lines)}
    return found["MemTotal"] - found["MemAvailable"], found["MemTotal"]
