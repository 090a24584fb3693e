"""Environment variables that look like settings and set nothing: a typing error, mostly.

This room must never read a value: it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from payonce.config_options import OPTIONS
from payonce.config_types import did_you_mean

PREFIX = "PAYONCE_"
LIST = "payonce config lists all settings"
_OTHERS = frozenset(("CONFIG", "MODE", "UID", "VALKEY_PASSWORD"))
"""What is read elsewhere: by the command line, the pytest plugin, and the compose file of docs/operators.md."""
_LINKS = re.compile(r"(.+_)?(SERVICE_(HOST|PORT)(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
"""What Kubernetes sets of itself in every container beside a service whose name begins with payonce."""


def strangers(environ: Mapping[str, str]) -> dict[str, str]:
    """Every variable that begins with PAYONCE_ and is no setting; and what to do about it."""
    known = {option.variable for option in OPTIONS.values()} | {PREFIX + name for name in _OTHERS}
    return {
        variable: _meant(variable)
        for variable in sorted(environ)
        if variable.startswith(PREFIX) and variable not in known and not _LINKS.fullmatch(variable[len(PREFIX) :])
    }


def _meant(variable: str) -> str:
    hint = did_you_mean(variable[len(PREFIX) :], OPTIONS)
    return f"did you mean {PREFIX}{hint.removeprefix('did you mean ').upper()}" if hint else LIST
