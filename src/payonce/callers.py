"""Whom the library's clients call, and what they say with each call but for its body: found out once, then known.

An SDK says the same with every request, so all that follows from it is remembered for a while. This room must never
look into a body, nor decide whether something is cached.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, NamedTuple

from blake3 import blake3

from payonce.config import Settings
from payonce.core.fields import IDS
from payonce.dialects import CACHED_ENDPOINTS
from payonce.errors import SettingsError
from payonce.intake import Intake, Said
from payonce.library import LibraryWorld
from payonce.model.call import Headers

_ENDPOINT = re.compile(
    rb"(?P<base>.*/v1)/(?P<endpoint>" + b"|".join(e.encode() for e in sorted(CACHED_ENDPOINTS)) + rb")"
)
_MAX_PLACES = 1024
_MAX_KNOWN = 256
_IDS = frozenset([each for name in IDS for each in (name, name.title(), name.title().replace(b"-Id", b"-ID"))])
_PASSING = _IDS | {b"content-length", b"Content-Length"}
"""Fields that are another's with each request, as they are commonly spelled; the length says no more than the body."""


class Place(NamedTuple):
    """Where a request goes: the upstream's base, and what stands behind it."""

    base: str
    endpoint: str
    query: bytes
    url: bytes


class Known(NamedTuple):
    """What the headers of requests to one place say, but for ids. `told` is all of it for their names; without `heard`,
    they are the wrapped transport's alone."""

    told: bytes
    heard: tuple[Intake, Said] | None


class Callers:
    """What is known of the callers of one transport. `salt` tells it from others that share its world; `said` are
    directives that hold where a request says nothing else."""

    def __init__(self, settings: Settings, said: Headers, salt: bytes) -> None:
        self._settings = settings
        self._directives = said
        self._salt = salt
        self._places: dict[str, Place | None] = {}
        self._known: dict[tuple[object, ...], Known] = {}
        self._intakes: dict[str, Intake] = {}

    def place(self, request: Any) -> Place | None:
        """Where a request goes, if the cache may take part in it; else it is the wrapped transport's alone."""
        if request.method != "POST":
            return None
        url = str(request.url)
        try:
            return self._places[url]
        except KeyError:
            if len(self._places) >= _MAX_PLACES:
                self._places.clear()
            found = self._places[url] = _place(request.url)
            return found

    def known(self, world: LibraryWorld, place: Place, request: Any) -> Known:
        """What a request says but for its body; an SDK says the same with each, so it is remembered for a while."""
        fields = (place.url, *[field for field in request.headers.raw if field[0] not in _PASSING])
        known = self._known.get(fields)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[fields] = self._learn(world, place, request.url.netloc, fields[1:])
        return known

    def heard(self, known: Known, place: Place, request: Any) -> tuple[Intake, Said] | None:
        """What `request` says, of whose headers so much is known: ids of its own go upstream."""
        fields = request.headers.raw
        if known.heard is None or not any(name in _IDS for name, _ in fields):
            return known.heard
        intake = known.heard[0]
        return intake, intake.heard("", place.endpoint, place.query, self._spoken(fields))

    def _spoken(self, fields: Headers) -> Headers:
        """The header fields of a request as intake hears them: with what holds where the request says nothing else."""
        headers = tuple([(name.lower(), value) for name, value in fields])
        spoken = {name for name, _ in headers}
        return headers + tuple([field for field in self._directives if field[0] not in spoken])

    def _learn(self, world: LibraryWorld, place: Place, host: bytes, fields: Headers) -> Known:
        parts = [self._salt, b"%d" % len(fields), place.url]
        for field in fields:
            parts += field  # neither a URL nor a header field holds a line feed, so no two requests have the same bytes
        told = blake3(b"\n".join(parts)).digest()
        headers = self._spoken(fields)
        if [value for name, value in headers if name == b"host"] != [host]:
            return Known(told, None)
        intake = self._intake(world, place.base)
        if intake is None:
            return Known(told, None)
        return Known(told, (intake, intake.heard("", place.endpoint, place.query, headers)))

    def _intake(self, world: LibraryWorld, base: str) -> Intake | None:
        intake = self._intakes.get(base)
        if intake is None:
            if len(self._intakes) >= _MAX_PLACES:
                self._intakes.clear()
            try:
                settings = replace(self._settings, upstream=(("", base),))
            except SettingsError:  # not a URL that an upstream may have
                return None
            intake = self._intakes[base] = Intake(settings, world.tenant_secret)
        return intake


def _place(url: Any) -> Place | None:
    path, _, query = url.raw_path.partition(b"?")
    found = _ENDPOINT.fullmatch(path)
    if found is None:
        return None
    base = f"{url.scheme}://{url.netloc.decode('ascii')}{found['base'].decode('ascii')}"
    return Place(base, found["endpoint"].decode("ascii"), query, str(url).encode())
