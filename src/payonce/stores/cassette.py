"""A store of recordings: one readable JSON file an entry, to be kept in git, compared, and edited (docs/testing.md).

What is put is on the disk when `put` returns, under its final name, whole. Recordings carry no seal of one machine:
they are sealed anew, with a secret that everybody knows, whenever they are read (design/cassette.md). They don't expire
and are never evicted; a purge deletes their files. This room must never know HTTP, nor raise on the way of a call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from payonce.core.keying import OPEN_SECRET, derive
from payonce.errors import StoreUnavailableError
from payonce.model import reason as why
from payonce.model.call import Asked
from payonce.model.entry import Entry, seal, unseal
from payonce.model.ports import About, Clock, Recording, Row, Volume
from payonce.model.reason import Reason
from payonce.model.scopes import BEFORE, alive, of_key
from payonce.stores.cassette_epochs import EpochBook
from payonce.stores.cassette_errors import reason_of, restore, said
from payonce.stores.cassette_files import PLAYED, RECORDED, Files
from payonce.stores.cassette_page import write, write_bytes
from payonce.stores.cassette_place import Place, begins_alike, file_name, slug
from payonce.stores.cassette_read import DamagedError, question, read
from payonce.stores.cassette_scrub import shown
from payonce.stores.local_url import read_path

ENVELOPE: Final = derive(OPEN_SECRET, "envelope")
"""With it whoever uses this store seals its entries; what is sealed otherwise is kept as mere bytes."""
_FULL_DIGITS: Final = 64
_OF_KEY: Final = of_key(b"")


class CassetteStore:
    """A `Store`, `Chronicle` and `Recorder` in the directory `path`, for any number of processes."""

    slow = False
    """A lookup reads one small file: it is not worth a thread, and a test must not miss because a thread was late."""

    def __init__(self, path: str | os.PathLike[str], clock: Clock = time.time) -> None:
        self.place = Place(Path(path).expanduser().absolute())
        self._clock = clock
        self._epochs = EpochBook(self.place, clock)
        self.files = Files(self.place)
        if self.place.path.exists() and not self.place.path.is_dir():
            raise StoreUnavailableError(f"{self.place.path} is not a directory: write  cassette:DIR")

    # What every store does.

    def get(self, slot: bytes) -> bytes | None:
        """The entry recorded under `slot`, sealed; None where there is none that can be read. Never raises."""
        found = self.files.find(slot)
        if found is None:
            return None
        name, page = found
        self.files.tell(PLAYED, name)
        if page.entry is None:
            return page.value if page.about.expires_at > self._clock() else None
        return seal(self._alive(page.entry), slot, ENVELOPE)

    def put(self, slot: bytes, value: bytes, about: About) -> bool:
        """Write `value`; False, and counted, where it can't be written."""
        return self.keep_asked(slot, value, about, None) is None

    def keep_asked(self, slot: bytes, value: bytes, about: About, asked: Asked | None) -> Reason | None:
        """Write `value`, with the question where it is known; why not, counted, where it can't be written."""
        entry = unseal(value, slot, ENVELOPE)
        text = write(slot, entry, shown(asked) if asked else None) if entry is not None else None
        try:
            data = (text if text is not None else write_bytes(slot, value, about)).encode()
        except UnicodeEncodeError:
            data = write_bytes(slot, value, about).encode("utf-8", "replace")
        try:
            with self.place.locked():
                if text is not None and entry is not None and not self._unpurged(entry):
                    return None  # purged while it was under way: as if it had been kept, and deleted then
                self._replace(slot, about, data)
        except OSError as error:
            unkept = reason_of(error)
            self.files.dropped[unkept.id] += 1
            self.files.fault(error, "what is new is not recorded")
            return unkept
        return None

    def declines(self, slot: bytes, size: int) -> Reason | None:  # noqa: ARG002 - the port's signature
        """Why nothing would be written; None where it might."""
        return why.STORE_READ_ONLY if self.place.refusal() else None

    def delete(self, slot: bytes) -> None:
        """Forget `slot`."""
        try:
            with self.place.locked():
                for name, page in self.files.pages(self.place.candidates(slot, anew=True)):
                    if page.slot == slot:
                        self.place.remove(name)
        except OSError as error:
            self.files.fault(error, "nothing was deleted from it")

    def epochs(self) -> Mapping[str, int]:
        """Every epoch that was raised here, on this machine."""
        return self._epochs.read()

    def raise_epoch(self, scope: str, at_least: int = 0) -> int:
        """Count `scope` up, and delete the recordings it concerns."""
        try:
            with self.place.locked():
                count = self._epochs.raise_(scope, at_least)
                for name, page in self.files.pages(self._within(scope)):
                    if page.entry is not None and _concerned(page.slot, page.entry, scope, count):
                        self.place.remove(name)
                return count
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.place.path}: epoch {scope!r} could not be raised ({said(error)}): "
                "make the directory writable and try again"
            ) from error

    def raised(self) -> Mapping[str, float]:
        """When each scope was last raised."""
        return self._epochs.raised()

    def flush(self, timeout: float = 5.0) -> bool:
        """Bring what was written to the medium itself; False where that takes too long."""
        return self.files.sync(timeout)

    def volume(self) -> Volume:
        """How many files there are, and their bytes; a cassette has no limit."""
        sizes = [size for size in map(self.files.size, self.place.names()) if size is not None]
        return Volume(len(sizes), sum(sizes), 0)

    def rows(self) -> Iterator[Row]:
        """Every recording, newest first; what can't be read is left out."""
        now = self._clock()
        found = []
        for name, page in self.files.pages(self.place.names()):
            if page.entry is not None or page.about.expires_at > now:
                size = (self.files.size(name) or 0) if page.entry is not None else len(page.value)
                found.append((page.about.stored_at, self.files.stamp(name), Row(page.slot, size, page.about)))
        found.sort(key=lambda item: item[:2], reverse=True)
        yield from (row for _, _, row in found)

    def dropped(self) -> Mapping[str, int]:
        """How many were not written, and how many files were found damaged, by reason id."""
        return dict(self.files.dropped)

    def close(self) -> None:
        """Bring what was written to the medium."""
        self.flush(2.0)

    # What a recorder does.

    def shown(self, asked: Asked) -> Asked:
        """The question as it is recorded."""
        return shown(asked)

    def recordings(self, endpoint: str, model: str) -> Iterator[Recording]:
        """What is recorded, the most likely files first: by their names alone."""
        near, nearer = slug(endpoint, "") + "-", slug(endpoint, model) + "-"

        def distance(name: str) -> tuple[bool, bool, str]:
            return (not name.startswith(nearer), not name.startswith(near), name)

        for name in sorted(self.place.names(), key=distance):
            data = self.files.data(name)
            found = question(data) if data is not None else None
            if found is not None:
                yield Recording(self.files.named(name), found[0].endswith(b"s"), found[1])

    def trouble(self, slot: bytes) -> str:
        """Why the file that is named after `slot` can't be read; empty where there is none, or nothing is wrong."""
        for name in self.place.candidates(slot, anew=True):
            try:
                read((self.place.path / name).read_bytes())
            except DamagedError as error:
                return f"{self.files.named(name)} {error}: {restore(self.files.named(name))}"
            except FileNotFoundError:
                continue
            except OSError as error:
                return f"{self.files.named(name)} can't be read ({said(error)}): make it readable"
        return ""

    def refusal(self) -> str:
        """Why nothing can be recorded."""
        return self.place.refusal()

    # How.

    def _within(self, scope: str) -> list[str]:
        """The files that a purge may concern, by their names."""
        names = self.place.names()
        if scope.startswith(_OF_KEY):
            names = [name for name in names if begins_alike(name, scope.removeprefix(_OF_KEY))]
        return names

    def _replace(self, slot: bytes, about: About, data: bytes) -> None:
        """Write the one file of `slot`. One that differs in its date alone stays as it is."""
        name, others = file_name(about.endpoint, about.model, slot), []
        for there in sorted({name, *self.place.known(slot)}):
            held = self.files.data(there)
            page = self.files.page(there, held)
            if page is not None and page.slot != slot:
                if there == name:  # another key that begins alike
                    name = file_name(about.endpoint, about.model, slot, _FULL_DIGITS)
                continue
            if page is not None and there != name:
                others.append(there)
            elif held is not None and page is not None and _undated(held) == _undated(data):
                self.files.tell(RECORDED, name)
                return
        self.place.write(name, data)
        for other in others:
            if other != name:
                self.place.remove(other)
        self.files.tell(RECORDED, name)

    def _alive(self, entry: Entry) -> Entry:
        """The entry as if it had been stored now: a purge deletes, so what is here has outlived them all."""
        current = self._epochs.read()
        return msgspec.structs.replace(
            entry,
            stored_at=max(entry.stored_at, (current.get(BEFORE, -1) + 1) / 1000),
            epochs=tuple([current.get(scope, 0) for scope in entry.scopes]),
        )

    def _unpurged(self, entry: Entry) -> bool:
        return alive(entry.scopes, entry.epochs, entry.stored_at, self._epochs.read())


def _concerned(slot: bytes, entry: Entry, scope: str, count: int) -> bool:
    """Whether a purge that raised `scope` to `count` is one of this entry."""
    if scope == BEFORE:
        return entry.stored_at * 1000 <= count
    return scope in entry.scopes or scope == of_key(slot[:-1])


def _undated(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines() if not line.startswith(b'  "recorded": ')]


def open_cassette(rest: str, *, clock: Clock, max_bytes: int) -> CassetteStore:  # noqa: ARG001 - recordings stay
    """The registry's door: `cassette:DIR`, `cassette:~/DIR`, `cassette:///ABSOLUTE`."""
    return CassetteStore(read_path("cassette", rest), clock)
