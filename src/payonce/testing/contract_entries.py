"""What a store promises of its entries: what is put is got, the latest wins, and what it says of them is so.

This room must never import pytest, nor know one store.
"""

from __future__ import annotations

from payonce.model.ports import Declining, Explaining
from payonce.testing.contract_place import StorePlace, check, slot_of


class EntryPromises(StorePlace):
    """Entries: one process, one thread."""

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
            if isinstance(store, Declining):
                before = store.dropped()
                check(store.declines(slot_of("huge"), limit) is not None, "what would be refused is declined")
                check(store.declines(slot_of("small"), 1) is None, "what would be taken is not declined")
                check(store.dropped() == before, "what is declined is not counted")
