"""Frozen words for tests of the core: an ask, an entry, an intake; each takes what a test wants to be different."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from payonce.config import Settings
from payonce.intake import Admitted, Bypassed, Intake, Refused
from payonce.model.call import Ask, Call, Headers, Intent, Terms
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.key import Key

NOW = 1_800_000_000.0
SECRET = bytes(range(32))
CHAT = "chat/completions"
UPSTREAM = (("", "https://openrouter.ai/api/v1"), ("other", "https://llm.example/v1"))
HEADERS: Headers = ((b"authorization", b"Bearer sk-or-a"), (b"content-type", b"application/json"))
TENANT = "ab" * 32
DIGEST = bytes.fromhex("cd" * 32)
WHOLE = (
    b'{"id":"gen-1","model":"m-1","choices":[{"index":0,"finish_reason":"stop","message":{"content":"hi"}}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"cost":0.5}}'
)
FACTS = Facts("gen-1", "m-1", "always", Tokens(3, 2, 500_000_000))
JSON_HEADERS: Headers = ((b"content-type", b"application/json"), (b"x-generation-id", b"gen-1"))


def chat(**members: Any) -> bytes:
    """A chat request that may be cached; a member that is `...` is left out."""
    asked = {"model": "m/one", "temperature": 0, "messages": [{"role": "user", "content": "hi"}], **members}
    return orjson.dumps({name: value for name, value in asked.items() if value is not ...})


def intent(**changes: Any) -> Intent:
    plain = Intent(
        model="m/one", stream=False, deterministic=True, sets_limit=False, wants_usage=False, canonical=b"{}"
    )
    return replace(plain, **changes)


def ask(**changes: Any) -> Ask:
    """An ask for a whole answer; `intent` and `terms` may be given as dicts of changes."""
    wish = intent(**changes.pop("intent", {}))
    key = Key(DIGEST, wish.stream)
    plain = Ask(
        call=Call("", "POST", CHAT, b"", HEADERS, chat()),
        intent=wish,
        key=key,
        terms=Terms(**{"ttl": 100, **changes.pop("terms", {})}),
        tenant=TENANT,
        namespace="",
        tags=(),
    )
    return replace(plain, **changes)


def entry(**changes: Any) -> Entry:
    """An entry that was stored at NOW and is fresh for 100 seconds."""
    of = ask()
    plain = Entry(
        stored_at=NOW,
        ttl=100,
        swr=0,
        sie=0,
        scopes=of.scopes,
        epochs=(0,) * len(of.scopes),
        status=200,
        headers=JSON_HEADERS,
        body=WHOLE,
        facts=FACTS,
        tenant=TENANT,
        namespace="",
        tags=(),
        endpoint=CHAT,
        model="m/one",
        took=1.5,
    )
    return msgspec.structs.replace(plain, **changes)


def facts(**changes: Any) -> Facts:
    return msgspec.structs.replace(FACTS, **changes)


def intake(**settings: Any) -> Intake:
    """An intake with two upstreams: the unnamed one, and `other`."""
    return Intake(Settings(**{"store": "memory:", "upstream": UPSTREAM, **settings}), SECRET)


PLAIN = intake()


def admit(
    body: bytes | None = None,
    *more: tuple[bytes, bytes],
    door: Intake = PLAIN,
    headers: Headers = HEADERS,
    upstream: str = "",
    query: bytes = b"",
) -> Admitted | Bypassed | Refused:
    """What becomes of a chat request with `more` headers."""
    return door.admit(upstream, CHAT, query, (*headers, *more), chat() if body is None else body)


def asked(body: bytes | None = None, *more: tuple[bytes, bytes], **how: Any) -> Ask:
    """The ask of a request that the cache takes part in."""
    found = admit(body, *more, **how)
    assert isinstance(found, Admitted), found
    return found.ask


def digest(body: bytes | None = None, *more: tuple[bytes, bytes], **how: Any) -> bytes:
    """The key of a request that the cache takes part in."""
    return asked(body, *more, **how).key.digest


def bypassed(body: bytes | None = None, *more: tuple[bytes, bytes], **how: Any) -> str:
    """The id of the reason for which the cache takes no part; the bytes must go on untouched."""
    found = admit(body, *more, **how)
    assert isinstance(found, Bypassed), found
    assert body is None or found.call.body == body
    return found.reason.id
