"""Embeddings through the gateway on real sockets: OpenAI's SDK can't tell, but by its headers and by what it pays."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from payonce.model.scopes import of_model
from payonce.testing.sim import SimulatedProvider
from payonce.testing.sim_embed import vector
from tests.support.gateway import RunningGateway, running_gateway

PATH = "/api/v1/embeddings"


@pytest.fixture(params=["memory", "sqlite"])
def gateway(sim: SimulatedProvider, tmp_path: Path, request: Any) -> Iterator[RunningGateway]:
    store = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'store.db'}"
    with running_gateway(sim.base_url, cache="deterministic", store=store) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="sk-or-sdk", max_retries=0) as made:
        yield made


def vectors(answer: Any) -> list[list[float]]:
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return [item.embedding for item in answer.data]


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_the_sdk_gets_the_right_vectors_and_pays_for_each_item_once(
    client: openai.OpenAI, sim: SimulatedProvider, encoding: Any
) -> None:
    """Without an encoding the SDK asks for base64 and decodes it itself."""
    texts = [f"text {number}" for number in range(100)]
    right = [vector("sim/small", text, 8) for text in texts]
    assert vectors(client.embeddings.create(model="sim/small", input=texts[:90], **encoding)) == right[:90]
    mixed = client.embeddings.create(model="sim/small", input=texts, **encoding)
    assert vectors(mixed) == right
    assert sim.calls[-1].json()["input"] == texts[90:]
    assert sim.calls[-1].json()["encoding_format"] == (encoding.get("encoding_format") or "base64")
    backwards = client.embeddings.create(model="sim/small", input=texts[::-1], **encoding)
    assert vectors(backwards) == right[::-1]
    alone = client.embeddings.create(model="sim/small", input=texts[7], **encoding)
    assert vectors(alone) == right[7:8]
    assert (alone.model, alone.object) == ("sim/small-20260301", "list")
    assert sim.bill.calls == 2
    used: Any = backwards.usage
    assert used.prompt_tokens == sim.bill.prompt_tokens
    assert Decimal(repr(used.cost)) == sim.bill.cost


def test_lists_of_tokens(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    lists = [[number, number + 1] for number in range(2000)]
    right = [vector("sim/small", tokens, 8) for tokens in lists]
    assert vectors(client.embeddings.create(model="sim/small", input=lists[:1999])) == right[:1999]
    assert vectors(client.embeddings.create(model="sim/small", input=lists)) == right
    assert vectors(client.embeddings.create(model="sim/small", input=lists[5])) == right[5:6]
    assert [len(call.json()["input"]) for call in sim.calls] == [1999, 1]


def test_what_the_headers_say(client: openai.OpenAI) -> None:
    def said(given: list[str]) -> tuple[str, str, str]:
        headers = client.embeddings.with_raw_response.create(model="sim/small", input=given).headers
        return headers["x-openrouter-cache-status"], headers["x-payonce-items"], headers["cache-status"].split(";")[1]

    assert said(["a", "b"]) == ("MISS", "0/2", " fwd=miss")
    assert said(["c", "b", "a", "a"]) == ("MISS", "3/4", " fwd=partial")
    assert said(["c", "b", "a", "c"]) == ("HIT", "4/4", " hit")


def test_many_clients_at_once_get_what_they_asked_for(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    def one(number: int) -> bool:
        given = [f"t{(number * 7 + n * n) % 40}" for n in range(12)]
        answer = client.embeddings.create(model="sim/small", input=given)
        return vectors(answer) == [vector("sim/small", text, 8) for text in given]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(80)))


def test_a_limit_of_the_provider_reaches_the_client_and_what_is_known_stays(
    client: openai.OpenAI, sim: SimulatedProvider
) -> None:
    client.embeddings.create(model="sim/small", input=["a", "b"])
    sim.fault_next("429=7")
    with pytest.raises(openai.RateLimitError) as raised:
        client.embeddings.create(model="sim/small", input=["a", "z"])
    assert raised.value.response.headers["retry-after"] == "7"
    calls = len(sim.calls)
    client.embeddings.create(model="sim/small", input=["b", "a"])
    assert len(sim.calls) == calls


@pytest.mark.parametrize("fault", ["wrong-count", "twice", "empty", "clean-cut=40", "html", "gzip", "empty-body"])
def test_an_answer_that_can_not_be_used_is_asked_for_once_more_in_full(
    client: openai.OpenAI, sim: SimulatedProvider, fault: str
) -> None:
    client.embeddings.create(model="sim/small", input=["a"])
    sim.fault_next(fault)
    given = ["y", "a", "z"]
    found = client.embeddings.create(model="sim/small", input=given)
    assert vectors(found) == [vector("sim/small", text, 8) for text in given]
    assert [call.json()["input"] for call in sim.calls] == [["a"], ["y", "z"], ["y", "a", "z"]]


@pytest.mark.parametrize("fault", ["cut=40", "reset=40"])
def test_a_connection_that_breaks_is_an_error_and_never_half_an_answer(
    client: openai.OpenAI, sim: SimulatedProvider, fault: str
) -> None:
    client.embeddings.create(model="sim/small", input=["a"])
    sim.fault_next(fault)
    with pytest.raises(openai.InternalServerError) as raised:
        client.embeddings.create(model="sim/small", input=["a", "z"])
    assert raised.value.response.headers["x-payonce-error"] == "upstream-cut"
    assert vectors(client.embeddings.create(model="sim/small", input=["a", "z"]))[1] == vector("sim/small", "z", 8)


def test_a_purge_and_a_restart_hold_for_items(sim: SimulatedProvider, tmp_path: Path) -> None:
    body = orjson.dumps({"model": "sim/small", "input": ["a", "b"]})
    with running_gateway(sim.base_url, store=f"sqlite:{tmp_path / 'store.db'}") as gateway:
        gateway.post(body, PATH)
        tiers = gateway.gateway.world.tiers
        assert gateway.until(lambda: tiers.keeper.flush(1.0))
    with running_gateway(sim.base_url, store=f"sqlite:{tmp_path / 'store.db'}") as gateway:
        assert gateway.post(body, PATH)["x-payonce-items"] == "2/2"
        gateway.run(lambda: (gateway.gateway.world.tiers.keeper.raise_epoch(of_model("sim/small")),
                             gateway.gateway.world.tiers.refresh()))  # fmt: skip
        assert gateway.post(body, PATH)["x-payonce-items"] == "0/2"
        assert gateway.post(body, PATH, **{"X-OpenRouter-Cache-Clear": "true"})["x-payonce-items"] == "0/2"
        assert gateway.post(body, PATH, **{"Cache-Control": "no-store"})["cache-status"].endswith("detail=no-store")
    assert len(sim.calls) == 4


def test_a_batch_never_stands_on_the_fast_lanes_shelf(gateway: RunningGateway) -> None:
    replies = [gateway.post({"model": "sim/small", "input": ["a"]}, PATH) for _ in range(4)]
    assert [reply["x-payonce-items"] for reply in replies] == ["0/1", "1/1", "1/1", "1/1"]
    assert len({reply.body for reply in replies[1:]}) == 1
    assert replies[0].json()["data"][0]["embedding"] == replies[1].json()["data"][0]["embedding"]
