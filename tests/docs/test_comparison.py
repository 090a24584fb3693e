"""The column that says what Payonce does in docs/comparison.md is so: the script runs, calls are counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from payonce.testing.sim import SimulatedProvider, running_sim
from tests.docs.test_docs import ROOT
from tests.support.gateway import CutError, Reply, RunningGateway, ask, running_gateway

World = tuple[RunningGateway, SimulatedProvider]


@pytest.fixture
def world() -> Iterator[World]:
    with running_sim() as sim, running_gateway(sim.base_url) as gateway:
        yield gateway, sim


def _say(gateway: RunningGateway, body: dict[str, Any], **fields: str) -> Reply | None:
    try:
        return gateway.post(body, **fields)
    except CutError:
        return None


def _each(*bodies: dict[str, Any]) -> Callable[[RunningGateway], list[Reply | None]]:
    return lambda gateway: [_say(gateway, body) for body in bodies]


def _at_once(gateway: RunningGateway) -> list[Reply | None]:
    with ThreadPoolExecutor(10) as pool:
        return list(pool.map(lambda _: _say(gateway, ask("at once", model="sim/fault-slow-first-byte=0.3")), range(10)))


def _keys(gateway: RunningGateway) -> list[Reply | None]:
    return [_say(gateway, ask("whose"), Authorization=f"Bearer sk-or-{name}") for name in "ab"]


def _conversation() -> dict[str, Any]:
    turns = [{"role": role, "content": f"turn {n}"} for n, role in enumerate(("user", "assistant") * 2 + ("user",))]
    return {**ask(), "messages": turns}


PLAIN = ask("plain")
SCRIPT: dict[str, Callable[[RunningGateway], list[Reply | None]]] = {
    "the same three times": _each(PLAIN, PLAIN, PLAIN),
    "with `stream: false`, twice": _each({**PLAIN, "stream": False}, {**PLAIN, "stream": False}),
    "ten at the same time": _at_once,
    "a conversation of five messages, twice": _each(_conversation(), _conversation()),
    "two that differ in `provider.order`": _each(
        ask("order", provider={"order": ["a", "b"]}), ask("order", provider={"order": ["b", "a"]})
    ),
    "two that differ in `plugins`": _each(ask("plugins", plugins=[{"id": "web"}]), ask("plugins", plugins=[])),
    "two that differ in the order of members": _each(PLAIN, dict(reversed(PLAIN.items()))),
    "a stream, twice": _each({**PLAIN, "stream": True}, {**PLAIN, "stream": True}),
    "a stream, then the same whole": _each({**PLAIN, "stream": True}, PLAIN),
    "one that breaks off, twice": _each(*[ask("cut", model="sim/fault-cut=40", stream=True)] * 2),
    "one that gets a 500, twice": _each(*[ask("500", model="sim/fault-500")] * 2),
    "one that gets an error inside a 200, twice": _each(*[ask("200", model="sim/fault-200-error")] * 2),
    "two API keys": _keys,
}


def table() -> dict[str, tuple[int, str]]:
    """What the page says, by what is sent: the calls that are wanted, and Payonce's cell."""
    text = (ROOT / "docs" / "comparison.md").read_text()
    _, _, rest = text.partition("<!-- conformance -->")
    rows = re.findall(r"^\| (.+) \((\d)\) \| ([^|]+) \|", rest.partition("<!-- end -->")[0], re.MULTILINE)
    return {what: (int(wanted), cell) for what, wanted, cell in rows}


def test_the_page_and_the_script_have_the_same_rows() -> None:
    assert list(table()) == list(SCRIPT)


@pytest.mark.parametrize("what", SCRIPT)
def test_a_row_is_what_happens(what: str, world: World) -> None:
    gateway, sim = world
    replies = SCRIPT[what](gateway)
    wanted, cell = table()[what]
    calls, _, more = cell.partition(", ")
    assert sim.bill.requests == int(calls) == wanted
    if more == "same bytes":
        assert replies[0] is not None
        assert replies[1] is not None
        assert replies[0].body == replies[1].body


def test_the_count_can_be_wrong(world: World) -> None:
    gateway, sim = world
    _each(PLAIN, ask("another"))(gateway)
    assert sim.bill.requests == 2
