"""Every scene through the gateway as it is: its navigator shows each exchange to the doctor, who names the cause on the
page that is noted in the store, for `payonce doctor --live`; of the healthy conversation it says nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from payonce.doctor import Report, add_up
from tests.doctor.scenes import Act, scenes
from tests.support.asgi import Reply, World
from tests.support.held import Held, held_back
from tests.support.strict import strict


async def play(world: World, held: Held, acts: list[Act]) -> None:
    """Each act when its time has come; those that are to be together at once."""
    groups: list[list[Act]] = []
    for act in acts:
        if act.together:
            groups[-1].append(act)
        else:
            groups.append([act])
    for group in groups:
        world.clock.advance(group[0].wait)
        asked = [asyncio.create_task(ask(world, act)) for act in group]
        async with asyncio.timeout(30):
            while held.waiting < len(group):  # noqa: ASYNC110 - a server of threads
                await asyncio.sleep(0)
        world.clock.advance(group[0].first_token)
        held.go.set()
        replies = await asyncio.gather(*asked)
        held.go.clear()
        assert [reply.status for reply in replies] == [200] * len(group)


async def ask(world: World, act: Act) -> Reply:
    fields = {name.replace("-", "_"): text for name, text in act.headers.items()}
    return await world.post(json.dumps(act.body).encode(), **fields)


async def report(world: World) -> Report:
    """What the gateway has noted in its store."""
    await asyncio.to_thread(world.gateway.world.navigator.await_prices, 30)
    await world.gateway.world.tally()
    return add_up(world.gateway.world.tiers.keeper.notes())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(scenes()))
async def test_the_gateway_names_the_cause_of_each_scene(name: str, tmp_path: Path) -> None:
    scene = scenes()[name]
    async with strict(tmp_path, prompt_cache="respect") as (world, _):
        with held_back() as held:
            await play(world, held, scene.acts)
        found = [(one.id, one.where, one.block) for one in (await report(world)).findings]
    assert found == ([(scene.cause, scene.where, scene.block)] if scene.cause else [])


async def test_with_the_planner_at_work_a_conversation_without_markers_is_healthy(tmp_path: Path) -> None:
    acts = scenes()["healthy"].acts
    bare = json.loads(json.dumps([act.body for act in acts]), object_hook=_unmarked)
    async with strict(tmp_path) as (world, sim):
        for body in bare:
            world.clock.advance(20)
            assert (await world.post(json.dumps(body).encode())).status == 200
        assert (await report(world)).findings == ()
        assert sim.bill.cache_read_tokens > 0


def _unmarked(members: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if name != "cache_control"}
