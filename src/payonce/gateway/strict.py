"""What uvicorn's parser lets pass and a gateway must not: caps on a request's head, exactly one well-formed Host, no
absolute-form target, no coding but `chunked`.

Sources: RFC 9112 sections 3.2, 6.1 and 6.3; the threats T17 to T20. This room must never know what a request asks for.
"""

from __future__ import annotations

import re

from payonce.gateway.guard import host_name
from payonce.model import reason as why
from payonce.model.call import Headers
from payonce.model.reason import Reason

MAX_HEADERS = 128
MAX_HEAD_BYTES = 64 << 10
MAX_URL_BYTES = 8 << 10

_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_UPGRADING = frozenset((b"upgrade", b"http2-settings"))
_good_hosts: set[bytes] = set()


def malformed(
    method: bytes, target: bytes, version: str, headers: Headers | list[tuple[bytes, bytes]], length: int | None
) -> Reason | None:
    """Why a request with this head is refused; None if it is well-formed. `length` is its Content-Length."""
    if len(headers) > MAX_HEADERS or len(target) > MAX_URL_BYTES:
        return why.HEAD_TOO_LARGE
    size = hosts = 0
    host = coding = b""
    codings = 0
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
            host = value
        elif name == b"transfer-encoding":
            codings += 1
            coding = value.lower()
    if size > MAX_HEAD_BYTES:
        return why.HEAD_TOO_LARGE
    if hosts != 1 or (host not in _good_hosts and not _is_good_host(host)):
        return why.BAD_REQUEST
    if not _TARGET.fullmatch(target) or method == b"CONNECT" or version not in ("1.1", "1.0"):
        return why.BAD_REQUEST
    if length is None and codings and (codings > 1 or coding != b"chunked" or version == "1.0"):
        return why.BAD_REQUEST
    return None


def _is_good_host(host: bytes) -> bool:
    """Whether a Host field is well-formed; good ones are remembered, a thousand at most."""
    good = host_name(host) is not None
    if good and len(_good_hosts) < 1000:
        _good_hosts.add(host)
    return good


def plain_head(method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """A head that was parsed, written anew without the wish to upgrade the connection."""
    head = [method, b" ", target, b" HTTP/", version.encode(), b"\r\n"]
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            head += (b"connection: ", b", ".join([t for t in tokens if t.lower() not in _UPGRADING]), b"\r\n")
        elif name not in _UPGRADING:
            head += (name, b": ", value, b"\r\n")
    head.append(b"\r\n")
    return b"".join(head)
