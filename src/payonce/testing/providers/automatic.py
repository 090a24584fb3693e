"""Caches that need no markers and charge nothing for a write: OpenAI before GPT-5.6, DeepSeek, xAI, Groq.

What is compared is whole blocks, so a hit inside a block is not seen: the model is on the strict side. This room must
never know a price.
"""

from __future__ import annotations

from dataclasses import replace

from payonce.testing.providers.blocks import SYSTEM, TOOLS, Asked
from payonce.testing.providers.boundary import machine_key, prefix_salt
from payonce.testing.providers.entries import Entries
from payonce.testing.providers.machines import Machines
from payonce.testing.providers.marked import chain, running_sums
from payonce.testing.providers.rules import AutomaticRules, Ready, Split


class AutomaticCache:
    """The entries of one host. The clock is an argument; calls come in the order of their times."""

    def __init__(self, rules: AutomaticRules) -> None:
        self.rules = rules
        self._kept = Entries(rules.lifetime)
        self._seen = Entries(rules.lifetime)
        self._machines = Machines(rules.per_minute)

    def account(self, asked: Asked, *, scope: str, now: float, ready: Ready) -> Split:
        """How the prompt is billed, and what is kept of it."""
        rules = self.rules
        if rules.tools_after_system:
            order = {SYSTEM: 0, TOOLS: 1}
            levels = sorted(asked.blocks, key=lambda block: order.get(block.level, 2))
            asked = replace(asked, blocks=tuple(replace(b, level=order.get(b.level, 2)) for b in levels))
        sums = running_sums(asked.blocks)
        key = machine_key(asked, scope, rules.opening)
        keys = chain(asked, f"{self._machines.of(key, now)}\0{prefix_salt(asked)}" if rules.per_minute else scope)
        hit = max((at for at, one in enumerate(keys) if self._kept.live(one, now)), default=-1)
        read = sums[hit] // rules.step * rules.step if hit >= 0 else 0
        if read < rules.minimum:
            read = 0
        if read and not rules.fixed:
            self._kept.renew(keys[: hit + 1], now)
        self._keep(asked, keys, now, ready)
        return Split(read, 0, 0, (sums[-1] if sums else 0) - read)

    def _keep(self, asked: Asked, keys: list[bytes], now: float, ready: Ready) -> None:
        if not self.rules.units:
            ends = list(range(len(keys)))
        else:
            messages = [block.message for block in asked.blocks]
            ends = [at for at in range(len(keys)) if at + 1 == len(keys) or messages[at] != messages[at + 1] >= 0]
            parted = max((at for at, one in enumerate(keys) if self._seen.live(one, now)), default=-1)
            ends += [parted] if parted >= 0 else []
            for one in keys:
                self._seen.keep(one, Ready(now), now)
        for at in ends:
            self._kept.keep(keys[at], ready, now, renew=False)
