"""How a key is made: BLAKE3 over a length-prefixed tuple of all that the client meant (docs/keys.md tells the same).

Every part has its length in front, so no two tuples share an encoding; numbers keep their text; nothing is cut,
lower-cased or joined by a separator. A change to anything here is a new `VERSION`. This room must never see a
credential except to hash it with a secret, and never knows a dialect.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from blake3 import blake3

from payonce.model.call import Headers
from payonce.model.key import Key

VERSION = b"payonce key 1"
OPEN_SECRET = blake3(b"payonce: for cassettes, which everybody may read").digest()
"""The secret of stores whose entries must mean the same on every machine. It protects nothing (design/cassette.md)."""
OPEN_SHARE = "cassette"
"""The one tenant of such a store, whatever the API key."""


class KeyParts(NamedTuple):
    """All that an answer depends on, in the order in which it is hashed."""

    tenant: bytes
    upstream: bytes
    endpoint: bytes
    query: bytes
    namespace: bytes
    sample: bytes
    headers: Headers
    body: bytes


def encode(parts: KeyParts) -> bytes:
    """The bytes that are hashed: injective, by 8-byte lengths."""
    flat = [VERSION, *parts[:6], len(parts.headers).to_bytes(8, "big")]
    for field in parts.headers:
        flat += field
    return b"".join([piece for part in (*flat, parts.body) for piece in (len(part).to_bytes(8, "big"), part)])


class KeyMaker:
    """Makes the keys of requests that differ in their bodies only, as most of a client's do: all else is hashed once.
    The body of `parts` counts for nothing."""

    def __init__(self, parts: KeyParts) -> None:
        self._common = blake3(encode(parts._replace(body=b""))[:-8])

    def key(self, body: bytes, *, stream: bool) -> Key:
        """The key of the parts with this body; the framing is not hashed but kept beside the digest."""
        hasher = self._common.copy()
        hasher.update(len(body).to_bytes(8, "big"))
        hasher.update(body)
        return Key(hasher.digest(), stream)


def batch_key(items: Iterable[Key]) -> Key:
    """The key under which a call for these items, in this order, is followed. Nothing is stored under it."""
    return Key(blake3(b"payonce batch" + b"".join([item.digest for item in items])).digest(), stream=False)


def tenant_id(credentials: Headers, secret: bytes, share: str = "") -> str:
    """Who asks, as 64 hexadecimal digits that can't be turned back: keyed BLAKE3 of the credential headers.

    `secret` is 32 bytes, created on first start. With `share`, everybody is one tenant of that name. No credentials
    at all are a tenant too.
    """
    hasher = blake3(key=secret)
    if share:
        credentials = ((b"share", share.encode()),)
    for name, value in credentials:
        for part in (name, value):
            hasher.update(len(part).to_bytes(8, "big"))
            hasher.update(part)
    return hasher.hexdigest()


def derive(secret: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose, from the one secret."""
    return blake3(secret, derive_key_context=f"payonce 2026-11 {purpose}").digest()


def upstream_identity(url: str) -> bytes:
    """Scheme, host, port and path of an upstream, in one spelling: two upstreams never share an entry (threat T8)."""
    split = urlsplit(url)
    port = split.port or (443 if split.scheme == "https" else 80)
    return f"{split.scheme}://{(split.hostname or '').lower()}:{port}{split.path.rstrip('/')}".encode()
