"""Mode "record", "replay" and "refresh" over a store: whether it can be had at all, and what a miss has to say.

This room must never answer a request.
"""

from __future__ import annotations

from payonce.dialects.nearest import nearest
from payonce.errors import RecordingError, StoreUnavailableError
from payonce.library import Lease, LibraryWorld
from payonce.model.call import Ask
from payonce.model.ports import Recorder, Store


def opened(lease: Lease, mode: str | None) -> LibraryWorld:
    """The world of a lease, made now if nobody has it open. May wait for a disk.

    Without a mode, a store that fails costs misses. A mode is nothing without its store: raises `StoreError` where it
    can't be opened, or nothing can be recorded in it.
    """
    world = lease.open()
    if mode is None:
        return world
    fault: Exception | None = world.fault
    keeper = world.tiers.keeper
    if fault is None and mode != "replay" and isinstance(keeper, Recorder) and (against := keeper.refusal()):
        fault = StoreUnavailableError(f"nothing can be recorded: {against}")
    if fault is not None:
        lease.close()
        raise fault
    return world


def known_of(store: Store, ask: Ask) -> str:
    """What a store knows of the recording that is nearest to `ask`, of a batch to its first input that is lacking: a
    clause, empty for a store that keeps no questions. Raises `RecordingError` where there is a recording that can't be
    read."""
    if not isinstance(store, Recorder):
        return ""
    items = ask.batch.items if ask.batch else (ask,)
    first = next((item for item in items if store.get(item.key.slot) is None), None)
    if first is None:
        return (
            "there is a recording of it, but it was made with another stream_options.include_usage, or is older than "
            "the request's max-age"
        )
    trouble = store.trouble(first.key.slot)
    if trouble:
        raise RecordingError(trouble)
    if first.asked is None:
        return ""
    asked = store.shown(first.asked)
    return nearest(asked, first.key.stream, store.recordings(asked.endpoint, asked.model))
