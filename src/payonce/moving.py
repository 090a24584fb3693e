"""Entries on their way from one store to another: a line of JSON for each, and whether a store may take one in.

Pure, apart from `Importer`, which reads and fills one store. What is brought in is held against every purge that the
store knows of: whatever can't be shown to be younger than all that concern it stays out. This room must never see a
secret but to seal with it, nor an API key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from payonce.core.fields import storable_headers
from payonce.model.entry import Entry, Facts, Tokens, seal, unseal
from payonce.model.key import DIGEST_BYTES, PREFIX, Key
from payonce.model.ports import About, Chronicle, Clock, Store
from payonce.model.scopes import BEFORE, alive, of_key, scopes_of

VERSION = 1
"""Of the line; a line of another version is not read."""
SKEW_SECONDS = 60.0
"""By how much the clocks of two machines may differ: an entry counts as so much older than it says."""
KEY_MEMORY_SECONDS = 2 * 86400
"""For how long every store remembers the purge of a single key."""
FLUSH_SECONDS = 30.0

_YEAR = 31_536_000
_CENTURY = 100 * _YEAR
"""Recordings have no end, and say so."""
_Count = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=_YEAR)]
_Word = Annotated[str, msgspec.Meta(max_length=4096)]
_FRAMINGS = {"stream": True, "whole": False}


class _Facts(msgspec.Struct, forbid_unknown_fields=True):
    source_id: str
    model: str
    usage: str
    input_tokens: _Count | None
    output_tokens: _Count | None
    nano_dollars: _Count | None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line, in the order in which it is written. A body that is UTF-8 is `body`, any other one `body_base64`."""

    version: int
    key: str
    framing: str
    sealed_by: str
    stored_at: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    ttl: Annotated[int, msgspec.Meta(ge=1, le=_CENTURY)]
    stale_while_revalidate: _Seconds
    stale_if_error: _Seconds
    took: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    endpoint: _Word
    model: _Word
    namespace: _Word
    tags: tuple[_Word, ...]
    tenant: _Word
    scopes: tuple[str, ...]
    status: int
    facts: _Facts
    headers: list[tuple[str, str]]
    body: str | msgspec.UnsetType = msgspec.UNSET
    body_base64: str | msgspec.UnsetType = msgspec.UNSET


class _Versioned(msgspec.Struct):
    version: int


@dataclass(frozen=True, slots=True)
class Moved:
    """An entry outside of any store. `sealed_by` names the secret of the installation that it comes from; `entry` has
    no epochs, as those belong to a store."""

    key: Key
    sealed_by: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a line."""

    because: str


class Verdict(StrEnum):
    """What became of an entry that was to be brought in."""

    IMPORTED = "imported"
    PRESENT = "present"
    """The store has an answer under this key that is as new."""
    EXPIRED = "expired"
    PURGED = "purged"
    """A purge in this store concerns it, or can't be shown not to."""
    FUTURE = "future"
    """It was stored at a time that is yet to come."""
    REFUSED = "refused"
    """The store did not take it."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


def to_line(key: Key, entry: Entry, sealed_by: str) -> bytes:
    """`entry` as one line of JSON, line end included."""
    tokens = entry.facts.tokens
    line = _Line(
        version=VERSION,
        key=key.text,
        framing="stream" if key.stream else "whole",
        sealed_by=sealed_by,
        stored_at=entry.stored_at,
        ttl=entry.ttl,
        stale_while_revalidate=entry.swr,
        stale_if_error=entry.sie,
        took=entry.took,
        endpoint=entry.endpoint,
        model=entry.model,
        namespace=entry.namespace,
        tags=entry.tags,
        tenant=entry.tenant,
        scopes=entry.scopes,
        status=entry.status,
        facts=_Facts(
            entry.facts.source_id, entry.facts.model, entry.facts.usage, tokens.input, tokens.output, tokens.cost
        ),
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in entry.headers],
    )
    try:
        line.body = entry.body.decode()
    except UnicodeDecodeError:
        line.body_base64 = base64.b64encode(entry.body).decode()
    return _encoder.encode(line) + b"\n"


def from_line(text: bytes) -> Moved | Damage:
    """The entry of a line, checked; or what is wrong with the line."""
    try:
        line = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Damage(_unread(text, error))
    if line.version != VERSION:
        return Damage(_other_version(line.version))
    key, body = _key(line), _body(line)
    if key is None:
        return Damage(f"key or framing is none: {line.key[:80]!r}, {line.framing[:20]!r}")
    if body is None:
        return Damage("there is no body that can be read: it has either body, or body_base64")
    if line.status != 200:
        return Damage(f"status {line.status}: only answers with 200 are kept")
    try:
        headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in line.headers)
    except UnicodeEncodeError:
        return Damage("a header is not in latin-1")
    if storable_headers(headers) != headers or any(not name or name != name.lower() for name, _ in headers):
        return Damage("a header is one that is never kept")
    if not set(scopes_of(line.tenant, line.model, line.namespace, line.tags, key.digest)) <= set(line.scopes):
        return Damage("its scopes are not those of its tenant, model, namespace, tags and key")
    return Moved(key, line.sealed_by, _entry(line, headers, body))


def _entry(line: _Line, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> Entry:
    said = line.facts
    return Entry(
        stored_at=line.stored_at,
        ttl=line.ttl,
        swr=line.stale_while_revalidate,
        sie=line.stale_if_error,
        scopes=line.scopes,
        epochs=(),
        status=line.status,
        headers=headers,
        body=body,
        facts=Facts(
            said.source_id, said.model, said.usage, Tokens(said.input_tokens, said.output_tokens, said.nano_dollars)
        ),
        tenant=line.tenant,
        namespace=line.namespace,
        tags=line.tags,
        endpoint=line.endpoint,
        model=line.model,
        took=line.took,
    )


def _unread(text: bytes, error: Exception) -> str:
    """Of a line that is not as expected: another version if it says so, else the decoder's own words."""
    try:
        version = msgspec.json.decode(text, type=_Versioned).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        version = VERSION
    return str(error) if version == VERSION else _other_version(version)


def _other_version(version: int) -> str:
    return f"version {version} is not known here: import it with the Payonce that wrote it, or a newer one"


def _key(line: _Line) -> Key | None:
    digits = line.key.removeprefix(PREFIX)
    if line.framing not in _FRAMINGS or not line.key.startswith(PREFIX) or len(digits) != 2 * DIGEST_BYTES:
        return None
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        return None
    return Key(digest, _FRAMINGS[line.framing]) if len(digest) == DIGEST_BYTES else None


def _body(line: _Line) -> bytes | None:
    if isinstance(line.body, str):
        return None if isinstance(line.body_base64, str) else line.body.encode()
    if not isinstance(line.body_base64, str):
        return None
    try:
        return base64.b64decode(line.body_base64, validate=True)
    except (binascii.Error, ValueError):
        return None


def fresh(entry: Entry, now: float) -> bool:
    """Whether an entry is within its TTL; past it, it is neither taken out nor brought in."""
    return entry.age(now) < entry.ttl


def outlived(
    entry: Entry, key: Key, current: Mapping[str, int], raised: Mapping[str, float] | None, now: float
) -> bool:
    """Whether no purge in a store concerns an entry from elsewhere.

    `current` are the store's epochs, read first; `raised` says when each was raised, None where the store can't. The
    entry is as old as the call that brought it (a purge concerns answers under way), and `SKEW_SECONDS` on top. Where a
    time is not known, or the store may have forgotten the purge of its key, the answer is no.
    """
    asked_at = min(entry.stored_at, now) - entry.took - SKEW_SECONDS
    if current.get(BEFORE, 0) >= asked_at * 1000:
        return False
    times = raised or {}
    if any(
        current.get(scope, 0) and times.get(scope, now) >= asked_at for scope in (*entry.scopes, of_key(key.digest))
    ):
        return False
    forgotten = now - KEY_MEMORY_SECONDS if raised is None else times.get("key:", float("-inf"))
    return forgotten < asked_at


class Importer:
    """Brings entries into `store`, sealed with its own envelope key `secret`."""

    def __init__(self, store: Store, secret: bytes, clock: Clock) -> None:
        self._store = store
        self._secret = secret
        self._clock = clock
        self._epochs: Mapping[str, int] | None = None
        self._raised: Mapping[str, float] | None = None
        self.refusals = 0
        """How often the store said no; it counts each of them as dropped."""

    def take(self, moved: Moved) -> Verdict:
        """Bring one entry in, unless something stands against it. Raises StoreError."""
        now, entry = self._clock(), moved.entry
        if entry.stored_at > now + SKEW_SECONDS:
            return Verdict.FUTURE
        if not fresh(entry, now):
            return Verdict.EXPIRED
        current = self._current()
        if not outlived(entry, moved.key, current, self._raised, now):
            return Verdict.PURGED
        if self._has(moved, current, now):
            return Verdict.PRESENT
        epochs = tuple([current.get(scope, 0) for scope in entry.scopes])
        own = msgspec.structs.replace(entry, stored_at=min(entry.stored_at, now), epochs=epochs)
        return Verdict.IMPORTED if self._put(moved.key, own) else Verdict.REFUSED

    def _current(self) -> Mapping[str, int]:
        """The epochs first, then when they were raised: a purge in between, or later, finds the entry too old."""
        current = self._store.epochs()
        if current != self._epochs:
            self._raised = self._store.raised() if isinstance(self._store, Chronicle) else None
            self._epochs = dict(current)
        return self._epochs

    def _has(self, moved: Moved, current: Mapping[str, int], now: float) -> bool:
        """Whether the store has a living answer that is as new."""
        blob = self._store.get(moved.key.slot)
        there = unseal(blob, moved.key.slot, self._secret) if blob is not None else None
        return (
            there is not None
            and _asked_at(there) > min(_asked_at(moved.entry), now) - 1.0  # a cassette's times are whole seconds
            and fresh(there, now)
            and alive(there.scopes, there.epochs, there.stored_at, current)
        )

    def _put(self, key: Key, entry: Entry) -> bool:
        blob = seal(entry, key.slot, self._secret)
        about = About(
            entry.stored_at, entry.expires_at, entry.tenant, entry.namespace, entry.endpoint, entry.model, entry.tags
        )
        for last in (False, True):
            if self._store.put(key.slot, blob, about):
                return True
            self.refusals += 1
            if not last:
                self._store.flush(FLUSH_SECONDS)  # its queue may be full
        return False


def _asked_at(entry: Entry) -> float:
    return entry.stored_at - entry.took


def counted(verdicts: Mapping[Verdict, int]) -> dict[str, Any]:
    """How many entries met which verdict, every verdict named."""
    return {verdict.value: verdicts.get(verdict, 0) for verdict in Verdict}
