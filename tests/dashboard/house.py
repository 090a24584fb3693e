"""A gateway with a store on disk in front of the simulated provider, real traffic through it, and who looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from payonce.dashboard.tokens import Role, make_tokens, tokens_path
from payonce.model.about import about_entry
from payonce.model.entry import Entry, Facts, Tokens, seal
from payonce.testing.sim import CacheMeter, SimulatedProvider, running_sim
from tests.doctor.scenes import scenes
from tests.support.gateway import Reply, RunningGateway, running_gateway, until

MODEL = "anthropic/claude-sonnet-4.5"
ADMIN = "/_payonce/"


@dataclass
class House:
    gateway: RunningGateway
    sim: SimulatedProvider
    tokens: dict[str, str]
    already: int = 0
    """What the ledger had as paid, in billionths of a dollar, before the simulated provider was asked."""

    @property
    def url(self) -> str:
        return f"http://{self.gateway.host}{ADMIN}"

    def ask(self, text: str, *, model: str = MODEL, stream: bool = False, **fields: str) -> Reply:
        """One chat request; `fields` are headers."""
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0}
        return self.gateway.post(body | ({"stream": True} if stream else {}), **fields)

    def embed(self, *texts: str) -> Reply:
        body = {"model": "openai/text-embedding-3-small", "input": list(texts)}
        return self.gateway.post(body, "/api/v1/embeddings")

    def play(self, scene: str) -> None:
        """A conversation that loses its prompt cache for the cause that the scene is named for."""
        for act in scenes()[scene].acts:
            headers = {name.replace("-", "_"): text for name, text in act.headers.items()}
            self.sim.advance(act.wait)
            assert self.gateway.post(act.body, **headers).status == 200

    def traffic(self) -> None:
        """Hits and misses, whole and streamed, with tags and namespaces, embeddings, a refusal, a conversation."""
        for n in range(6):
            for _ in range(1 + n):
                assert self.ask(f"question {n}", x_payonce_tags=f"team-{n % 2},docs").status == 200
        for n in range(3):
            for _ in range(2):
                assert self.ask(f"tell {n}", model="openai/gpt-5", stream=True).status == 200
        self.ask("in a room of its own", x_payonce_namespace="staging")
        self.embed("one", "two", "three")
        self.embed("one", "two", "four")
        self.ask("nothing", cache_control="only-if-cached")
        self.play("shuffled tools")
        self.settle()

    def plant(self, text: str) -> None:
        """An answer that says `text` wherever an answer, its request or its headers can say something."""
        tiers = self.gateway.gateway.world.tiers
        slot = blake3(text.encode()).digest() + b"w"
        said = {
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "model": text,
        }
        entry = Entry(
            stored_at=time.time(),
            ttl=3600,
            swr=0,
            sie=0,
            scopes=("all",),
            epochs=tiers.epochs(("all",)),
            status=200,
            headers=((b"x-served-by", text.encode("latin-1", "replace")),),
            body=json.dumps(said).encode(),
            facts=Facts(text, text, "none", Tokens(1, 2, 3)),
            tenant=text,
            namespace=text,
            tags=(text, "docs"),
            endpoint="chat/completions",
            model=text,
            took=0.5,
        )
        assert tiers.keeper.put(slot, seal(entry, slot, tiers.secret), about_entry(entry))

    def settle(self) -> None:
        """Wait until what was answered is stored, noted, and in the books."""
        world = self.gateway.gateway.world
        assert world.tiers.keeper.flush(30.0)
        world.navigator.await_prices(30)  # what waits for prices is judged when they are there
        asyncio.run_coroutine_threadsafe(world.tally(), self.gateway.loop).result(30)
        assert world.tiers.keeper.flush(30.0)
        assert world.books is not None
        assert until(self._booked, 20)

    def _booked(self) -> bool:
        """Whether every upstream call stands beside its request, with its cost."""
        books = self.gateway.gateway.world.books
        assert books is not None
        books.clerk.flush()
        asked = [each for each in books.reader.recent(limit=200) if each.outcome in ("miss", "bypass") and each.id]
        paid = books.reader.total(0).paid_nano - self.already == round(self.sim.bill.cost * 1_000_000_000)
        return paid and all(each.call is not None for each in asked)

    def get(self, path: str = "", **fields: str) -> Reply:
        """A page, as a program on this machine asks for it."""
        return self.call("GET", path, b"", **fields)

    def data(self, path: str, **fields: str) -> Any:
        """A JSON document."""
        return json.loads(self.get("api/" + path, **fields).body)

    def call(self, method: str, path: str, body: bytes, **fields: str) -> Reply:
        with self.gateway.wire() as wire:
            told = {"host": self.gateway.host} | {name.replace("_", "-"): text for name, text in fields.items()}
            if body:
                told |= {"content-length": str(len(body)), "content-type": "application/x-www-form-urlencoded"}
            lines = [f"{method} {ADMIN}{path} HTTP/1.1", *(f"{name}: {text}" for name, text in told.items()), "", ""]
            wire.send("\r\n".join(lines).encode() + body)
            return wire.reply()


@contextlib.contextmanager
def house(folder: Path, **settings: Any) -> Iterator[House]:
    """See the module. Tokens are there in any case; whether they are asked for is a setting."""
    chosen = {"store": f"sqlite:{folder}/cache.db", "cache": "deterministic", "ttl": 3600} | settings
    with (
        running_sim(meter=CacheMeter(), first_token=0.02, tokens_per_second=4000, answer_tokens=40) as sim,
        running_gateway(sim.base_url, **chosen) as gateway,
    ):
        made = make_tokens(tokens_path(gateway.gateway.settings), anew=True)
        assert made is not None
        yield House(gateway, sim, {Role(role).value: token for role, token in made.items()})
