"""A store's URL as everybody may read it: in messages, logs, figures and on pages.

Nothing is searched for secrets. What is shown was recognised as harmless: hosts, a path, the values of options that are
known. All that stands before the last `@`, and each other value, is hidden; of what can't be read, the scheme alone is
shown. This room must never guess.
"""

from __future__ import annotations

import re

from payonce.stores.server_url import take_apart

HIDDEN = "***"
UNREAD = "…"
"""Stands for all of a URL that can't be read."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}", re.ASCII)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d{1,5})?", re.ASCII)
_PATH = re.compile(r"(?:/[\w.-]{0,64}){0,3}", re.ASCII)
_FILE = re.compile(r"[\w./~ -]*", re.ASCII)
_NOTHING = re.compile("")
_VALUES = {
    "prefix": re.compile(r"[\w.:-]{1,64}", re.ASCII),
    "db": re.compile(r"\d{1,5}", re.ASCII),
    "connect_timeout": re.compile(r"[\d.]{1,8}", re.ASCII),
    "item_bytes": re.compile(r"\d{1,9}", re.ASCII),
    "ca": _FILE,
    "cert": _FILE,
    "key": _FILE,
    "sentinel_user": _NOTHING,
    "sentinel_password": _NOTHING,
}
"""Every option that is known, and what its value looks like where it may be shown."""


def redact(url: str) -> str:
    """`url` without anything that could be a user name or a password, however it is spelled."""
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or not _SCHEME.fullmatch(scheme):
        return UNREAD
    shown = _path(rest) if scheme in ("sqlite", "cassette") else _servers(rest)
    return f"{scheme}:{UNREAD if shown is None else shown}"


def _path(rest: str) -> str | None:
    """A file's or directory's path; None where it may be servers' URL with a login."""
    named = rest.startswith("//") and not rest.startswith("///")
    if "@" in rest and (named or ":" in rest):
        return None
    path, mark, _ = rest.partition("?")
    return f"{path}{mark}{HIDDEN if mark else ''}"


def _servers(rest: str) -> str | None:
    if not rest:
        return ""
    parts = take_apart(rest)
    if parts is None or not _PATH.fullmatch(parts.path) or any(name not in _VALUES for name, _ in parts.options):
        return None
    if not all(_HOST.fullmatch(host.strip()) for host in parts.hosts.split(",")):
        return None
    said = "&".join(f"{name}={value if _VALUES[name].fullmatch(value) else HIDDEN}" for name, value in parts.options)
    login = f"{HIDDEN}@" if parts.login else ""
    return f"//{login}{parts.hosts}{parts.path}{'?' if said else ''}{said}"
