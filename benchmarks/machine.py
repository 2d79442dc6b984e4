"""Cores, and what runs on them: whose CPU time, how much memory, how much noise."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
_QUIET_SHARE = 0.12
_QUIET_WINDOW = 0.5


@dataclass(frozen=True, slots=True)
class Cores:
    """The server's one core, and the core of everything else: client, upstream, databases."""

    server: int
    client: int

    @classmethod
    def choose(cls) -> Cores:
        """Take the first two cores that this process may use; ends the program when there is one only."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise SystemExit("The benchmarks need two cores: one for the server, one for the client.")
        return cls(allowed[0], allowed[1])


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of a process with all its threads, finished ones too; nanosecond resolution."""
    # The kernel's encoding of "CPU clock of another process", as clock_getcpuclockid() returns it.
    return time.clock_gettime((~pid << 3) | 2)


def tree_cpu_seconds(pid: int) -> float:
    """CPU time of a process, its living children, and those that it has reaped."""
    total = 0.0
    for entry in (pid, *children(pid)):
        try:
            total += cpu_seconds(entry)
        except (OSError, ProcessLookupError):
            continue
    # Fields of stat after the name: cutime and cstime are the 14th and 15th.
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return total + (int(fields[13]) + int(fields[14])) / _TICK


def children(pid: int) -> list[int]:
    """Living child processes."""
    found: list[int] = []
    for file in PROC.glob(f"{pid}/task/*/children"):
        try:
            found += map(int, file.read_text().split())
        except OSError:
            continue
    return found


def memory_and_threads(pid: int) -> tuple[int, int]:
    """Resident memory in KiB and number of threads."""
    fields = dict(line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]), int(fields["Threads"])


def busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything, stolen time included."""
    fields = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / _TICK


def wait_until_quiet(limit: float) -> float:
    """Wait until others use little of this machine, at most ``limit`` seconds; return how many cores they use."""
    deadline = time.monotonic() + limit
    while True:
        before, start = busy_seconds(), time.monotonic()
        time.sleep(_QUIET_WINDOW)
        used = (busy_seconds() - before) / (time.monotonic() - start)
        if used < _QUIET_SHARE or time.monotonic() > deadline:
            return used


def spin_us(core: int) -> float:
    """CPU time of a fixed piece of Python on a core: how fast that core is at this moment."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return median(_spin() for _ in range(5)) * 1e6
    finally:
        os.sched_setaffinity(0, before)


def _spin() -> float:
    started = time.thread_time()
    counts: dict[int, int] = {}
    for number in range(20_000):
        counts[number & 63] = counts.get(number & 63, 0) + number
    return time.thread_time() - started


def describe() -> str:
    """The machine in one line."""
    model = "unknown CPU"
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
