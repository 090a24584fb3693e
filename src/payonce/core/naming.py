"""Names by which shelves find what they have ready: two requests share one only if they are the same.

The body stands for itself in a name, or by a digest where it is long. This room must never know what a request means.
"""

from __future__ import annotations

from blake3 import blake3

LONGEST_NAME = 4 << 10
"""Bytes of a body that is part of a name as it is: to compare it takes a third of the time of hashing it well."""

Name = tuple[bytes, bytes] | tuple[bytes, None, bytes]
"""First a digest of all of a request that could matter but its body; last the body, or the digest of a long one."""


def name_of(told: bytes, body: bytes) -> Name:
    """The name of a request of which `told` is the digest of all but the body."""
    return (told, body) if len(body) <= LONGEST_NAME else (told, None, blake3(body).digest())
