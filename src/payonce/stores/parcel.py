"""How a value travels to a shared store: a short head for listing and expiry, then the bytes, compressed where it pays.

Head: 3 bytes of magic and version, a codec byte, then (big-endian) the order stamp and expiry, the length of the bytes
as they were put, and the length of the words about them (MessagePack). Nothing here is trusted for serving: the bytes
prove themselves. This room must never hold more than was announced, nor know a server.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, NamedTuple

import msgspec

from payonce.model.ports import About

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"PV1"
COMPRESS_FROM = 4096
"""Bytes. What is smaller fits a few packets as it is, and to unpack it would take longer than the whole rest of a
read (docs/design/shared-stores.md)."""
LISTED = 1024
"""So many bytes of a parcel hold the whole head of nearly every one."""

_HEAD = struct.Struct(">3scQdIH")
_PLAIN, _ZSTD = b"\0", b"\1"
_LEVEL = 3


class _Words(msgspec.Struct, frozen=True, array_like=True):
    stored_at: float
    tenant: str
    namespace: str
    endpoint: str
    model: str
    tags: tuple[str, ...]


class Label(NamedTuple):
    """The head of a parcel. `stamp` orders parcels by when they were packed (nanoseconds); `size` is that of the bytes
    as they were put; `length` is the head's own, so that it can be told whether all of it was read."""

    stamp: int
    expires_at: float
    size: int
    compressed: bool
    length: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Words)


def pack(value: bytes, about: About, stamp: int) -> bytes:
    """`value` as it is sent to a server."""
    words = _encoder.encode(
        _Words(about.stored_at, about.tenant, about.namespace, about.endpoint, about.model, about.tags)
    )
    codec, body = _PLAIN, value
    if len(value) >= COMPRESS_FROM:
        packed = zstd.compress(value, _LEVEL)
        if len(packed) < len(value):
            codec, body = _ZSTD, packed
    return _HEAD.pack(MAGIC, codec, stamp, about.expires_at, len(value), len(words)) + words + body


def label(parcel: bytes) -> Label | None:
    """What stands on a parcel, of which only the beginning may be at hand; None where it is none."""
    if len(parcel) < _HEAD.size:
        return None
    magic, codec, stamp, expires_at, size, words = _HEAD.unpack_from(parcel)
    if magic != MAGIC or codec not in (_PLAIN, _ZSTD):
        return None
    return Label(stamp, expires_at, size, codec == _ZSTD, _HEAD.size + words)


def about(parcel: bytes, on: Label) -> About | None:
    """The words about what is inside; None where they can't be read."""
    try:
        words = _decoder.decode(parcel[_HEAD.size : on.length])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return About(words.stored_at, on.expires_at, words.tenant, words.namespace, words.endpoint, words.model, words.tags)


def unpack(parcel: bytes, on: Label, most: int) -> bytes | None:
    """The bytes inside, if they are whole and at most `most`; None where they are not."""
    body = parcel[on.length :]
    if on.size > most:
        return None
    if not on.compressed:
        return body if len(body) == on.size else None
    unpacker: Any = zstd.ZstdDecompressor()
    try:
        value: bytes = unpacker.decompress(body, max_length=on.size)
        if not unpacker.eof and len(value) == on.size:
            value += unpacker.decompress(b"", max_length=1)  # an end that has no bytes of its own
    except (zstd.ZstdError, EOFError, ValueError):
        return None
    return value if unpacker.eof and len(value) == on.size and not unpacker.unused_data else None
