"""Keeping a conversation on one host: what names it, in which field each upstream wants that, and when to ask for a
host by name.

A conversation is named by the client's own `session_id`, `x-session-id` or `prompt_cache_key`; else by a hash of tenant
and opening messages, which a continuation inherits by the longest known prefix. What is sent is a hash: neither a
credential nor a prompt. A client's own fields are never replaced. This room must never see a whole body's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from payonce.optimise.nodes import Sight, Talk
from payonce.optimise.prefix import Prefix
from payonce.optimise.traits import Traits, tables

Upstream = Literal["openrouter", "anthropic", "openai", "other"]
Headers = Sequence[tuple[bytes, bytes]]
HeaderChange = tuple[bytes, bytes | None]

_BETAS: Final = frozenset((b"anthropic-beta", b"x-anthropic-beta"))
_LONGEST: Final = 256
"""OpenRouter takes session ids of at most so many characters."""
_LIKELY: Final = 0.25
"""From this chance on, a conversation is expected to go on."""
_CROWDED: Final = 8.0
"""Requests of one beginning that come faster than this, in seconds, spread over several machines: OpenAI's guide says
from about 15 a minute on."""
_PIN_FOR: Final = 3600.0
_MISSES_BEFORE_PIN: Final = 2
"""So many turns that read too little from another host than before; then the host is asked for by name."""


def own_name(body: Mapping[str, Any], headers: Headers, session: str | None) -> str:
    """The name the client gave the conversation, "" where it gave none."""
    for given in (session, body.get("session_id"), dict(headers).get(b"x-session-id"), body.get("prompt_cache_key")):
        if given:
            text = given.decode("latin-1") if isinstance(given, bytes) else str(given)
            return text[:_LONGEST]
    return ""


@dataclass(frozen=True, slots=True)
class Sticky:
    """What to add: members of the body, changes to headers."""

    members: dict[str, Any]
    headers: tuple[HeaderChange, ...] = ()


def stick(
    body: Mapping[str, Any],
    headers: Headers,
    name: str,
    traits: Traits,
    upstream: Upstream,
    dialect: str,
    *,
    keyed: bool = True,
    bare: bool = False,
) -> Sticky:
    """The fields that keep the conversation `name` on its host, as far as the client did not set them itself. `keyed`
    says whether a key of its own is good for it (`stays_together`), `bare` that the body is to stay as it is."""
    members: dict[str, Any] = {}
    changes: list[HeaderChange] = []
    given = dict(headers)
    if upstream == "openrouter" and "session_id" not in body and b"x-session-id" not in given:
        if bare:
            changes.append((b"x-session-id", name.encode()))
        else:
            members["session_id"] = name
    takes_key = dialect in {"chat", "responses"} and traits.key and upstream in {"openai", "openrouter"}
    if keyed and takes_key and not bare and "prompt_cache_key" not in body:
        members["prompt_cache_key"] = name
    header = traits.conversation_header.encode()
    if header and upstream == "other" and header not in given:
        changes.append((header, name.encode()))
    return Sticky(members, tuple(changes))


def stays_together(prefix: Prefix, sight: Sight, least: float, *, paid: bool) -> bool:
    """Whether a request is better kept with its conversation than with others of the same beginning.

    OpenAI chooses the machine by key and opening tokens, so with a key of its own each conversation writes a long
    beginning that others use again for itself. Without a key they meet: good for single questions, and for
    conversations too where that writing is `paid`, as long as so few requests come that one machine takes them all.
    What was decided for a conversation stays. `least` is in characters.
    """
    talk = sight.talk
    if talk.keyed is None:
        shared = [one.node for one in sight.beginnings if one.node.uses > 1 and prefix.sizes[one.at] >= least]
        single = not (sight.continued or prefix.turns or sum(sight.tail[:2]) > _LIKELY)
        quiet = paid and all(node.pace > _CROWDED for node in shared)
        talk.keyed = not (shared and (single or quiet))
    return talk.keyed


def retired(headers: Headers) -> tuple[HeaderChange, ...]:
    """The beta headers without tokens that no host needs any more and some refuse."""
    gone = {token.encode() for token in tables()["retired_betas"]}
    changes: list[HeaderChange] = []
    for name, value in headers:
        if name in _BETAS:
            tokens = [token.strip() for token in value.split(b",")]
            kept = [token for token in tokens if token not in gone]
            if len(kept) < len(tokens):
                changes.append((name, b",".join(kept) if kept else None))
    return tuple(changes)


def pin(body: Mapping[str, Any], talk: Talk, upstream: Upstream, now: float) -> dict[str, Any]:
    """The preference for the host that served, where reads stay low because hosts change; empty where not."""
    if upstream != "openrouter" or "provider" in body or not talk.pinned or talk.pinned_until <= now:
        return {}
    return {"provider": {"order": [talk.pinned], "allow_fallbacks": True}}


def served(talk: Talk, host: str, now: float, *, fell_short: bool, read: bool) -> None:
    """An answer came from `host`; `fell_short` says that it read less than was kept, `read` that it read enough."""
    if not host:
        return
    flipped = bool(talk.host) and talk.host != host
    if fell_short and flipped:
        talk.misses += 1
        if talk.misses >= _MISSES_BEFORE_PIN:
            talk.pinned, talk.pinned_until, talk.misses = host, now + _PIN_FOR, 0
    elif read and not flipped and talk.misses:
        talk.misses -= 1
    if talk.pinned == host:
        talk.pinned_until = now + _PIN_FOR
    talk.host = host


def unpin(talk: Talk) -> None:
    """The pinned host failed: let the upstream choose again."""
    talk.pinned, talk.pinned_until, talk.misses = "", 0.0, 0
