"""Where a store's books stand, who keeps them in a running process, and who reads them.

`auto` puts the file beside the SQLite store, for servers of others into the user's cache directory, and keeps books of
a store in memory in memory. Recordings have none. This room must never know what is written in the books.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import apsw
from blake3 import blake3

from payonce.books.clerk import Clerk, Limits
from payonce.books.file import BooksFile
from payonce.books.journal import Journal
from payonce.books.publishing import SELDOM, publish
from payonce.books.reader import Reader
from payonce.config import Settings
from payonce.core.keying import derive
from payonce.errors import StoreError
from payonce.ledger.worth import Worth
from payonce.model.ports import Clock, Distant, Notebook
from payonce.stores.local_url import read_path
from payonce.stores.redacted import UNREAD, redact
from payonce.stores.registry import is_shared

FLUSH_SECONDS = 2.0
IN_MEMORY = 20_000
"""So many receipts are kept where the books are in memory."""


class SharedNotebook(Notebook, Distant, Protocol):
    """A store on servers of others, as the books need it."""

    def flush(self, timeout: float = 5.0) -> bool:
        """Whether all that was noted is written."""
        ...


class Bookkeeping:
    """The books of one running process: `journal` takes, `clerk` writes, `reader` answers. `shared` is the store's
    notebook where other machines share it; `complain` hears of its faults."""

    def __init__(
        self,
        file: BooksFile,
        settings: Settings,
        secret: bytes,
        clock: Clock,
        shared: SharedNotebook | None,
        complain: Callable[[Exception], None],
        worth: Worth | None = None,
    ) -> None:
        self._shared = shared
        self._complain = complain
        limits = Limits(max_bytes=settings.ledger_bytes)
        if file.path is None:
            limits = replace(limits, receipts=IN_MEMORY)
        self.journal = Journal(clock, secrets.randbits(31))
        told = self._publish if shared is not None else None
        self.clerk = Clerk(self.journal, file, derive(secret, "parts"), clock, limits, told, worth)
        self.reader = Reader(file, clock, self._notes if shared is not None else None)
        self._clock = clock

    def start(self) -> None:
        """Begin to write."""
        self.clerk.start()

    def stop(self) -> None:
        """Write what waits, and end. May wait for a disk, for some seconds."""
        self.clerk.stop()
        self.reader.close()

    def _publish(self, db: apsw.Connection, last: bool) -> bool:
        store = self._shared
        assert store is not None
        try:
            if store.trouble():
                return False  # what is queued now could be written after something newer
            wait = partial(store.flush, FLUSH_SECONDS)
            return publish(db, store.note, self._clock(), seldom=0 if last else SELDOM, flush=wait)
        except Exception as error:  # noqa: BLE001 - whatever a server does, the books go on
            self._complain(error)
            return False

    def _notes(self) -> Mapping[str, bytes]:
        assert self._shared is not None
        try:
            return self._shared.notes()
        except Exception as error:  # noqa: BLE001
            self._complain(error)
            return {}


def open_reader(settings: Settings, clock: Clock, notes: Mapping[str, bytes] | None = None) -> Reader | None:
    """A reader of the books of the store that the settings name, for who is no gateway; `notes` are all of that store,
    of which a shared one has other machines' sums. None where no books are kept, or they are in another process's
    memory."""
    file = books_file(settings)
    if file is None or file.path is None:
        return None
    if notes is None or not is_shared(settings.store):
        return Reader(file, clock)
    return Reader(file, clock, lambda: notes)


def unwritable(settings: Settings) -> str:
    """Why the books can't be written, as a sentence with what to do; empty where they can, or none are kept. Makes the
    file, where there is none yet. May wait for a disk; never raises."""
    file = books_file(settings)
    if file is None or file.path is None:
        return ""
    try:
        file.writer().close()
    except (StoreError, OSError, apsw.Error) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        why = cause.strerror if isinstance(cause, OSError) else str(cause)
        if isinstance(cause, FileExistsError):
            why = "there is a file in the place of its directory"
        return (
            f"the ledger {file.path} can't be written ({why}): calls are served, their figures are lost; "
            "set ledger (PAYONCE_LEDGER) to a file in a directory that you may write, or to off"
        )
    return ""


def books_file(settings: Settings) -> BooksFile | None:
    """The books of the store that the settings name; None where none are kept."""
    if settings.ledger == "off":
        return None
    if settings.ledger != "auto":
        return BooksFile(Path(settings.ledger).expanduser())
    scheme, _, rest = settings.store.partition(":")
    if scheme == "sqlite":
        path = read_path(scheme, rest)
        return BooksFile(path.with_name(path.name + ".ledger"))
    if scheme == "memory":
        return BooksFile(None)
    if settings.portable:
        return None
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    name = blake3(_place(settings.store).encode()).hexdigest(6)
    return BooksFile(Path(base) / "payonce" / f"ledger-{name}.db")


def _place(url: str) -> str:
    """What tells a store from others, whatever the login: another password is no other store."""
    shown = redact(url)
    return url.rpartition("@")[2].partition("?")[0] if UNREAD in shown else shown
