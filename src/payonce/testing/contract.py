"""The promises of `model.ports.Store`, as tests: a new store is a file plus four lines.

    class TestMine(StoreContract):
        def open(self) -> Store:
            return MyStore(..., clock=self.clock)

`open` gives a new, empty store each time it is called; a store that several processes share overrides `shared` too and
opens the same place again. `self.clock` is a `FakeClock`. This room must never import pytest, nor know one store.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from payonce.model.ports import About, BulkRaising, Chronicle, Explaining, Notebook, Store
from payonce.testing.clock import FakeClock


def slot_of(name: object) -> bytes:
    """A slot of 33 bytes for any name."""
    return hashlib.sha256(repr(name).encode()).digest() + b"w"


def check(condition: object, promise: str) -> None:
    """Fail with the promise that was broken: pytest does not rewrite an `assert` of an installed package."""
    if not condition:
        raise AssertionError(promise)


class StoreContract:
    """Inherit, give `open`, and pytest collects every promise."""

    clock: FakeClock

    def setup_method(self) -> None:
        """A new clock for each test."""
        self.clock = FakeClock()

    def open(self) -> Store:
        """A new, empty store that reads `self.clock`, with room for at least two million bytes."""
        raise NotImplementedError

    def shared(self, store: Store) -> Store | None:  # noqa: ARG002 - for stores that can
        """The same place as `store`, opened once more as another process would; None where that can't be."""
        return None

    def about(self, ttl: float = 3600.0, *, model: str = "some/model", tags: tuple[str, ...] = ()) -> About:
        """Words about an entry that is stored now."""
        now = self.clock()
        return About(now, now + ttl, "tenant", "space", "chat/completions", model, tags)

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """A new store, closed at the end."""
        with closing(self.open()) as store:
            yield store

    def test_what_was_put_can_be_got_at_once_and_after_a_flush(self) -> None:
        values = [b"", b"\x00", b"one", bytes(range(256)) * 40]
        with self.opened() as store:
            for value in values:
                check(store.put(slot_of(value), value, self.about()), "a put that fits says True")
                check(store.get(slot_of(value)) == value, "a put is visible at once")
            check(store.flush(), "a flush says True when all is durable")
            for value in values:
                check(store.get(slot_of(value)) == value, "a put stays visible after a flush")

    def test_what_was_never_put_is_none(self) -> None:
        with self.opened() as store:
            check(store.get(slot_of("nothing")) is None, "an unknown slot gives None")

    def test_slots_that_look_alike_are_different(self) -> None:
        slots = [b"\0" * 32 + b"w", b"\0" * 32 + b"s", b"\0" * 31 + b"\1w", b"\xff" * 33]
        with self.opened() as store:
            for index, slot in enumerate(slots):
                store.put(slot, bytes([index]), self.about())
            for _ in range(2):
                check(
                    [store.get(slot) for slot in slots] == [b"\0", b"\1", b"\2", b"\3"], "each slot has its own value"
                )
                store.flush()

    def test_the_latest_put_wins_before_and_after_the_flush(self) -> None:
        slot = slot_of("twice")
        with self.opened() as store:
            for turn in range(6):
                check(store.put(slot, b"%d" % turn, self.about()), "a put that fits says True")
                check(store.get(slot) == b"%d" % turn, "get never gives an older value")
                if turn % 2:
                    store.flush()
                    check(store.get(slot) == b"%d" % turn, "get never gives an older value after a flush")
            check(store.volume().entries == 1, "a replaced entry is one entry")

    def test_a_deleted_entry_is_gone_at_once_and_stays_gone(self) -> None:
        slot = slot_of("short life")
        with self.opened() as store:
            for flush_between in (False, True):
                store.put(slot, b"v", self.about())
                if flush_between:
                    store.flush()
                store.delete(slot)
                check(store.get(slot) is None, "a deleted slot gives None at once")
                store.flush()
                check(store.get(slot) is None, "a deleted slot gives None after a flush")
            store.delete(slot_of("never there"))
            store.put(slot, b"again", self.about())
            check(store.get(slot) == b"again", "a deleted slot can be put again")

    def test_an_entry_is_not_given_after_it_has_expired(self) -> None:
        with self.opened() as store:
            for name in ("waiting", "written"):
                store.put(slot_of(name), b"v", self.about(ttl=10))
                if name == "written":
                    store.flush()
                self.clock.advance(9.5)
                check(store.get(slot_of(name)) == b"v", "an entry is given until it expires")
                self.clock.advance(0.5)
                check(store.get(slot_of(name)) is None, "an expired entry is not given")
            check(list(store.rows()) == [], "an expired entry is not listed")

    def test_rows_are_newest_first_and_say_what_was_said(self) -> None:
        with self.opened() as store:
            for index in range(600):
                store.put(
                    slot_of(index), b"x" * index, self.about(model=f"m/{index}", tags=("a", f"t:{index}")[: index % 3])
                )
            store.delete(slot_of(7))
            store.put(slot_of(3), b"newer", self.about(model="m/newer"))
            listed = list(store.rows())
            expected = [slot_of(3), *(slot_of(i) for i in reversed(range(600)) if i not in {3, 7})]
            check([row.slot for row in listed] == expected, "rows are newest first, each entry once")
            check([row.size for row in listed][:3] == [5, 599, 598], "a row has the size of its value")
            check(listed[0].about == self.about(model="m/newer"), "a row says what its put said")
            check(listed[1].about.tags == ("a", "t:599")[: 599 % 3], "a row has its tags")

    def test_rows_do_not_block_writers(self) -> None:
        with self.opened() as store:
            for index in range(600):
                store.put(slot_of(index), b"x", self.about())
            listing = store.rows()
            next(listing)
            check(store.put(slot_of("meanwhile"), b"y", self.about()), "a put goes on while rows are read")
            check(store.flush(), "a flush goes on while rows are read")
            check(len(list(listing)) >= 599, "a listing goes on while entries are put")

    def test_the_volume_counts_entries_and_bytes(self) -> None:
        with self.opened() as store:
            check(store.volume().entries == store.volume().used_bytes == 0, "a new store is empty")
            for index in range(50):
                store.put(slot_of(index), b"x" * 1000, self.about())
            store.flush()
            full = store.volume()
            check(full.entries == 50, "the volume counts entries")
            check(full.used_bytes >= 50_000, "the volume counts at least the bytes of the values")
            check(not full.limit_bytes or full.used_bytes <= full.limit_bytes, "the volume is within its limit")
            for index in range(50):
                store.delete(slot_of(index))
            store.flush()
            check((store.volume().entries, store.volume().used_bytes) == (0, 0), "what is deleted is not counted")

    def test_an_entry_as_large_as_the_store_is_refused_and_counted(self) -> None:
        with self.opened() as store:
            limit = store.volume().limit_bytes
            if not limit:
                return
            check(
                not store.put(slot_of("huge"), bytes(limit), self.about()), "an entry as large as the store is refused"
            )
            check(store.get(slot_of("huge")) is None, "what was refused is not there")
            check(store.dropped() == {"entry-too-large": 1}, "what was refused is counted")
            if isinstance(store, Explaining):
                said = store.keep(slot_of("huge"), bytes(limit), self.about())
                check(
                    said is not None and store.dropped() == {said.id: 2}, "why it is refused is what it is counted as"
                )

    def test_an_epoch_only_ever_rises(self) -> None:
        with self.opened() as store:
            check(dict(store.epochs()) == {}, "a new store has no epochs")
            check(store.raise_epoch("all") == 1, "the first count is 1")
            check(store.raise_epoch("all") == 2, "an epoch counts up by one")
            check(store.raise_epoch("all", at_least=9) == 9, "an epoch rises to at_least")
            check(store.raise_epoch("all", at_least=4) == 10, "an epoch never falls")
            check(store.raise_epoch("model:a/b", at_least=3) == 3, "scopes count for themselves")
            check(dict(store.epochs()) == {"all": 10, "model:a/b": 3}, "epochs() sees every raise at once")

    def test_many_epochs_are_raised_at_once_as_one_by_one(self) -> None:
        with self.opened() as store:
            if not isinstance(store, BulkRaising):
                return
            keys = [f"key:{number:064x}" for number in range(2048)]
            store.raise_epoch("tag:a")
            store.raise_epochs([*keys, "tag:a"])
            before = dict(store.epochs())
            check(set(before) == {*keys, "tag:a"}, "each of them is raised")
            check(before["tag:a"] == 2, "an epoch counts up by one")
            store.raise_epochs(keys[:3])
            after = store.epochs()
            check(all(after[key] > before[key] for key in keys[:3]), "again, they count on")
            check(all(after[key] == before[key] for key in keys[3:]), "and no other does")
            other = self.shared(store)
            if other is not None:
                with closing(other):
                    check(dict(other.epochs()) == dict(after), "all see them")

    def test_epochs_of_single_keys_are_forgotten_after_two_days(self) -> None:
        with self.opened() as store:
            store.raise_epoch("key:one")
            store.raise_epoch("tenant:t")
            self.clock.advance(2 * 86400 - 10)
            store.raise_epoch("key:two")
            check(set(store.epochs()) == {"key:one", "key:two", "tenant:t"}, "a fresh epoch of a key is kept")
            self.clock.advance(20)
            store.raise_epoch("all")
            check(set(store.epochs()) == {"key:two", "tenant:t", "all"}, "an old epoch of a key is forgotten")

    def test_a_chronicle_says_when_it_was_purged_and_never_forgets_that_it_was(self) -> None:
        with self.opened() as store:
            if not isinstance(store, Chronicle):
                return
            check(dict(store.raised()) == {}, "a new store was never purged")
            first = self.clock()
            store.raise_epoch("key:one")
            store.raise_epoch("all")
            self.clock.advance(10)
            store.raise_epoch("all")
            check(
                dict(store.raised()) == {"key:one": first, "all": first + 10}, "the latest raise of each scope counts"
            )
            self.clock.advance(2 * 86400)
            store.raise_epoch("tenant:t")
            raised = {"key:": first, "all": first + 10, "tenant:t": first + 10 + 2 * 86400}
            check(dict(store.raised()) == raised, "a forgotten key is remembered as some key")

    def test_notes_keep_the_latest_value(self) -> None:
        with self.opened() as store:
            if not isinstance(store, Notebook):
                return
            store.note("worker-1", b"a")
            store.note("worker-1", b"b")
            store.note("worker-2", b"c")
            for _ in range(2):
                check(dict(store.notes()) == {"worker-1": b"b", "worker-2": b"c"}, "notes keep the latest value")
                store.flush()

    def test_closing_twice_is_harmless_and_flushes(self) -> None:
        store = self.open()
        again = None
        try:
            store.put(slot_of("last"), b"words", self.about())
            again = self.shared(store)
            store.close()
            store.close()
            if again is not None:
                check(again.get(slot_of("last")) == b"words", "close flushes")
        finally:
            store.close()
            if again is not None:
                again.close()

    def test_two_openings_see_each_other(self) -> None:
        with self.opened() as one:
            two = self.shared(one)
            if two is None:
                return
            with closing(two):
                one.put(slot_of("x"), b"1", self.about())
                one.flush()
                check(two.get(slot_of("x")) == b"1", "what one flushed the other gets")
                two.put(slot_of("x"), b"2", self.about())
                two.flush()
                check(one.get(slot_of("x")) == b"2", "what the other flushed the one gets")
                check(
                    [one.raise_epoch("all"), two.raise_epoch("all"), one.raise_epoch("all")] == [1, 2, 3],
                    "they count together",
                )
                check(dict(one.epochs()) == dict(two.epochs()) == {"all": 3}, "they see the same epochs")
                two.delete(slot_of("x"))
                two.flush()
                check(one.get(slot_of("x")) is None, "what one deleted is gone for the other")
                check(one.volume() == two.volume(), "they count the same volume")

    def test_threads_never_see_another_slots_value_or_an_older_one(self) -> None:
        with self.opened() as store:
            faults: list[str] = []
            workers = [threading.Thread(target=self._work, args=(store, seed, faults)) for seed in range(6)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            check(not faults, f"threads agree: {faults[:3]}")
            check(store.flush(), "a flush after much work says True")

    def _work(self, store: Store, seed: int, faults: list[str]) -> None:
        # Each thread owns the slots of its seed and reads everybody's: its own must be exact, others' must be theirs.
        dice = random.Random(seed)  # noqa: S311 - a test that is the same each time
        mine: dict[int, bytes | None] = {}
        acts: list[Callable[[int], None]] = [
            lambda i: mine.__setitem__(i, b"%d/%d/%d" % (seed, i, dice.randrange(1 << 30))),
            lambda i: mine.__setitem__(i, None),
        ]
        try:
            for _ in range(300):
                index = dice.randrange(12)
                act = acts[dice.random() < 0.2]
                act(index)
                value = mine[index]
                if value is None:
                    store.delete(slot_of((seed, index)))
                elif not store.put(slot_of((seed, index)), value, self.about()):
                    faults.append("a put that fits was refused")
                if store.get(slot_of((seed, index))) != value:
                    faults.append(f"thread {seed} does not read what it wrote")
                other = dice.randrange(6)
                theirs = store.get(slot_of((other, index)))
                if theirs is not None and not theirs.startswith(b"%d/%d/" % (other, index)):
                    faults.append(f"slot {other}/{index} gave {theirs!r}")
        except Exception as error:  # noqa: BLE001 - a thread's exception must reach the test
            faults.append(repr(error))
