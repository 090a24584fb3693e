"""From a store's URL to a store: built-in schemes are strings, imported when they are first used.

Guests (stores/guests.py) bring further ones. This room must never import a store itself, nor say a password aloud.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from payonce.errors import StoreExtraError, StoreFullError, StoreUnavailableError, StoreUnknownError
from payonce.model.ports import Clock, Store
from payonce.stores import guests
from payonce.stores.guests import Factory
from payonce.stores.redacted import redact

DEFAULT_MAX_BYTES = 1 << 30


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
_READERS = {
    "payonce.stores.cassette": "payonce.stores.local_url:read_path",
    "payonce.stores.memory": "payonce.stores.local_url:read_nothing",
    "payonce.stores.sqlite": "payonce.stores.local_url:read_path",
    "payonce.stores.redis": "payonce.stores.redis_tls:read_checked",
    "payonce.stores.memcached": "payonce.stores.memcached_url:read_url",
}
"""What reads the URLs of a module's stores, given scheme and rest: raises StoreUrlError, and opens none."""
_ZSTD = () if sys.version_info >= (3, 14) else ("backports.zstd",)
_EXTRAS = {
    "payonce.stores.redis": ("redis", ("redis", "hiredis", *_ZSTD)),
    "payonce.stores.memcached": ("memcached", _ZSTD),
}
"""The extras that some stores need, and what they bring."""


def check_url(url: str) -> None:
    """Raises StoreUnknownError where no store can be opened under the scheme of `url`, StoreUrlError where a store of
    ours can't be under the rest of it. Opens none, and connects to none; a guest's package is imported."""
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    target = _BUILT_IN.get(scheme)
    if colon and target is not None and not _lacks(scheme):
        _imported(_READERS[target.partition(":")[0]])(scheme, rest)
    elif not colon or guests.guest(scheme) is None:
        raise _unknown(scheme, url)


def open_store(url: str, *, clock: Clock = time.time, max_bytes: int = DEFAULT_MAX_BYTES) -> Store:
    """The store that `url` names: `memory:`, `sqlite:PATH`, `cassette:DIR`, or one that an installed package brings."""
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise StoreUnknownError("that is no store's URL", f"write SCHEME:…; known schemes: {_known()}")
    return _factory(scheme.lower(), url)(rest, clock=clock, max_bytes=max_bytes)


def is_shared(url: str) -> bool:
    """Whether `url` names servers that other machines may use as well."""
    return url.partition(":")[0].lower().startswith(("redis", "memcached"))


def schemes() -> tuple[str, ...]:
    """Every scheme that can be opened here, sorted."""
    ours = {scheme for scheme in _BUILT_IN if not _lacks(scheme)}
    return tuple(sorted({*ours, *guests.schemes()}))


def _factory(scheme: str, url: str) -> Factory:
    target = _BUILT_IN.get(scheme)
    if target is not None and not _lacks(scheme):
        return cast("Factory", _imported(target))
    if (found := guests.guest(scheme)) is None:
        raise _unknown(scheme, url)
    return found


def _imported(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


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
    return StoreUnknownError(what, f"use one of {_known()}")


def _known() -> str:
    return ", ".join(f"{name}:" for name in schemes())


def unusable(url: str, error: Exception) -> StoreUnavailableError:
    """What a fault of the servers at `url` means to who has to have them: what was tried, and what to do."""
    if isinstance(error, StoreFullError):
        return StoreFullError(f"{redact(url)}: {error}")
    return StoreUnavailableError(
        f"the store {redact(url)} could not be used ({str(error).rstrip('.')}): start its server or correct its URL "
        "(address, user and password, rediss:// where it speaks TLS), then run this again"
    )


def not_raised(scopes: Collection[str], error: Exception) -> StoreUnavailableError:
    """What a purge that failed says."""
    first = next(iter(scopes), "")
    more = f" and {len(scopes) - 1} others" if len(scopes) > 1 else ""
    if isinstance(error, StoreFullError):
        said = f"epoch {first!r}{more} could not be raised, so nothing was purged, and what is stored is still served"
        return StoreFullError(f"{said}: {error}; then purge again")
    return StoreUnavailableError(f"epoch {first!r}{more} could not be raised ({error}): nothing was purged, try again")
