"""The name of an answer: 32 bytes of BLAKE3, and how it is written for people.

This room must never know what goes into a key; core/keying.py does.
"""

from __future__ import annotations

import msgspec

PREFIX = "b3:"
DIGEST_BYTES = 32


class Key(msgspec.Struct, frozen=True):
    """What the client meant (`digest`), and in which framing it wants the answer: a stream or a whole body."""

    digest: bytes
    stream: bool

    @property
    def slot(self) -> bytes:
        """33 bytes: where the answer stands in a store. The two framings of one meaning never share a slot."""
        return self.digest + (b"s" if self.stream else b"w")

    @property
    def turned(self) -> Key:
        """The same meaning in the other framing."""
        return Key(self.digest, not self.stream)

    @property
    def text(self) -> str:
        """How the key is shown: `b3:` and 64 hexadecimal digits."""
        return PREFIX + self.digest.hex()


def parse_key(text: str) -> bytes | None:
    """The digest, or the beginning of one (at least 4 digits), that `text` names; None if it names none."""
    digits = text.removeprefix(PREFIX).lower()
    if not 4 <= len(digits) <= 2 * DIGEST_BYTES or len(digits) % 2:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None
