"""What the operator wants done with an answer: the default policy, and the rules that change it for some calls.

Pure words and one decision, first match wins. This room must never know where a rule was written down, nor what a
caching mode means for a request; core/rules.py decides that.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from payonce.model.quota import Quota

CacheMode = Literal["deterministic", "all", "opt-in", "off"]
HitUsage = Literal["verbatim", "free", "zero"]
ChangedModels = Literal["keep", "retire", "retire-fingerprint"]
PromptCache = Literal["auto", "respect", "off"]
PromptCacheTtl = Literal["auto", "5m", "1h"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What to cache, for how long (seconds), what usage a hit reports, and what is done for the provider's cache."""

    cache: CacheMode = "deterministic"
    ttl: int = 3600
    stale_while_revalidate: int = 0
    stale_if_error: int = 0
    hit_usage: HitUsage = "verbatim"
    prompt_cache: PromptCache = "auto"
    prompt_cache_ttl: PromptCacheTtl = "auto"
    changed_models: ChangedModels = "keep"


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[rule]]`: which calls it is for, and what it sets for them.

    Each of the five conditions is a tuple of alternatives, empty where the rule does not ask; all that are asked must
    hold. `model` holds globs (case counts, `*` crosses `/`), the others whole names; `tag` asks for any one of the
    call's tags. What is None is left to the default.
    """

    model: tuple[str, ...] = ()
    endpoint: tuple[str, ...] = ()
    namespace: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    cache: CacheMode | None = None
    ttl: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    prompt_cache: PromptCache | None = None
    prompt_cache_ttl: PromptCacheTtl | None = None
    hit_usage: HitUsage | None = None
    changed_models: ChangedModels | None = None
    tenant_bytes: int | None = None
    tenant_entries: int | None = None
    _model: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        globs = "|".join(fnmatch.translate(glob) for glob in self.model)
        object.__setattr__(self, "_model", re.compile(globs) if globs else None)

    def fits(self, *, model: str, endpoint: str, namespace: str, tenant: str, tags: Iterable[str]) -> bool:
        """Whether the rule is for such a call."""
        return (
            (self._model is None or self._model.match(model) is not None)
            and (not self.endpoint or endpoint in self.endpoint)
            and (not self.namespace or namespace in self.namespace)
            and (not self.tenant or tenant in self.tenant)
            and (not self.tag or not set(self.tag).isdisjoint(tags))
        )


def quotas_of(rules: Sequence[Rule], default: Quota) -> dict[str, Quota]:
    """The quotas of the tenants that rules name: for each, what the first rule that sets a quota says."""
    named: dict[str, Quota] = {}
    for rule in rules:
        if rule.tenant_bytes is rule.tenant_entries is None:
            continue
        quota = Quota(
            default.bytes if rule.tenant_bytes is None else rule.tenant_bytes,
            default.entries if rule.tenant_entries is None else rule.tenant_entries,
        )
        for tenant in rule.tenant:
            named.setdefault(tenant, quota)
    return named


def match_rule(
    rules: Sequence[Rule], *, model: str, endpoint: str, namespace: str, tenant: str, tags: Sequence[str]
) -> Rule | None:
    """The first rule for such a call, or None."""
    for rule in rules:
        if rule.fits(model=model, endpoint=endpoint, namespace=namespace, tenant=tenant, tags=tags):
            return rule
    return None


def policy_for(
    default: Policy,
    rules: Sequence[Rule],
    *,
    model: str,
    endpoint: str,
    namespace: str,
    tenant: str,
    tags: Sequence[str],
) -> Policy:
    """The policy for such a call: what its rule sets, and for the rest the default."""
    rule = match_rule(rules, model=model, endpoint=endpoint, namespace=namespace, tenant=tenant, tags=tags)
    if rule is None:
        return default
    return Policy(
        cache=default.cache if rule.cache is None else rule.cache,
        ttl=default.ttl if rule.ttl is None else rule.ttl,
        stale_while_revalidate=(
            default.stale_while_revalidate if rule.stale_while_revalidate is None else rule.stale_while_revalidate
        ),
        stale_if_error=default.stale_if_error if rule.stale_if_error is None else rule.stale_if_error,
        hit_usage=default.hit_usage if rule.hit_usage is None else rule.hit_usage,
        prompt_cache=default.prompt_cache if rule.prompt_cache is None else rule.prompt_cache,
        prompt_cache_ttl=default.prompt_cache_ttl if rule.prompt_cache_ttl is None else rule.prompt_cache_ttl,
        changed_models=default.changed_models if rule.changed_models is None else rule.changed_models,
    )
