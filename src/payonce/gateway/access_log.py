"""The access log: one line of JSON for each request, appended to a file or written to standard output.

A file that was moved away (by logrotate, say) is left to whoever moved it, and a new one is begun. Only its owner may
read it. What can't be written is counted. This room must never know more of a request than `Visit` says.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from payonce.ledger.tally import dollars
from payonce.model.visit import Spent, Visit

STANDARD_OUTPUT = "-"
_log = logging.getLogger("payonce.gateway")


class AccessLog:
    """Appends to the file at `path`, or to standard output for `-`. A sink of `payonce.telling.Teller`."""

    def __init__(self, path: str) -> None:
        self._path = os.path.expanduser(path)  # noqa: PTH111 - text in, text out
        self._descriptor = 1 if path == STANDARD_OUTPUT else -1
        self._troubled = False
        self.dropped = 0

    def start(self) -> None:
        """Open the file before the first request, so that a wrong path is said at once."""
        self.tell(())

    def tell(self, visits: Sequence[Visit]) -> None:
        """Append a line for each. May wait for a disk."""
        try:
            text = b"".join(orjson.dumps(line(visit), option=orjson.OPT_APPEND_NEWLINE) for visit in visits)
            descriptor = self._opened()
            while text:
                text = text[os.write(descriptor, text) :]
            self._troubled = False
        except OSError as error:
            self.dropped += len(visits)
            self._close()
            if not self._troubled:
                self._troubled = True
                what = "access_log: %s can't be written (%s): lines are dropped and counted until it can"
                _log.warning(what, self._path, error.strerror)

    def _opened(self) -> int:
        """The file as it is called now."""
        if self._path == STANDARD_OUTPUT:
            return self._descriptor
        if self._descriptor >= 0 and not _is_at(self._descriptor, self._path):
            self._close()
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor > 1:
            os.close(self._descriptor)
            self._descriptor = -1


def _is_at(descriptor: int, path: str) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - beside fstat
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def line(visit: Visit) -> dict[str, Any]:
    """What is written of one request; what there is nothing to say about is left out."""
    wire = visit.wire
    told: dict[str, Any] = {
        "time": datetime.fromtimestamp(visit.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "request": visit.request,
        "method": wire.method if wire is not None else "",
        "path": wire.path if wire is not None else "",
        "status": wire.status if wire is not None else 0,
        "outcome": visit.outcome,
        "reason": visit.reason,
        "unkept": visit.unkept,
        "model": visit.model,
        "answered_by": visit.answered_by if visit.answered_by != visit.model else "",
        "upstream": visit.upstream,
        "tenant": visit.tenant[:16],
        "namespace": visit.namespace,
        "stream": visit.stream,
        "converted": visit.converted,
        "bytes_in": wire.received if wire is not None else None,
        "bytes_out": wire.sent if wire is not None else None,
        "first_ms": None if wire is None or wire.first is None else round(wire.first * 1e3, 3),
        "ms": round(visit.took * 1e3, 3),
        "spent": _money(visit.spent),
        "avoided": _money(visit.avoided),
        "trace": visit.traceparent,
    }
    return {name: value for name, value in told.items() if value not in ("", None, False, {})}


def _money(spent: Spent | None) -> dict[str, Any]:
    if spent is None:
        return {}
    told = {
        "input_tokens": spent.input,
        "cache_read_tokens": spent.cache_read,
        "cache_write_tokens": spent.cache_write,
        "output_tokens": spent.output,
        "dollars": None if spent.cost is None else dollars(spent.cost),
    }
    return {name: value for name, value in told.items() if value is not None}
