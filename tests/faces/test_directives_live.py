"""What a client says about caching, and what then happens, over time: every directive, through the app."""

from __future__ import annotations

from pathlib import Path

import pytest

from payonce.model import reason as why
from payonce.model.policy import Rule
from payonce.model.scopes import BEFORE, of_model, of_namespace, of_tag
from tests.support.asgi import World, running


async def test_an_answer_is_a_hit_until_its_ttl_has_passed(tmp_path: Path) -> None:
    async with running(tmp_path, ttl=100) as world:
        first = await world.ask()
        assert first.said == "payonce; fwd=miss; stored"
        assert first.fields["x-openrouter-cache-ttl"] == "100"
        world.clock.advance(99)
        hit = await world.ask()
        assert (hit.said, hit.fields["age"], hit.body) == ("payonce; hit; ttl=1", "99", first.body)
        assert hit.fields["x-openrouter-cache-source-id"] == "gen-1"
        world.clock.advance(1)
        again = await world.ask()
        assert (again.said, again.text) == ("payonce; fwd=stale; stored", "answer 2")


async def test_the_ttl_header_is_read_as_openrouter_reads_it(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        assert (await world.ask("a", x_openrouter_cache_ttl="60abc")).fields["x-openrouter-cache-ttl"] == "60"
        assert (await world.ask("b", x_openrouter_cache_ttl="1.5")).fields["x-openrouter-cache-ttl"] == "1"
        assert (await world.ask("c", x_openrouter_cache_ttl="999999")).fields["x-openrouter-cache-ttl"] == "86400"
        assert (await world.ask("d", x_openrouter_cache_ttl="soon")).fields["x-openrouter-cache-ttl"] == "100"


async def test_lifetimes_are_spread_so_that_a_batch_does_not_expire_together(tmp_path: Path) -> None:
    async with running(tmp_path, ttl=1000, ttl_jitter=0.2) as world:
        left = set()
        for number in range(40):
            await world.ask(str(number))
            left.add(int((await world.ask(str(number))).fields["x-openrouter-cache-ttl"]))
        assert all(800 <= ttl <= 1000 for ttl in left)
        assert len(left) > 10


@pytest.mark.parametrize(
    ("policy", "temperature", "header", "said"),
    [
        ("deterministic", 0, None, "payonce; fwd=miss; stored"),
        ("deterministic", None, None, "payonce; fwd=bypass; detail=not-deterministic"),
        ("deterministic", 0.7, None, "payonce; fwd=bypass; detail=not-deterministic"),
        ("deterministic", 0.7, "true", "payonce; fwd=miss; stored"),
        ("deterministic", 0, "false", "payonce; fwd=bypass; detail=client-off"),
        ("all", 0.7, None, "payonce; fwd=miss; stored"),
        ("opt-in", 0, None, "payonce; fwd=bypass; detail=not-opted-in"),
        ("opt-in", 0.7, "true", "payonce; fwd=miss; stored"),
        ("off", 0, "true", "payonce; fwd=bypass; detail=cache-off"),
    ],
)
async def test_policy_and_header_decide_together(
    policy: str, temperature: float | None, header: str | None, said: str, tmp_path: Path
) -> None:
    async with running(tmp_path, cache=policy) as world:
        fields = {} if header is None else {"x_openrouter_cache": header}
        reply = await world.ask(temperature=temperature, **fields)
        assert reply.said == said
        assert ("x-openrouter-cache-status" in reply.fields) == ("bypass" not in said)


async def test_clear_forgets_fetches_and_stores_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.ask()
        cleared = await world.ask(x_openrouter_cache_clear="true")
        assert (cleared.said, cleared.text) == ("payonce; fwd=request; stored", "answer 2")
        assert (await world.ask()).text == "answer 2"


async def test_no_cache_fetches_and_stores_and_no_store_does_neither(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.ask()
        assert (await world.ask(cache_control="no-store")).said == "payonce; fwd=bypass; detail=no-store"
        assert (await world.ask()).text == "answer 1"
        assert (await world.ask(cache_control="no-cache")).text == "answer 3"
        assert (await world.ask()).text == "answer 3"


async def test_max_age_refuses_what_is_older(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.ask()
        world.clock.advance(30)
        assert (await world.ask(cache_control="max-age=60")).text == "answer 1"
        assert (await world.ask(cache_control="max-age=20")).text == "answer 2"


async def test_only_if_cached_never_pays(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        missed = await world.ask(cache_control="only-if-cached")
        assert (missed.status, missed.fields["x-payonce-error"]) == (504, "only-if-cached")
        assert world.upstream.calls == []
        await world.ask()
        assert (await world.ask(cache_control="only-if-cached")).text == "answer 1"


async def test_stale_while_revalidate_serves_at_once_and_renews_behind(tmp_path: Path) -> None:
    async with running(tmp_path, ttl=100) as world:
        await world.ask()
        world.clock.advance(130)
        stale = await world.ask(cache_control="stale-while-revalidate=60")
        assert stale.text == "answer 1"
        assert "detail=stale-while-revalidate" in stale.said
        assert stale.fields["x-openrouter-cache-status"] == "HIT"
        await world.settle()
        assert len(world.upstream.calls) == 2
        assert (await world.ask()).text == "answer 2"
        world.clock.advance(161)
        assert (await world.ask(cache_control="stale-while-revalidate=60")).text == "answer 3"


@pytest.mark.parametrize("failure", [503, why.UPSTREAM_REFUSED])
async def test_stale_if_error_serves_the_old_answer_when_the_upstream_fails(
    failure: int | why.Reason, tmp_path: Path
) -> None:
    async with running(tmp_path, ttl=100) as world:
        await world.ask()
        world.clock.advance(130)
        world.upstream.fail = failure
        assert (await world.ask()).status >= 500
        stale = await world.ask(cache_control="stale-if-error=60")
        assert (stale.status, stale.text) == (200, "answer 1")
        assert stale.said.startswith("payonce; fwd=stale")
        world.clock.advance(60)
        assert (await world.ask(cache_control="stale-if-error=60")).status >= 500


async def test_namespaces_and_samples_are_spaces_of_their_own(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        texts = [
            (await world.ask()).text,
            (await world.ask(x_payonce_namespace="a")).text,
            (await world.ask(x_payonce_sample="0")).text,
            (await world.ask(x_payonce_sample="1")).text,
        ]
        assert texts == ["answer 1", "answer 2", "answer 3", "answer 4"]
        assert (await world.ask(x_payonce_namespace="a")).text == "answer 2"
        assert (await world.ask(temperature=0.9, x_payonce_sample="7")).said == "payonce; fwd=miss; stored"


@pytest.mark.parametrize(
    ("header", "value", "error"),
    [
        ("x_payonce_namespace", "a b", "bad-namespace"),
        ("x_payonce_namespace", "x" * 65, "bad-namespace"),
        ("x_payonce_sample", "-1", "bad-sample"),
        ("x_payonce_tags", "a,b c", "bad-tags"),
    ],
)
async def test_a_malformed_directive_is_a_clear_error(header: str, value: str, error: str, tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        reply = await world.ask(**{header: value})
        assert (reply.status, reply.fields["x-payonce-error"]) == (400, error)
        assert b"correct or drop the header" in reply.body
        assert world.upstream.calls == []


async def purged(world: World, scope: str, at_least: int = 0) -> None:
    world.gateway.world.tiers.keeper.raise_epoch(scope, at_least)
    world.gateway.world.tiers.refresh()


@pytest.mark.parametrize("scope", ["all", of_model("m"), of_namespace("n"), of_tag("t")])
async def test_a_purge_of_its_scope_ends_an_entry_and_of_another_does_not(scope: str, tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        fields = {"x_payonce_namespace": "n", "x_payonce_tags": "t,u"}
        await world.ask(**fields)
        await purged(world, of_model("other"))
        await purged(world, of_tag("other"))
        assert (await world.ask(**fields)).text == "answer 1"
        await purged(world, scope)
        assert (await world.ask(**fields)).text == "answer 2"
        assert (await world.ask(**fields)).text == "answer 2"


async def test_a_purge_by_age_ends_what_is_older_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.ask("old")
        world.clock.advance(10)
        await world.ask("new")
        await purged(world, BEFORE, int((world.clock() - 5) * 1000))
        assert (await world.ask("new")).text == "answer 2"
        assert (await world.ask("old")).text == "answer 3"


async def test_a_rule_changes_what_holds_for_its_calls(tmp_path: Path) -> None:
    rules = (
        Rule(namespace=("live",), ttl=10, cache="all"),
        Rule(model=("m*",), tag=("never",), cache="off"),
    )
    async with running(tmp_path, rules=rules) as world:
        live = await world.ask(temperature=0.5, x_payonce_namespace="live")
        assert live.fields["x-openrouter-cache-ttl"] == "10"
        assert (await world.ask(x_payonce_tags="never")).said == "payonce; fwd=bypass; detail=cache-off"
        assert (await world.ask(temperature=0.5)).said == "payonce; fwd=bypass; detail=not-deterministic"


@pytest.mark.parametrize(("mode", "cost", "tokens"), [("verbatim", 0.001, 10), ("free", 0, 10), ("zero", 0, 0)])
async def test_a_hit_reports_the_usage_that_the_operator_chose(
    mode: str, cost: float, tokens: int, tmp_path: Path
) -> None:
    import json

    async with running(tmp_path, hit_usage=mode) as world:
        miss = json.loads((await world.ask()).body)
        hit = json.loads((await world.ask()).body)
        assert miss["usage"]["cost"] == 0.001
        assert (hit["usage"]["cost"], hit["usage"]["prompt_tokens"]) == (cost, tokens)
        assert hit["choices"] == miss["choices"]


async def test_two_keys_are_two_tenants_unless_they_share(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.ask(authorization="Bearer one")
        assert (await world.ask(authorization="Bearer two")).text == "answer 2"
    async with running(tmp_path, share="team") as world:
        await world.ask(authorization="Bearer one")
        assert (await world.ask(authorization="Bearer two")).text == "answer 1"


async def test_a_clock_that_jumps_makes_no_entry_immortal(tmp_path: Path) -> None:
    async with running(tmp_path, ttl=100) as world:
        world.clock.advance(10 * 365 * 86400)
        await world.ask()
        world.clock.advance(-50)
        hit = await world.ask()
        assert (hit.fields["age"], hit.fields["x-openrouter-cache-ttl"]) == ("0", "100")
        world.clock.advance(-10 * 365 * 86400)
        assert (await world.ask(cache_control="stale-while-revalidate=1000")).text == "answer 2"
