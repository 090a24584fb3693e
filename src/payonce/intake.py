"""Intake: what a face does with a call before its story begins. Call in; an ask, a bypass or a refusal out.

Pure, given the settings and the tenant secret: the dialect reads the body, the rules say whether the cache takes part,
and the key is made. One for the gateway and for the library. This room must never do I/O, nor keep a credential.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec.structs import replace

from payonce.config import Settings
from payonce.core.directives import SILENCE, Directives, read_directives
from payonce.core.fields import ACCOUNT, IDS, connection_names, credentials, forwarded_headers, keyed_headers
from payonce.core.keying import OPEN_SHARE, KeyMaker, KeyParts, batch_key, tenant_id, upstream_identity
from payonce.core.rules import may_cache, terms_of
from payonce.dialects import DIALECTS
from payonce.model import reason as why
from payonce.model.call import NUMBERS, Ask, Asked, Batch, Call, Headers, Intent, Steering, Terms
from payonce.model.policy import policy_for
from payonce.model.ports import Dialect
from payonce.model.reason import Reason
from payonce.model.scopes import of_answers

STEERED = frozenset(("chat/completions", "messages", "responses"))
"""The endpoints whose prompts a provider may cache."""

_PASSING = IDS | {b"content-length"}
KNOWN_HEADERS = 256
"""For how many different header blocks it is remembered what they say."""

KNOWN_STEERINGS = 256
"""How many values of the same kind are kept to be used again: making one costs more than finding it."""


class Admitted(msgspec.Struct, frozen=True):
    """The cache takes part."""

    ask: Ask
    dialect: Dialect


class Bypassed(msgspec.Struct, frozen=True):
    """The cache takes no part: `call` goes upstream as it is."""

    call: Call
    reason: Reason


class Refused(msgspec.Struct, frozen=True):
    """The request asks something of the cache that makes no sense."""

    reason: Reason


class Said(msgspec.Struct, frozen=True):
    """All that follows from where a request goes and from its headers alone. `parts` has no body; `terms` hold where
    no rule says otherwise."""

    upstream: str
    endpoint: str
    query: bytes
    directives: Directives | Reason
    forwarded: Headers
    tenant: str
    unread: Reason | None
    plain: bool
    parts: KeyParts
    keys: KeyMaker
    terms: Terms


class Intake:
    """See the room's first paragraph."""

    def __init__(self, settings: Settings, tenant_secret: bytes) -> None:
        self._settings = settings
        self._policy = settings.policy
        self._secret = tenant_secret
        self._bases = dict(settings.upstream)
        self._identities = {name: upstream_identity(url) for name, url in settings.upstream}
        self._known: dict[tuple[object, ...], Said] = {}
        self._steering = lru_cache(KNOWN_STEERINGS)(Steering)
        self._inert = frozenset(name.encode() for name in settings.ignore_headers)
        self._share = settings.share
        self._portable = settings.portable
        if self._portable:  # whoever has a recording may replay it, with another API key or none
            self._inert |= ACCOUNT
            self._share = OPEN_SHARE

    def forward(self, upstream: str, method: str, endpoint: str, query: bytes, headers: Headers, body: bytes) -> Call:
        """The call that goes upstream for a request with these headers."""
        return Call(upstream, method, endpoint, query, self._forwarded(headers), body)

    def admit(
        self, upstream: str, endpoint: str, query: bytes, headers: Headers, body: bytes
    ) -> Admitted | Bypassed | Refused:
        """What becomes of a POST to a cached endpoint."""
        return self.take(self.heard(upstream, endpoint, query, headers), body)

    def heard(self, upstream: str, endpoint: str, query: bytes, headers: Headers) -> Said:
        """What these headers say; the same client says the same with every request, but for ids that only go upstream,
        so it is remembered for a while."""
        fields = (upstream, endpoint, query, *[field for field in headers if field[0] not in _PASSING])
        said = self._known.get(fields)
        if said is None:
            if len(self._known) >= KNOWN_HEADERS:
                self._known.clear()
            lasting = tuple([field for field in headers if field[0] not in IDS])
            said = self._known[fields] = self._heed(upstream, endpoint, query, lasting)
        if any(name in IDS for name, _ in headers):
            return replace(said, forwarded=self._forwarded(headers))
        return said

    def take(self, said: Said, body: bytes) -> Admitted | Bypassed | Refused:
        """What becomes of a POST with this body, whose headers were `heard`."""
        upstream, endpoint, query, directives = said.upstream, said.endpoint, said.query, said.directives
        if isinstance(directives, Reason):
            return Refused(directives)
        number = next(NUMBERS)
        dialect = DIALECTS.get(endpoint)
        intent = why.NO_DIALECT if dialect is None else said.unread or dialect.read(body)
        if isinstance(intent, Reason):
            heard = self._heard("", said.tenant, upstream, directives.namespace)
            return Bypassed(Call(upstream, "POST", endpoint, query, said.forwarded, body, heard, number), intent)
        assert dialect is not None
        tenant, policy, terms = said.tenant, self._policy, said.terms
        if self._settings.rules:
            policy = policy_for(
                policy,
                self._settings.rules,
                model=intent.model,
                endpoint=endpoint,
                namespace=directives.namespace,
                tenant=tenant,
                tags=directives.tags,
            )
            terms = terms_of(policy, directives)
        against = may_cache(policy, directives, intent)
        steering: Steering | None = None
        if endpoint in STEERED:
            steering = self._steering(
                intent.model,
                tenant,
                self._bases[upstream],
                policy.prompt_cache,
                policy.prompt_cache_ttl,
                against is None,
                directives.namespace,
            )
        elif against is not None:
            steering = self._heard(intent.model, tenant, upstream, directives.namespace)
        call = Call(upstream, "POST", endpoint, query, said.forwarded, body, steering, number)
        if against is not None:
            return Bypassed(call, against)
        key = said.keys.key(intent.canonical, stream=intent.stream)
        watched = ""
        if policy.changed_models != "keep":
            watched = of_answers(said.parts.upstream.decode("utf-8", "replace"), intent.model)
        ask = Ask(
            call=call,
            intent=intent,
            key=key,
            terms=terms,
            tenant=tenant,
            namespace=directives.namespace,
            tags=directives.tags,
            hit_usage=policy.hit_usage,
            max_age=directives.max_age,
            refresh=directives.no_cache or directives.clear,
            clear=directives.clear,
            only_if_cached=directives.only_if_cached,
            convert=self._settings.convert,
            plain=said.plain,
            watched=watched,
            by_fingerprint=policy.changed_models == "retire-fingerprint",
            asked=_asked(said.parts, intent) if self._portable else None,
        )
        return Admitted(_divided(ask, said.keys) if intent.items else ask, dialect)

    def _heard(self, model: str, tenant: str, upstream: str, namespace: str) -> Steering:
        """For calls past the cache with whose prompt nothing is done, but whose cost is to be known."""
        return self._steering(model, tenant, self._bases[upstream], "off", "auto", False, namespace)

    def _forwarded(self, headers: Headers) -> Headers:
        return forwarded_headers(headers, cache_headers=self._settings.forward_cache_headers)

    def _heed(self, upstream: str, endpoint: str, query: bytes, headers: Headers) -> Said:
        said = read_directives(headers)
        directives = SILENCE if isinstance(said, Reason) else said
        tenant = tenant_id(credentials(headers), self._secret, self._share)
        parts = KeyParts(
            tenant=tenant.encode(),
            upstream=self._identities[upstream],
            endpoint=endpoint.encode(),
            query=query,
            namespace=directives.namespace.encode(),
            sample=b"" if directives.sample is None else b"%d" % directives.sample,
            headers=keyed_headers(_end_to_end(headers), self._inert),
            body=b"",
        )
        return Said(
            upstream=upstream,
            endpoint=endpoint,
            query=query,
            directives=said,
            forwarded=self._forwarded(headers),
            tenant=tenant,
            unread=_unread(headers),
            plain=directives.plain,
            parts=parts,
            keys=KeyMaker(parts),
            terms=terms_of(self._policy, directives),
        )


def _divided(ask: Ask, maker: KeyMaker) -> Ask:
    """The ask for a batch, with an ask for each distinct item in it."""
    distinct = {item.canonical: item for item in ask.intent.items}
    keys = [maker.key(canonical, stream=False) for canonical in distinct]
    numbers = {canonical: number for number, canonical in enumerate(distinct)}
    places = tuple([numbers[item.canonical] for item in ask.intent.items])
    items = tuple(
        [
            replace(
                ask,
                key=key,
                intent=replace(ask.intent, canonical=item.canonical, items=(item,)),
                asked=ask.asked and replace(ask.asked, body=_one_input(ask.intent.shell, item.canonical)),
            )
            for item, key in zip(distinct.values(), keys, strict=True)
        ]
    )
    return replace(ask, key=batch_key([keys[place] for place in places]), batch=Batch(items, places))


def _asked(parts: KeyParts, intent: Intent) -> Asked:
    upstream, endpoint, query, namespace, sample = (part.decode("utf-8", "replace") for part in parts[1:6])
    return Asked(upstream, endpoint, intent.model, query, namespace, sample, parts.headers, intent.canonical)


def _one_input(shell: bytes, canonical: bytes) -> bytes:
    """The body of a batch's request as if it had been for one item alone."""
    rest = shell.removeprefix(b"{")
    return b'{"input":%b%b%b' % (canonical.partition(b"\n")[2], b"" if rest == b"}" else b",", rest)


def _unread(headers: Headers) -> Reason | None:
    """Why a body with these headers can't be read; None if it can."""
    media = b""
    for name, value in headers:
        if name == b"content-type":
            media = value.partition(b";")[0].strip().lower()
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return why.ENCODED_REQUEST
    return None if media == b"application/json" else why.UNREAD_TYPE


def _end_to_end(headers: Headers) -> Headers:
    """Without what `Connection` declares to be this connection's own: it is not forwarded, so it is not keyed."""
    named = connection_names(headers)
    return tuple(field for field in headers if field[0] not in named) if named else headers
