"""OpenAI's cache from GPT-5.6 on: entries end at exact boundaries, and each write is paid for.

Boundaries are the ends of eligible messages (of the user, the last tool result of a group, the developer messages that
come first) and explicit breakpoints. In mode `explicit` only breakpoints count, and without any nothing is kept. This
room must never know a price.
"""

from __future__ import annotations

from typing import Any, Final

from payonce.testing.providers.blocks import SYSTEM, TOOLS, Asked, digest
from payonce.testing.providers.entries import Entries
from payonce.testing.providers.machines import Machines
from payonce.testing.providers.marked import chain, running_sums
from payonce.testing.providers.rules import BoundaryRules, Ready, RefusedError, Split

_RELEVANT: Final = (
    "parallel_tool_calls", "text", "response_format", "reasoning", "reasoning_effort", "verbosity",
    "context_management", "service_tier",
)  # fmt: skip


def prefix_salt(asked: Asked) -> str:
    """What the whole prefix depends on besides its blocks, for OpenAI's caches."""
    return digest([asked.options.get(name) for name in _RELEVANT]).hex()


def machine_key(asked: Asked, scope: str, opening: int) -> str:
    """What OpenAI chooses a machine by: the key that was given, and the first tokens of the prompt."""
    first, so_far = [], 0
    for block in asked.blocks:
        if so_far >= opening:
            break
        first.append(block.digest.hex())
        so_far += block.tokens
    return f"{scope}\0{asked.options.get('prompt_cache_key')}\0{digest(first).hex()}"


class BoundaryCache:
    """The entries of one host. The clock is an argument; calls come in the order of their times."""

    def __init__(self, rules: BoundaryRules) -> None:
        self.rules = rules
        self._entries = Entries(rules.lifetime)
        self._machines = Machines(rules.per_minute)

    def account(self, asked: Asked, *, scope: str, now: float, ready: Ready) -> Split:
        """How the prompt is billed, and what is kept of it."""
        sums = running_sums(asked.blocks)
        total = sums[-1] if sums else 0
        mode = self._mode(asked)
        explicit = [at for at, block in enumerate(asked.blocks) if block.mark is not None]
        for at in explicit:
            block = asked.blocks[at]
            if block.level == TOOLS or (block.mark and block.mark.malformed):
                raise RefusedError("prompt_cache_breakpoint: not allowed here")
        ends = [] if mode == "explicit" else eligible_ends(asked)
        machine = self._machines.of(machine_key(asked, scope, self.rules.opening), now)
        keys = chain(asked, f"{machine}\0{mode}\0{prefix_salt(asked)}")
        looked_up = self._looked_up(asked, explicit, ends)
        live = [at for at in looked_up if self._entries.live(keys[at], now)]
        hit = max(live, default=-1)
        written = self._written(explicit, ends, sums, hit)
        if hit >= 0:
            self._entries.renew(keys[hit : hit + 1], now)
        for at in written:
            self._entries.keep(keys[at], ready, now)
        read = sums[hit] if hit >= 0 else 0
        last = max((sums[at] for at in written), default=read)
        return Split(read, last - read, 0, total - last)

    def _mode(self, asked: Asked) -> str:
        options: Any = asked.options.get("prompt_cache_options") or {}
        mode = options.get("mode", "implicit") if isinstance(options, dict) else None
        if mode not in {"implicit", "explicit"}:
            raise RefusedError("prompt_cache_options.mode: must be 'implicit' or 'explicit'")
        return str(mode)

    def _looked_up(self, asked: Asked, explicit: list[int], ends: list[int]) -> list[int]:
        rules = self.rules
        latest = explicit[rules.first :][-rules.latest :] if rules.latest else []
        initial = [at for at in ends if asked.blocks[at].level == SYSTEM]
        return [*explicit[: rules.first], *latest, *initial[-1:], *ends[-1 - rules.earlier :]]

    def _written(self, explicit: list[int], ends: list[int], sums: list[int], hit: int) -> list[int]:
        """The boundaries that are kept anew: the implicit one, and the latest explicit ones while there is room."""
        room = self.rules.most - (1 if ends else 0)
        wanted = {*ends[-1:], *(explicit[-room:] if room else ())}
        return sorted(at for at in wanted if at > hit and sums[at] >= self.rules.minimum)


def eligible_ends(asked: Asked) -> list[int]:
    """The blocks where a message ends that OpenAI may keep a prefix up to."""
    ends = []
    for at, block in enumerate(asked.blocks):
        following = asked.blocks[at + 1] if at + 1 < len(asked.blocks) else None
        if block.level == TOOLS or (following is not None and following.message == block.message >= 0):
            continue
        group = following is not None and block.kind == following.kind == "tool_result"
        initial = block.level == SYSTEM and not (following is not None and following.level == SYSTEM)
        if initial or (block.level > SYSTEM and (block.role == "user" or (block.role == "tool" and not group))):
            ends.append(at)
    return ends
