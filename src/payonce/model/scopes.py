"""What can be purged at one stroke: the names of the epochs, and whether an entry has outlived them.

An entry is born into the counts of its scopes; a purge raises one count; an entry whose counts differ from the
present ones is dead, wherever it is stored. This room must never know how a store keeps a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ALL = "all"
BEFORE = "before"
"""The one epoch that holds a time: whatever was stored up to that Unix millisecond is purged."""
KEY_SCOPE_SECONDS = 2 * 86400
"""For so long every store remembers the epoch of a single key: longer than any flight, so that answers under way are
purged too."""


def of_tenant(tenant: str) -> str:
    """The scope of one tenant's entries."""
    return f"tenant:{tenant}"


def of_model(model: str) -> str:
    """The scope of the answers to requests for `model`."""
    return f"model:{model}"


def of_namespace(namespace: str) -> str:
    """The scope of one namespace, over all tenants."""
    return f"ns:{namespace}"


def of_tag(tag: str) -> str:
    """The scope of one tag, over all tenants."""
    return f"tag:{tag}"


ANSWERS = "answers:"
ROOM_BITS = 8
"""The last bits of a count of this kind: how many processes have seen the same at once. They retire nothing."""


def of_answers(upstream: str, model: str) -> str:
    """The scope of what an upstream has answered to requests for `model`, whichever model that was."""
    return f"{ANSWERS}{upstream} {model}"


def of_key(digest: bytes) -> str:
    """The scope of one key, in both framings."""
    return f"key:{digest.hex()}"


def scopes_of(
    tenant: str, model: str, namespace: str, tags: Iterable[str], key_digest: bytes, watched: str = ""
) -> tuple[str, ...]:
    """Every scope that an entry belongs to, that of its key last; `watched` is one more (`of_answers`)."""
    return (
        ALL,
        of_tenant(tenant),
        of_model(model),
        of_namespace(namespace),
        *(of_tag(tag) for tag in tags),
        *((watched,) if watched else ()),
        of_key(key_digest),
    )


def alive(
    scopes: tuple[str, ...], epochs_at_birth: tuple[int, ...], stored_at: float, current: Mapping[str, int]
) -> bool:
    """Whether no purge has come over an entry: its counts are the present ones, and it is younger than `before`."""
    before = current.get(BEFORE, 0)
    if before and stored_at * 1000 <= before:
        return False
    present = tuple([current.get(scope, 0) for scope in scopes])
    return epochs_at_birth == present or _but_for_room(scopes, epochs_at_birth) == _but_for_room(scopes, present)


def _but_for_room(scopes: tuple[str, ...], epochs: tuple[int, ...]) -> list[int]:
    return [
        epoch >> ROOM_BITS if scope.startswith(ANSWERS) else epoch for scope, epoch in zip(scopes, epochs, strict=False)
    ] + [len(epochs)]
