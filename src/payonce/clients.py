"""How the library's clients are set up: their arguments made one, wrong ones refused with what to do.

For httpx and httpx2 alike. This room must never do I/O nor import an HTTP client.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from payonce.config import Settings
from payonce.config_types import YEAR, did_you_mean
from payonce.core.directives import read_directives
from payonce.desk import MODES, Mode, Nearest, Options
from payonce.errors import SettingsError, WrongClientError
from payonce.model.call import Headers
from payonce.model.policy import CacheMode, PromptCache
from payonce.model.ports import Clock
from payonce.model.reason import Reason

DRAIN_SECONDS = 5.0
"""For how long closing a client waits for its calls under way, unless `settings` say otherwise."""

_KINDS = {
    "handle_request": ("HTTPTransport", "CacheTransport"),
    "handle_async_request": ("AsyncHTTPTransport", "AsyncCacheTransport"),
}


class CacheOptions(TypedDict, total=False):
    """The arguments by which clients and transports are told how to cache (docs/library.md)."""

    store: str | None
    cache: CacheMode | None
    ttl: int | None
    prompt_cache: PromptCache | None
    mode: Mode | None
    namespace: str
    tags: Sequence[str]
    sample: int | None
    settings: Settings | None
    nearest: Nearest | None
    remedy: str
    clock: Clock


NAMES = frozenset(CacheOptions.__annotations__)


def options(
    *,
    store: str | None = None,
    cache: CacheMode | None = None,
    ttl: int | None = None,
    prompt_cache: PromptCache | None = None,
    mode: Mode | None = None,
    namespace: str = "",
    tags: Sequence[str] = (),
    sample: int | None = None,
    settings: Settings | None = None,
    nearest: Nearest | None = None,
    remedy: str = 'run once with mode="record"',
    clock: Clock = time.time,
) -> Options:
    """The options that these arguments mean; `store`, `cache`, `ttl` and `prompt_cache` go before `settings`."""
    if mode is not None and mode not in MODES:
        hint = did_you_mean(mode, MODES) or f"use one of {', '.join(MODES)}"
        raise SettingsError(f'mode: "{mode}" is not a mode; {hint}')
    if ttl is None and settings is None and mode in ("record", "refresh", "replay"):
        ttl = YEAR
    if mode is not None:
        cache = "off" if mode == "off" else "all"
    given: dict[str, Any] = {"store": store, "cache": cache, "ttl": ttl, "prompt_cache": prompt_cache}
    settings = settings or Settings(drain_timeout=DRAIN_SECONDS)
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    return Options(settings, mode, _said(namespace, tags, sample), nearest, clock, remedy)


def _said(namespace: str, tags: Iterable[str], sample: int | None) -> Headers:
    """The directives that the arguments stand for."""
    listed = "" if isinstance(tags, str) else ",".join(tags)
    if isinstance(tags, str):
        raise SettingsError(f'tags: a list of names is meant, not one string; write tags=["{tags}"]')
    said = {
        b"x-payonce-namespace": namespace,
        b"x-payonce-tags": listed,
        b"x-payonce-sample": "" if sample is None else str(sample),
    }
    headers = tuple((name, value.encode()) for name, value in said.items() if value)
    wrong = read_directives(headers)
    if isinstance(wrong, Reason):
        raise SettingsError(f"{wrong.sentence}; correct the client's argument")
    return headers


def split(mod: Any, arguments: dict[str, Any], method: str) -> tuple[Options, dict[str, Any]]:
    """The options among a client's arguments, and the arguments that are left for the HTTP client.

    Where they say nothing, the client follows redirects and has as many connections as the SDKs give their own.
    """
    ours = {name: value for name, value in arguments.items() if name in NAMES}
    left = {name: value for name, value in arguments.items() if name not in NAMES}
    if left.get("transport") is not None:
        fitting(mod, left["transport"], method)
    left.setdefault("follow_redirects", True)
    left.setdefault("limits", mod.Limits(max_connections=1000, max_keepalive_connections=100))
    return options(**ours), left


def fitting(mod: Any, way: Any, method: str) -> Any:
    """`way`, if it is a transport for `mod` that has `method`; else an error that names the right one."""
    kind, wrapper = _KINDS[method]
    named = f"{type(way).__module__.partition('.')[0]}.{type(way).__name__}"
    others = {"httpx", "httpx2"} - {mod.__name__}
    bases = {base.__module__.partition(".")[0] for base in type(way).__mro__}
    if bases & others and mod.__name__ not in bases:
        other = (bases & others).pop()
        raise SettingsError(
            f"transport: {named} is a transport of {other}, and this is payonce.{mod.__name__}; "
            f"pass an {mod.__name__}.{kind}, or take the client from payonce.{other}"
        )
    if not hasattr(way, method):
        rival = "AsyncClient" if hasattr(way, "handle_async_request") else "Client"
        raise SettingsError(
            f"transport: {named} has no {method}; pass an {mod.__name__}.{kind}, or use {rival} or {wrapper}"
        )
    return way


class Misplaced:
    """Stands where a transport lacks what the other kind of client asks of it: says which transport to take."""

    def __init__(self, kind: str, client: str) -> None:
        self._kind = kind
        self._client = client

    def __get__(self, transport: Any, owner: type) -> Any:
        if transport is None:
            return self
        name = transport.mod.__name__
        raise WrongClientError(
            f"payonce.{name}.{type(transport).__name__} is no transport for {self._client}: "
            f"take payonce.{name}.{self._kind} there"
        )


def fitting_request(mod: Any, transport: Any, request: Any) -> None:
    """Raises `WrongClientError` where a request is of another HTTP package than the transport."""
    if not isinstance(request, mod.Request):
        theirs, name = type(request).__module__.partition(".")[0], type(transport).__name__
        raise WrongClientError(
            f"payonce.{mod.__name__}.{name} got a request of {theirs}: in a client of {theirs}, "
            f"take payonce.{theirs}.{name}"
        )


def wrap_client(client: Any, transport: Any, chosen: Options) -> None:
    """Put a caching transport of the class `transport` around each of a client's own: the default one and its mounts.

    The HTTP client has made them as it always does, proxies of the environment included. Both attributes are private to
    it and the same in httpx 0.28 and httpx2 2; there is no public way to keep the proxies.
    """
    if not hasattr(client, "_transport") or not hasattr(client, "_mounts"):
        raise SettingsError(
            "this version of the HTTP client is laid out differently, so Client can't cache: give its own client "
            "transport=CacheTransport(…) instead, and report it"
        )

    def wrapped(way: Any) -> Any:
        return way if way is None or isinstance(way, transport) else transport(way, options=chosen)

    client._transport = wrapped(client._transport)  # noqa: SLF001
    client._mounts = {pattern: wrapped(way) for pattern, way in client._mounts.items()}  # noqa: SLF001


def warm_way(client: Any, transport: Any, base_url: str) -> tuple[Any, str]:
    """The caching transport by which a client asks `base_url` (its own, where that is empty), and that URL."""
    base = base_url or str(client.base_url)
    way = client._transport_for_url(client._merge_url(base))  # noqa: SLF001 - a mount may have a transport of its own
    if not isinstance(way, transport):
        raise SettingsError(f"warm: this client has no caching transport for {base!r}; take it out of its mounts")
    return way, base
