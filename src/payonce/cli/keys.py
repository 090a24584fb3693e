"""The API key of a command that asks an upstream: from the environment only, never shown. This room must never read
any other variable.
"""

from __future__ import annotations

import os

from payonce.config import Settings
from payonce.core.fields import CREDENTIALS
from payonce.errors import SettingsError
from payonce.model.call import Headers


def key_fields(variable: str, header: str) -> Headers:
    """The header field with the key that the environment variable holds; none where no variable is named."""
    name = header.lower().encode("utf-8", "replace")
    if name not in CREDENTIALS:
        known = ", ".join(sorted(credential.decode() for credential in CREDENTIALS))
        raise SettingsError(f"--key-header: {header!r} is no header for a key; use one of {known}")
    if not variable:
        return ()
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SettingsError(
            f"{variable} is not set: put the API key into it, or name another variable with --key-env ('' sends no key)"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(f"{variable} does not hold an API key: it has blanks, line ends or other odd characters")
    return ((name, (b"Bearer " if name == b"authorization" else b"") + key.encode()),)


def one_upstream(settings: Settings) -> str:
    """The name of the upstream to ask, where there is only one, or one without a name."""
    names = [name for name, _ in settings.upstream]
    if len(names) == 1 or "" in names:
        return "" if "" in names else names[0]
    raise SettingsError(f"upstream: there are several ({', '.join(names)}); name the one to ask with --upstream URL")
