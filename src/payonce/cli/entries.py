"""The entries of the store that the settings name, as the commands see them: unsealed, and alive by every epoch.

This room must never decide what may be served.
"""

from __future__ import annotations

import fnmatch
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from payonce.cli.output import complain
from payonce.config import Settings, load
from payonce.errors import SettingsError
from payonce.model.entry import Entry, unseal
from payonce.model.key import PREFIX
from payonce.model.ports import Clock, Glancing, Rationing, Row, Store
from payonce.model.scopes import alive


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry that is kept and not purged."""

    row: Row
    entry: Entry

    @property
    def key(self) -> str:
        """How the key is shown."""
        return PREFIX + self.row.slot[:-1].hex()

    @property
    def framing(self) -> str:
        """`stream` or `whole`."""
        return "stream" if self.row.slot.endswith(b"s") else "whole"


@dataclass(frozen=True, slots=True)
class Shelf:
    """An open store, with what is needed to read it."""

    store: Store
    secret: bytes
    clock: Clock

    def listed(self, wanted: Callable[[Row], bool] = lambda _row: True) -> Iterator[Listed]:
        """The living entries whose row is wanted, newest first."""
        epochs = self.store.epochs()
        for row in self.store.rows():
            if wanted(row) and (found := self._read(row, epochs)):
                yield found

    def newest(self, wanted: Callable[[Row], bool], most: int) -> tuple[list[Listed], int]:
        """The newest living entries whose row is wanted, `most` at most; and how many were looked at, where those were
        not all (else 0)."""
        if not isinstance(self.store, Glancing):
            return list(islice(self.listed(wanted), most)), 0
        epochs = self.store.epochs()
        rows, looked = self.store.glance(wanted, 2 * most + 100)  # some of them were purged
        found = [listed for row in rows if (listed := self._read(row, epochs))]
        return found[:most], looked if self.store.volume().entries > looked else 0

    def _read(self, row: Row, epochs: Mapping[str, int]) -> Listed | None:
        blob = self.store.get(row.slot)
        entry = unseal(blob, row.slot, self.secret) if blob is not None else None
        if entry is None or not alive(entry.scopes, entry.epochs, entry.stored_at, epochs):
            return None
        return Listed(row, entry)


_DIGITS = re.compile(r"[0-9a-f]{4,64}", re.ASCII)


def key_digits(text: str) -> str:
    """The digits of a key, or of the beginning of one; raises `SettingsError` where `text` is neither."""
    digits = text.strip().lower().removeprefix(PREFIX)
    if not _DIGITS.fullmatch(digits):
        raise SettingsError(
            f"{text!r} is no key: write {PREFIX} and 4 to 64 hexadecimal digits, as payonce ls shows them"
        )
    return digits


def fitting(model: str | None, tag: str | None, namespace: str | None) -> Callable[[Row], bool]:
    """Whether a row fits: `model` is a glob; None asks nothing."""

    def fits(row: Row) -> bool:
        about = row.about
        return (
            (model is None or fnmatch.fnmatchcase(about.model, model))
            and (tag is None or tag in about.tags)
            and (namespace is None or about.namespace == namespace)
        )

    return fits


@contextmanager
def open_named(
    store: str | None, config: Path | None, clock: Clock, secret_file: str | None = None
) -> Iterator[tuple[Store, Settings]]:
    """The store that flags, environment and file name, and their settings; closed at the end."""
    from payonce.stores.registry import open_store, redact

    settings = load({"store": store, "secret_file": secret_file}, os.environ, config).settings
    if settings.store.startswith("memory:"):
        raise SettingsError(
            f"store: {redact(settings.store)} lives and dies with its gateway, so no command can read it; "
            "serve with --store sqlite:PATH and name the same store here"
        )
    opened = open_store(settings.store, clock=clock, max_bytes=settings.max_bytes)
    if isinstance(opened, Rationing):
        opened.ration(settings.quotas)
    try:
        yield opened, settings
    finally:
        opened.close()


@contextmanager
def open_shelf(
    store: str | None,
    config: Path | None,
    clock: Clock = time.time,
    *,
    secret_file: str | None = None,
    create_secret: bool = False,
) -> Iterator[Shelf]:
    """The entries of the store that flags, environment and file name; `create_secret` where it has none yet."""
    with open_named(store, config, clock, secret_file) as (opened, settings):
        yield Shelf(opened, _secret(settings, create=create_secret), clock)


def seal_name(secret: bytes) -> str:
    """A name for an installation's envelope key, from which nothing can be told but whether two are the same."""
    from payonce.core.keying import derive

    return derive(secret, "name").hex()[:16]


def _secret(settings: Settings, *, create: bool) -> bytes:
    from payonce.assembly import load_secret, secret_path
    from payonce.core.keying import derive

    try:
        return derive(load_secret(settings, create=create), "envelope")
    except FileNotFoundError:
        path = secret_path(settings)
        complain(f"there is no secret at {path}: no gateway has used this store yet, or secret_file is wrong")
        return secrets.token_bytes(32)
    except OSError as error:
        raise SettingsError(
            f"secret_file: {secret_path(settings)} can't be read ({error.strerror}); run as the gateway's user"
        ) from None
