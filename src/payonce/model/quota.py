"""How much of a store one tenant may hold, and how much it does. Words only.

This room must never know how a store counts, nor who a tenant is: tenants have the names that keys give them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

NEAR = 0.8
"""From this share of its quota on a tenant is shown as near it."""
SHOWN_TENANTS = 20
"""So many tenants are shown at most."""


class Quota(NamedTuple):
    """What one tenant may hold; 0 is no bound. `bytes` holds on local stores, `entries` on all."""

    bytes: int = 0
    entries: int = 0


NO_QUOTA = Quota()


class Holding(NamedTuple):
    """What one tenant holds, as its store counts it; a shared store counts no bytes and says 0."""

    tenant: str
    entries: int
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quota of every tenant: that of its own where it has one, else the default."""

    default: Quota = NO_QUOTA
    named: Mapping[str, Quota] = field(default_factory=lambda: MappingProxyType({}))

    def __bool__(self) -> bool:
        return any(self.default) or any(any(quota) for quota in self.named.values())

    def of(self, tenant: str) -> Quota:
        """What `tenant` may hold."""
        return self.named.get(tenant, self.default)


def fullness(holding: Holding, quota: Quota) -> float:
    """Which share of its quota a tenant holds, by what there is least room for; 0.0 without a quota."""
    pairs = ((holding.used_bytes, quota.bytes), (holding.entries, quota.entries))
    shares = [held / most for held, most in pairs if most]
    return max(shares, default=0.0)


def near(holdings: Iterable[Holding], quotas: Quotas) -> list[tuple[Holding, float]]:
    """Those who hold `NEAR` of their quota or more, and which share of it, fullest first; `SHOWN_TENANTS` at most."""
    shares = [(holding, fullness(holding, quotas.of(holding.tenant))) for holding in holdings]
    return sorted([found for found in shares if found[1] >= NEAR], key=lambda found: -found[1])[:SHOWN_TENANTS]
