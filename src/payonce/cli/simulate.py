"""`payonce simulate FILE.jsonl`: what recorded requests cost without prompt caching, as sent, and with Payonce.

Nothing is sent anywhere. This room must never decide what a request costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from payonce.cli.flags import AsJson, OnlyModel
from payonce.cli.output import print_json
from payonce.cli.progress import progress
from payonce.cli.simulate_reading import STEP, Index, opened
from payonce.cli.simulate_show import as_json, notes_on, show
from payonce.cli.simulate_world import Pricing, Providers, unmarked
from payonce.errors import PayonceError, SettingsError
from payonce.ledger.prices import Prices
from payonce.optimise import Planner
from payonce.simulation import FREED, PLANNED, Planned, Replay

_OPENAI = ("gpt", "o1", "o3", "o4", "chatgpt")


def simulate(
    file: Path,
    /,
    *,
    gap: Annotated[float, Parameter(help="Seconds after the line before, for lines without a time.")] = 30.0,
    model: OnlyModel = None,
    pessimistic: Annotated[
        bool, Parameter(negative="", help="Where documentation is silent, take what costs more.")
    ] = False,
    json: AsJson = False,
) -> int:
    """What recorded requests would cost: without prompt caching, as they were sent, and with Payonce.

    Every request is replayed at its recorded time through models of the providers' prompt caches, offline. Exit code 1:
    some lines could not be read.

    Parameters
    ----------
    file
        One request a line: {"at": seconds, "dialect": "chat", "body": {…}}, a bare body with a timestamp, or a line of
        an OpenAI batch file; "tenant", "session", "provider", "usage" and "ended" are used where they are known.
    """
    if not 0 <= gap <= 366 * 86400:
        raise SettingsError("--gap: write seconds, 0 or more")
    with opened(file) as lines:
        size = lines.seek(0, 2)
        with progress("reading", size) as gauge:
            index = Index(model, gap)
            index.read(lines, gauge)
        if not index.places:
            raise PayonceError(f"{file} holds no requests{_wanted(model)}; write one request a line as JSON")
        pricing = Pricing(Prices())

        def world(*, pinned: bool = False) -> Providers:
            return Providers(index.facts, pricing, pinned=pinned, pessimistic=pessimistic)

        ways = {PLANNED: Planned(Planner(), world())}
        if any(facts.marked for facts in index.facts.values()):
            ways[FREED] = Planned(Planner(), world(), unmarked)
        replay = Replay(world(pinned=True), ways, _upstream)
        with progress("replaying", len(index.places)) as gauge:

            def done(number: int) -> None:
                if number % STEP == 0:
                    gauge.show(number, f"{number} requests")

            found = replay.run(index.again(lines), done)
    notes = notes_on(index, found, pricing)
    if json:
        print_json(as_json(found, index, notes, pessimistic=pessimistic))
    else:
        show(found, index, notes)
    return 1 if index.bad else 0


def _wanted(model: str | None) -> str:
    return f" for a model like {model!r}" if model else ""


def _upstream(model: str) -> str:
    """Where a model of that name is asked: a name with an author is OpenRouter's."""
    if "/" in model:
        return "openrouter"
    if "claude" in model:
        return "anthropic"
    return "openai" if model.startswith(_OPENAI) else "other"
