"""A stale answer that has itself renewed avoids nothing: calls made and calls avoided are together the requests, and
what was paid and what was avoided is together what all of them would have cost."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from payonce.books.words import Figures, Filed
from payonce.drive.navigated import NavigatedUpstream
from payonce.ledger.tally import summary
from tests.support.asgi import World, running
from tests.support.batches import Bench, tokens

WINDOW = {"cache_control": "stale-while-revalidate=60"}
COST = 1_000_000
"""Of each scripted answer, in billionths."""
STEPS = st.lists(st.tuples(st.sampled_from([0, 40, 130]), st.integers(1, 3)), min_size=1, max_size=6)


async def told(world: World) -> tuple[dict[str, Any], Figures, list[Filed]]:
    """What the tally says, the books, and the receipts, newest first."""
    ours = world.gateway.world
    assert ours.books is not None
    await asyncio.to_thread(ours.navigator.await_prices, 30)
    ours.settle()
    tally = summary(ours.ledger.now)  # which hands what was added up to the books
    await asyncio.to_thread(ours.books.clerk.flush)
    return tally, ours.books.reader.total(0), list(ours.books.reader.recent(limit=100))


async def play(folder: Path, steps: list[tuple[int, int]]) -> None:
    """`steps`: so many seconds pass, then as many ask at once."""
    async with running(folder, ttl=100, fast_lane=False) as world:
        ours, requests = world.gateway.world, 0
        ours.player.flights.upstreams = {
            name: NavigatedUpstream(way, ours.navigator) for name, way in ours.player.flights.upstreams.items()
        }
        for seconds, times in steps:
            world.clock.advance(seconds)
            await asyncio.gather(*(world.ask(**WINDOW) for _ in range(times)))
            await world.settle()
            requests += times
        tally, books, receipts = await told(world)
        made, paid = len(world.upstream.calls), len(world.upstream.calls) * COST
        assert (tally["requests"], tally["upstream_calls"], tally["avoided"]["calls"]) == (
            requests,
            made,
            requests - made,
        )
        assert (books.requests, books.calls, books.avoided_calls) == (requests, made, requests - made)
        assert Decimal(tally["paid"]["dollars"]) * 10**9 == books.paid_nano == paid
        assert Decimal(tally["avoided"]["dollars"]) * 10**9 == books.avoided_nano == requests * COST - paid
        assert len({each.call.n for each in receipts if each.call is not None}) == made
        for each in receipts:
            if each.outcome == "stale":
                assert (each.call is None) == (each.avoided_nano == COST)


@given(STEPS)
@example([(0, 1), (130, 1), (130, 1)])
@example([(0, 1), (130, 3)])
@settings(max_examples=25, deadline=None)
def test_calls_made_and_calls_avoided_are_together_the_requests(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    asyncio.run(play(tmp_path_factory.mktemp("stale"), steps))


async def test_a_stale_batch_avoids_what_is_not_renewed_of_it() -> None:
    bench, window = Bench(), (b"cache-control", b"stale-while-revalidate=60")
    await bench.ask(["old"])
    bench.clock.advance(90)
    await bench.ask(["new"])
    bench.clock.advance(40)  # "old" is stale, "new" is fresh
    await bench.ask(["old", "new"], window)
    await bench.ask(["old", "new"], window)  # the renewal is under way
    await bench.settle()
    first, second = bench.receipts[2:]
    assert [orjson.loads(call.body)["input"] for call in bench.upstream.calls] == [["old"], ["new"], ["old"]]
    assert first.saved is not None
    assert second.saved is not None
    assert (first.saved.calls, first.saved.tokens.input) == (0, tokens("new"))
    assert (second.saved.calls, second.saved.tokens.input) == (1, tokens("old") + tokens("new"))
    assert summary(bench.ledger.now)["avoided"]["calls"] == 1
