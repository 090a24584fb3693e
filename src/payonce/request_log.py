"""The request log: what was asked and when, one JSON line each, for `payonce simulate` and `payonce doctor`.

Off unless `request_log` names a file. Lines are gathered in memory and appended by whoever calls `flush`, off the
request path; it stops growing at a limit, and what it leaves out is counted. It holds prompts, so only its owner may
read it; credentials never enter it. This room must never fail a call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import orjson

WAITING_BYTES = 16 << 20
"""So much may wait for the disk."""


class RequestLog:
    """Appends to the file at `path`, up to `limit` bytes of it. Safe for threads."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = os.path.expanduser(path)  # noqa: PTH111 - text in, text out
        self._limit = limit
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._size = 0
        self.dropped = 0
        """Records that were left out: the file is full, can't be written, or the disk was too slow."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep `record` for the next flush."""
        try:
            line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except (TypeError, ValueError):
            self.dropped += 1
            return
        with self._lock:
            if self._size + len(line) > WAITING_BYTES:
                self.dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)

    def flush(self) -> None:
        """Append what waits to the file. May wait for a disk."""
        with self._lock:
            lines, self._lines, self._size = self._lines, [], 0
        if not lines:
            return
        try:
            written = self._append(lines)
        except OSError:
            written = 0
        self.dropped += len(lines) - written

    def _append(self, lines: list[bytes]) -> int:
        """How many lines were written: whole ones, as far as the limit lets them."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            room = self._limit - os.fstat(descriptor).st_size
            count = 0
            for line in lines:
                room -= len(line)
                if room < 0:
                    break
                count += 1
            text = b"".join(lines[:count])
            while text:
                text = text[os.write(descriptor, text) :]
            return count
        finally:
            os.close(descriptor)
