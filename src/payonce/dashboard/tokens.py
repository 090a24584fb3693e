"""The dashboard's two tokens: made once, shown once, kept as digests in a file that only its owner may read.

A token is 32 random bytes, so a fast digest of it is no weaker than it. This room must never log or keep a token.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from pathlib import Path
from typing import Final

import orjson
from blake3 import blake3

from payonce.config import Settings
from payonce.errors import SettingsError
from payonce.secret import secret_path


class Role(StrEnum):
    """What a visitor may do."""

    VIEW = "view"
    """See figures, keys and findings; no text of a prompt or an answer, and change nothing."""
    ADMIN = "admin"
    """Purge as well, and read answers where `show_content` is on."""


PREFIX: Final = "payonce-"
MOST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Tokens:
    """The digests of the tokens in force, in hexadecimal digits."""

    digests: Mapping[Role, str]

    def role_of(self, token: str) -> Role | None:
        """Who shows this token; every digest is compared, in constant time."""
        shown = digest_of(token)
        found = [role for role, kept in self.digests.items() if compare_digest(kept, shown)]
        return found[0] if found else None


def tokens_path(settings: Settings) -> Path:
    """Where the digests are kept: beside the installation's secret."""
    path = secret_path(settings)
    return path.with_name(path.name + ".dashboard")


def digest_of(token: str) -> str:
    """The digest of a token."""
    return blake3(token.encode("utf-8", "replace"), derive_key_context="payonce dashboard token").hexdigest()


def read_tokens(path: Path) -> Tokens | None:
    """The tokens in force; None where none were made. Raises SettingsError where the file is not ours alone, or is
    none of ours, OSError where it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor that follows no link
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise SettingsError(f"{path}: other users may read the dashboard's tokens; run  chmod 600 {path}")
        text = file.read(MOST_BYTES)
    try:
        said = orjson.loads(text)
        return Tokens({role: str(said[role.value]) for role in Role})
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{path}: these are no tokens; run  payonce tokens  for new ones") from None


def make_tokens(path: Path, *, anew: bool) -> Mapping[Role, str] | None:
    """New tokens, for their one showing; with `anew` in the place of those there are, whose sessions then end. None
    where there are some and they are to stay: of several processes that start at once, one makes them."""
    made = {role: PREFIX + role.value + "-" + secrets.token_urlsafe(32) for role in Role}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor with its mode from the start
            file.write(orjson.dumps({role.value: digest_of(token) for role, token in made.items()}))
            file.flush()
            os.fsync(file.fileno())
        if anew:
            draft.replace(path)
            return made
        try:
            os.link(draft, path)
        except FileExistsError:
            return None
        return made
    finally:
        draft.unlink(missing_ok=True)


def told(made: Mapping[Role, str]) -> Iterator[str]:
    """What is shown of new tokens, line by line, once."""
    yield "Tokens of the dashboard, shown this once (payonce tokens makes new ones):"
    for role, token in made.items():
        yield f"  {role.value:<5}  {token}"
