"""The store that flags, environment and file name, opened for a command.

This room must never decide what may be served.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from payonce.cli.output import complain
from payonce.config import Settings, load
from payonce.errors import SettingsError, StoreError, StoreUnknownError
from payonce.listing import Shelf
from payonce.model.ports import Clock, Distant, Rationing, Spread, Store

READ_SECONDS = 5.0
"""A read of a command may take so long: nobody waits for an answer behind it, and the server may be far away."""


@contextmanager
def open_named(
    store: str | None, config: Path | None, clock: Clock, secret_file: str | None = None, *, create: bool = False
) -> Iterator[tuple[Store, Settings]]:
    """The store that flags, environment and file name, and their settings; closed at the end.

    Who only looks makes no file, nor a store of one that is empty: without `create`, a store that is not there yet has
    no entries, which is said. A file that is no store of this version is refused and left as it is. Where servers can't
    be used, StoreUnavailableError says what was tried and what to do.
    """
    from payonce.stores.redacted import redact

    settings = load({"store": store, "secret_file": secret_file}, os.environ, config).settings
    if settings.store.startswith("memory:"):
        raise SettingsError(
            f"store: {redact(settings.store)} lives and dies with its gateway, so no command can read it; "
            "serve with --store sqlite:PATH and name the same store here"
        )
    there = _is_there(settings.store) or create
    if not there:
        named = redact(settings.store)
        found = f"{named} is an empty file" if _exists(_file_of(settings.store)) else f"there is no {named} yet"
        complain(f"{found}: no gateway has used this store, or --store is wrong")
    with _explaining(settings.store), _opened(settings, clock, there=there) as opened:
        yield opened, settings
        if isinstance(opened, Spread) and (missing := opened.missing()):
            complain(f"some of the store's servers do not answer, so what they have is not in this: {missing}")


@contextmanager
def _opened(settings: Settings, clock: Clock, *, there: bool) -> Iterator[Store]:
    from payonce.stores.registry import open_store

    opened = open_store(settings.store if there else "memory:", clock=clock, max_bytes=settings.max_bytes)
    if isinstance(opened, Distant):
        opened.pace(max(READ_SECONDS, settings.read_budget))
    if isinstance(opened, Rationing):
        opened.ration(settings.quotas)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _explaining(store: str) -> Iterator[None]:
    """What a server's fault means to who runs a command: what was tried, what came of it, what to do."""
    from payonce.stores.registry import is_shared, unusable

    try:
        yield
    except StoreUnknownError:
        raise
    except StoreError as error:
        if not is_shared(store):
            raise
        raise unusable(store, error) from error


@contextmanager
def open_shelf(
    store: str | None,
    config: Path | None,
    clock: Clock = time.time,
    *,
    secret_file: str | None = None,
    create: bool = False,
    create_secret: bool = False,
) -> Iterator[Shelf]:
    """The entries of the store that flags, environment and file name; `create` it, or its secret, where there is none
    yet."""
    with open_named(store, config, clock, secret_file, create=create) as (opened, settings):
        yield Shelf(opened, _secret(settings, create=create_secret), clock)


def _file_of(store: str) -> Path | None:
    """The file of a SQLite store; None for all others."""
    from payonce.stores.local_url import read_path

    scheme, _, rest = store.partition(":")
    return read_path(scheme, rest) if scheme.lower() == "sqlite" else None


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def _is_there(store: str) -> bool:
    """Whether there is a store to look at. Raises SettingsError where another kind of file stands at its path."""
    path = _file_of(store)
    if path is None:
        return True
    if not _exists(path) or not path.stat().st_size:
        return False
    from payonce.stores.sqlite_look import strange

    if found := strange(path):
        raise SettingsError(f"store: {path} is no store of this version of Payonce ({found}); correct --store")
    return True


def seal_name(secret: bytes) -> str:
    """A name for an installation's envelope key, from which nothing can be told but whether two are the same."""
    from payonce.core.keying import derive

    return derive(secret, "name").hex()[:16]


def _secret(settings: Settings, *, create: bool) -> bytes:
    from payonce.core.keying import derive
    from payonce.secret import load_secret, secret_path

    try:
        return derive(load_secret(settings, create=create), "envelope")
    except FileNotFoundError:
        path, file = secret_path(settings), _file_of(settings.store)
        if file is None or _is_there(settings.store):  # else it has been said that there is no store
            complain(f"there is no secret at {path}: no gateway has used this store yet, or secret_file is wrong")
        return secrets.token_bytes(32)
    except OSError as error:
        raise SettingsError(
            f"secret_file: {secret_path(settings)} can't be read ({error.strerror}); run as the gateway's user"
        ) from None
