"""What a store promises to several at once: threads, processes that opened the same place, and whoever comes after it.

This room must never import pytest, nor know one store.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing

from payonce.model.ports import Notebook, Store
from payonce.testing.contract_place import StorePlace, check, slot_of


class SharingPromises(StorePlace):
    """What each of several sees of the others."""

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
