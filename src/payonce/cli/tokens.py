"""`payonce tokens`: new tokens for the dashboard, shown once. This room must never keep one."""

from __future__ import annotations

import os

from payonce.cli.flags import ConfigFile, StoreUrl
from payonce.cli.output import say
from payonce.config import load
from payonce.errors import SettingsError


def tokens(*, store: StoreUrl = None, config: ConfigFile = None) -> int:
    """Make new tokens for the dashboard and show them, this once. Those there were, and their sessions, end."""
    from payonce.dashboard.tokens import make_tokens, tokens_path, told

    path = tokens_path(load({"store": store}, os.environ, config).settings)
    try:
        made = make_tokens(path, anew=True)
    except OSError as error:
        raise SettingsError(f"{path} can't be written ({error.strerror}); run as the gateway's user") from None
    assert made is not None  # those there were don't stay
    for line in told(made):
        say(line)
    return 0
