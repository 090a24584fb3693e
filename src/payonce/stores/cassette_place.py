"""The directory of a cassette: which file an answer has, how files appear whole, and the lock between processes.

A name says endpoint and model, then the beginning of the key: `chat-openai-gpt-4o-mini-3fa2c1d4e5b6.json`. What is not
for people or for git stands in `.payonce/`, which ignores itself. This room must never know what a file says.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

HIDDEN: Final = ".payonce"
_DIGITS: Final = 12
_SLUG: Final = 60
_LOCK_SECONDS: Final = 5.0
_DRAFT_SECONDS: Final = 3600.0
"""A draft that is older was left by a process that was killed."""
_SETTLED_NS: Final = 50_000_000
"""A directory that changed less long ago may change again without a new time stamp."""
_NAME: Final = re.compile(r"(?:.*-)?([0-9a-f]{12,64})(\.stream)?\.json", re.DOTALL)
_OTHERS: Final = re.compile(r"[^a-z0-9._]+")


def file_name(endpoint: str, model: str, slot: bytes, digits: int = _DIGITS) -> str:
    """The name of the file for `slot`: safe on every file system, whatever the model is called."""
    return f"{slug(endpoint, model)}-{slot[:-1].hex()[:digits]}{'.stream' if slot.endswith(b's') else ''}.json"


def slug(endpoint: str, model: str) -> str:
    """Endpoint and model as the first part of a name."""
    what = _slugged(endpoint.removesuffix("/completions")).replace(".", "-") or "other"  # Windows has a device con.x
    return "-".join(part for part in (what, _slugged(model)) if part)


def begins_alike(name: str, digits: str) -> bool:
    """Whether a file may be that of the key with these digits."""
    match = _NAME.fullmatch(name)
    return match is not None and match[1][:_DIGITS] == digits[:_DIGITS]


def _slugged(text: str) -> str:
    return _OTHERS.sub("-", text.lower())[:_SLUG].strip("-._")


class Place:
    """The directory `path`, which need not be there yet. Safe from any thread; files are replaced whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hidden = path / HIDDEN
        self._guard = threading.RLock()
        self._depth = 0
        self._names: dict[tuple[str, bool], set[str]] = {}
        self._stamp: int | None = None
        self._looked = False
        self._swept = False
        self._last = 0

    # Names.

    def names(self) -> list[str]:
        """Every file that may be a page, by name."""
        self._look(anew=True)
        return sorted(name for names in self._names.values() for name in names)

    def candidates(self, slot: bytes, *, anew: bool = False) -> list[str]:
        """The files that may hold `slot`. Costs a look at the directory's time stamp where none is known."""
        place = (slot[:-1].hex()[:_DIGITS], slot.endswith(b"s"))
        with self._guard:
            if anew or place not in self._names:
                self._look(anew=anew)
            return sorted(self._names.get(place, ()))

    def known(self, slot: bytes) -> set[str]:
        """The same as far as it was known at the last look."""
        with self._guard:
            if not self._looked:
                self._look()
            return set(self._names.get((slot[:-1].hex()[:_DIGITS], slot.endswith(b"s")), ()))

    def _look(self, *, anew: bool = False) -> None:
        """List the directory, unless it is known not to have changed."""
        with self._guard:
            try:
                stamp = self.path.stat().st_mtime_ns
                if stamp == self._stamp and not anew:
                    return
                found: dict[tuple[str, bool], set[str]] = {}
                with os.scandir(self.path) as listing:
                    for item in listing:
                        match = _NAME.fullmatch(item.name)
                        if match:
                            found.setdefault((match[1][:_DIGITS], bool(match[2])), set()).add(item.name)
            except OSError:
                found, stamp = {}, 0
            self._names = found
            self._looked = True
            self._stamp = stamp if time.time_ns() - stamp > _SETTLED_NS else None

    # Files.

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none. Raises OSError."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes, *, hidden: bool = False) -> None:
        """Put a file in its place, whole. Raises OSError. Files that come later are younger by their time stamp."""
        self._settle()
        draft = self.hidden / f"draft-{os.getpid()}-{secrets.token_hex(6)}"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor of a file that was not there before
                file.write(data)
            with self._guard:
                self._last = max(self._last + 1, time.time_ns())
                os.utime(draft, ns=(self._last, self._last))
                draft.replace((self.hidden if hidden else self.path) / name)
                match = None if hidden else _NAME.fullmatch(name)
                if match:
                    self._names.setdefault((match[1][:_DIGITS], bool(match[2])), set()).add(name)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there. Raises OSError."""
        (self.path / name).unlink(missing_ok=True)
        with self._guard:
            for names in self._names.values():
                names.discard(name)

    def _settle(self) -> None:
        """Make the directory and its hidden part, which git does not see."""
        if not self.hidden.is_dir():
            self.hidden.mkdir(parents=True, exist_ok=True)
        ignore = self.hidden / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        if not self._swept:
            self._swept = True
            with suppress(OSError):
                for draft in self.hidden.glob("draft-*"):
                    if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
                        draft.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all threads and processes that write here. Raises OSError where that takes too long."""
        with self._guard:
            if self._depth:
                yield
                return
            self._settle()
            descriptor = os.open(self.hidden / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                _lock(descriptor)
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
            finally:
                os.close(descriptor)

    def refusal(self) -> str:
        """Why nothing can be written here, and what to do; empty where it can. Changes nothing."""
        return _refusal(self.path) or _refusal(self.hidden)


def _refusal(wanted: Path) -> str:
    """The same of a directory, or of the nearest one above it that is there."""
    try:
        there = next(path for path in (wanted, *wanted.parents) if path.exists())
    except (StopIteration, OSError):
        there = wanted
    if not there.is_dir():
        return f"{there} is not a directory: name another one, or move the file out of the way"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"the directory {there} can't be written: run  chmod u+w '{there}', or use mode=\"replay\""
    return ""


def _lock(descriptor: int) -> None:
    """Wait for the lock; it is let go with the descriptor, also by a process that is killed. On Windows there is none:
    threads are kept apart, processes are not."""
    if sys.platform == "win32":
        return
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise TimeoutError("another process holds the lock of this cassette") from None
            time.sleep(0.001)
