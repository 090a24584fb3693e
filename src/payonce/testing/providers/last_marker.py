"""Gemini behind OpenRouter: the last marker makes one entry, which is found again exactly, and lives a fixed time.

Source: OpenRouter's prompt-caching documentation, and one recording, in which what was written counts as read as well.
This room must never know a price.
"""

from __future__ import annotations

from payonce.testing.providers.blocks import Asked
from payonce.testing.providers.entries import Entries
from payonce.testing.providers.marked import chain, running_sums
from payonce.testing.providers.rules import LastMarkerRules, Ready, RefusedError, Split


class LastMarkerCache:
    """The entries of one host. The clock is an argument; calls come in the order of their times."""

    def __init__(self, rules: LastMarkerRules) -> None:
        self.rules = rules
        self._entries = Entries(rules.lifetime)

    def account(self, asked: Asked, *, scope: str, now: float, ready: Ready) -> Split:
        """How the prompt is billed, and what is kept of it."""
        sums = running_sums(asked.blocks)
        total = (sums[-1] if sums else 0) + self.rules.closing
        marked = [at for at, block in enumerate(asked.blocks) if block.mark is not None]
        for at in marked:
            mark = asked.blocks[at].mark
            if mark is not None and mark.malformed:
                raise RefusedError(mark.malformed)
        if asked.automatic is not None and asked.blocks:
            marked.append(len(asked.blocks) - 1)
        if not marked or sums[marked[-1]] < self.rules.minimum:
            return Split(plain=total)
        key, length = chain(asked, scope)[marked[-1]], sums[marked[-1]]
        if self._entries.live(key, now):
            return Split(read=length, plain=total - length)
        self._entries.keep(key, ready, now, renew=False)
        return Split(write=length, plain=total - length)
