"""A stored answer, and the envelope in which it proves itself.

Envelope: 4 bytes of magic and version, 32 bytes of keyed BLAKE3 over slot and payload, then the payload (MessagePack).
Whatever is not exactly that, under that slot, with that MAC, is not an entry: a swapped value, a flipped bit, a cut or
a planted blob costs a miss (shared threat table: T1, T32, T33). This room must never know where bytes are kept.
"""

from __future__ import annotations

from hmac import compare_digest
from math import inf

import msgspec
from blake3 import blake3

from payonce.model.call import Headers, Terms

MAGIC = b"PYO1"
STALE_GRACE = 300
"""Seconds for which an entry is kept past its TTL, for requests that allow stale answers."""

_MAC_BYTES = 32
_HEAD = len(MAGIC) + _MAC_BYTES


class Tokens(msgspec.Struct, frozen=True, array_like=True):
    """What an answer says it used; None where it does not say. `cost` is in billionths of a US dollar. Where that is
    not said, `cached` tells what part of the input the provider's prompt cache had to do with, as far as that is said:
    the tokens read, written for five minutes, and written for an hour; empty where what is said makes no bill."""

    input: int | None = None
    output: int | None = None
    cost: int | None = None
    cached: tuple[int, ...] | None = None


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What an answer says of itself.

    `usage` tells who gets usage in a stream: `"none"` (it carries none), `"asked"` (it carries usage because this
    client asked for it), `"always"` (the upstream sends it to everybody, as OpenRouter does). `fingerprint` is what
    OpenAI calls `system_fingerprint`.
    """

    source_id: str
    model: str
    usage: str
    tokens: Tokens
    fingerprint: str = ""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An answer that was judged whole, with what is needed to serve, age and purge it.

    Times are Unix seconds; `ttl`, `swr` and `sie` are seconds; `took` is how long the upstream needed for it.
    `epochs` are the counts of `scopes` when its flight took off.
    """

    stored_at: float
    ttl: int
    swr: int
    sie: int
    scopes: tuple[str, ...]
    epochs: tuple[int, ...]
    status: int
    headers: Headers
    body: bytes
    facts: Facts
    tenant: str
    namespace: str
    tags: tuple[str, ...]
    endpoint: str
    model: str
    took: float

    def age(self, now: float) -> float:
        """Seconds since it was stored. An entry from the future counts as written now, but one from further ahead than
        its TTL (a clock that jumped) as older than anything, so that none lives for ever."""
        age = now - self.stored_at
        return age if age >= 0 else 0.0 if -age <= self.ttl else inf

    @property
    def terms(self) -> Terms:
        """For how long it may be used."""
        return Terms(self.ttl, self.swr, self.sie)

    @property
    def expires_at(self) -> float:
        """When it can't be served any more, not even stale; a later request may allow more staleness than the one that
        filled it, hence the grace."""
        return self.stored_at + self.ttl + max(self.swr, self.sie, STALE_GRACE)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def seal(entry: Entry, slot: bytes, secret: bytes) -> bytes:
    """The envelope of `entry` for `slot`; `secret` is 32 bytes."""
    payload = _encoder.encode(entry)
    return MAGIC + blake3(slot + payload, key=secret).digest() + payload


def unseal(blob: bytes, slot: bytes, secret: bytes) -> Entry | None:
    """The entry that `blob` proves to be under `slot`, or None."""
    if blob[:4] != MAGIC or len(blob) <= _HEAD:
        return None
    payload = blob[_HEAD:]
    if not compare_digest(blake3(slot + payload, key=secret).digest(), blob[4:_HEAD]):
        return None
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
