"""Every scene over the wire: through the gateway to the simulated provider, whose answers the doctor is shown.

What is compared are the bodies that the provider received, and the usage and hosts that its answers name; its clock is
moved on between the acts.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from payonce.doctor import Finding, Seen, Watch, diagnostics_in
from payonce.ledger.usage import parse
from payonce.optimise.traits import Catalogue
from payonce.testing.sim import SimulatedProvider, running_sim
from payonce.testing.sim_cache import CacheMeter
from tests.doctor.rules import Talk
from tests.doctor.scenes import MODEL, Act, scenes
from tests.support.gateway import RunningGateway, running_gateway, until
from tests.support.held import Held, held_back


@pytest.fixture(params=sorted(scenes()))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sim(name: str) -> Iterator[SimulatedProvider]:
    with running_sim(meter=CacheMeter()) as running:
        yield running


class Stage:
    """A gateway in front of a provider, and a doctor who is shown each exchange when all have ended."""

    def __init__(self, gateway: RunningGateway, sim: SimulatedProvider, held: Held) -> None:
        self.gateway = gateway
        self.sim = sim
        self.held = held
        self.exchanges: list[dict[str, Any]] = []
        self._threads: list[threading.Thread] = []

    def act(self, act: Act) -> None:
        """Send it once the earlier ones have ended, or, where it is to be together with them, have been received."""
        if act.together:
            assert until(lambda: self.held.waiting == len(self._threads))
        else:
            self.settle()
        held: dict[str, Any] = {"act": act, "started": self.sim.advance(0.0 if act.together else act.wait)}
        self.exchanges.append(held)
        fields = {name.replace("-", "_"): value for name, value in act.headers.items()}

        def ask() -> None:
            reply = self.gateway.post(act.body, authorization="Bearer sk-scene", **fields)
            held.update(status=reply.status, answer=json.loads(reply.body), ended=self.sim.advance(0.0))

        thread = threading.Thread(target=ask)
        thread.start()
        self._threads.append(thread)

    def settle(self) -> None:
        assert until(lambda: self.held.waiting == len(self._threads))
        self.held.go.set()
        for thread in self._threads:
            thread.join(20)
        self._threads.clear()
        self.held.go.clear()

    def diagnose(self) -> list[tuple[Finding, ...]]:
        """What is said of each exchange."""
        self.settle()
        catalogue = Catalogue()
        watch = Watch(minimum_of=lambda model: catalogue.traits(model).minimum or None)
        bodies = {
            call.json()["messages"][-1]["content"][-1]["text"]: call.json() for call in self.sim.calls if call.body
        }
        said = []
        for held in self.exchanges:
            act, answer = held["act"], held["answer"]
            assert held["status"] == 200
            seen = Seen(
                body=bodies[act.body["messages"][-1]["content"][-1]["text"]],
                dialect="chat",
                started=held["started"],
                usage=parse(answer["usage"], dialect="chat", model=MODEL),
                headers=act.headers,
                host=answer["provider"],
                first_byte=held["ended"],
            )
            said.append(watch.saw(seen))
        return said


def test_each_scene_is_named_at_its_last_act_and_nowhere_else(name: str, sim: SimulatedProvider) -> None:
    scene = scenes()[name]
    with held_back() as held, running_gateway(sim.base_url) as gateway:
        stage = Stage(gateway, sim, held)
        for act in scene.acts:
            stage.act(act)
        *before, last = stage.diagnose()
    assert before == [()] * len(before)
    expected = [(scene.cause, scene.where, scene.block)] if scene.cause else []
    assert [(one.id, one.where, one.block) for one in last] == expected
    assert len(sim.calls) == len(scene.acts)


def test_anthropics_own_account_is_used_where_the_doctor_did_not_see_the_turn_before() -> None:
    """As after a restart: the first request that is seen is the second of its conversation."""

    def ask(sim: SimulatedProvider, body: dict[str, Any], previous: str | None) -> dict[str, Any]:
        told = {**body, "model": "claude-sonnet-4-5", "diagnostics": {"previous_message_id": previous}}
        url = sim.base_url.replace("/api/v1", "/anthropic/v1/messages")
        headers = {"content-type": "application/json", "x-api-key": "k", "anthropic-version": "2023-06-01"}
        request = urllib.request.Request(url, json.dumps(told).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read()))

    watch, talk = Watch(), Talk()
    with running_sim(meter=CacheMeter()) as sim:
        talk.say(1)
        first = ask(sim, talk.body(), None)
        talk.system = "Now it is something else. " + talk.system
        talk.say(2)
        second = ask(sim, talk.body(), first["id"])
    usage = parse(second["usage"], dialect="messages")
    account = diagnostics_in(second)
    (finding,) = watch.saw(Seen(talk.body(), "messages", 1.0, usage, diagnostics=account))
    assert (finding.id, finding.detail) == ("system-changed", "the provider says system_changed")
    assert account is not None
    assert finding.tokens == account["cache_miss_reason"]["cache_missed_input_tokens"] > 1024
