"""How addresses are read: upstreams, the store's URL, the address to listen on, allowed hosts and origins.

This room must never open, resolve or contact anything; it only says whether an address is well-formed and allowed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

from payonce.config_types import Wrong, refuse, shown

Upstreams = tuple[tuple[str, str], ...]

TAKEN = frozenset(("api", "v1", "healthz", "readyz", "metrics", "_payonce"))
"""First path segments that the gateway itself answers."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_NAMED = re.compile(r"([^=/:?#]*)=(.*)", re.DOTALL)
_BAD_CHARACTER = re.compile(r"[\s\x00-\x1f\x7f\\]")
_STORE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):([^\x00-\x1f\x7f]*)", re.ASCII)
_HOST = re.compile(r"(?:[a-z0-9*](?:[a-z0-9._*-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_EXAMPLE = 'write, for example, "https://openrouter.ai/api/v1"'


def base_url(text: str) -> str:
    """An upstream's base URL, without a slash at its end."""
    if _BAD_CHARACTER.search(text):
        raise Wrong(f"{_public(text)} holds a blank, a backslash or a control character", _EXAMPLE)
    try:
        split = urlsplit(text)
        port = split.port
    except ValueError:
        raise Wrong(f"{_public(text)} is not a URL", _EXAMPLE) from None
    if split.scheme not in ("http", "https"):
        raise Wrong(f"{_public(text)} is neither an http nor an https URL", _EXAMPLE)
    _plain(split, text)
    if port == 0:
        raise Wrong(f"{shown(text)} names port 0", "name the port that the upstream listens on")
    return f"{split.scheme}://{split.netloc.lower()}{split.path.rstrip('/')}"


def _plain(split: SplitResult, text: str) -> None:
    """Nothing but scheme, host, port and path. A URL with a password in it is not shown."""
    if "@" in split.netloc:
        raise Wrong("the URL holds a user name or password", "leave it out: the client's own API key goes upstream")
    if not split.hostname:
        raise Wrong(f"{_public(text)} names no host", _EXAMPLE)
    if "?" in text or "#" in text:
        raise Wrong(f"{_public(text)} holds a query or a fragment", "end the URL with its path, for example /v1")


def _public(text: str) -> str:
    """What may be said of a URL that is wrong: nothing where a password or a key may stand in it."""
    return "the URL" if re.search("[@?#]", text) else shown(text)


def upstreams(value: object) -> Upstreams:
    """`URL`, `NAME=URL`, several of them (with commas, or as a list), a table NAME = URL, or pairs (name, URL)."""
    found: dict[str, str] = {}
    wrongs: list[Wrong] = []
    for at, name, url in _pairs(value):
        known = "" if name == "default" else name
        try:
            if not isinstance(url, str):
                raise Wrong(f"{shown(url)} is not a URL", _EXAMPLE)
            if known and (not _NAME.fullmatch(known) or known in TAKEN):
                raise Wrong(*_bad_name(known))
            if known in found:
                raise Wrong(f"two upstreams are called {shown(known or 'default')}", "give each its own NAME=URL")
            found[known] = base_url(url)
        except Wrong as wrong:
            wrongs.append(wrong.inside(at))
    refuse(wrongs)
    if not found:
        raise Wrong("no upstream is named", _EXAMPLE)
    return tuple(found.items())


def _bad_name(name: str) -> tuple[str, str]:
    if name in TAKEN:
        return f"an upstream can't be called {shown(name)}: the gateway answers /{name} itself", "choose another name"
    rule = "use 1 to 32 of a-z 0-9 _ -, beginning with a letter or digit"
    return f"{shown(name)} is not a name for an upstream", rule


def _pairs(value: object) -> Iterator[tuple[int | str, str, object]]:
    """(where it stands, name, what should be a URL) of every upstream that was written."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Mapping):
        yield from ((str(name), str(name), url) for name, url in value.items())
        return
    if not isinstance(value, list | tuple):
        raise Wrong(f"{shown(value)} is not a URL", _EXAMPLE)
    for index, item in enumerate(value):
        named = _NAMED.fullmatch(item) if isinstance(item, str) else None
        if named:
            yield index, named[1], named[2]
        elif isinstance(item, tuple) and len(item) == 2:
            yield index, str(item[0]), item[1]
        else:
            yield index, "", item


def store_url(value: object) -> str:
    """`SCHEME:...`, the scheme in small letters; which schemes there are is the registry's to say. A value that is none
    is not shown: a password may stand anywhere in it."""
    found = _STORE.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        return f"{found[1].lower()}:{found[2]}"
    example = 'write, for example, "sqlite:/var/lib/payonce/cache.db" or "memory:"'
    if not isinstance(value, str):
        raise Wrong(f"a value of type {type(value).__name__} is not a store", example)
    if value.strip(" \t\r\n'\"") != value:
        raise Wrong("the store's URL begins or ends with a blank, a line's end or a quote", "leave that out")
    if ":" in value:
        raise Wrong("the store's URL holds a control character, or has no scheme before its colon", example)
    raise Wrong("what is named is not a store", example)


def listen_host(value: object) -> str:
    """An address or host name to listen on."""
    text = value.strip("[]") if isinstance(value, str) else ""
    if not text or _BAD_CHARACTER.search(text) or "/" in text:
        raise Wrong(f"{shown(value)} is not an address to listen on", 'write, for example, "127.0.0.1"')
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if ":" in text or not _HOST.fullmatch(text.lower()):
            fix = 'write, for example, "127.0.0.1"; the port has its own setting'
            raise Wrong(f"{shown(value)} is not an address to listen on", fix) from None
    return text


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def allowed_host(text: str) -> str:
    """A value that the Host header may have, with or without a port; `*` allows every one."""
    host = text.strip().lower()
    if not _HOST.fullmatch(host):
        raise Wrong(f"{shown(text)} is not a host", 'write, for example, "cache.example.com" or "10.0.0.7:4141"')
    return host


def allowed_origin(text: str) -> str:
    """A web origin: scheme, host and port, no path."""
    origin = text.strip().lower().rstrip("/")
    scheme, mark, host = origin.partition("://")
    if scheme not in ("http", "https") or not mark or not _HOST.fullmatch(host) or "*" in host:
        raise Wrong(f"{shown(text)} is not an origin", 'write, for example, "https://tools.example.com"')
    return origin
