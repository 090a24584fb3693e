"""Redis, Valkey, a cluster of six, and memcached keep every promise of `payonce.testing.StoreContract`, read by threads
and read on an event loop."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.on_a_loop import OnALoop
from tests.support.servers import REDIS, VALKEY, memcached, redis_cluster, redis_server

from payonce.model.ports import Store
from payonce.stores.registry import open_store
from payonce.testing import StoreContract

pytestmark = pytest.mark.usefixtures("patient")


class _OnServer(StoreContract):
    """Each test has a prefix of its own on the one server of the class."""

    url = ""

    def open(self) -> Store:
        self.prefix = f"t{uuid.uuid4().hex[:8]}:"
        return self.again()

    def again(self) -> Store:
        return open_store(f"{self.url}?prefix={self.prefix}", clock=self.clock)

    def shared(self, store: Store) -> Store:
        return self.again()


class TestValkey(_OnServer):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with redis_server(tmp_path_factory.mktemp("valkey"), kind=VALKEY) as server:
            cls.url = server.url
            yield


class TestRedis(_OnServer):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with redis_server(tmp_path_factory.mktemp("redis"), kind=REDIS) as server:
            cls.url = server.url
            yield


class TestCluster(_OnServer):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
            cls.url = cluster.url
            yield


class TestMemcached(_OnServer):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with memcached(tmp_path_factory.mktemp("memcached")) as server:
            cls.url = f"memcached://127.0.0.1:{server.port}"
            yield


class TestThreeMemcacheds(_OnServer):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with ExitStack() as stack:
            servers = [stack.enter_context(memcached(tmp_path_factory.mktemp("memcached"))) for _ in range(3)]
            cls.url = "memcached://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
            yield


class _OnALoop(_OnServer):
    """The same, read on an event loop."""

    def again(self) -> Store:
        store = OnALoop(super().again())
        end = time.monotonic() + 30
        while not store.asked and time.monotonic() < end:
            assert store.get(b"-" * 33) is None
        assert store.asked, "the keeper has made a connection for the loop"
        return store


class TestRedisOnALoop(TestRedis, _OnALoop):
    pass


class TestClusterOnALoop(TestCluster, _OnALoop):
    pass


class TestMemcachedOnALoop(TestMemcached, _OnALoop):
    pass


class TestThreeMemcachedsOnALoop(TestThreeMemcacheds, _OnALoop):
    pass
