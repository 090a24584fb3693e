"""The rules: may the cache take part, may what is stored be served, may an answer be kept.

Pure decisions that return a value or the reason against it. This room must never know how an answer is written in a
dialect, nor where anything is kept.
"""

from __future__ import annotations

import msgspec

from payonce.core.directives import Directives
from payonce.core.fields import storable_headers
from payonce.model import reason as why
from payonce.model.call import Ask, Intent, Terms
from payonce.model.entry import Entry, Facts
from payonce.model.policy import Policy
from payonce.model.ports import Head
from payonce.model.reason import Reason


def may_cache(policy: Policy, directives: Directives, intent: Intent) -> Reason | None:
    """None when the cache takes part in this request, else why not. What the client says outranks the policy, except
    that a policy of `off` stays off."""
    if directives.no_store:
        return why.NO_STORE
    if directives.cache is False:
        return why.CLIENT_OFF
    if policy.cache == "off":
        return why.CACHE_OFF
    if directives.cache or directives.sample is not None or policy.cache == "all":
        return None
    if policy.cache == "opt-in":
        return why.NOT_OPTED_IN
    return None if intent.deterministic else why.NOT_DETERMINISTIC


def terms_of(policy: Policy, directives: Directives) -> Terms:
    """For how long an answer to this request may be used: the client's wish, else the policy's."""
    return Terms(
        ttl=directives.ttl if directives.ttl is not None else policy.ttl,
        stale_while_revalidate=_first(directives.stale_while_revalidate, policy.stale_while_revalidate),
        stale_if_error=_first(directives.stale_if_error, policy.stale_if_error),
    )


def still_fresh(entry: Entry, ask: Ask, now: float) -> Reason | None:
    """None when `entry` may be served as it is, else why not. `EXPIRED` comes last: it alone says that nothing but the
    TTL stands against the entry."""
    return why.FRAMING if not serves(entry.facts, ask.intent) else young_enough(entry, ask, now)


def young_enough(entry: Entry, ask: Ask, now: float) -> Reason | None:
    """None when the age of `entry` does not stand against it, else why it does."""
    age = entry.age(now)
    if ask.max_age is not None and age > ask.max_age:
        return why.TOO_OLD
    if age < entry.ttl:
        return None
    return why.TOO_OLD if ask.only_fresh else why.EXPIRED


def usable_stale(entry: Entry, window: int, verdict: Reason, now: float) -> bool:
    """Whether an entry that is no longer fresh may still be served, `window` seconds past its TTL (RFC 5861)."""
    return verdict is why.EXPIRED and entry.age(now) < entry.ttl + window


def worth_turning(ask: Ask, missed: Reason) -> bool:
    """Whether to look for the answer in the other framing. A store that did not answer is not asked again."""
    return ask.convert and missed not in (why.REFRESH, why.STORE_SLOW, why.STORE_FAULT)


def turned_entry(entry: Entry, body: bytes, *, to_stream: bool) -> Entry:
    """`entry` with its body in the other framing."""
    media = b"text/event-stream" if to_stream else b"application/json"
    headers = tuple((name, media if name == b"content-type" else value) for name, value in entry.headers)
    return msgspec.structs.replace(entry, headers=headers, body=body)


def serves(facts: Facts, intent: Intent) -> bool:
    """Whether the stored framing fits the request: a client that asked for a usage chunk gets one, and one that did
    not is not surprised by one, unless the upstream sends it to everybody."""
    if not intent.stream or facts.usage in ("always", "never"):
        return True
    return facts.usage == ("asked" if intent.wants_usage else "none")


def keepable(head: Head, intent: Intent) -> Reason | None:
    """None when an answer with this head may be kept if its body is whole, else why not."""
    if head.status != 200:
        return why.STATUS
    media = encoding = b""
    for name, value in head.headers:
        if name == b"content-type":
            media = value.partition(b";")[0].strip().lower()
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    if encoding not in (b"", b"identity"):
        return why.ENCODED_ANSWER
    if media != (b"text/event-stream" if intent.stream else b"application/json"):
        return why.CONTENT_TYPE
    return None


def declared_size(head: Head) -> int:
    """How many bytes an answer with this head will have; 0 where it does not say."""
    for name, value in head.headers:
        if name == b"content-length" and len(value) < 16 and value.isdigit():
            return int(value)
    return 0


def make_entry(
    ask: Ask,
    head: Head,
    body: bytes,
    facts: Facts,
    scopes: tuple[str, ...],
    epochs: tuple[int, ...],
    *,
    stored_at: float,
    took: float,
    jitter: float,
) -> Entry:
    """The entry for an answer that was judged whole; `scopes` are those of `ask`, with their `epochs`, and `jitter` in
    0..1 takes up to that share off its TTL."""
    terms = ask.terms
    return Entry(
        stored_at=stored_at,
        ttl=max(1, round(terms.ttl * (1.0 - jitter))),
        swr=terms.stale_while_revalidate,
        sie=terms.stale_if_error,
        scopes=scopes,
        epochs=epochs,
        status=head.status,
        headers=storable_headers(head.headers),
        body=body,
        facts=facts,
        tenant=ask.tenant,
        namespace=ask.namespace,
        tags=ask.tags,
        endpoint=ask.call.endpoint,
        model=ask.intent.model,
        took=took,
    )


def _first(wish: int | None, default: int) -> int:
    return default if wish is None else wish
