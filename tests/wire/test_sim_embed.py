"""The simulated embedder on the wire: same input, same vector; usage and bill agree; faults of its own."""

from __future__ import annotations

import base64
import struct
from decimal import Decimal
from typing import Any

import openai
import pytest

from payonce.testing.sim import SimulatedProvider
from payonce.testing.sim_embed import vector


def test_the_same_input_has_the_same_vector_wherever_it_stands(client: openai.OpenAI) -> None:
    first = client.embeddings.create(model="sim/small", input=["a", "b"], encoding_format="float")
    again = client.embeddings.create(model="sim/small", input=["c", "b"], encoding_format="float")
    assert first.data[1].embedding == again.data[1].embedding == vector("sim/small", "b", 8)
    assert len({tuple(item.embedding) for item in (*first.data, *again.data)}) == 3


def test_base64_holds_the_same_numbers(client: openai.OpenAI) -> None:
    floats = client.embeddings.create(model="sim/small", input=[[1, 2], [3]], dimensions=5, encoding_format="float")
    raw: Any = client.embeddings.with_raw_response.create(
        model="sim/small", input=[[1, 2], [3]], dimensions=5, encoding_format="base64"
    )
    packed = base64.b64decode(raw.http_response.json()["data"][0]["embedding"])
    assert list(struct.unpack("<5f", packed)) == floats.data[0].embedding


def test_what_is_used_is_what_is_charged(sim: SimulatedProvider, client: openai.OpenAI) -> None:
    used: Any = client.embeddings.create(model="sim/large", input=[[1, 2, 3], [4]]).usage
    assert (used.prompt_tokens, used.total_tokens) == (4, 4)
    assert Decimal(repr(used.cost)) == sim.bill.cost == Decimal("0.000012")
    assert (sim.bill.calls, sim.bill.prompt_tokens) == (1, 4)


@pytest.mark.parametrize("fault", ["429", "503"])
def test_it_fails_as_it_is_told(sim: SimulatedProvider, client: openai.OpenAI, fault: str) -> None:
    sim.fault_next(fault)
    with pytest.raises(openai.APIStatusError) as raised:
        client.embeddings.create(model="sim/small", input="a")
    assert raised.value.status_code == int(fault)
    assert sim.bill.calls == 0


@pytest.mark.parametrize(("fault", "indices"), [("wrong-count", [0]), ("twice", [0, 0]), ("empty", [])])
def test_it_can_answer_wrongly(sim: SimulatedProvider, client: openai.OpenAI, fault: str, indices: list[int]) -> None:
    sim.fault_next(fault)
    raw = client.embeddings.with_raw_response.create(model="sim/small", input=["a", "b"], encoding_format="float")
    assert [item["index"] for item in raw.http_response.json()["data"]] == indices


@pytest.mark.parametrize("given", ["", []])
def test_what_is_no_input_is_a_400(client: openai.OpenAI, given: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="sim/small", input=given)
