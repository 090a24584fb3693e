"""One stored answer for streams and whole requests alike, in the library: by the story, and from its shelf."""

from __future__ import annotations

import importlib
from typing import Any

import openai
import pytest

from payonce.testing.sim import SimulatedProvider

ASK: Any = {"model": "sim/small", "temperature": 0, "messages": [{"role": "user", "content": "both"}]}

pytestmark = pytest.mark.usefixtures("closed_worlds")


def figures(client: Any) -> Any:
    world = client._transport.desk.lease.world
    world.shelf.settle(world.ledger)
    return world.ledger.now.counts


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_one_call_answers_both_framings_until_either_is_cleared(sim: SimulatedProvider, name: str) -> None:
    ours = importlib.import_module(f"payonce.{name}")
    fields = {"authorization": "Bearer k"}
    url = f"{sim.base_url}/chat/completions"
    with ours.Client(store="memory:") as client:

        def said(stream: bool, **more: str) -> tuple[str, bytes]:
            answer = client.post(url, json={**ASK, "stream": stream}, headers=fields | more)
            return answer.headers["cache-status"], answer.content

        assert "stored" in said(stream=False)[0]
        converted = [said(stream=True) for _ in range(3)]
        assert all("hit" in status and "detail=converted" in status for status, _ in converted)
        assert len({body for _, body in converted}) == 1
        assert sim.bill.calls == 1
        counts = figures(client)
        assert (counts["requests.hit"], counts["requests.converted"], counts["requests.fast_lane"]) == (3, 3, 2)
        assert "detail=converted" not in said(stream=False)[0]

        # Whatever happens to the whole answer, its converted twin does not outlive it on the shelf.
        said(stream=False, **{"x-openrouter-cache-clear": "true"})
        status, body = said(stream=True)
        assert "detail=converted" in status
        assert body != converted[0][1]
        assert sim.bill.calls == 2


async def test_tasks_and_an_sdk_read_the_same_from_either(sim: SimulatedProvider) -> None:
    from payonce.httpx2 import AsyncClient

    async with AsyncClient(store="memory:") as client:
        sdk = openai.AsyncOpenAI(base_url=sim.base_url, api_key="k", http_client=client, max_retries=0)
        whole = await sdk.chat.completions.create(**ASK)
        for _ in range(2):
            async with sdk.chat.completions.stream(**ASK) as stream:
                found = await stream.get_final_completion()
            assert found.choices[0].message.content == whole.choices[0].message.content
            assert (found.id, found.usage) == (whole.id, whole.usage)
    assert sim.bill.calls == 1


def test_switched_off_each_framing_is_paid_for(sim: SimulatedProvider) -> None:
    from payonce import Settings
    from payonce.httpx2 import Client

    url, fields = f"{sim.base_url}/chat/completions", {"authorization": "Bearer k"}
    with Client(settings=Settings(store="memory:", convert=False)) as client:
        for stream in (False, True, True):
            client.post(url, json={**ASK, "stream": stream}, headers=fields)
        assert figures(client)["requests.converted"] == 0
    assert sim.bill.calls == 2
