"""A primary, its replica, and a sentinel that puts the one in the other's place; over TLS if a test wants that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.support.certificates import make_certificates, server_options, url_options
from tests.support.servers import REDIS, VALKEY, RedisServer, Server, _raw, _until, binary, free_ports, release

SERVICE = "main"
DOWN_AFTER = 0.5
"""Seconds of silence after which the sentinel believes a primary dead."""


class Watched:
    """All three, running. Each listens without TLS too, so that a test can look in from the side."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.tls = tls
        self.kind = REDIS if tls else VALKEY  # the wheel's server speaks no TLS
        self.folder = folder
        self.ports = free_ports(3)
        if tls:
            make_certificates(folder)
        self.servers: list[Server] = []
        try:
            self.primary = self._server(self.ports[0])
            of = self.ports[0] if tls else self.primary.port
            self.replica = self._server(self.ports[1], "--replicaof", "127.0.0.1", str(of))
            self._watch(of)
            _until(lambda: b"master_link_status:up" in _raw(self.replica, "INFO", "replication"), 60)
            _until(self._knows_replica, 60)
        except BaseException:
            self.stop()
            raise

    def _server(self, port: int, *options: str) -> RedisServer:
        place = self.folder / f"node-{port}"
        place.mkdir()
        tls = (*server_options(self.folder, port), "--tls-replication", "yes") if self.tls else ()
        server = RedisServer(place, *options, *tls, kind=self.kind)
        self.servers.append(server)
        return server

    def _watch(self, port: int) -> None:
        place = self.folder / "sentinel"
        place.mkdir()
        [plain] = free_ports(1)
        self.sentinel_port = self.ports[2] if self.tls else plain
        options = (*server_options(self.folder, self.sentinel_port), "--tls-replication", "yes") if self.tls else ()
        lines = [f"{name.removeprefix('--')} {value}" for name, value in zip(options[::2], options[1::2], strict=True)]
        lines += [
            f"port {plain}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {port} 1",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER * 1000:.0f}",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        config = place / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        self._plain = plain
        self.servers.append(Server([binary(self.kind), str(config), "--sentinel"], plain, place))

    def _knows_replica(self) -> bool:
        client = redis.Redis(port=self._plain, protocol=2)
        try:
            return bool(client.sentinel_slaves(SERVICE))  # type: ignore[no-untyped-call]
        finally:
            client.close()

    @property
    def url(self) -> str:
        """What a store is opened with."""
        scheme, options = ("rediss", f"?{url_options(self.folder)}") if self.tls else ("redis", "")
        return f"{scheme}+sentinel://127.0.0.1:{self.sentinel_port}/{SERVICE}{options}"

    def is_promoted(self) -> bool:
        """Whether the replica is the primary now."""
        return bool(self.replica.say("ROLE")[0] == b"master")

    def is_level(self) -> bool:
        """Whether the replica has what the primary has."""
        return bool(self.replica.say("DBSIZE") == self.primary.say("DBSIZE"))

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
        release(*self.ports)


@contextlib.contextmanager
def watched(folder: Path, *, tls: bool = False) -> Iterator[Watched]:
    """All three, for a block."""
    running = Watched(folder, tls=tls)
    try:
        yield running
    finally:
        running.stop()
