"""Stores that other packages bring: through the entry point group `payonce.stores`, whose names are URL schemes.

What such a package gets wrong is said in a sentence that names it, before anything is served. This room must never
know a store, nor say a password aloud.
"""

from __future__ import annotations

import time
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import Any, Protocol

from payonce.errors import PayonceError, StoreUnavailableError, StoreUnknownError
from payonce.model.ports import Clock, Store

GROUP = "payonce.stores"
_METHODS = tuple(name for name in vars(Store) if not name.startswith("_"))


class Factory(Protocol):
    """What opens a store: `rest` is the URL behind `scheme:`."""

    def __call__(self, rest: str, *, clock: Clock, max_bytes: int) -> Store:
        """The opened store; raises a `StoreError` whose message says what to do."""
        ...


def schemes() -> set[str]:
    """Every scheme that a package brings."""
    return {point.name for point in entry_points(group=GROUP)}


def guest(scheme: str) -> Factory | None:
    """What opens the stores of a scheme, made safe; None where no package brings it. Raises StoreUnknownError where
    one does, and it could open none."""
    points = {point.value: point for point in entry_points(group=GROUP, name=scheme)}
    if not points:
        return None
    if len(points) > 1:
        named = ", ".join(sorted(_package(point) for point in points.values()))
        raise StoreUnknownError(f"several packages bring stores for {scheme}: ({named})", "uninstall all but one")
    [point] = points.values()
    make = _loaded(point)

    def opened(rest: str, *, clock: Clock, max_bytes: int) -> Store:
        try:
            store: Any = make(rest, clock=clock, max_bytes=max_bytes)
        except PayonceError:
            raise
        except Exception as error:
            if "@" in rest or "?" in rest:  # what is said may hold some of a password
                raise _failed(point, type(error).__name__) from None
            raise _failed(point, _said(error).replace(rest or "\0", "…")) from error
        if missing := [name for name in _METHODS if not callable(getattr(store, name, None))]:
            raise _unfit(point, f"gives something of type {type(store).__name__}, which lacks {', '.join(missing)}")
        return store  # type: ignore[no-any-return]  # it has what a store has

    return opened


def _loaded(point: EntryPoint) -> Factory:
    try:
        make = point.load()
    except Exception as error:
        raise _unfit(point, f"can't be loaded ({_said(error)})") from error
    try:
        signature(make).bind("", clock=time.time, max_bytes=1)
    except TypeError as error:
        raise _unfit(point, f"can't be called as (rest, *, clock, max_bytes) ({error})") from error
    except ValueError:
        pass  # it does not say how it is called
    return make  # type: ignore[no-any-return]  # it is called like one


def _failed(point: EntryPoint, said: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"a {point.name}: store could not be opened, {_package(point)} failed ({said}): correct the URL, or report it "
        "to who made that package"
    )


def _unfit(point: EntryPoint, what: str) -> StoreUnknownError:
    return StoreUnknownError(
        f"stores for {point.name}: are brought by {_package(point)}, but {point.value} {what}",
        "install another version of that package, or name another store",
    )


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package without a name"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": .")
