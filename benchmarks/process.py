"""A server under measurement: a pinned process tree that is started, watched and ended by its own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_QUIET = 0.2
_STAT_PPID, _STAT_TIMES, _STAT_RSS = 1, slice(11, 13), 21


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(pid: str) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name, or None if the process is gone."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None


def _tree(root: int) -> list[list[str]]:
    """The stat fields of `root` and of all that descend from it."""
    stats = {int(p.name): s for p in Path("/proc").iterdir() if p.name.isdigit() and (s := _stat(p.name)) is not None}
    inside = {root}
    grew = True
    while grew:
        more = {pid for pid, stat in stats.items() if int(stat[_STAT_PPID]) in inside} - inside
        inside |= more
        grew = bool(more)
    return [stats[pid] for pid in inside if pid in stats]


class Server:
    """One process tree on one core, ready when its port accepts connections."""

    def __init__(
        self, name: str, command: list[str], port: int, core: int, *, log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.port = port
        self._log = log
        self._command = ["taskset", "-c", str(core), *command]
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the root of the tree."""
        assert self._process is not None
        return self._process.pid

    def start(self, patience: float = 30.0) -> None:
        """Start it and wait until it accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._env, process_group=0)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        tail = self._log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not open port {self.port}; its log ends with:\n{tail}")

    def cpu(self) -> float:
        """User and system seconds that the tree has used so far."""
        return sum(sum(map(int, stat[_STAT_TIMES])) for stat in _tree(self.pid)) / _TICK

    def cpu_at_rest(self, patience: float = 20.0) -> float:
        """The same once it is idle, so that work put off until after the answers is counted too."""
        deadline = time.monotonic() + patience
        before = self.cpu()
        while True:
            time.sleep(_QUIET)
            now = self.cpu()
            if now - before <= 1.5 / _TICK or time.monotonic() > deadline:
                return now
            before = now

    def rss(self) -> int:
        """Resident bytes of the tree."""
        return sum(int(stat[_STAT_RSS]) for stat in _tree(self.pid)) * _PAGE

    def stop(self) -> None:
        """End it: politely, then not."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
