"""The envelope: whatever is not exactly what was sealed, under that slot, with that secret, is not an entry."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import NOW, SECRET, entry

from payonce.model.entry import MAGIC, STALE_GRACE, Entry, Facts, Tokens, seal, unseal

SLOT = bytes(32) + b"s"
KEPT = entry(body=b'data: {"a":1}\n\n')
BLOB = seal(KEPT, SLOT, SECRET)

few = st.text(max_size=5)
seconds = st.integers(0, 10**9)
count = st.none() | st.integers(-(2**63), 2**64 - 1)
fields = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple)
entries = st.builds(
    Entry,
    stored_at=st.floats(allow_nan=False),
    ttl=seconds,
    swr=seconds,
    sie=seconds,
    scopes=st.lists(few, max_size=3).map(tuple),
    epochs=st.lists(st.integers(0, 2**63), max_size=3).map(tuple),
    status=st.integers(100, 599),
    headers=fields,
    body=st.binary(max_size=40),
    facts=st.builds(Facts, few, few, few, st.builds(Tokens, count, count, count)),
    tenant=few,
    namespace=few,
    tags=st.lists(few, max_size=3).map(tuple),
    endpoint=few,
    model=few,
    took=st.floats(0, 1e6),
)
slots = st.binary(min_size=33, max_size=33)
secrets = st.binary(min_size=32, max_size=32)


@given(entries, slots, secrets)
def test_what_was_sealed_comes_back_as_it_was(kept: Entry, slot: bytes, secret: bytes) -> None:
    assert unseal(seal(kept, slot, secret), slot, secret) == kept


def test_flipping_any_one_bit_makes_it_nothing() -> None:
    for bit in range(8 * len(BLOB)):
        flipped = bytearray(BLOB)
        flipped[bit // 8] ^= 1 << bit % 8
        assert unseal(bytes(flipped), SLOT, SECRET) is None, f"bit {bit}"
    assert unseal(BLOB, SLOT, SECRET) == KEPT


def test_cutting_it_at_any_length_makes_it_nothing() -> None:
    assert all(unseal(BLOB[:size], SLOT, SECRET) is None for size in range(len(BLOB)))
    assert all(unseal(BLOB[start:], SLOT, SECRET) is None for start in range(1, len(BLOB) + 1))


@pytest.mark.parametrize("more", [b"\0", b"\n", b"\xc0", BLOB, BLOB[36:], bytes(1000)])
def test_adding_to_it_makes_it_nothing(more: bytes) -> None:
    assert unseal(BLOB + more, SLOT, SECRET) is None
    assert unseal(more + BLOB, SLOT, SECRET) is None


def test_two_entries_that_were_swapped_are_nothing() -> None:
    other_slot = b"\1" + SLOT[1:]
    other = seal(entry(body=b"another"), other_slot, SECRET)
    assert unseal(other, SLOT, SECRET) is None
    assert unseal(BLOB, other_slot, SECRET) is None
    assert unseal(BLOB[:36] + other[36:], SLOT, SECRET) is None
    assert unseal(other[:36] + BLOB[36:], SLOT, SECRET) is None


def test_the_framings_of_one_key_do_not_stand_for_each_other() -> None:
    assert unseal(BLOB, SLOT[:-1] + b"w", SECRET) is None


@given(slots, secrets)
def test_any_other_slot_or_secret_makes_it_nothing(slot: bytes, secret: bytes) -> None:
    assert (unseal(BLOB, slot, SECRET) is None) is (slot != SLOT)
    assert (unseal(BLOB, SLOT, secret) is None) is (secret != SECRET)


def test_the_boundary_between_slot_and_payload_can_not_be_moved() -> None:
    payload = BLOB[36:]
    for shift in (1, 2, 8):
        assert unseal(BLOB[:36] + payload[shift:], SLOT + payload[:shift], SECRET) is None or shift == 0
        assert unseal(BLOB[:36] + SLOT[-shift:] + payload, SLOT[:-shift], SECRET) is None


def test_a_hundred_thousand_random_blobs_are_nothing() -> None:
    dice = random.Random(1)
    for n in range(100_000):
        blob = dice.randbytes(dice.randrange(80))
        assert unseal(MAGIC + blob if n % 2 else blob, SLOT, SECRET) is None


def _under_mac(payload: bytes) -> bytes:
    """What only a holder of the secret can plant: a right MAC over something else."""
    return MAGIC + blake3(SLOT + payload, key=SECRET).digest() + payload


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc0",
        b"\x90",
        b"\x80",
        b"\xff",
        b"\xc1",
        b"\x91" * 5000,
        msgspec.msgpack.encode(["x"] * 16),
        msgspec.msgpack.encode(list(range(16))),
        msgspec.msgpack.encode({"stored_at": 1.0}),
        BLOB[36:] + b"\0",
        BLOB[36:-1],
        BLOB[36:].replace(b"m/one", b"m/\xffne", 1),
        pickle.dumps(_Payload()),
    ],
)
def test_what_is_no_entry_is_nothing_even_under_a_right_mac(payload: bytes) -> None:
    assert unseal(_under_mac(payload), SLOT, SECRET) is None


def test_an_older_or_newer_format_is_nothing() -> None:
    assert unseal(b"PYO0" + BLOB[4:], SLOT, SECRET) is None
    assert unseal(b"PYO2" + BLOB[4:], SLOT, SECRET) is None


@pytest.mark.parametrize(
    ("now", "age"), [(NOW, 0), (NOW + 5.5, 5.5), (NOW - 100, 0), (NOW - 100.1, math.inf), (NOW - 1e9, math.inf)]
)
def test_age_never_runs_backwards_and_a_far_future_is_older_than_anything(now: float, age: float) -> None:
    assert KEPT.age(now) == age


@pytest.mark.parametrize(("swr", "sie", "window"), [(0, 0, STALE_GRACE), (10, 1000, 1000), (1000, 10, 1000)])
def test_an_entry_is_kept_for_as_long_as_it_could_be_served(swr: int, sie: int, window: int) -> None:
    assert entry(swr=swr, sie=sie).expires_at == NOW + 100 + window
