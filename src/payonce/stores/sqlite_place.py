"""The ground under a SQLite store: a directory and files that are ours alone, a lock file, a set-aside, a ballast.

Nothing here opens the database file itself: closing any descriptor of it would drop SQLite's own locks (POSIX). This
room must never know SQL, nor an entry.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from payonce.errors import StoreUnavailableError

PARTS = ("", "-wal", "-shm")
_LOCK_SECONDS = 10.0
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC

Identity = tuple[int, int]
"""Device and inode: the file itself, whatever it is called."""


def identity(path: Path) -> Identity | None:
    """Which file stands at `path` now; None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def prepare(path: Path) -> Path:
    """`path` with its directory resolved, made (0700) and judged safe; refuses what others could have planted."""
    directory = path.parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = directory.resolve(strict=True)
        found = os.lstat(directory)
    except OSError as error:
        raise StoreUnavailableError(
            f"the directory {directory} can't be made or read ({error.strerror}): give the store another path"
        ) from error
    if found.st_uid not in {os.geteuid(), 0}:
        raise StoreUnavailableError(
            f"the directory {directory} belongs to another user: give the store a directory of your own"
        )
    if _open_to_others(found):
        raise StoreUnavailableError(
            f"others may write in {directory}: run  chmod go-w '{directory}'  or give the store another directory"
        )
    path = directory / path.name
    for part in PARTS:
        _check(path.with_name(path.name + part))
    return path


def _open_to_others(directory: os.stat_result) -> bool:
    """Whether others could take away or replace what lies in `directory`. They can't where it is sticky, as /tmp is;
    and the user's own group, which may write by the umask of many systems, counts as the user. What they put in our
    files' places beforehand is refused in any case."""
    if directory.st_mode & stat.S_ISVTX:
        return False
    own_group = directory.st_gid == os.getegid()
    return bool(directory.st_mode & (0o002 if own_group else 0o022))


def _check(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailableError(f"{path} can't be looked at: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise StoreUnavailableError(f"{path} is a symbolic link: name the file itself, or remove the link")
    if stat.S_ISDIR(found.st_mode):
        raise StoreUnavailableError(f"{path} is a directory: name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnavailableError(f"{path} is not a regular file: give the store another path")
    if found.st_uid != os.geteuid():
        raise StoreUnavailableError(f"{path} belongs to another user: give the store a file of your own")
    if stat.S_IMODE(found.st_mode) & 0o177:
        with suppress(OSError):
            path.chmod(0o600)


def create(path: Path) -> bool:
    """Make an empty file (0600) at `path` where there is none; True if it did. Leftovers beside it are set aside."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise StoreUnavailableError(
            f"{path} can't be made ({error.strerror}): free space, or give the store another path"
        ) from error
    for part in PARTS[1:]:
        with suppress(OSError):
            path.with_name(path.name + part).unlink()
    return True


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock file beside `path`: exclusive to open, make or set aside the store, shared to join it."""
    lock = path.with_name(path.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | _OPEN, 0o600)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES}:
            raise StoreUnavailableError(f"the lock file {lock} can't be opened ({error.strerror})") from error
        yield  # nobody can set a file aside where nobody can write
        return
    try:
        _wait_for(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, lock)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, how: int, lock: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"another process holds {lock} for more than {_LOCK_SECONDS:.0f} s: look whether one hangs"
                ) from None
            time.sleep(0.005)


def set_aside(path: Path, now: float) -> Path:
    """Rename the store's files to `NAME.set-aside-TIME`; call it under the exclusive lock."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.set-aside-{stamp}")
    count = 1
    while identity(target) is not None:
        count += 1
        target = path.with_name(f"{path.name}.set-aside-{stamp}-{count}")
    try:
        for part in PARTS:
            with suppress(FileNotFoundError):
                path.with_name(path.name + part).rename(target.with_name(target.name + part))
    except OSError as error:
        raise StoreUnavailableError(
            f"the damaged {path} can't be set aside ({error.strerror}): remove it by hand"
        ) from error
    return target


def sync(path: Path) -> None:
    """Force the write-ahead log to the medium. Safe beside SQLite, which locks the database and the index only."""
    try:
        handle = os.open(path.with_name(path.name + "-wal"), os.O_RDONLY | _OPEN)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Ballast:
    """Bytes held back beside the store: on a full disk even SQLite's DELETE needs some, so evicting gets these."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path.with_name(path.name + ".ballast")
        room = min(max_bytes, _free(path.parent))
        self.size = max(64 << 10, min(room // 8, 8 << 20))

    def restore(self, spare: int = 1) -> bool:
        """Hold the bytes again, if the disk has `spare` times as many; True if they are held."""
        held = identity(self._path)
        if held is not None and self._path.stat().st_size >= self.size:
            return True
        if _free(self._path.parent) < self.size * spare:
            return False
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | _OPEN, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(handle, 0, self.size)
        except OSError:
            os.ftruncate(handle, 0)
            return False
        finally:
            os.close(handle)
        return True

    def release(self) -> None:
        """Give the bytes back to the disk."""
        with suppress(OSError):
            self._path.unlink()


def _free(directory: Path) -> int:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize
