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
from payonce.errors import SettingsError
from payonce.listing import Shelf
from payonce.model.ports import Clock, Rationing, Store


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
    from payonce.core.keying import derive
    from payonce.secret import load_secret, secret_path

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
