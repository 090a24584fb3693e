"""What a Redis URL says: where the servers are, how to log in, and how names begin. Pure; nothing here connects.

`redis[s]://[user[:password]@]host[:port][/db]`, `redis[s]+cluster://…host:port,host:port`,
`redis[s]+sentinel://…host:port,host:port/service[/db]`; options behind `?`: prefix, db, connect_timeout, ca, cert, key,
sentinel_user, sentinel_password. This room must never put anything of a URL into a message that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from payonce.errors import StoreUrlError
from payonce.stores.server_url import ESCAPES, take_apart

Address = tuple[str, int]

_PORT = {"single": 6379, "cluster": 6379, "sentinel": 26379}
_OPTIONS = ("prefix", "db", "connect_timeout", "ca", "cert", "key", "sentinel_user", "sentinel_password")
PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are; `password` is never shown."""

    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Redis is. `kind` is single, cluster or sentinel; `prefix` begins every name that is written."""

    kind: str
    tls: bool
    addresses: tuple[Address, ...]
    login: Login = Login()
    sentinel_login: Login = Login()
    db: int = 0
    service: str = ""
    prefix: str = "payonce:"
    connect_timeout: float = 0.5
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __str__(self) -> str:
        """Without anything secret, for messages."""
        hosts = ",".join(show(address) for address in self.addresses)
        return f"redis{'s' * self.tls}{'' if self.kind == 'single' else '+' + self.kind}://{hosts}"


def show(address: Address) -> str:
    """`host:port`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_url(scheme: str, rest: str) -> Place:
    """What stands behind `scheme`, as `rediss+cluster`. Raises StoreUrlError."""
    base, _, kind = scheme.partition("+")
    return read_place(rest, kind or "single", tls=base == "rediss")


def read_place(rest: str, kind: str, *, tls: bool) -> Place:
    """What stands behind the scheme of a URL. Raises StoreUrlError, which says what to write."""
    if not rest.startswith("//"):
        raise _wrong(kind, tls, "names no server")
    found = take_apart(rest)
    if found is None:
        raise _wrong(kind, tls, "has an @ behind its hosts", ESCAPES)
    user, _, password = found.login.partition(":")
    options = _options(found.options, kind, tls)
    parts = [unquote(part) for part in found.path.strip("/").split("/") if part]
    if kind == "single" and "," in found.hosts:
        raise _several(tls)
    service = ""
    if kind == "sentinel":
        if not parts:
            raise _wrong(kind, tls, "names no service behind the sentinels")
        service = parts.pop(0)
    if len(parts) > 1:
        raise _wrong(kind, tls, "has more path than a database's number")
    db = _number(parts[0] if parts else options.get("db", "0"), kind, tls)
    if db and kind == "cluster":
        raise _wrong(kind, tls, "names a database, and a cluster has only number 0")
    prefix = options.get("prefix", "payonce:")
    if not PREFIX.fullmatch(prefix):
        raise _wrong(kind, tls, "has a prefix that is not 1 to 64 of A-Z a-z 0-9 . _ : -")
    return Place(
        kind=kind,
        tls=tls,
        addresses=tuple(addresses(found.hosts, _PORT[kind])),
        login=Login(unquote(user), unquote(password)),
        sentinel_login=Login(options.get("sentinel_user", ""), options.get("sentinel_password", "")),
        db=db,
        service=service,
        prefix=prefix,
        connect_timeout=seconds(options.get("connect_timeout", "0.5")),
        ca=options.get("ca", ""),
        cert=options.get("cert", ""),
        key=options.get("key", ""),
    )


def addresses(hosts: str, port: int) -> list[Address]:
    """`host:port,host:port`; `port` where none is said."""
    fix = f"write  host:port  with a port from 1 to 65535, or  host  alone for {port}; {ESCAPES}"
    found = []
    for text in hosts.split(","):
        match = _HOST.fullmatch(text.strip())
        if match is None or not 0 < int(match[3] or port) < 65536:
            raise StoreUrlError("a server's address can't be read", fix)
        found.append((match[1] or match[2], int(match[3] or port)))
    return found


def seconds(text: str) -> float:
    """A length of time in seconds, above 0 and at most 30."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 30:
        raise StoreUrlError("connect_timeout is not a number of seconds from 0 to 30", "write, for example,  0.5")
    return value


def _options(pairs: Sequence[tuple[str, str]], kind: str, tls: bool) -> dict[str, str]:
    options = dict(pairs)
    for name, value in options.items():
        if name not in _OPTIONS:
            raise _wrong(kind, tls, f"has an unknown option behind its ? (known: {', '.join(_OPTIONS)})", ESCAPES)
        if name in ("ca", "cert", "key") and not tls:
            raise _wrong(kind, tls, f"has {name}=, which is for TLS, so for a rediss URL")
        if name in ("ca", "cert", "key") and not value:
            raise _wrong(kind, tls, f"has an empty {name}=, which names no file")
    return options


def _number(text: str, kind: str, tls: bool) -> int:
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII):
        raise _wrong(kind, tls, "has a database that is not a number")
    return int(text)


def _several(tls: bool) -> StoreUrlError:
    s = "s" * tls
    return StoreUrlError(
        f"the redis{s} URL names several servers, and only one can be used so",
        f"write  redis{s}+cluster://host:port,host:port  for a cluster, or  "
        f"redis{s}+sentinel://host:port,host:port/service  for sentinels",
    )


def _wrong(kind: str, tls: bool, what: str, more: str = "") -> StoreUrlError:
    scheme = f"redis{'s' * tls}{'' if kind == 'single' else '+' + kind}"
    example = {
        "single": f"{scheme}://user:password@host:6379/0",
        "cluster": f"{scheme}://user:password@host:6379,host:6379",
        "sentinel": f"{scheme}://user:password@host:26379,host:26379/mymaster",
    }[kind]
    return StoreUrlError(f"the {scheme} URL {what}", f"write  {example}{'; ' if more else ''}{more}")
