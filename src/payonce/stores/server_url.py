"""How the URL of servers is taken apart: login, hosts, path and options, each as it was written.

Whoever reads such a URL and whoever shows one (redacted.py) does it by this one rule, so that nothing is taken for a
host here and for a password there. Pure. This room must never know what an option means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

ESCAPES = "in a user name or password, write  % / ? # @ : &  and blanks as  %25 %2F %3F %23 %40 %3A %26 %20"
"""What to do about a URL that is read otherwise than it was meant."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`login` is all that stands before the last `@`; it and the values of `options` may hold what is secret."""

    login: str = field(repr=False)
    hosts: str
    path: str
    options: tuple[tuple[str, str], ...] = field(repr=False)


def take_apart(rest: str) -> Parts | None:
    """What stands behind the scheme and its colon, `//[login@]hosts[/path][?options]`; options are unescaped, a `+` in
    them is a plus. None where it is nothing of that kind, or an `@` stands behind the hosts: then some of a password
    may stand anywhere."""
    if not rest.startswith("//"):
        return None
    main, _, query = rest[2:].partition("?")
    authority, slash, path = main.partition("/")
    if "@" in path or "@" in query:
        return None
    login, _, hosts = authority.rpartition("@")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return Parts(login, hosts, slash + path, tuple((unquote(name), unquote(value)) for name, _, value in pairs))
