"""What a purge takes: one selector, one epoch raised; right for answers still in flight, however many there are.

Commands and dashboard purge with these. This room must never delete what was not selected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from payonce.config_types import duration
from payonce.errors import SettingsError, StoreError
from payonce.listing import Shelf, key_digits
from payonce.model import scopes
from payonce.model.names import TENANT_DIGITS, TENANTS_SHOWN, impossible
from payonce.model.ports import Recorder, Row


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to go: the epoch that is raised (`at_least` is a time, for `before`), and which rows that concerns."""

    scope: str
    concerns: Callable[[Row], bool]
    at_least: int = 0
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did: the epoch it raised, the Unix second up to which answers are retired, and how many entries that
    concerns, as far as it is known without a look at each (with `all`, those that were dead before as well)."""

    epoch: int
    until: float
    entries: int | None = None


def check(name: str, value: str) -> None:
    """What can be refused before a store is opened."""
    if name == "key":
        key_digits(value)
    elif name == "older_than":
        if duration(value) is None:
            raise SettingsError(f"--older-than: {value!r} is not an age; write, for example, 30m, 24h or 7d")
    elif name == "tenant":
        tenant_digits(value)
    elif not value and name not in ("namespace", "all"):
        raise SettingsError(f"this {name} has no name; write the name of the {name} to purge")
    elif name == "model" and any(mark in value for mark in "*?"):
        raise SettingsError(f"{value!r} is a glob, and a purge takes one model; payonce ls --model lists them")
    elif value and (rule := impossible(name, value)):
        raise SettingsError(f"nothing was purged, since no {name} can be called {value!r}: {rule}")


_DIGITS = re.compile(r"[0-9a-f]{8,64}", re.ASCII)


def tenant_digits(text: str) -> str:
    """The digits of a tenant, or of the beginning of one as logs and tables show it; raises `SettingsError` where
    `text` is neither."""
    digits = text.strip().lower()
    if not _DIGITS.fullmatch(digits):
        raise SettingsError(
            f"{text!r} is no tenant: write its {TENANT_DIGITS} hexadecimal digits, or the first 8 at least;"
            f" {TENANTS_SHOWN}"
        )
    return digits


_NAMED: dict[str, tuple[Callable[[str], str], Callable[[Row, str], bool]]] = {
    "model": (scopes.of_model, lambda row, name: row.about.model == name),
    "tag": (scopes.of_tag, lambda row, name: name in row.about.tags),
    "namespace": (scopes.of_namespace, lambda row, name: row.about.namespace == name),
    "tenant": (scopes.of_tenant, lambda row, name: row.about.tenant == name),
    "all": (lambda _name: scopes.ALL, lambda _row, _name: True),
}


def select(shelf: Shelf, selector: str, value: str) -> Selection | None:
    """The epoch and the rows of a selector; None where a key is not stored. Raises `SettingsError` where the beginning
    of a key or a tenant is not that of one only."""
    if selector == "key":
        return _select_key(shelf, value)
    if selector == "older_than":
        before = int((shelf.clock() - (duration(value) or 0)) * 1000)
        return Selection(scopes.BEFORE, lambda row: row.about.stored_at * 1000 <= before, at_least=before)
    if selector == "tenant":
        value = _whole_tenant(shelf, value)
    scope, concerns = _NAMED[selector]
    return Selection(scope(value), lambda row: concerns(row, value))


def _select_key(shelf: Shelf, value: str) -> Selection | None:
    digits = key_digits(value)
    digests = {bytes.fromhex(digits)} if len(digits) == 64 else set()
    digests = digests or {row.slot[:-1] for row in shelf.store.rows() if row.slot.hex().startswith(digits)}
    if len(digests) > 1:
        listed = ", ".join(f"b3:{digest.hex()}" for digest in sorted(digests)[:10])
        raise SettingsError(f"{value} may be any of {len(digests)} keys, write more of it: {listed}")
    if not digests:
        return None
    digest = digests.pop()
    return Selection(scopes.of_key(digest), lambda row: row.slot[:-1] == digest, digest=digest)


def _whole_tenant(shelf: Shelf, value: str) -> str:
    """All digits of the one tenant of the store's entries that begins so: the epoch is that of its whole name."""
    digits = tenant_digits(value)
    if len(digits) == TENANT_DIGITS:
        return digits
    found = {row.about.tenant for row in shelf.store.rows() if row.about.tenant.startswith(digits)}
    if not found:
        raise SettingsError(
            f"nothing in the store is of a tenant that begins with {digits}; write all its {TENANT_DIGITS} digits:"
            f" {TENANTS_SHOWN}"
        )
    if len(found) > 1:
        listed = ", ".join(sorted(found)[:10])
        raise SettingsError(f"{digits} may be any of {len(found)} tenants, write more of it: {listed}")
    return found.pop()


def purge(shelf: Shelf, selection: Selection) -> Purged:
    """Raise the epoch; a key's answers are deleted as well, so that their space is free at once. Takes the same time
    however many entries there are, so it counts only where that needs no look at them."""
    store = shelf.store
    present = store.epochs().get(selection.scope, 0)
    if selection.at_least and present >= selection.at_least:
        return Purged(present, present / 1000)
    counted = selection.digest or selection.scope == scopes.ALL or isinstance(store, Recorder)
    before = _count(shelf, selection) if counted else None
    epoch = store.raise_epoch(selection.scope, at_least=selection.at_least)
    if selection.digest:
        for framing in (b"s", b"w"):
            store.delete(selection.digest + framing)
    elif isinstance(store, Recorder) and before is not None:  # it has just deleted the files
        before -= _count(shelf, selection) or 0
    return Purged(epoch, selection.at_least / 1000 or shelf.clock(), before)


def _count(shelf: Shelf, selection: Selection) -> int | None:
    """The entries of a key, or else all that the store holds; None where it can't tell, for which no purge fails."""
    try:
        return len(list(shelf.under(selection.digest))) if selection.digest else shelf.store.volume().entries
    except StoreError:
        return None
