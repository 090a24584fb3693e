"""A cache that keeps what markers tell it to: Anthropic's rules, and Qwen's with other numbers.

Entries are written at marked blocks only. Each marker looks back over a window of positions for the longest entry that
an earlier request wrote. What is read, written for an hour, written for five minutes and plain follows from three
places: A, the highest hit; B, the highest marker of 1h after A; C, the last marker. This room must never know a price.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from payonce.testing.providers.blocks import MESSAGES, Asked, Block, Mark
from payonce.testing.providers.entries import Entry
from payonce.testing.providers.rules import LONG, MarkerRules, Ready, RefusedError, Split

_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_RUNS: Final = frozenset({"tool_use", "tool_result"})


@dataclass(frozen=True, slots=True)
class _Path:
    """The request with what is added up along it: hash, tokens and position at the end of each block."""

    blocks: Sequence[Block]
    keys: list[bytes]
    sums: list[int]
    places: list[int]


def chain(asked: Asked, scope: str) -> list[bytes]:
    """The hash of the prompt up to the end of each block; `scope` and the model are where it starts."""
    running = hashlib.blake2b(f"{scope}\0{asked.model}\0".encode() + asked.salts[0], digest_size=16).digest()
    keys, level = [], 0
    for block in asked.blocks:
        while level < block.level:
            level += 1
            running = hashlib.blake2b(running + b"level" + asked.salts[level], digest_size=16).digest()
        running = hashlib.blake2b(running + block.digest, digest_size=16).digest()
        keys.append(running)
    return keys


def running_sums(blocks: Sequence[Block]) -> list[int]:
    """The tokens up to the end of each block."""
    sums, so_far = [], 0
    for block in blocks:
        so_far += block.tokens
        sums.append(so_far)
    return sums


def _without_old_thinking(asked: Asked) -> Asked:
    """The prompt as older models see it: no thinking from before the user's last message that is no tool result."""
    spoke = [at for at, block in enumerate(asked.blocks) if block.role == "user" and block.kind != "tool_result"]
    last = spoke[-1] if spoke else -1
    kept = (block for at, block in enumerate(asked.blocks) if at > last or block.kind not in _THINKING)
    return replace(asked, blocks=tuple(kept))


class MarkedCache:
    """The entries of one host. The clock is an argument; calls come in the order of their times."""

    def __init__(self, rules: MarkerRules) -> None:
        self.rules = rules
        self._entries: dict[bytes, dict[str, Entry]] = {}
        self._swept = 0

    def account(self, asked: Asked, *, scope: str, now: float, ready: Ready) -> Split:
        """How the prompt is billed, and what is kept of it. RefusedError (400) as the provider documents it."""
        if not self.rules.keeps_thinking:
            asked = _without_old_thinking(asked)
        marks = self._marks(asked)
        path = _Path(asked.blocks, chain(asked, scope), running_sums(asked.blocks), self._places(asked.blocks))
        active = [(at, mark) for at, mark in marks if path.sums[at] >= self.rules.minimum]
        hit = -1
        for at, mark in active:
            found = self._look_back(path, at, mark, now)
            if found >= 0:
                self._refresh(path.keys[found], mark, now)
            hit = max(hit, found)
        if hit >= 0 and self.rules.reads_refresh_ancestors:
            for key in path.keys[: hit + 1]:
                self._refresh(key, None, now)
        for at, mark in active:
            if at > hit:
                self._write(path.keys[at], mark.ttl, now, ready)
        self._sweep(now)
        return self._split(path, active, hit)

    def _split(self, path: _Path, active: list[tuple[int, Mark]], hit: int) -> Split:
        total = path.sums[-1] if path.sums else 0
        closing = self.rules.closing.get(path.blocks[-1].kind, 0) if path.blocks else 0
        read = path.sums[hit] if hit >= 0 else 0
        longest = max((path.sums[at] for at, mark in active if mark.ttl == LONG and at > hit), default=read)
        last = max((path.sums[at] for at, _ in active if at > hit), default=longest)
        return Split(read, last - longest, longest - read, total - last + closing)

    # -------------------------------------------------------------------------------------- markers and the 400s

    def _marks(self, asked: Asked) -> list[tuple[int, Mark]]:
        """Where the markers stand, the automatic one included, in order."""
        marks = [(at, block.mark) for at, block in enumerate(asked.blocks) if block.mark is not None]
        for at, mark in marks:
            if mark.malformed or asked.blocks[at].refuses:
                raise RefusedError(mark.malformed or asked.blocks[at].refuses)
        if asked.automatic is not None:
            marks = self._with_automatic(asked, asked.automatic, marks)
        if len(marks) > self.rules.most:
            raise RefusedError(
                f"A maximum of {self.rules.most} blocks with cache_control may be provided. Found {len(marks)}."
            )
        shorter = False
        for _, mark in marks:
            if mark.ttl not in self.rules.lifetimes:
                raise RefusedError(f"cache_control.ttl: {mark.ttl!r} is not supported by this model")
            if mark.ttl == LONG and shorter:
                raise RefusedError(
                    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
                    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
                )
            shorter = shorter or mark.ttl != LONG
        return marks

    def _with_automatic(self, asked: Asked, automatic: Mark, marks: list[tuple[int, Mark]]) -> list[tuple[int, Mark]]:
        if automatic.malformed:
            raise RefusedError(automatic.malformed)
        at = next((at for at in reversed(range(len(asked.blocks))) if not asked.blocks[at].refuses), None)
        if at is None:
            return marks
        own = asked.blocks[at].mark
        if own is not None:
            if own.ttl != automatic.ttl:
                raise RefusedError("cache_control: the last block carries a marker with another ttl")
            return marks
        if len(marks) >= self.rules.most:
            raise RefusedError(
                f"A maximum of {self.rules.most} blocks with cache_control may be provided. Found {len(marks) + 1}."
            )
        return sorted([*marks, (at, automatic)], key=lambda one: one[0])

    def _places(self, blocks: Sequence[Block]) -> list[int]:
        """The position of each block in the look-back: each its own, or one for a run of tool calls or results."""
        places, place, before = [], -1, ""
        for block in blocks:
            run = block.kind if block.kind in _RUNS and block.level == MESSAGES else ""
            if not (self.rules.collapse_tool_runs and run and run == before):
                place += 1
            before = run
            places.append(place)
        return places

    # ------------------------------------------------------------------------------------------------- entries

    def _look_back(self, path: _Path, start: int, mark: Mark, now: float) -> int:
        """The block where the longest entry ends that this marker finds; -1 where it finds none."""
        for at in range(start, -1, -1):
            if path.places[start] - path.places[at] >= self.rules.window:
                break
            kept = self._entries.get(path.keys[at])
            if kept and any(self._seen(ttl, mark) and self._live(path.keys[at], e, now) for ttl, e in kept.items()):
                return at
        return -1

    def _seen(self, ttl: str, mark: Mark | None) -> bool:
        """Whether a marker sees an entry of this lifetime."""
        return not (self.rules.one_hour_reads_5m == "no" and mark is not None and mark.ttl == LONG and ttl != LONG)

    def _live(self, key: bytes, entry: Entry, now: float) -> bool:
        if not entry.live(now):
            return False
        if self.rules.eviction <= 0:
            return True
        drawn = hashlib.blake2b(key + f"{self.rules.seed}{entry.written}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn, "big") / 2**64 >= self.rules.eviction

    def _refresh(self, key: bytes, mark: Mark | None, now: float) -> None:
        kept = self._entries.get(key, {})
        extends = self.rules.one_hour_reads_5m == "extends" and mark is not None and mark.ttl == LONG
        for ttl, entry in list(kept.items()):
            if self._seen(ttl, mark) and self._live(key, entry, now):
                entry.until = max(entry.until, now + self._lifetime(ttl))
                if extends and LONG not in kept:
                    kept[LONG] = Entry(entry.written, entry.ready, now + self._lifetime(LONG))

    def _lifetime(self, ttl: str) -> float:
        return self.rules.lifetimes[ttl] + self.rules.linger

    def _write(self, key: bytes, ttl: str, now: float, ready: Ready) -> None:
        until = now + self._lifetime(ttl)
        kept = self._entries.setdefault(key, {})
        before = kept.get(ttl)
        if before is not None and now < before.until:
            before.again(ready, now, until)
        else:
            kept[ttl] = Entry(now, (ready,), until)

    def _sweep(self, now: float) -> None:
        """Drop what has expired, now and then: twice as many entries as after the last time."""
        if len(self._entries) < max(1000, 2 * self._swept):
            return
        for key, kept in list(self._entries.items()):
            if all(now >= entry.until for entry in kept.values()):
                del self._entries[key]
        self._swept = len(self._entries)
