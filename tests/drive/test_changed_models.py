"""An alias that another model answers: what the model before has answered is retired, once, in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from payonce.core.changes import FIRST_PAUSE, changes_in
from payonce.core.effects import Witness
from payonce.drive.changes import MOST_NAMES
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.errors import StoreError
from payonce.intake import Admitted
from payonce.model import reason as why
from payonce.model.call import Ask
from payonce.model.entry import Entry
from payonce.model.ports import Store
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store
from payonce.testing.clock import FakeClock
from tests.drive.test_parity import AsyncScript, Said, SyncScript, Tasks, Threads
from tests.support.servers import memcached, redis_server
from tests.support.words import NOW, SECRET, admit, asked, chat, entry, intake

pytestmark = pytest.mark.usefixtures("patient")
WORLDS = [pytest.param(Threads, SyncScript, id="threads"), pytest.param(Tasks, AsyncScript, id="tasks")]
SOON = FIRST_PAUSE + 1


def made_by(model: str, fingerprint: str = "") -> Said:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "yes"}}
    told = {"id": "g", "model": model, "choices": [choice]}
    return Said(chunks=(orjson.dumps(told | ({"system_fingerprint": fingerprint} if fingerprint else {})),))


def question(text: str, mode: str = "retire") -> Admitted:
    found = admit(chat(messages=[{"role": "user", "content": text}]), door=intake(changed_models=mode, ttl=10**6))
    assert isinstance(found, Admitted)
    return found


@pytest.mark.parametrize(("kind", "script"), WORLDS)
async def test_what_the_model_before_has_answered_is_retired(kind: Any, script: Any) -> None:
    upstream = script()
    async with kind(upstream) as world:

        async def ask(text: str, model: str) -> str:
            upstream.next = [made_by(model)]
            return (await world.ask(question(text)))[0]

        assert [await ask("a", "m/one-0301"), await ask("b", "m/one-0301"), await ask("a", "?")] == [
            "miss",
            "miss",
            "hit",
        ]
        world.clock.advance(SOON)
        assert [await ask("c", "m/one-0613"), await ask("c", "?")] == ["miss", "hit"], "who has told it is kept"
        assert [await ask("a", "m/one-0613"), await ask("b", "m/one-0613")] == ["miss", "miss"], "the old ones are not"
        assert [await ask(text, "?") for text in "abc"] == ["hit", "hit", "hit"], "and that was all"
        assert world.tiers.changes.counts == {"retired": 1}


@pytest.mark.parametrize(("kind", "script"), WORLDS)
@pytest.mark.parametrize("mode", ["keep", "retire", "retire-fingerprint"])
async def test_nothing_is_retired_unless_it_was_asked_for(kind: Any, script: Any, mode: str) -> None:
    upstream = script()
    async with kind(upstream) as world:

        async def ask(text: str, said: Said) -> str:
            upstream.next = [said]
            return (await world.ask(question(text, mode)))[0]

        await ask("a", made_by("m/one", "fp_1"))
        world.clock.advance(SOON)
        await ask("b", made_by("m/one", "fp_2"))
        assert await ask("a", made_by("m/one", "fp_2")) == ("miss" if mode == "retire-fingerprint" else "hit")
        world.clock.advance(2 * SOON)
        await ask("c", made_by("m/two", "fp_2"))
        assert await ask("b", made_by("m/two", "fp_2")) == ("hit" if mode == "keep" else "miss")


# Below the players.


def open_tiers(store: Store | None, clock: FakeClock) -> Tiers:
    front = MemoryStore(1 << 22, clock)
    tiers = Tiers(front if store is not None else MemoryStore(1 << 22, clock), store, SECRET, clock, clock)
    tiers.refresh()
    return tiers


class Gateway:
    """One process: what it keeps, with what epochs, and whether it still serves it."""

    def __init__(self, store: Store | None, clock: FakeClock) -> None:
        self.tiers, self.clock = open_tiers(store, clock), clock

    def take_off(self, text: str) -> tuple[Ask, tuple[int, ...]]:
        ask = question(text).ask
        return ask, self.tiers.epochs(ask.scopes)

    def land(self, flown: tuple[Ask, tuple[int, ...]], model: str) -> None:
        ask, births = flown
        place = ask.scopes.index(ask.watched)
        effect = Witness(ask.watched, ask.intent.model, model, births[place])
        count = self.tiers.changes.seen(effect)
        if count is None:
            count = self.tiers.changes.settle(effect)
        births = (*births[:place], count, *births[place + 1 :])
        kept: Entry = msgspec.structs.replace(
            entry(), scopes=ask.scopes, epochs=births, stored_at=self.clock(), tenant=ask.tenant, ttl=10**7
        )
        assert self.tiers.put(ask, kept) is None

    def ask(self, text: str, model: str) -> None:
        self.land(self.take_off(text), model)

    def serves(self, text: str) -> bool:
        ask = question(text).ask
        found = self.tiers.look(ask)
        if found is None:
            blob = self.tiers.read_behind(ask.key.slot)
            found = why.ABSENT if blob is None else self.tiers.prove(ask, blob)
        return isinstance(found, Entry)


@pytest.fixture(params=["memory", "sqlite", "redis", "memcached"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[FakeClock], list[Gateway]]]:
    """Makes two processes on one store (in memory: one, twice)."""
    with ExitStack() as stack:
        url = f"sqlite:{tmp_path}/c.db"
        if request.param == "redis":
            url = stack.enter_context(redis_server(tmp_path)).url
        elif request.param == "memcached":
            url = stack.enter_context(memcached(tmp_path)).url

        def made(clock: FakeClock) -> list[Gateway]:
            if request.param == "memory":
                one = Gateway(None, clock)
                return [one, one]
            stores = [stack.enter_context(closing(open_store(url, clock=clock))) for _ in range(2)]
            return [Gateway(store, clock) for store in stores]

        yield made


def test_every_process_knows_and_a_late_answer_of_the_old_model_is_dead(
    pair: Callable[[FakeClock], list[Gateway]],
) -> None:
    clock = FakeClock(NOW)
    one, two = pair(clock)
    one.ask("a", "m/1")
    two.tiers.refresh()
    two.ask("b", "m/1")
    for gateway in (one, two):
        gateway.tiers.keeper.flush()
    assert one.serves("a")
    assert two.serves("b")
    clock.advance(SOON)
    one.tiers.refresh()
    two.tiers.refresh()
    late, early = two.take_off("late"), two.take_off("early")
    one.ask("c", "m/2")
    two.tiers.refresh()
    two.land(late, "m/1")
    two.land(early, "m/2")
    assert [two.serves(text) for text in ("b", "late", "early")] == [False, False, True]
    for gateway in (one, two):
        gateway.tiers.keeper.flush()
        gateway.tiers.refresh()
    assert [one.serves(text) for text in ("a", "c", "early", "late")] == [False, True, True, False]
    assert one.tiers.changes.counts["retired"] == 1


def test_two_processes_that_see_a_change_at_once_retire_it_and_go_on(
    pair: Callable[[FakeClock], list[Gateway]],
) -> None:
    clock = FakeClock(NOW)
    one, two = pair(clock)
    one.ask("a", "m/1")
    clock.advance(SOON)
    two.tiers.refresh()
    flown = [gateway.take_off(str(number)) for number, gateway in enumerate((one, two))]
    for gateway, flight in zip((one, two), flown, strict=True):
        gateway.land(flight, "m/2")  # neither has heard of the other
    one.tiers.refresh()
    for gateway in (one, two):
        gateway.ask("again", "m/2")
        assert gateway.serves("again")
        assert not gateway.serves("a")
    [count] = [count for scope, count in one.tiers.current.items() if scope.startswith("answers:")]
    assert changes_in(count) == 2


@pytest.mark.parametrize("before", [(), ("m/0",)], ids=["first sight", "change"])
def test_what_two_processes_count_in_the_same_moment_is_kept_by_both(
    before: tuple[str, ...], pair: Callable[[FakeClock], list[Gateway]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(NOW)
    one, two = pair(clock)
    for model in before:
        one.ask("old", model)
    clock.advance(SOON)
    two.tiers.refresh()
    keeper, raise_epoch = one.tiers.keeper, one.tiers.keeper.raise_epoch

    def raise_after_the_other(scope: str, at_least: int = 0) -> int:
        monkeypatch.undo()  # one has looked, and not counted yet: now two looks, counts and keeps
        two.ask("of two", "m/1")
        return raise_epoch(scope, at_least)

    monkeypatch.setattr(keeper, "raise_epoch", raise_after_the_other)
    one.ask("of one", "m/1")
    for gateway in (one, two):
        gateway.tiers.keeper.flush()
        gateway.tiers.refresh()
    for gateway in (one, two):
        assert [gateway.serves(text) for text in ("of one", "of two", "old")] == [True, True, False]
    [count] = [count for scope, count in one.tiers.current.items() if scope.startswith("answers:")]
    assert changes_in(count) == 1 + len(before), "and it is one change"


def test_a_change_right_after_a_model_was_first_seen_is_one() -> None:
    gateway = Gateway(None, FakeClock(NOW))
    gateway.ask("a", "m/1")
    assert gateway.serves("a"), "whose answer told it is kept"
    gateway.ask("b", "m/2")
    assert [gateway.serves(text) for text in "ab"] == [False, True]
    gateway.ask("c", "m/1")
    assert [gateway.serves(text) for text in "bc"] == [True, True], "a control: after a change the next one waits"
    assert gateway.tiers.changes.counts == {"retired": 1, "unsettled": 1}


@pytest.mark.parametrize("purged", ["", "before", "after"])
def test_who_asks_the_same_while_a_flight_tells_of_a_change_boards_it_unless_it_was_purged(
    pair: Callable[[FakeClock], list[Gateway]], purged: str
) -> None:
    clock = FakeClock(NOW)
    one, two = pair(clock)
    tiers, tower = one.tiers, Tower(8, 1 << 20)
    for model in ("m/1", "m/2"):
        ask, births = one.take_off("told")
        teller, other = (tower.take_off(each, tiers.purges) for each in (ask, question("other").ask))
        effect = Witness(ask.watched, ask.intent.model, model, births[ask.scopes.index(ask.watched)])
        if purged == "before":
            two.tiers.keeper.raise_epoch("ns:")
        before = tiers.purges
        tiers.changes.settle(effect, teller)
        if purged == "after":
            two.tiers.keeper.raise_epoch("ns:")
            tiers.refresh()
        assert tiers.purges > before
        assert tower.find(ask, tiers.purges) is (None if purged else teller)
        assert tower.find(other.ask, tiers.purges) is None, "a control: whose answer may be the old model's"


def test_a_name_that_two_models_answer_in_turns_is_not_purged_for_ever() -> None:
    clock = FakeClock(NOW)
    gateway = Gateway(None, clock)
    for minute in range(60 * 24 * 30):
        gateway.ask(f"q{minute % 50}", f"m/{minute % 2}")
        clock.advance(60)
    counts = gateway.tiers.changes.counts
    assert 5 <= counts["retired"] <= 13, "ten times on the first days, then once in four weeks"
    assert counts["unsettled"] > 20_000
    assert all(gateway.serves(f"q{n}") for n in range(50)), "answers of both are served meanwhile"


def test_names_are_watched_up_to_a_bound() -> None:
    clock = FakeClock(NOW)
    gateway = Gateway(None, clock)
    ask = asked(door=intake(changed_models="retire"))
    for number in range(MOST_NAMES + 50):
        effect = Witness(f"{ask.watched}-{number}", "name", "model", 0)
        assert gateway.tiers.changes.seen(effect) is None
        gateway.tiers.changes.settle(effect)
    assert len(gateway.tiers.current) == MOST_NAMES
    assert gateway.tiers.changes.counts == {"unsettled": 50}


def test_a_store_that_fails_leaves_things_as_they_were() -> None:
    class Failing(MemoryStore):
        broken = False

        def raise_epoch(self, scope: str, at_least: int = 0) -> int:
            if self.broken:
                raise StoreError("down")
            return super().raise_epoch(scope, at_least)

    clock = FakeClock(NOW)
    store = Failing(1 << 22, clock)
    gateway = Gateway(store, clock)
    gateway.ask("a", "m/1")
    clock.advance(SOON)
    store.broken = True
    gateway.ask("b", "m/2")
    assert gateway.serves("a")
    assert gateway.serves("b")
    assert gateway.tiers.dropped["store-fault"] == 1
    store.broken = False
    gateway.ask("c", "m/2")
    assert [gateway.serves(text) for text in "abc"] == [False, False, True]
