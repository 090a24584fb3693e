"""What is said of a cassette that can't be read or written. This room must never touch a file."""

from __future__ import annotations

import errno
from typing import Final

from payonce.model import reason
from payonce.model.reason import Reason

_REASONS: Final = {
    errno.ENOSPC: reason.STORE_FULL,
    errno.EDQUOT: reason.STORE_FULL,
    errno.EROFS: reason.STORE_READ_ONLY,
    errno.EACCES: reason.STORE_READ_ONLY,
    errno.EPERM: reason.STORE_READ_ONLY,
}


def reason_of(error: OSError) -> Reason:
    """Why an entry could not be written."""
    return _REASONS.get(error.errno or 0, reason.WRITE_FAULT)


def said(error: OSError) -> str:
    """The system's own words."""
    return error.strerror or str(error) or type(error).__name__


def restore(path: str) -> str:
    """What to do about a damaged file."""
    return f"bring it back (git checkout -- '{path}'), or delete it and record it anew"
