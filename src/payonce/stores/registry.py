"""From a store's URL to a store: built-in schemes are strings, imported when they are first used.

A guest package adds a scheme through the entry point group `payonce.stores` (name: the scheme, object: a factory with
the signature of `Factory`). This room must never import a store itself, nor say a password aloud.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import unquote

from payonce.errors import StoreExtraError, StoreUnavailableError, StoreUnknownError
from payonce.model.ports import Clock, Store

GROUP = "payonce.stores"
DEFAULT_MAX_BYTES = 1 << 30


class Factory(Protocol):
    """What opens a store: `rest` is the URL behind `scheme:`."""

    def __call__(self, rest: str, *, clock: Clock, max_bytes: int) -> Store:
        """The opened store; raises a `StoreError` whose message says what to do."""
        ...


_BUILT_IN = {
    "cassette": "payonce.stores.cassette:open_cassette",
    "memory": "payonce.stores.memory:open_memory",
    "sqlite": "payonce.stores.sqlite:open_sqlite",
    "redis": "payonce.stores.redis:open_redis",
    "rediss": "payonce.stores.redis:open_rediss",
    "redis+cluster": "payonce.stores.redis:open_redis_cluster",
    "rediss+cluster": "payonce.stores.redis:open_rediss_cluster",
    "redis+sentinel": "payonce.stores.redis:open_redis_sentinel",
    "rediss+sentinel": "payonce.stores.redis:open_rediss_sentinel",
    "memcached": "payonce.stores.memcached:open_memcached",
}
_ZSTD = () if sys.version_info >= (3, 14) else ("backports.zstd",)
_EXTRAS = {
    "payonce.stores.redis": ("redis", ("redis", "hiredis", *_ZSTD)),
    "payonce.stores.memcached": ("memcached", _ZSTD),
}
"""The extras that some stores need, and what they bring."""


def open_store(url: str, *, clock: Clock = time.time, max_bytes: int = DEFAULT_MAX_BYTES) -> Store:
    """The store that `url` names: `memory:`, `sqlite:PATH`, `cassette:DIR`, or one that an installed package brings."""
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise StoreUnknownError(f"{redact(url)!r} is not a store URL: write SCHEME:…; known schemes: {_known()}")
    return _factory(scheme.lower(), url)(rest, clock=clock, max_bytes=max_bytes)


def known_scheme(url: str) -> None:
    """Raises StoreUnknownError where no store can be opened under the scheme of `url`."""
    scheme, colon, _ = url.partition(":")
    if not colon or scheme.lower() not in schemes():
        raise _unknown(scheme.lower(), url)


def is_shared(url: str) -> bool:
    """Whether `url` names servers that other machines may use as well."""
    return url.partition(":")[0].lower().startswith(("redis", "memcached"))


def schemes() -> tuple[str, ...]:
    """Every scheme that can be opened here, sorted."""
    ours = {scheme for scheme in _BUILT_IN if not _lacks(scheme)}
    return tuple(sorted({*ours, *(point.name for point in entry_points(group=GROUP))}))


def redact(url: str) -> str:
    """`url` without its passwords, for messages and logs."""
    url = re.sub(r"(//[^/@:\s]*):\S*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][\w-]*(?:password|passwd|secret|token|auth)=)[^&#\s]*", r"\1***", url)


def file_path(rest: str) -> Path:
    """The path that a URL of a file store means: `PATH`, `~/PATH`, `//` + `/ABSOLUTE` (three slashes in all)."""
    if rest.startswith("//"):
        rest = unquote(rest[2:])
    return Path(rest).expanduser()


def _factory(scheme: str, url: str) -> Factory:
    target = _BUILT_IN.get(scheme)
    if target is not None and not _lacks(scheme):
        module, _, name = target.partition(":")
        return cast("Factory", getattr(import_module(module), name))
    for point in entry_points(group=GROUP, name=scheme):
        return cast("Factory", point.load())
    raise _unknown(scheme, url)


def _lacks(scheme: str) -> str:
    """The extra that has to be installed for `scheme`; empty where none is missing."""
    extra, brings = _EXTRAS.get(_BUILT_IN.get(scheme, "").partition(":")[0], ("", ()))
    return "" if all(is_installed(name) for name in brings) else extra


def is_installed(name: str) -> bool:
    """Whether a module can be imported, without doing so."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False  # nor the package that it is in


def _unknown(scheme: str, url: str) -> StoreUnknownError:
    what = f"no store is known for {redact(url)!r}"
    if extra := _lacks(scheme):
        return StoreExtraError(what, extra, f"or use one of {_known()}")
    return StoreUnknownError(f"{what}: use one of {_known()}")


def _known() -> str:
    return ", ".join(f"{name}:" for name in schemes())


def not_raised(scopes: Collection[str], error: Exception) -> StoreUnavailableError:
    """What a purge that failed says."""
    first = next(iter(scopes), "")
    more = f" and {len(scopes) - 1} others" if len(scopes) > 1 else ""
    return StoreUnavailableError(f"epoch {first!r}{more} could not be raised ({error}): nothing was purged, try again")
