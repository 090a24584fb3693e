"""What a store is told of an entry. This room must never know what a store does with it."""

from __future__ import annotations

from payonce.model.entry import Entry
from payonce.model.ports import About


def about_entry(entry: Entry) -> About:
    """Enough to list, sweep and evict it."""
    return About(
        stored_at=entry.stored_at,
        expires_at=entry.expires_at,
        tenant=entry.tenant,
        namespace=entry.namespace,
        endpoint=entry.endpoint,
        model=entry.model,
        tags=entry.tags,
    )
