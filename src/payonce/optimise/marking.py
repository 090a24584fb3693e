"""One request's markers: which way the upstream takes them, what is decided, and the body that comes of it.

Four ways: `blocks` (a `cache_control` on each block), `top` (one `cache_control` for the whole request, which stands
for its end), `points` (OpenAI's `prompt_cache_breakpoint` and `prompt_cache_options`), and none. The client's own
markers are respected before all else. This room must never keep anything between two requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from payonce.optimise.accounts import Account
from payonce.optimise.advice import Act, Advice
from payonce.optimise.keep import Keeper, Keeping, Ttl, nothing
from payonce.optimise.learned import Model
from payonce.optimise.memory import Memory
from payonce.optimise.nodes import Sight
from payonce.optimise.place import put
from payonce.optimise.prefix import Json, Prefix
from payonce.optimise.sessions import Upstream
from payonce.optimise.traits import Traits, tables

Dialect = Literal["messages", "chat", "responses"]
Mode = Literal["auto", "respect", "off"]
Way = Literal["blocks", "top", "points", "none"]

_WAYS: dict[tuple[str, str, str], Way] = {
    ("marker", "openrouter", "messages"): "blocks",
    ("marker", "openrouter", "chat"): "blocks",
    ("marker", "openrouter", "responses"): "top",
    ("marker", "anthropic", "messages"): "blocks",
    ("marker", "other", "messages"): "blocks",
    ("paid-auto", "openrouter", "chat"): "points",
    ("paid-auto", "openrouter", "responses"): "points",
    ("paid-auto", "openai", "chat"): "points",
    ("paid-auto", "openai", "responses"): "points",
}
"""Kind of model, upstream and dialect: how markers are written there. OpenRouter's OpenAPI and prompt-caching guide;
Anthropic's and OpenAI's prompt-caching documentation."""

_BEGINS = 0.4
"""The share of an answer's time after which it is taken to have begun, so that what it wrote can be read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything a decision needs."""

    body: Json
    memory: Memory
    prefix: Prefix
    sight: Sight
    traits: Traits
    knows: Model
    account: Account
    now: float
    mode: Mode
    ttl: Ttl
    upstream: Upstream
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Marking:
    """The body with its markers, and why."""

    body: Json
    keeping: Keeping
    advice: tuple[Advice, ...]
    changed: bool = False


def mark(asked: Asked) -> Marking:
    """Decide and place."""
    total = asked.prefix.sizes[-1] * asked.knows.per_character() if asked.prefix.sizes else 0.0
    way = _WAYS.get((asked.traits.kind, asked.upstream, asked.dialect), "none")
    why = _stays_out(asked, way)
    if why is not None:
        return Marking(asked.body, nothing(total), (why,))
    if way == "points":
        return _points(asked, total)
    keeping = Keeper(
        asked.memory, asked.prefix, asked.sight, asked.traits, asked.knows, asked.account, asked.now, asked.ttl
    ).keep()
    if not keeping.marks:
        return Marking(asked.body, keeping, (_left(keeping),))
    if way == "top":
        return _top(asked, keeping)
    _remember(asked, keeping)
    places = [(asked.prefix.places[one.at], _control(one.ttl)) for one in keeping.marks]
    body = put(asked.body, places, "cache_control")
    return Marking(body, keeping, tuple(_said(asked, keeping)), changed=True)


def _stays_out(asked: Asked, way: Way) -> Advice | None:
    """Why nothing is marked whatever the prefix, if so."""
    if asked.mode == "respect":
        return Advice(Act.STAND_DOWN, "bodies are left alone by setting")
    if asked.prefix.marked:
        return Advice(Act.STAND_DOWN, "the client placed its own markers")
    if way == "none":
        kind = asked.traits.kind
        if kind == "unknown":
            return Advice(Act.LEAVE, "nothing is known of how this model's provider caches prompts")
        if kind == "none":
            return Advice(Act.LEAVE, "this model's provider caches no prompts")
        return Advice(Act.LEAVE, "this provider caches by itself, or takes no markers in this dialect")
    if asked.knows.stands_down(asked.sight.talk.host, asked.now):
        return Advice(Act.STAND_DOWN, "this model's host refused markers")
    return None


def _left(keeping: Keeping) -> Advice:
    tokens = round(keeping.total)
    if keeping.under:
        return Advice(Act.LEAVE, "the prompt is under the model's minimum", tokens=tokens, chance=keeping.likely)
    return Advice(Act.LEAVE, "reuse is too unlikely to pay for the write", tokens=tokens, chance=keeping.likely)


def _control(ttl: str) -> Json:
    return {"type": "ephemeral", "ttl": "1h"} if ttl == "1h" else {"type": "ephemeral"}


def _said(asked: Asked, keeping: Keeping) -> list[Advice]:
    """One advice a marker, each with its own part of the saving: what is read now, and what is written to be read."""
    advice = []
    before = keeping.read
    for one in keeping.marks:
        where = asked.prefix.names[one.at]
        share = 0.0
        if one.fresh and one.chance:
            write = asked.traits.write_1h if one.ttl == "1h" and asked.traits.write_1h else asked.traits.write_5m
            share = max(0.0, one.tokens - before) * (one.chance * (write - asked.traits.read) - (write - 1.0))
            before = max(before, one.tokens)
            why = "used again often enough to pay for the write"
        elif one.fresh:
            why = "costs nothing here, and finds what an earlier request wrote"
        else:
            share = one.tokens * (1.0 - asked.traits.read) if one.at == keeping.alive else 0.0
            why = "kept already: read, and its lifetime begins anew"
        if one is keeping.marks[-1] and all(other.at != keeping.alive for other in keeping.marks):
            share += keeping.read * (1.0 - asked.traits.read)  # found by looking back, without a marker of its own
        act = Act.MARK if one.fresh else Act.READ
        advice.append(Advice(act, why, where, one.ttl, round(one.tokens), round(one.chance, 3), round(share)))
    return advice


def _remember(asked: Asked, keeping: Keeping) -> None:
    """Note what the markers will have written or refreshed, as long as nothing else is known."""
    seconds = tables()["seconds"]
    ready = asked.now + min(max(_BEGINS * asked.knows.latency, 0.3), 10.0)
    for one in keeping.marks:
        node = one.node
        short, long = asked.now + seconds["5m"], asked.now + seconds["1h"]
        if one.fresh:
            if node.until() <= asked.now:
                node.ready = ready
            if one.ttl == "1h":
                node.until_long = long
            else:
                node.until_short = short
            continue
        if node.until_short > asked.now:
            node.until_short = short
        if node.until_long > asked.now:
            node.until_long = long
    if keeping.read and keeping.alive >= 0:
        node = asked.sight.nodes[keeping.alive]
        node.until_short = asked.now + seconds["5m"] if node.until_short > asked.now else node.until_short
        node.until_long = asked.now + seconds["1h"] if node.until_long > asked.now else node.until_long


# ------------------------------------------------------------------------------------------------ responses dialect


def _top(asked: Asked, keeping: Keeping) -> Marking:
    """One marker for the end of the request, or OpenAI's spelling on a block where only what stands before is kept."""
    deepest = keeping.marks[-1]
    last = max((at for at in range(len(asked.prefix)) if asked.prefix.able[at]), default=-1)
    if deepest.at >= last:
        keeping = replace(keeping, marks=(deepest,))
        _remember(asked, keeping)
        body = {**asked.body, "cache_control": _control(deepest.ttl)}
        return Marking(body, keeping, tuple(_said(asked, keeping)), changed=True)
    marks = tuple(replace(one, ttl="5m") for one in keeping.marks)
    keeping = replace(keeping, marks=marks)
    _remember(asked, keeping)
    places = [(asked.prefix.places[one.at], {"mode": "explicit"}) for one in marks]
    body = put(asked.body, places, "prompt_cache_breakpoint", "input_text")
    return Marking(body, keeping, tuple(_said(asked, keeping)), changed=True)


# ---------------------------------------------------------------------------------------- paid automatic caching


def _points(asked: Asked, total: float) -> Marking:
    """A provider that caches by itself and charges for it: leave it where the conversation goes on, else switch it
    off, or down to what others share."""
    traits, sight, prefix = asked.traits, asked.sight, asked.prefix
    if total < asked.knows.minimum(traits.minimum, sight.talk.host):
        return Marking(asked.body, nothing(total), (Advice(Act.LEAVE, "under the minimum", tokens=round(total)),))
    pays = (traits.write_5m - 1.0) / (traits.write_5m - traits.read)
    chance = sight.tail[0] + sight.tail[1]
    scale = asked.knows.per_character()
    least = asked.knows.minimum(traits.minimum, sight.talk.host)
    shared = [one for one in sight.beginnings if one.at >= prefix.tools and prefix.sizes[one.at] * scale >= least]
    if chance > pays or sight.continued:
        return _goes_on(asked, [one.at for one in shared if one.node.uses > 1], total, chance)
    shared = [one for one in shared if one.chances[0] + one.chances[1] > pays]
    options: Json = {"prompt_cache_options": {"mode": "explicit"}}
    kept = prefix.sizes[shared[-1].at] * scale if shared else 0.0
    spared = round((total - kept) * (traits.write_5m - 1.0))
    why = "nobody is expected to ask this again: the provider's paid writes are switched off"
    advice = [Advice(Act.SWITCH_OFF, why, tokens=round(total), chance=chance, saving=spared)]
    body = asked.body
    if shared:
        one = shared[-1]
        body = _with_points(asked, [one.at])
        often = one.chances[0] + one.chances[1]
        gain = round(kept * (often * (traits.write_5m - traits.read) - (traits.write_5m - 1.0)))
        advice.append(Advice(Act.MARK, "shared by others", prefix.names[one.at], "", round(kept), often, gain))
    return Marking({**body, **options}, nothing(total), tuple(advice), changed=True)


def _goes_on(asked: Asked, shared: list[int], total: float, chance: float) -> Marking:
    """The provider's own caching is left on. It ends at whole messages of this conversation, so what others share gets
    breakpoints: writing that apart costs nothing, as it is written anyhow."""
    traits = asked.traits
    saving = round(max(0.0, total * (chance * (traits.write_5m - traits.read) - (traits.write_5m - 1.0))))
    why = "the conversation goes on: the provider's own caching pays"
    advice = [Advice(Act.LEAVE, why, tokens=round(total), chance=chance, saving=saving)]
    shared = shared[: traits.slots - 1]  # the provider's own takes one
    if not shared:
        return Marking(asked.body, nothing(total), tuple(advice))
    scale = asked.knows.per_character()
    advice += [
        Advice(Act.MARK, "shared by others", asked.prefix.names[at], "", round(asked.prefix.sizes[at] * scale))
        for at in shared
    ]
    return Marking(_with_points(asked, shared), nothing(total), tuple(advice), changed=True)


def _with_points(asked: Asked, shared: list[int]) -> Json:
    text = "input_text" if asked.dialect == "responses" else "text"
    places = [(asked.prefix.places[at], {"mode": "explicit"}) for at in shared]
    return put(asked.body, places, "prompt_cache_breakpoint", text)
