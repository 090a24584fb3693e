"""An entry as one line of JSON, and back: checked on its way in, since a line may come from anywhere.

Pure. What is wrong with a line is said in words, never raised. This room must never know a store, nor see a secret.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated

import msgspec

from payonce.core.fields import storable_headers
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.key import DIGEST_BYTES, PREFIX, Key
from payonce.model.scopes import scopes_of

VERSION = 1
"""Of the line; a line of another version is not read."""

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
