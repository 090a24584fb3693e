"""What the planner does to traffic of each kind, against the strict model of the provider."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from payonce.optimise import Act
from tests.optimise.planning import MODEL, RULES, Table, ask, marks, text, tool


def talk(turns: int, *, each: int = 120, seed: object = "") -> list[str]:
    """What user and assistant say, so that `turns` requests can be made of it."""
    return [text(each, (seed, place)) for place in range(2 * turns - 1)]


def play(table: Table, said: list[str], start: float, gap: float, **more: Any) -> list[Any]:
    """The requests of one conversation; the served answers."""
    answers = []
    for number, length in enumerate(range(1, len(said) + 1, 2)):
        _, served = table.say(ask(*said[:length], **more), start + number * gap)
        answers.append(served)
    return answers


def test_a_conversation_pays_for_each_token_once() -> None:
    answers = play(Table(), talk(10), 0.0, 20.0, system=text(3000))
    assert answers[0].write_5m >= 3000  # nothing is known yet, but system prompts are written to be used again
    for before, now in pairwise(answers):
        assert now.read == before.read + before.write_5m + before.write_1h
    assert answers[-1].plain == 0


def test_a_new_conversation_reads_what_earlier_ones_wrote() -> None:
    table = Table()
    for number in range(4):
        answers = play(table, talk(4, seed=number), number * 100.0, 15.0, system=text(3000))
    assert answers[0].read >= 3000
    assert answers[0].plain == 0


def test_every_marker_is_told_with_its_reason_and_what_it_saves() -> None:
    table, said = Table(), talk(6)
    for number, length in enumerate(range(1, len(said) + 1, 2)):
        plan, served = table.say(ask(*said[:length], system=text(3000)), number * 20.0)
    told = [one for one in plan.advice if one.act in {Act.MARK, Act.READ}]
    assert len(told) == len(marks(plan.body))
    assert [one.ttl for one in told] == marks(plan.body)
    assert all(one.why and one.where and one.tokens > 1000 for one in told)
    read = 0.9 * served.read
    assert read < sum(one.saving for one in told) < 1.2 * read


def test_one_shot_prompts_are_left_alone() -> None:
    table = Table()
    for number in range(60):
        plan, _ = table.say(ask(text(3000, number), system="Be brief."), number * 3.0)
        assert not marks(plan.body)
        assert plan.advice[0].act is Act.LEAVE
    assert table.spent == table.plain


@pytest.mark.parametrize("every", [0.1, 3.0, 90.0, 400.0])
def test_of_system_prompts_that_never_come_again_only_the_first_is_paid_for(every: float) -> None:
    table = Table()
    marked = [
        number
        for number in range(60)
        if marks(table.say(ask(text(200, number), system=text(3000, number)), number * every)[0].body)
    ]
    assert marked == [0]
    assert table.spent <= 1.01 * table.plain


def test_a_thousand_tenants_with_one_prompt_each_pay_next_to_nothing() -> None:
    table = Table()
    for number in range(1000):
        table.say(ask("hello", system=text(3000, number)), number * 5.0, tenant=f"tenant-{number}")
    assert table.spent <= 1.006 * table.plain


def test_a_system_prompt_is_kept_at_first_sight_and_read_at_its_second() -> None:
    table = Table()
    plans = [table.say(ask(f"question {n}", system=text(3000)), n * 20.0) for n in range(3)]
    assert [served.write_5m > 0 for _, served in plans] == [True, False, False]
    assert all(served.read >= 3000 for _, served in plans[1:])
    assert not any(served.write_1h for _, served in plans)  # an hour is not paid for what was never seen


def test_a_document_before_its_question_is_kept_at_first_sight_too() -> None:
    table = Table()
    for number in range(3):
        body = ask("", system="Answer from the document.")
        parts = [{"type": "text", "text": text(4000)}, {"type": "text", "text": f"question {number}"}]
        body["messages"][0]["content"] = parts
        _, served = table.say(body, number * 20.0)
    assert served.read >= 4000
    assert table.spent < 0.55 * table.plain


def test_prompts_under_the_minimum_are_never_marked() -> None:
    table = Table()
    for number in range(20):
        plan, _ = table.say(ask(f"question {number}", system=text(500)), number * 10.0)
        assert not marks(plan.body)
    assert "minimum" in plan.advice[0].why


def test_requests_at_the_same_time_do_not_all_write_the_same() -> None:
    table = Table()
    for number in range(3):
        table.say(ask(f"warm {number}", system=text(3000, "old")), number * 10.0)
    at_once = [
        table.say(ask(f"at once {n}", system=text(3000, "new")), 1000.0 + n * 0.01, seen=False)[1] for n in range(10)
    ]
    assert sum(served.write_5m + served.write_1h > 0 for served in at_once) <= 1


def test_a_clock_in_the_system_prompt_leaves_the_tools_to_be_kept() -> None:
    table = Table()
    tools = [tool(name, 500) for name in "abcd"]
    last: list[Any] = []
    for conversation in range(4):
        said = talk(6, seed=conversation)
        for number, length in enumerate(range(1, len(said) + 1, 2)):
            now = conversation * 200.0 + number * 15.0
            body = ask(*said[:length], system=f"It is {now}. {text(1500)}", tools=tools)
            last.append(table.say(body, now))
    plan, served = last[-1]
    assert served.read >= 2000
    assert served.write_5m == served.write_1h == 0
    assert [name for name in plan.body["tools"] if "cache_control" in name] == [plan.body["tools"][-1]]
    assert sum(s.write_5m + s.write_1h > 2300 for _, s in last) <= 2  # nothing behind the clock, but for a first try


def test_without_tools_a_clock_leaves_nothing_and_costs_next_to_nothing() -> None:
    table = Table()
    for conversation in range(4):
        said = talk(8, seed=conversation)
        for number, length in enumerate(range(1, len(said) + 1, 2)):
            now = conversation * 300.0 + number * 15.0
            table.say(ask(*said[:length], system=f"It is {now}. {text(1500)}"), now)
    assert table.spent <= 1.01 * table.plain


def test_a_reminder_that_the_next_turn_leaves_out_costs_only_itself() -> None:
    table = Table()
    for conversation in range(6):
        messages: list[Any] = []
        for number in range(10):
            now = conversation * 400.0 + number * 20.0
            asked = {"type": "text", "text": text(120, (conversation, number))}
            reminder = {"type": "text", "text": f"It is {now}. {text(40)}"}
            body = {"model": MODEL, "system": text(2500)}
            table.say(body | {"messages": [*messages, {"role": "user", "content": [asked, reminder]}]}, now)
            answer = {"role": "assistant", "content": text(100, number)}
            messages = [*messages, {"role": "user", "content": [asked]}, answer]
    assert table.spent < 0.4 * table.plain


def test_many_blocks_in_one_turn_do_not_outrun_the_look_back() -> None:
    for rules in (RULES, RULES.pessimistic()):
        table = Table(rules)
        messages: list[Any] = [{"role": "user", "content": text(1500)}]
        read = []
        for step in range(6):
            body = {"model": MODEL, "tools": [tool("a")], "messages": list(messages)}
            read.append(table.say(body, step * 10.0)[1])
            calls = [{"type": "tool_use", "id": f"{step}-{n}", "name": "a", "input": {"n": n}} for n in range(30)]
            results = [
                {"type": "tool_result", "tool_use_id": call["id"], "content": text(20, call["id"])} for call in calls
            ]
            messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
        for before, now in pairwise(read[1:]):
            assert now.read == before.read + before.write_5m + before.write_1h


def test_slow_users_get_the_hour_and_fast_ones_do_not() -> None:
    slow, fast = Table(), Table()
    dice = random.Random(1)
    for conversation in range(4):
        said = talk(8, seed=conversation)
        start = conversation * 40_000.0
        for number, length in enumerate(range(1, len(said) + 1, 2)):
            last_slow, served = slow.say(ask(*said[:length], system=text(3000)), start)
            start += dice.uniform(700, 2600)
            last_fast, _ = fast.say(ask(*said[:length], system=text(3000)), conversation * 300.0 + number * 12.0)
    assert "1h" in marks(last_slow.body)
    assert served.read > 3000
    assert marks(last_fast.body)[-1] == "5m"
    assert slow.spent < 0.6 * slow.plain


@pytest.mark.parametrize("reading", ["reads", "no"])
def test_whether_an_hours_marker_reads_short_entries_is_learned(reading: Any) -> None:
    table = Table(replace(RULES, one_hour_reads_5m=reading))
    dice = random.Random(2)
    for conversation in range(12):
        now = conversation * 9000.0
        said = talk(10, seed=conversation)
        for length in range(1, len(said) + 1, 2):
            table.say(ask(*said[:length], system=text(3000)), now)
            now += dice.choice([20.0, 30.0, 60.0, 700.0])
    assert table.spent < 0.45 * table.plain


def test_answers_that_never_come_or_come_late_do_no_harm() -> None:
    never, late = Table(), Table()
    for conversation in range(6):
        said = talk(8, seed=conversation)
        for number, length in enumerate(range(1, len(said) + 1, 2)):
            now = conversation * 100.0 + number * 11.0
            never.say(ask(*said[:length], system=text(3000)), now, seen=False)
            late.say(ask(*said[:length], system=text(3000)), now, takes=900.0)
    assert never.spent < 0.3 * never.plain
    assert late.spent < 0.3 * late.plain


def test_tenants_do_not_read_each_other() -> None:
    table = Table()
    for number in range(30):
        _, served = table.say(ask("hello", system=text(3000)), number * 5.0, tenant=f"tenant-{number}")
        assert served.read == 0
    assert table.spent <= 1.01 * table.plain


def test_another_worker_finds_what_the_first_one_wrote() -> None:
    first = Table()
    said = talk(8)
    for number, length in enumerate(range(1, 14, 2)):
        first.say(ask(*said[:length], system=text(3000)), number * 10.0)
    second = Table()
    second.provider = first.provider
    _, served = second.say(ask(*said, system=text(3000)), 75.0)
    assert served.read > 4000
    assert served.plain == 0


def test_memory_is_bounded() -> None:
    table = Table()
    memory = table.planner._memory
    memory._most_places, memory._most_talks, memory._habits._most = 300, 50, 50
    for number in range(400):
        table.say(ask(text(30, number), "x", "y", system=text(20, number)), number * 1.0, tenant=f"t{number}")
    assert len(memory._tree) <= 300
    assert len(memory._habits._cells) <= 50
    assert len(memory._talks) <= 50


def _pairs(dice: random.Random) -> Any:
    for number in range(60):
        system = text(2500, dice.random())
        for time in range(2):
            yield number * 700.0 + time * 20.0, ask(text(100, dice.random()), system=system)


def _examples(dice: random.Random) -> Any:
    for number in range(60):
        said = [text(300, dice.random()) for _ in range(7)]
        yield number * 3.0, ask(*said, system=text(300, dice.random()))


def _extractions(dice: random.Random) -> Any:
    for number in range(60):
        tools = [tool(f"{name}{dice.random()}", 400) for name in "abc"]
        yield number * 3.0, ask(text(900, dice.random()), tools=tools)


def _far_apart(dice: random.Random) -> Any:
    for number in range(8):
        said = talk(6, seed=dice.random())
        for length in range(1, len(said) + 1, 2):
            yield number * 50_000.0 + length * 2500.0, ask(*said[:length], system=text(2500, number))


@pytest.mark.parametrize("traffic", [_pairs, _examples, _extractions, _far_apart], ids=lambda one: one.__name__[1:])
def test_traffic_that_looks_reusable_and_is_not_costs_at_most_a_twentieth(traffic: Any) -> None:
    table = Table()
    for now, body in traffic(random.Random(3)):
        table.say(body, now)
    assert table.spent <= 1.05 * table.plain
