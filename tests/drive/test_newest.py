"""What was read before something newer was put may be served once, and is not kept in front of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from payonce.drive.newest import MOST_SLOTS, Newest
from payonce.drive.tiers import Tiers
from payonce.model.about import about_entry
from payonce.model.entry import Entry, seal, unseal
from payonce.stores.memory import MemoryStore
from tests.support import words

NOW = words.NOW


def clock() -> float:
    return NOW


def stored(seconds: float, body: bytes) -> Entry:
    return replace(words.entry(), stored_at=NOW + seconds, body=body)


@pytest.fixture
def tiers() -> Tiers:
    return Tiers(MemoryStore(1 << 20, clock), MemoryStore(1 << 20, clock), words.SECRET, clock=clock)


def in_front(tiers: Tiers) -> bytes | None:
    slot = words.ask().key.slot
    blob = tiers.front.get(slot)
    found = None if blob is None else unseal(blob, slot, words.SECRET)
    return None if found is None else found.body


def read(tiers: Tiers, entry: Entry) -> bytes:
    """The bytes of `entry` as a store behind gives them."""
    blob = seal(entry, words.ask().key.slot, words.SECRET)
    assert tiers.behind is not None
    tiers.behind.put(words.ask().key.slot, blob, about_entry(entry))
    return blob


@pytest.mark.parametrize(
    ("meanwhile", "kept"),
    [("nothing", b"old"), ("a newer one was put", None), ("an older one was put", b"old"), ("it was forgotten", None)],
)
def test_what_was_read_is_kept_in_front_only_if_nothing_newer_came(
    tiers: Tiers, meanwhile: str, kept: bytes | None
) -> None:
    ask, old = words.ask(), stored(-10, b"old")
    blob = read(tiers, old)
    if meanwhile == "a newer one was put":
        assert tiers.put(ask, stored(-1, b"new")) is None
    elif meanwhile == "an older one was put":
        assert tiers.put(ask, stored(-20, b"older")) is None
    elif meanwhile == "it was forgotten":
        tiers.forget(ask.key.slot)
    tiers.promote(ask, blob, old)
    assert in_front(tiers) == kept


def test_what_is_stored_after_a_deletion_is_kept(tiers: Tiers) -> None:
    ask, new = words.ask(), stored(1, b"new")
    tiers.forget(ask.key.slot)
    tiers.promote(ask, read(tiers, new), new)
    assert in_front(tiers) == b"new"


def test_only_so_much_is_remembered() -> None:
    newest = Newest()
    for number in range(MOST_SLOTS + 1):
        newest.put(b"%d" % number, 5.0)
    assert newest.allows(b"0", 1.0), "the oldest is let go of"
    assert not newest.allows(b"1", 1.0)
    newest.put(b"1", 6.0)
    newest.put(b"more", 5.0)
    assert not newest.allows(b"1", 5.5), "what is put again is new again"
