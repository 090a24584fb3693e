"""The secret of an installation: 32 bytes that hash tenants and seal entries, in a file that its owner alone may read.

Made whole on first use, once, however many processes start together. This room must never show it, nor a part of it.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from payonce.config import Settings
from payonce.core.keying import OPEN_SECRET
from payonce.errors import SettingsError

SECRET_BYTES = 32


def secret_path(settings: Settings) -> Path:
    """Where the secret is kept: as set, else beside the store's file, else in the user's cache directory."""
    if settings.secret_file:
        return Path(settings.secret_file).expanduser()
    scheme, _, rest = settings.store.partition(":")
    if scheme == "sqlite":
        from payonce.stores.local_url import read_path  # noqa: PLC0415 - only where the store is a file

        path = read_path(scheme, rest)
        return path.with_name(path.name + ".secret")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "payonce" / "secret"


def load_secret(settings: Settings, *, create: bool = True) -> bytes:
    """The 32 bytes that hash tenants and seal entries; made on first use, in a file that only its owner may read.

    A portable store has one that everybody knows. Raises OSError where it can't be read or made, SettingsError where it
    is not a secret or others may read it.
    """
    if settings.portable:
        return OPEN_SECRET
    path = secret_path(settings)
    if create and not path.exists():
        _create_secret(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor that follows no link
        secret = file.read(SECRET_BYTES + 1)
        if len(secret) != SECRET_BYTES:
            raise SettingsError(
                f"secret_file: {path} is no secret, which has {SECRET_BYTES} bytes; name another file, which is made "
                "where there is none"
            )
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise SettingsError(f"secret_file: other users may read {path}; run  chmod 600 {path}")
    return secret


def _create_secret(path: Path) -> None:
    """Make the secret whole under another name first: of several processes that start at once, one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor with its mode from the start
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
    finally:
        draft.unlink(missing_ok=True)
