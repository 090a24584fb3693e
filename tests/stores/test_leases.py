"""Leases on every engine: one process has one, it lapses when that dies, and nobody ever touches another's."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.servers import REDIS, memcached, redis_cluster, redis_server

from payonce.errors import StoreError
from payonce.model.ports import About
from payonce.stores import redis_leases, shared_leases, sqlite_leases
from payonce.stores.registry import open_store
from payonce.stores.shared import SharedStore
from payonce.stores.shared_leases import UNKEPT, Seen
from payonce.stores.sqlite import SqliteStore

SLOT = bytes(range(32)) + b"w"
KINDS = ["valkey", "redis", "memcached", "cluster"]
LONG = 60.0
"""Seconds, in place of two or three, for what must not lapse by itself while a busy machine does something else."""
pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    with ExitStack() as stack:
        started: dict[str, Any] = {}

        def server(kind: str) -> Any:
            if kind not in started:
                start: Any = {"memcached": memcached, "cluster": redis_cluster}.get(kind, redis_server)
                options = {"kind": REDIS} if kind == "redis" else {}
                started[kind] = stack.enter_context(start(tmp_path_factory.mktemp(kind), **options))
            return started[kind]

        yield server


@pytest.fixture(params=KINDS)
def two(request: pytest.FixtureRequest, servers: Callable[[str], Any]) -> Iterator[tuple[SharedStore, SharedStore]]:
    """Two processes' stores (as far as a server can tell) under one prefix of their own."""
    url = f"{servers(request.param).url}?prefix=t{uuid.uuid4().hex[:8]}:"
    stores = [open_store(url, clock=time.time) for _ in range(2)]
    for store in stores:
        store.epochs()
    yield stores[0], stores[1]
    for store in stores:
        store.close()


def about() -> About:
    now = time.time()
    return About(now, now + 60, "t", "", "chat/completions", "m")


def until(true: Callable[[], Any], seconds: float) -> None:
    """Until it is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_of_two_has_it_and_the_other_is_shown_what_was_put(two: tuple[SharedStore, SharedStore]) -> None:
    ours, theirs = two
    assert ours.leases.claim(SLOT) == (True, None, True)
    assert theirs.leases.claim(SLOT) == (False, None, True)
    assert ours.put(SLOT, b"answer", about())
    ours.leases.release(SLOT, kept=True)
    until(lambda: theirs.leases.claim(SLOT).found == b"answer", 20)
    until(lambda: theirs.leases.claim(SLOT).free, 20)


def test_it_is_given_back_only_once_the_answer_is_written(two: tuple[SharedStore, SharedStore]) -> None:
    ours, theirs = two
    for number in range(30):
        slot = number.to_bytes(32, "big") + b"s"
        assert ours.leases.claim(slot).free
        assert ours.put(slot, b"x" * 100_000, about())
        ours.leases.release(slot, kept=True)
        while not (seen := theirs.leases.claim(slot)).free:
            assert seen.looked
        assert seen.found is not None, "who may go is shown the answer"


def test_where_the_answer_was_not_kept_everybody_may_go_at_once(
    two: tuple[SharedStore, SharedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_leases, "LEASE_SECONDS", LONG)
    monkeypatch.setattr(shared_leases, "UNKEPT_SECONDS", LONG)
    ours, theirs = two
    assert ours.leases.claim(SLOT).free
    assert not theirs.leases.claim(SLOT).free
    ours.leases.release(SLOT, kept=False)
    until(lambda: theirs.leases.claim(SLOT).free, 20)
    assert ours.leases.claim(SLOT).free, "nobody has taken it: all go"


def test_it_is_kept_up_for_as_long_as_the_process_lives_and_lapses_when_it_dies(
    two: tuple[SharedStore, SharedStore],
) -> None:
    ours, theirs = two
    assert ours.leases.claim(SLOT).free
    end = time.monotonic() + shared_leases.LEASE_SECONDS + 1.5
    while time.monotonic() < end:
        assert not theirs.leases.claim(SLOT).free
        time.sleep(0.1)
    ours._live.leases._held.clear()  # as if it had died: nothing is kept up, nothing given back
    until(lambda: theirs.leases.claim(SLOT).free, 5 * shared_leases.LEASE_SECONDS)


def test_a_claim_that_came_too_late_is_given_back(
    two: tuple[SharedStore, SharedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_leases, "LEASE_SECONDS", LONG)
    ours, theirs = two
    claim = ours._live.leases._medium.claim

    def late(*asked: Any) -> Seen:
        ours.leases.release(SLOT, kept=True)  # its flight has landed meanwhile
        return claim(*asked)

    ours._live.leases._medium.claim = late  # type: ignore[method-assign]
    ours.leases.claim(SLOT)
    until(lambda: theirs.leases.claim(SLOT).free, 20)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["claim", "drop", "mark", "renew"]), st.sampled_from([b"a", b"b"])), max_size=12
    )
)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("kind", ["valkey", "memcached"])
def test_whatever_two_owners_do_nobody_changes_anothers(
    kind: str, steps: list[tuple[str, bytes]], servers: Callable[[str], Any]
) -> None:
    store = open_store(f"{servers(kind).url}?prefix=t{uuid.uuid4().hex[:8]}:", clock=time.time)
    store.epochs()
    leases, holder = store._live.leases._medium, b""
    soon = lambda: time.monotonic() + 5  # noqa: E731
    for what, owner in steps:
        if what == "claim":
            holder = holder or owner
            assert leases.claim(SLOT, owner, 60, soon()) == Seen(holder, None)
            continue
        into = {"drop": None, "mark": UNKEPT, "renew": owner}[what]
        assert leases.turn(SLOT, owner, into, 60, soon()) is (holder == owner)
        if holder == owner:
            holder = into or b""
    store.close()


def test_a_lease_that_changes_hands_between_the_look_and_the_change_is_left_alone(
    servers: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers("valkey")
    store = open_store(f"{server.url}?prefix=t{uuid.uuid4().hex[:8]}:", clock=time.time)
    store.epochs()
    leases = store._live.leases._medium
    assert isinstance(leases, redis_leases.RedisLeases)
    soon = time.monotonic() + 10
    assert leases.claim(SLOT, b"a", 60, soon).holder == b"a"
    drop, changed = redis_leases.words.drop, []

    def meanwhile(name: bytes) -> Any:
        server.say("SET", name, b"b")
        changed.append(name)
        return drop(name)

    monkeypatch.setattr(redis_leases.words, "drop", meanwhile)
    assert not leases.turn(SLOT, b"a", None, 60, soon)
    monkeypatch.undo()
    assert changed
    assert leases.claim(SLOT, b"c", 60, soon).holder == b"b"
    store.close()


def test_a_server_that_is_gone_is_not_needed_and_fails_at_once(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = open_store(server.url, clock=time.time)
        store.epochs()
        assert store.leases.needed(SLOT)
        server.kill()
        started = time.monotonic()
        for _ in range(6):
            with pytest.raises(StoreError):
                store.leases.claim(SLOT)
        assert not store.leases.needed(SLOT), "the breaker is open"
        assert time.monotonic() - started < store.leases.budget
        assert not store._live.leases._held
        store.close()


# ------------------------------------------------------------------------------------------------------- SQLite

CHILD = """
import sys, time
from payonce.model.ports import About
from payonce.stores import sqlite_leases
from payonce.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1], 1 << 26)
store.epochs()
slot = bytes(range(32)) + b"w"
unlock = store.leases._unlock
def slowly(place):  # it has looked, and is about to let go
    print(True, flush=True)
    sys.stdin.readline()
    store.leases._unlock = unlock
    unlock(place)
for line in sys.stdin:
    word = line.strip()
    if word == "claim":
        print(store.leases.claim(slot).free, flush=True)
    elif word == "stop":
        store.leases._unlock = slowly; print(True, flush=True)
    elif word == "patience":
        sqlite_leases.UNKEPT_SECONDS = 60.0; print(True, flush=True)
    elif word == "look":
        store.epochs(); print(store.leases.needed(slot), flush=True)
    elif word == "put":
        now = time.time()
        print(store.put(slot, b"answer", About(now, now + 60, "t", "", "chat/completions", "m")), flush=True)
    else:
        store.leases.release(slot, kept=word == "kept"); print(True, flush=True)
"""


class Child:
    """A process of its own on the file."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def say(self, word: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() == "True"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[SqliteStore, Child]]:
    store, child = SqliteStore(tmp_path / "c.db", 1 << 26), Child(tmp_path / "c.db")
    assert child.say("look") in (True, False)
    store.epochs()
    child.say("look")
    yield store, child
    child.kill()
    store.close()


def test_a_process_that_is_alone_on_a_file_takes_no_lock(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "c.db", 1 << 26)
    store.epochs()
    assert not store.leases.needed(SLOT)
    child = Child(tmp_path / "c.db")
    assert child.say("look")
    store.epochs()
    assert store.leases.needed(SLOT)
    child.kill()
    store.epochs()
    assert not store.leases.needed(SLOT)
    store.close()


def test_of_two_processes_on_a_file_one_has_it_until_it_is_written(file: tuple[SqliteStore, Child]) -> None:
    store, child = file
    assert child.say("claim")
    assert not store.leases.claim(SLOT).free
    assert child.say("put")
    child.say("kept")
    until(lambda: (child.say("look"), store.leases.claim(SLOT).free)[1], 20)
    assert store.get(SLOT) == b"answer"
    store.leases.release(SLOT, kept=True)
    assert child.say("claim")


def test_on_a_file_too_everybody_goes_where_nothing_was_kept(file: tuple[SqliteStore, Child]) -> None:
    store, child = file
    child.say("patience")
    assert child.say("claim")
    assert not store.leases.claim(SLOT).free
    child.say("unkept")
    assert store.leases.claim(SLOT).free
    assert child.say("claim")
    assert store.leases.claim(SLOT).free


@pytest.fixture
def looker(file: tuple[SqliteStore, Child], tmp_path: Path) -> Iterator[Child]:
    """A third process, which stands still in the middle of its look whether the answer was kept, until told on."""
    looking = Child(tmp_path / "c.db")
    looking.say("look")
    assert file[1].say("claim")
    looking.say("stop")
    looking.say("claim")
    yield looking
    looking.kill()


def test_who_looks_while_it_is_said_that_nothing_was_kept_does_not_hide_it(
    file: tuple[SqliteStore, Child], looker: Child, tmp_path: Path
) -> None:
    store, child = file
    child.say("patience")
    child.say("unkept")
    assert not store.leases.claim(SLOT).free, "it could not be said yet: nobody gets the lease for himself"
    assert child.say("claim"), "who knows it goes"
    assert not looker.say("go on")
    child.say("look")  # as each does several times a second
    third = Child(tmp_path / "c.db")
    third.say("look")
    assert [store.leases.claim(SLOT).free, looker.say("claim"), third.say("claim")] == [True] * 3, "all go at once"
    third.kill()


def test_who_stands_still_while_he_looks_keeps_the_lease_from_nobody_for_long(
    file: tuple[SqliteStore, Child], looker: Child
) -> None:
    store, child = file
    child.say("unkept")
    until(lambda: (child.say("look"), store.leases.claim(SLOT).free)[1], 10 * sqlite_leases.UNKEPT_SECONDS)


def test_two_looks_at_once_do_not_look_like_the_mark(file: tuple[SqliteStore, Child], looker: Child) -> None:
    store, child = file
    assert not store.leases.claim(SLOT).free
    assert not looker.say("go on")
    assert child.say("claim"), "it still has it"


def test_a_process_that_is_killed_gives_its_lock_back_at_once(file: tuple[SqliteStore, Child]) -> None:
    store, child = file
    assert child.say("claim")
    assert not store.leases.claim(SLOT).free
    child.kill()
    assert store.leases.claim(SLOT).free
