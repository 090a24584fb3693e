"""What a client asks: the call as it came, and what a dialect and the rules made of it.

This room must never know how a call travels, nor what a field of a body means.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

import msgspec

from payonce.model.key import Key
from payonce.model.policy import HitUsage, PromptCache, PromptCacheTtl
from payonce.model.scopes import scopes_of

NUMBERS: Final = itertools.count(1)
"""Of the requests of this process."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order; names in lower case."""


class Steering(msgspec.Struct, frozen=True):
    """What the operator wants done with the prompt of a call on its way out: `mode` and `ttl` as the settings
    `prompt_cache` and `prompt_cache_ttl` say them for this call; with `off` its answer is still listened to, for what
    it cost. `model` as the client wrote it, empty where it can't be read; `base` is the URL of the upstream."""

    model: str
    tenant: str
    base: str
    mode: PromptCache = "auto"
    ttl: PromptCacheTtl = "auto"
    cacheable: bool = True
    """Whether the response cache takes part in the call."""
    namespace: str = ""


class Call(msgspec.Struct, frozen=True):
    """One request, as it has to go upstream if nothing else happens.

    `endpoint` is the path behind `/v1` without its leading slash (`chat/completions`); `query` is the raw query
    string without `?`. `headers` are the client's end-to-end headers, in order. `body` is untouched. Without
    `steering` the call goes as it is.
    """

    upstream: str
    method: str
    endpoint: str
    query: bytes
    headers: Headers
    body: bytes
    steering: Steering | None = None
    number: int = 0
    """Of the request that this is the call of, in its process; 0 where nobody counts."""


class Item(NamedTuple):
    """One input of a batch: the body that stands for it alone in its key, and its weight in the batch's usage."""

    canonical: bytes
    weight: int


class Asked(msgspec.Struct, frozen=True):
    """What a key is made of, apart from who asks: for stores that keep the question with its answer.

    `upstream` is the upstream's identity, `headers` are the keyed ones, `body` is the canonical body (JSON text).
    """

    upstream: str
    endpoint: str
    model: str
    query: str
    namespace: str
    sample: str
    headers: Headers
    body: bytes


class Intent(msgspec.Struct, frozen=True):
    """What a dialect reads in a call's body.

    `canonical` is the body without the fields that don't change the answer, in one spelling (docs/keys.md). `items`
    are the inputs of a batch that can be answered one by one, in order; empty where the call is one whole. `shell` is
    the canonical body of a batch without its inputs.
    """

    model: str
    stream: bool
    deterministic: bool
    sets_limit: bool
    wants_usage: bool
    canonical: bytes
    items: tuple[Item, ...] = ()
    shell: bytes = b""


class Terms(msgspec.Struct, frozen=True):
    """For how long an answer may be used, in seconds: fresh for `ttl`, then stale for the two windows of RFC 5861."""

    ttl: int
    stale_while_revalidate: int = 0
    stale_if_error: int = 0


class Batch(msgspec.Struct, frozen=True):
    """A call that is kept item by item. `items` has an ask for each distinct input, in order of first appearance;
    `places` says for each input, in order, which of them it is."""

    items: tuple[Ask, ...]
    places: tuple[int, ...]


class Sought(NamedTuple):
    """What is looked for in the stores; an ask says it as well."""

    key: Key
    tenant: str


class Ask(msgspec.Struct, frozen=True):
    """A call that the cache takes part in: everything the story needs to know, decided once."""

    call: Call
    intent: Intent
    key: Key
    terms: Terms
    tenant: str
    namespace: str
    tags: tuple[str, ...]
    hit_usage: HitUsage = "verbatim"
    max_age: int | None = None
    only_fresh: bool = False
    """Nothing that is past its TTL will do, whatever the terms allow."""
    refresh: bool = False
    clear: bool = False
    only_if_cached: bool = False
    convert: bool = False
    """Whether an answer that is stored in the other framing will do, where it can be converted without loss."""
    plain: bool = True
    """No directive of the client bears on this request alone: the answer may stand on the fast lane's shelf."""
    batch: Batch | None = None
    """There where the call is a batch; the key is then that of the batch, and nothing is stored under it."""
    watched: str = ""
    """The scope of what was answered under this model's name, where answers are to go when the model behind it changes;
    one of `scopes`. `by_fingerprint`: the system fingerprint counts too."""
    by_fingerprint: bool = False
    asked: Asked | None = None
    """There where the store keeps the question too."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every epoch that what is kept for this ask is born into; that of its key comes last."""
        return scopes_of(self.tenant, self.intent.model, self.namespace, self.tags, self.key.digest, self.watched)
