"""What a memcached URL says: `memcached://host:port,host:port`, and behind `?` its prefix, item_bytes and
connect_timeout. Pure; nothing here connects. This room must never know an entry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from payonce.errors import StoreUrlError
from payonce.stores.redis_url import PREFIX, Address, addresses, seconds, show
from payonce.stores.server_url import take_apart

_OPTIONS = ("prefix", "item_bytes", "connect_timeout")
_EXAMPLE = "memcached://host:11211,host:11211"


@dataclass(frozen=True, slots=True)
class Place:
    """Where memcached servers are. `item_bytes` is how large an item may be, name and overhead aside."""

    addresses: tuple[Address, ...]
    prefix: str = "payonce:"
    item_bytes: int = 1_000_000
    connect_timeout: float = 0.5

    def __str__(self) -> str:
        return "memcached://" + ",".join(show(address) for address in self.addresses)


def read_url(scheme: str, rest: str) -> Place:  # noqa: ARG001 - there is one
    """What stands behind `scheme`. Raises StoreUrlError."""
    return read_place(rest)


def read_place(rest: str) -> Place:
    """What stands behind the scheme of a URL. Raises StoreUrlError, which says what to write."""
    if "@" in rest:
        raise StoreUrlError("memcached has no users and passwords here", f"write  {_EXAMPLE}")
    parts = take_apart(rest)
    if parts is None or parts.path.strip("/"):
        raise StoreUrlError("the memcached URL names no server", f"write  {_EXAMPLE}")
    options = dict(parts.options)
    if not options.keys() <= set(_OPTIONS):
        raise StoreUrlError("the memcached URL has an unknown option behind its ?", f"use {', '.join(_OPTIONS)}")
    prefix = options.get("prefix", "payonce:")
    if not PREFIX.fullmatch(prefix):
        raise StoreUrlError("prefix is not 1 to 64 of A-Z a-z 0-9 . _ : -", "write, for example,  prefix=payonce:")
    size = options.get("item_bytes", "1000000")
    if not re.fullmatch(r"\d{4,9}", size, re.ASCII):
        raise StoreUrlError("item_bytes is not a number of bytes", "write, for example,  item_bytes=1000000")
    found = tuple(addresses(parts.hosts, 11211))
    if len(set(found)) < len(found):
        raise StoreUrlError("the memcached URL names a server twice", "write each once")
    return Place(found, prefix, int(size), seconds(options.get("connect_timeout", "0.5")))
